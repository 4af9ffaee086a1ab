package api_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
)

var operatorUser = engine.Actor{Kind: "session", ID: "session_o", OrganizationID: "org_operators", Roles: []string{"battery:operator"}, Scopes: []string{}}

// within asks the API as somebody, in the process.
func (w *world) within(who engine.Actor, method, path, body string, header ...string) answer {
	r := httptest.NewRequest(method, "http://127.0.0.1/api/v1"+path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.api.As(who).ServeHTTP(rec, r)
	raw, _ := io.ReadAll(rec.Result().Body)
	return answer{rec.Code, string(raw), rec.Header()}
}

func TestAsIsTheAPIWithoutItsBearerTokenAndNothingElse(t *testing.T) {
	w := newWorld(t)
	if a := w.within(engine.Actor{}, "GET", "/sessions", "", "Authorization", "Bearer "+w.operator); a.status != http.StatusUnauthorized {
		t.Errorf("nobody, beside somebody's token: %d", a.status)
	}
	if a := w.within(engine.Actor{Kind: "stranger", ID: "x"}, "GET", "/sessions", ""); a.status != http.StatusForbidden {
		t.Errorf("a stranger: %d", a.status)
	}
	it := engine.Actor{Kind: "session", ID: "s", OrganizationID: acme, Roles: []string{"it-admin", "battery:operator"}}
	if a := w.within(it, "GET", "/sessions", "", "Authorization", "Bearer "+w.operator); a.status != http.StatusForbidden {
		t.Errorf("an IT admin, beside an operator's token: %d", a.status)
	}
	if a := w.within(operatorUser, "GET", "/sessions", ""); a.status != http.StatusOK || a.header.Get(api.TotalHeader) != "1" {
		t.Errorf("an operator: %d %s", a.status, a.body)
	}
	before := w.head()
	id := w.signIn(7, acme, "prof_bob", "bob@acme.test")
	auditor := operatorUser
	auditor.Roles = []string{"battery:auditor"}
	if a := w.within(auditor, "DELETE", "/sessions/"+id, ""); a.status != http.StatusForbidden {
		t.Errorf("an auditor: %d", a.status)
	}
	if a := w.within(operatorUser, "DELETE", "/sessions/"+id, ""); a.status != http.StatusNoContent {
		t.Errorf("an operator: %d %s", a.status, a.body)
	}
	got := w.entries(before)
	if len(got) != 3 || got[0].Result != audit.Refused || got[2].Actor.ID != "session_o" || got[2].RemoteIP != "192.0.2.7" || got[2].Result != audit.Done {
		t.Errorf("%+v", got)
	}
	// Over the network nothing has changed.
	if a := w.ask("", "GET", "/sessions", ""); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.status)
	}
}

func TestMayAnswersAsTheRoutesDo(t *testing.T) {
	w := newWorld(t)
	auditor := operatorUser
	auditor.Roles = []string{"battery:auditor"}
	for _, tc := range []struct {
		who    engine.Actor
		action string
		want   bool
	}{
		{operatorUser, "sessions.revoke", true}, {auditor, "sessions.revoke", false}, {auditor, "sessions.list", true}, {engine.Actor{}, "sessions.list", false},
		{engine.Actor{Kind: "break-glass"}, "keys.rotate", true}, {engine.Actor{Kind: "stranger"}, "sessions.list", false},
	} {
		if got := w.api.May(t.Context(), tc.who, tc.action, engine.Resource{Type: "session"}); got != tc.want {
			t.Errorf("%+v %s: %v", tc.who, tc.action, got)
		}
	}
	if all := w.api.Actions(); !slices.IsSorted(all) || !slices.Contains(all, "sessions.revoke") || len(all) < 30 {
		t.Errorf("%v", all)
	}
}

func TestATokensIDFindsItWhileItLives(t *testing.T) {
	w := newWorld(t)
	token, secret, err := w.api.Tokens.Create(t.Context(), "t", []string{"read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	unknown := func(why, id string) {
		t.Helper()
		if _, err := w.api.Tokens.Live(t.Context(), id); !errors.Is(err, api.ErrUnknownToken) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if got, err := w.api.Tokens.Live(t.Context(), token.ID); err != nil || got.ID != token.ID || got.Actor().Kind != "token" {
		t.Errorf("%+v %v", got, err)
	}
	unknown("its secret", secret)
	unknown("nothing", "")
	unknown("another key of the store", "../audit/head")
	unknown("more than a key may be", strings.Repeat("x", 5000))
	if err := w.api.Tokens.Revoke(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	unknown("revoked", token.ID)
	token, _, err = w.api.Tokens.Create(t.Context(), "t", []string{"read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.advance(time.Hour)
	unknown("expired", token.ID)
}
