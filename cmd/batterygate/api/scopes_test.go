package api_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/api"
)

// A scope that nothing asks for is a token that fails in the night.
func TestATokenIsGivenOnlyScopesThatThereAre(t *testing.T) {
	w := newWorld(t)
	for _, scope := range api.Scopes() {
		if a := w.ask(w.operator, "POST", "/tokens", `{"scopes":["`+scope+`"]}`); a.status != 201 {
			t.Errorf("%s: %d %s", scope, a.status, a.body)
		}
	}
	for _, scope := range []string{"app.list", "apps.lst", "apps", "apps.", ".*", "*", "", "reader", "Operator", "apps.list ", "nothing.*", "tokens.creates"} {
		a := w.ask(w.operator, "POST", "/tokens", `{"scopes":["read","`+scope+`"]}`)
		if a.status != 422 || !strings.Contains(a.body, "there is no scope") || !strings.Contains(a.body, "operator read ") || !strings.Contains(a.body, "apps.(*|create|delete|list|read|update)") {
			t.Errorf("%q: %d %s", scope, a.status, a.body)
		}
		if _, _, err := w.api.Tokens.Create(t.Context(), "host", []string{scope}, 0); !errors.Is(err, api.ErrInvalidToken) {
			t.Errorf("%q on the host: %v", scope, err)
		}
	}
	for _, r := range w.api.Routes() {
		if !slices.Contains(api.Scopes(), r.Action) {
			t.Errorf("%s has no scope", r.Action)
		}
	}
}
