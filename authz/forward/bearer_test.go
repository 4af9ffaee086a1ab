package forward_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

// TestMachineAnswers is what a program gets that brings a token, at every door.
// A person's cookie and a browser's headers are always there, too: they must
// change nothing.
func TestMachineAnswers(t *testing.T) {
	rows := []struct {
		name      string
		headers   []string
		want      int
		nginx     int
		reason    string
		challenge string // error in WWW-Authenticate
		user      string
	}{
		{name: "a good JWT", headers: []string{"Authorization: Bearer " + goodJWT}, want: 200, reason: authz.CodeRole, user: "ci@acme"},
		{name: "a good service token", headers: []string{"Authorization: Bearer " + goodBGS}, want: 200, reason: authz.CodeRole, user: "st_1"},
		{name: "the scheme in lower case", headers: []string{"Authorization: bearer " + goodJWT}, want: 200, reason: authz.CodeRole, user: "ci@acme"},
		{name: "the scheme in capitals and several spaces", headers: []string{"Authorization: BEARER   " + goodJWT}, want: 200, reason: authz.CodeRole, user: "ci@acme"},
		{name: "a token whose roles do not do", headers: []string{"Authorization: Bearer " + poorJWT}, want: 403, reason: authz.CodeNoAllowedRole, challenge: "insufficient_scope"},
		{name: "a bad token", headers: []string{"Authorization: Bearer nope"}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "no token", headers: []string{"Authorization: Bearer"}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "an empty header", headers: []string{"Authorization:"}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "another scheme", headers: []string{"Authorization: Basic YWRhOmFkYQ=="}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "a scheme that only begins like it", headers: []string{"Authorization: Bearerx " + goodJWT}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "no scheme", headers: []string{"Authorization: " + goodJWT}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "two words", headers: []string{"Authorization: Bearer " + goodJWT + " x"}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "a tab after the scheme", headers: []string{"Authorization: Bearer\t" + goodJWT}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "1 MB", headers: []string{"Authorization: Bearer " + strings.Repeat("a", 1<<20)}, want: 401, reason: authz.CodeTokenInvalid, challenge: "invalid_token"},
		{name: "two headers", headers: []string{"Authorization: Bearer " + goodJWT, "Authorization: Bearer " + goodJWT}, want: 400, nginx: 403, reason: authz.CodeMalformedRequest},
		{name: "two headers, joined", headers: []string{"Authorization: Bearer " + goodJWT + ",Bearer nope"}, want: 400, nginx: 403, reason: authz.CodeMalformedRequest},
		{name: "no header: the person's cookie", want: 200, reason: authz.CodeRole, user: "prof_ada"},
	}
	for door, do := range doors() {
		for _, row := range rows {
			t.Run(door+"/"+row.name, func(t *testing.T) {
				if door == "ext-authz-grpc" && row.name == "1 MB" {
					row.headers = []string{"Authorization: Bearer " + strings.Repeat("a", 1<<19)} // what the server takes in one message
				}
				w := newWorld(t)
				want := row.want
				if door == "auth-request" && row.nginx != 0 {
					want = row.nginx
				}
				res := do(t, w, get("api.acme.test", "/v1", append([]string{ada, browser}, row.headers...)...))
				if res.status != want {
					t.Fatalf("status %d, want %d (%s)", res.status, want, res.body)
				}
				asked := w.asked
				rec := w.one(t)
				if rec.Status != want || rec.Reasons[0].Code != row.reason {
					t.Fatalf("record: status %d reason %q", rec.Status, rec.Reasons[0].Code)
				}
				if want == 200 {
					if got := res.get("X-Battery-User-Id"); got != row.user {
						t.Errorf("the app is told %q, want %q", got, row.user)
					}
					if row.user != "prof_ada" && res.get("X-Battery-User-Email")+res.get("X-Battery-Groups") != "" {
						t.Error("a machine has a person's e-mail address or groups")
					}
				}
				refused(t, res, row.challenge)
				everything := fmt.Sprintf("%+v %+v", *rec, rec.Session) + res.body + fmt.Sprint(res.header)
				for _, token := range []string{goodJWT, poorJWT, "YWRhOmFkYQ"} {
					if strings.Contains(everything, token) {
						t.Error("the token is in the record or the answer")
					}
				}
				if len(asked) == 1 && (asked[0].Authorized != (len(row.headers) > 0 && want != 400 && want != row.nginx)) {
					t.Errorf("Authorized is %v", asked[0].Authorized)
				}
			})
		}
	}
}

