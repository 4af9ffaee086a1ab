package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store"
)

// locked is an admin policy that lets nobody in, or does not work at all.
type locked struct{ err error }

func (l locked) Decide(context.Context, engine.AdminInput) (authz.Verdict, error) {
	return authz.Verdict{}, l.err
}

func (w *world) breakGlass() string {
	w.t.Helper()
	_, secret, err := w.api.Tokens.CreateBreakGlass(w.t.Context(), "fire", 0)
	return must(secret, err)(w.t)
}

func TestBreakGlassGoesPastThePolicyAndIsRecordedInAll(t *testing.T) {
	for name, policy := range map[string]locked{"a policy that denies": {}, "a policy that fails": {errors.New("no policy")}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.api.Policy = policy
			glass := w.breakGlass()
			if a := w.ask(w.operator, "GET", "/organizations", ""); a.status != 403 {
				t.Fatalf("an operator gets in: %d", a.status)
			}
			at := w.head()
			for _, path := range []string{"/organizations?limit=7", "/tokens", "/audit/verify", "/apps/x"} {
				if a := w.ask(glass, "GET", path, ""); a.status != 200 && path != "/apps/x" {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
			if a := w.ask(glass, "PATCH", "/organizations/org_acme", `{"name":"A"}`); a.status != 200 {
				t.Errorf("patch: %d %s", a.status, a.body)
			}
			got := w.entries(at)
			if len(got) != 10 {
				t.Fatalf("%d entries, want an intent and an outcome of each", len(got))
			}
			for _, e := range got {
				if e.Actor.Kind != "break-glass" || !strings.HasPrefix(e.Actor.ID, "token_") {
					t.Errorf("%+v", e)
				}
			}
			if !strings.Contains(string(got[0].Request), `"query":{"limit":"7"}`) || got[7].Result != audit.Failed || got[7].Status != 404 {
				t.Errorf("%s %+v", got[0].Request, got[7])
			}
			if n := strings.Count(w.logged.text(), `"level":"WARN","msg":"break-glass token used"`); n != 5 {
				t.Errorf("%d warnings", n)
			}
			w.st.fail("admin/audit/")
			if a := w.ask(glass, "GET", "/organizations", ""); a.status != 503 {
				t.Errorf("a read that cannot be recorded: %d", a.status)
			}
		})
	}
}

