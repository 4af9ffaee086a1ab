package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestProbesAreForOperatorsOfTheApp(t *testing.T) {
	w := newWorld(t)
	app := `{"id":"crm.acme","organization_id":"org_acme","hosts":["crm.acme.test"],"allowed_roles":["editor"]}`
	if a := w.ask(w.operator, "POST", "/apps", app); a.status != 201 {
		t.Fatal(a)
	}
	token := func(org string, scopes ...string) string {
		t.Helper()
		_, secret, err := w.api.Tokens.CreateBound(t.Context(), org, "t", scopes, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	const body = `{"app_id":"crm.acme"}`
	for name, tc := range map[string]struct {
		token string
		want  int
	}{
		"an operator":                   {w.operator, 201},
		"the scope":                     {token("", "probes.*"), 201},
		"the scope within":              {token(acme, "probes.create"), 201},
		"the scope of another customer": {token(globex, "probes.create"), 403},
		"a reader":                      {token("", "read"), 403},
		"one who makes apps":            {token("", "apps.*"), 403},
	} {
		if a := w.ask(tc.token, "POST", "/probes", body); a.status != tc.want {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for _, bad := range []string{`{"app_id":"nobody.acme"}`, `{"app_id":"crm.acme","ttl":"31m"}`, `{"app_id":"crm.acme","ttl":"-1s"}`, `{}`} {
		if a := w.ask(w.operator, "POST", "/probes", bad); a.status != 422 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}

	a := w.ask(w.operator, "POST", "/probes", body)
	var made struct {
		ID, Token string
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || !strings.HasPrefix(made.Token, "bgp_") || !made.ExpiresAt.Equal(w.clock().Add(10*time.Minute)) {
		t.Fatal(a, err)
	}
	if a := w.ask(w.operator, "GET", "/probes/"+made.ID, ""); a.status != 200 || strings.Contains(a.body, "bgp_") || !strings.Contains(a.body, `"observations":[]`) {
		t.Error(a)
	}
	if a := w.ask(token(globex, "probes.*"), "GET", "/probes/"+made.ID, ""); a.status != 403 {
		t.Error("another customer's token reads it:", a)
	}
	if a := w.ask(w.operator, "DELETE", "/probes/"+made.ID, ""); a.status != 204 {
		t.Error(a)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if a := w.ask(w.operator, method, "/probes/"+made.ID, ""); a.status != 404 {
			t.Error(method, a)
		}
	}
	w.advance(time.Hour)
	if strings.Contains(w.logged.text(), made.Token) {
		t.Error("the token is logged")
	}
}