// refused checks the shape of what a machine gets that may not pass.
func refused(t *testing.T, res result, code string) {
	t.Helper()
	if code == "" {
		return
	}
	if got := res.get("Www-Authenticate"); !strings.HasPrefix(got, `Bearer realm="api.acme", error="`+code+`", error_description="`) {
		t.Errorf("WWW-Authenticate: %s", got)
	}
	if res.get("Location") != "" || res.get("Set-Cookie") != "" || res.get("Content-Type") != "application/problem+json" || res.get("Cache-Control") != "no-store" {
		t.Errorf("a machine is sent somewhere or shown a page: %v", res.header)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(res.body), &p); err != nil || p["reason"] == "" || p["decision_id"] == "" || p["login_url"] != nil {
		t.Errorf("body %s", res.body)
	}
}

// The Authorization header of an app that did not opt in is the app's own:
// whatever it holds, however often it comes.
func TestTheAppsOwnAuthorizationHeaderIsLeftAlone(t *testing.T) {
	for door, do := range doors() {
		for name, headers := range map[string][]string{
			"basic": {"Authorization: Basic YWRhOmFkYQ=="}, "a token of ours": {"Authorization: Bearer " + goodBGS},
			"two": {"Authorization: a", "Authorization: b"}, "empty": {"Authorization:"}, "1 MB": {"Authorization: " + strings.Repeat("a", 1<<19)},
		} {
			t.Run(door+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				res := do(t, w, get("crm.acme.test", "/", append([]string{ada}, headers...)...))
				if res.status != 200 || res.get("X-Battery-User-Id") != "prof_ada" {
					t.Errorf("with a session: %d %v", res.status, res.header)
				}
				if r := w.asked[0]; r.Authorized || r.Bearer != "" {
					t.Error("the header was read")
				}
				w.one(t)
				if slices.Contains(res.removed(), "authorization") {
					t.Error("the header is taken from the app")
				}
				res = do(t, w, get("crm.acme.test", "/", append([]string{browser}, headers...)...))
				if want := map[bool]int{true: 401, false: 302}[door == "auth-request"]; res.status != want || strings.Contains(res.get("Www-Authenticate"), "Bearer") {
					t.Errorf("without one: %d %v", res.status, res.header)
				}
			})
		}
	}
}

func TestAProgramIsToldThatTheAppTakesTokens(t *testing.T) {
	for door, do := range doors() {
		t.Run(door, func(t *testing.T) {
			w := newWorld(t)
			res := do(t, w, get("api.acme.test", "/", fetch))
			if got := res.get("Www-Authenticate"); res.status != 401 || got != `Battery realm="api.acme", Bearer realm="api.acme"` {
				t.Errorf("%d %s", res.status, got)
			}
		})
	}
}

// A service token may be good for several apps: none of them gets to see it
// where the gateway can take it away. A JWT is for one app, which may read it.
func TestServiceTokensDoNotTravelOn(t *testing.T) {
	for door, do := range doors() {
		for token, hidden := range map[string]bool{goodBGS: true, goodJWT: false} {
			w := newWorld(t)
			res := do(t, w, get("api.acme.test", "/", "Authorization: Bearer "+token))
			if res.status != 200 {
				t.Fatalf("%s: %d", door, res.status)
			}
			if got := slices.Contains(res.removed(), "authorization"); got != (hidden && strings.HasPrefix(door, "ext-authz")) {
				t.Errorf("%s: %s: removed %v", door, token, got)
			}
			if door != "ext-authz" && res.get("X-Envoy-Auth-Headers-To-Remove") != "" {
				t.Errorf("%s sends Envoy's header", door)
			}
		}
	}
}

// A host that is nobody's, or a route bound to another app, has no machines.
func TestTokensAtUnknownHosts(t *testing.T) {
	for door, do := range doors() {
		w := newWorld(t)
		res := do(t, w, get("nobody.test", "/", "Authorization: Bearer "+goodJWT, "Authorization: x"))
		if rec := w.one(t); res.status != 403 || rec.Reasons[0].Code != authz.CodeUnknownHost {
			t.Errorf("%s: %d %v", door, res.status, rec.Reasons)
		}
	}
}