func TestABreakGlassTokenEndsWithinTheHour(t *testing.T) {
	w := newWorld(t)
	for ttl, ok := range map[time.Duration]bool{0: true, time.Minute: true, time.Hour: true, time.Hour + 1: false, 24 * time.Hour: false, -1: false} {
		token, _, err := w.api.Tokens.CreateBreakGlass(t.Context(), "x", ttl)
		if (err == nil) != ok || !ok && !errors.Is(err, api.ErrInvalidToken) {
			t.Errorf("%v: %v", ttl, err)
		}
		if ok && (token.ExpiresAt == nil || token.ExpiresAt.Sub(token.CreatedAt) > time.Hour || !token.BreakGlass || ttl == 0 && token.ExpiresAt.Sub(token.CreatedAt) != time.Hour) {
			t.Errorf("%v: %+v", ttl, token)
		}
	}
	glass := w.breakGlass()
	if a := w.ask(w.operator, "GET", "/tokens", ""); strings.Count(a.body, `"break_glass":true`) != 4 {
		t.Errorf("shown: %s", a.body)
	}
	w.advance(time.Hour - time.Second)
	if a := w.ask(glass, "GET", "/tokens", ""); a.status != 200 {
		t.Errorf("before the hour: %d", a.status)
	}
	// What it makes does not outlive it.
	for body, want := range map[string]int{`{"scopes":["operator"]}`: 403, `{"scopes":["operator"],"ttl":"1h"}`: 403, `{"scopes":["operator"],"ttl":"1s"}`: 201} {
		if a := w.ask(glass, "POST", "/tokens", body); a.status != want {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	w.advance(time.Second)
	if a := w.ask(glass, "GET", "/tokens", ""); a.status != 401 {
		t.Errorf("after the hour: %d", a.status)
	}
}

func TestNobodyMakesABreakGlassTokenFromAfar(t *testing.T) {
	w := newWorld(t)
	for _, secret := range []string{w.operator, w.breakGlass()} {
		for _, body := range []string{
			`{"scopes":["operator"],"break_glass":true}`, `{"scopes":["break-glass"]}`, `{"scopes":[],"break_glass":true}`, `{"scopes":["break_glass"],"ttl":"1h"}`,
			`{"Break_Glass":true,"scopes":["read"],"ttl":"1m"}`,
		} {
			if a := w.ask(secret, "POST", "/tokens", body); a.status/100 != 4 {
				t.Errorf("%s: %d %s", body, a.status, a.body)
			}
		}
	}
	all, err := w.api.Tokens.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%+v %v", all, err)
	}
	// A record that claims more than its hour is none.
	token, secret, err := w.api.Tokens.Create(t.Context(), "x", []string{"read"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := must(w.st.Get(t.Context(), "admin/token/"+token.ID))(t)
	w.put(raw.Key, strings.Replace(string(raw.Value), `"break_glass":false`, `"break_glass":true`, 1))
	if _, err := w.api.Tokens.Find(t.Context(), secret); !errors.Is(err, api.ErrUnknownToken) {
		t.Errorf("an endless break-glass token: %v", err)
	}
}

func TestBreakGlassIsNotForAppsQuestions(t *testing.T) {
	w := newWorld(t)
	callers := &api.Callers{Tokens: w.api.Tokens, Policy: open{}}
	if _, err := callers.Caller(t.Context(), w.clock(), w.breakGlass()); !errors.Is(err, authzen.ErrForbidden) {
		t.Errorf("break-glass: %v", err)
	}
	if _, err := callers.Caller(t.Context(), w.clock(), w.operator); err != nil {
		t.Errorf("operator: %v", err)
	}
}

// A token that is bound to an organization asks within it, as long as it stands.
func TestWhoAsksAuthZENQuestions(t *testing.T) {
	w := newWorld(t)
	callers := &api.Callers{Tokens: w.api.Tokens, Policy: w.policies, Stands: func(org string) bool {
		_, ok := w.api.Directory.View().Organization(org)
		return ok
	}}
	for name, c := range map[string]struct {
		org, scope string
		want       error
	}{
		"bound to none":                      {"", "authzen.evaluate", nil},
		"bound to one":                       {acme, "authzen.evaluate", nil},
		"bound, for other things":            {acme, "apps.list", authzen.ErrForbidden},
		"bound to one that is no longer one": {"org_gone", "authzen.evaluate", authzen.ErrForbidden},
	} {
		who, err := callers.Caller(t.Context(), w.clock(), w.token(c.org, c.scope))
		if !errors.Is(err, c.want) || (err == nil) != (who.ID != "") || err == nil && who.OrganizationID != c.org {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	callers.Stands = nil
	if _, err := callers.Caller(t.Context(), w.clock(), w.token(acme, "authzen.evaluate")); !errors.Is(err, authzen.ErrForbidden) {
		t.Errorf("where nobody knows the organizations: %v", err)
	}
}

func TestATokenMakesNoneWithMoreThanItself(t *testing.T) {
	w := newWorld(t)
	type want = map[string]int
	for name, c := range map[string]struct {
		org    string
		scopes []string
		want   want
	}{
		"an operator's": {"", []string{"operator"}, want{`["operator"]`: 201, `["apps.*"]`: 201}},
		"a maker of tokens": {"", []string{"tokens.create"}, want{
			`["operator"]`: 403, `["read"]`: 403, `["tokens.create"]`: 201, `["tokens.*"]`: 403, `["tokens.create","operator"]`: 403, `["tokens.revoke"]`: 403, `["tokens.list"]`: 403,
		}},
		"all of tokens":           {"", []string{"tokens.*"}, want{`["tokens.*"]`: 201, `["tokens.create"]`: 201, `["tokens.list"]`: 201, `["apps.list"]`: 403, `["operator"]`: 403}},
		"one that reads":          {"", []string{"tokens.create", "read"}, want{`["read"]`: 201, `["apps.read"]`: 201, `["apps.list","decisions.read"]`: 201, `["apps.*"]`: 403, `["apps.update"]`: 403}},
		"one that makes no token": {"", []string{"read"}, want{`["read"]`: 403}},
	} {
		secret := w.token(c.org, c.scopes...)
		for scopes, status := range c.want {
			if a := w.ask(secret, "POST", "/tokens", `{"scopes":`+scopes+`}`); a.status != status {
				t.Errorf("%s, %s: %d %s, want %d", name, scopes, a.status, a.body, status)
			}
		}
	}
}

func TestABoundTokenMakesOnlyTokensOfItsOrganization(t *testing.T) {
	w := newWorld(t)
	for _, scopes := range [][]string{{"operator"}, {"tokens.create", "read"}} {
		secret := w.token(acme, scopes...)
		for body, want := range map[string]int{
			`{"scopes":["read"]}`: 403, `{"scopes":["read"],"organization_id":"org_globex"}`: 403, `{"scopes":["read"],"organization_id":"org_acme"}`: 201,
		} {
			if a := w.ask(secret, "POST", "/tokens", body); a.status != want {
				t.Errorf("%v %s: %d %s", scopes, body, a.status, a.body)
			}
		}
	}
	// The Go check stands also where a policy forgets it.
	w.api.Policy = open{}
	if a := w.ask(w.token(acme, "operator"), "POST", "/tokens", `{"scopes":["operator"]}`); a.status != 403 {
		t.Errorf("with a lax policy: %d", a.status)
	}
	if a := w.ask(w.operator, "POST", "/tokens", `{"scopes":["read"],"organization_id":"org_nobody"}`); a.status != 422 {
		t.Errorf("an organization that is not there: %d %s", a.status, a.body)
	}
}

// open is a policy that allows everything.
type open struct{}

func (open) Decide(context.Context, engine.AdminInput) (authz.Verdict, error) {
	return authz.Verdict{Allow: true}, nil
}

func TestATokenThatEndsMakesNoneThatLivesLonger(t *testing.T) {
	w := newWorld(t)
	for _, scope := range []string{"tokens.create", "operator"} {
		_, secret, err := w.api.Tokens.Create(t.Context(), "short", []string{scope}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for ttl, want := range map[string]int{``: 403, `,"ttl":"61m"`: 403, `,"ttl":"60m"`: 201} {
			if a := w.ask(secret, "POST", "/tokens", `{"scopes":["`+scope+`"]`+ttl+`}`); a.status != want {
				t.Errorf("%s %s: %d %s", scope, ttl, a.status, a.body)
			}
		}
	}
}

// Nor through one that it made: an hour of break-glass is no way to a token
// without an end.
func TestWhatABreakGlassTokenLeavesBehindEndsWithItsHour(t *testing.T) {
	w := newWorld(t)
	glass := w.breakGlass()
	var made struct{ Token string }
	if a := w.ask(glass, "POST", "/tokens", `{"scopes":["operator"],"ttl":"59m"}`); a.status != 201 || json.Unmarshal([]byte(a.body), &made) != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for body, want := range map[string]int{`{"scopes":["operator"]}`: 403, `{"scopes":["operator"],"ttl":"2h"}`: 403, `{"scopes":["operator"],"ttl":"1m"}`: 201} {
		if a := w.ask(made.Token, "POST", "/tokens", body); a.status != want {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestTheBindingOfATokenReachesThePolicy(t *testing.T) {
	w := newWorld(t)
	bound := w.token(acme, "operator")
	for path, want := range map[string]int{"/organizations/org_acme": 200, "/organizations/org_globex": 403, "/organizations": 403, "/apps?org=org_acme": 200, "/apps": 403} {
		if a := w.ask(bound, "GET", path, ""); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestLastUseIsShownAtOnceAndWrittenDownLater(t *testing.T) {
	w := newWorld(t)
	made, secret, err := w.api.Tokens.Create(t.Context(), "x", []string{"read"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() string { return string(must(w.st.Get(t.Context(), "admin/token/"+made.ID))(t).Value) }
	if strings.Contains(w.ask(w.operator, "GET", "/tokens", "").body, `"name":"x","scopes":["read"],"organization_id":"","break_glass":false,"created_at":"2026-03-01T12:00:00Z","expires_at":null,"last_used":"`) {
		t.Error("used before it was used")
	}
	w.advance(time.Minute)
	before := must(w.st.Get(t.Context(), "admin/token/"+made.ID))(t).Revision
	for range 5 {
		w.ask(secret, "GET", "/organizations", "")
	}
	if got := w.ask(w.operator, "GET", "/tokens", "").body; !strings.Contains(got, `"last_used":"2026-03-01T12:01:00Z"`) {
		t.Errorf("not shown: %s", got)
	}
	if must(w.st.Get(t.Context(), "admin/token/"+made.ID))(t).Revision != before {
		t.Error("a request wrote the token")
	}
	if err := w.api.Tokens.SaveUses(t.Context()); err != nil || !strings.Contains(stored(), `"last_used":"2026-03-01T12:01:00Z"`) {
		t.Errorf("%v %s", err, stored())
	}
	fresh := &api.Tokens{Store: w.st, Now: w.clock}
	if got, err := fresh.Get(t.Context(), made.ID); err != nil || got.LastUsed == nil || !got.LastUsed.Equal(w.clock()) {
		t.Errorf("after a restart: %+v %v", got, err)
	}
	// A use does not bring a revoked token back, nor does an older one win.
	w.ask(secret, "GET", "/organizations", "")
	if err := errors.Join(w.api.Tokens.Revoke(t.Context(), made.ID), w.api.Tokens.SaveUses(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.Get(t.Context(), "admin/token/"+made.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a revoked token is back: %v", err)
	}
}

func TestRunWritesUsesDownWhenItEnds(t *testing.T) {
	w := newWorld(t)
	made, secret, err := w.api.Tokens.Create(t.Context(), "x", []string{"read"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.ask(secret, "GET", "/organizations", "")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := w.api.Tokens.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if v := must(w.st.Get(t.Context(), "admin/token/"+made.ID))(t).Value; !strings.Contains(string(v), `"last_used":"2026`) {
		t.Errorf("%s", v)
	}
}

func TestTokensThatExpiredLongAgoAreCollected(t *testing.T) {
	w := newWorld(t)
	ids := map[string]string{}
	for name, ttl := range map[string]time.Duration{"an hour": time.Hour, "a day more": 25 * time.Hour, "for ever": 0} {
		made, _, err := w.api.Tokens.Create(t.Context(), name, []string{"read"}, ttl)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = made.ID
	}
	w.put("admin/token/token_unreadable_for_collect", "{")
	there := func(id string) bool {
		_, err := w.st.Get(t.Context(), "admin/token/"+id)
		return err == nil
	}
	for _, step := range []struct {
		at   time.Duration
		gone int
	}{{time.Hour, 0}, {30 * 24 * time.Hour, 0}, {time.Second, 1}, {0, 0}} {
		w.advance(step.at)
		if n, err := w.api.Tokens.Collect(t.Context()); n != step.gone || err != nil {
			t.Fatalf("after %v: %d, %v", step.at, n, err)
		}
	}
	if there(ids["an hour"]) || !there(ids["a day more"]) || !there(ids["for ever"]) || !there("token_unreadable_for_collect") {
		t.Error("not the right ones are gone")
	}
	for range 200 { // more than one transaction may hold
		if _, _, err := w.api.Tokens.Create(t.Context(), "many", []string{"read"}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	w.advance(31*24*time.Hour + time.Hour)
	if n, err := w.api.Tokens.Collect(t.Context()); n != 201 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
