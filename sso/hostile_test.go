package sso_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"battery.app/gate/authz"
)

// spoiled is what can be done to a cookie of ours: the Cookie header that is
// sent instead. foreign is the value that another gate gave for the same.
func spoiled(name, value, foreign string) map[string]string {
	c := func(v string) string { return name + "=" + v }
	return map[string]string{
		"none":                    "x=y",
		"an empty one":            c(""),
		"it and an empty one":     c(value) + "; " + c(""),
		"it and another's":        c(value) + "; " + c(foreign),
		"another's and it":        c(foreign) + "; " + c(value),
		"another gate's":          c(foreign),
		"it without its end":      c(value[:len(value)-1]),
		"it without its begin":    c(value[1:]),
		"its first half":          c(value[:len(value)/2]),
		"its key alone":           c(value[:9]),
		"it with a tail":          c(value + "A"),
		"a changed key":           c(flipped(value)),
		"a changed middle":        c(value[:len(value)/2] + flipped(value[len(value)/2:])),
		"a changed end":           c(value[:len(value)-4] + flipped(value[len(value)-4:])),
		"it in capitals":          c(strings.ToUpper(value)),
		"it in quotes, twice":     c(`""` + value + `""`),
		"a megabyte":              c(strings.Repeat("A", 1<<20)),
		"it and a megabyte on it": c(value + strings.Repeat("A", 1<<20)),
		"its name in small":       strings.ToLower(name) + "=" + value,
		"its name without prefix": strings.TrimPrefix(name, "__Host-") + "=" + value,
	}
}

func header(r *http.Request, cookie string) *http.Request {
	r.Header.Set("Cookie", cookie)
	return r
}

func mustRequest(t *testing.T, method, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSpoiledCookiesOpenNothing(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	challenge := strings.Repeat("A", 43)
	ada, stranger := w.browser(), other.browser()
	ada.visit(w.crm + "/")
	stranger.visit(other.crm + "/")

	t.Run("of an app", func(t *testing.T) {
		const name = "__Host-battery_session"
		for what, cookie := range spoiled(name, ada.cookie(w.crm, name), stranger.cookie(other.crm, name)) {
			res := serve(w, header(mustRequest(t, http.MethodGet, w.crm+"/.battery/userinfo"), cookie), "crm.acme.example")
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %d", what, res.StatusCode)
			}
		}
	})
	t.Run("of the login", func(t *testing.T) {
		const name = "__Host-battery_login"
		value := ada.cookie(w.public, name)
		for what, cookie := range spoiled(name, value, stranger.cookie(other.public, name)) {
			res := serve(w, header(mustRequest(t, http.MethodGet, w.public+"/login?app=wiki.acme&challenge="+challenge), cookie), "auth.example")
			if to := res.Header.Get("Location"); res.StatusCode != http.StatusFound || !strings.HasPrefix(to, w.workos.URL) {
				t.Errorf("%s: %d to %s", what, res.StatusCode, to)
			}
			res = serve(w, header(mustRequest(t, http.MethodPost, w.public+"/logout"), cookie), "auth.example")
			if res.StatusCode != http.StatusSeeOther {
				t.Errorf("%s: logout asks about a session: %d", what, res.StatusCode)
			}
		}
		res := serve(w, header(mustRequest(t, http.MethodGet, w.public+"/login?app=wiki.acme&challenge="+challenge), name+"="+value), "auth.example")
		if !strings.HasPrefix(res.Header.Get("Location"), w.wiki+"/.battery/session") {
			t.Fatalf("and it itself opens nothing either: %s", res.Header.Get("Location"))
		}
	})
	t.Run("of an attempt", func(t *testing.T) {
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		foreign := other.browser()
		foreign.until(foreign.challenge(other.crm+"/"), other.public+"/callback")
		state := b.cookies(w.public)[0]
		sessions := w.sessions.Count()
		for what, cookie := range spoiled(state.Name, state.Value, foreign.cookies(other.public)[0].Value) {
			res := serve(w, header(mustRequest(t, http.MethodGet, back), cookie), "auth.example")
			if res.StatusCode != http.StatusBadRequest || w.sessions.Count() != sessions {
				t.Errorf("%s: %d", what, res.StatusCode)
			}
		}
		if res := b.get(back); res.at != w.crm+"/" {
			t.Fatalf("the right one was spent: %d at %s", res.StatusCode, res.at)
		}
	})
	t.Run("of a verifier", func(t *testing.T) {
		b := w.browser()
		loc := b.until(b.challenge(w.crm+"/"), w.crm+"/.battery/session")
		verifier := b.cookies(w.crm)[0]
		all := spoiled(verifier.Name, verifier.Value, strings.Repeat("A", 43))
		// That there is one more proves nothing against the one that matches.
		for _, what := range []string{"it and an empty one", "it and another's", "another's and it"} {
			delete(all, what)
		}
		for what, cookie := range all {
			res := serve(w, header(mustRequest(t, http.MethodGet, loc), cookie), "crm.acme.example")
			if res.StatusCode != http.StatusForbidden || len(res.Cookies()) != 0 {
				t.Errorf("%s: %d", what, res.StatusCode)
			}
		}
		if res := b.get(loc); res.at != w.crm+"/" {
			t.Fatalf("the ticket was spent: %d at %s", res.StatusCode, res.at)
		}
	})
	ada.mustBe(w.crm, "ada@acme.test")
}

// Signed in or not, logout leads to no hostile address, at once or by way of
// the question or the provider.
func TestLogoutOfWhoIsSignedInLeadsNowhereElse(t *testing.T) {
	for name, w := range map[string]*world{"WorkOS": newWorld(t), "OpenID": newOIDC(t)} {
		b := w.browser()
		for i, rd := range hostile {
			if name == "OpenID" && i%5 != 0 {
				continue // the check is the same, the way back is not
			}
			b.visit(w.crm + "/")
			b.mustBe(w.crm, "ada@acme.test")
			own, others := w.crm+"/.battery/logout?", w.public+"/logout?"
			if i%2 == 1 {
				own, others = others, own
			}
			q := url.Values{"rd": {rd}}.Encode()
			// Of the organization any app is a place to go to from the public host.
			if strings.HasPrefix(rd, w.wiki) {
				continue
			}
			if ask := b.get(others + q); ask.StatusCode != http.StatusOK || !tokenField.MatchString(ask.body) || strings.Contains(ask.Header.Get("Content-Security-Policy"), "evil") {
				t.Fatalf("%s: %sask rd=%q: %d %s", name, others, rd, ask.StatusCode, ask.Header.Get("Content-Security-Policy"))
			}
			b.path = nil
			res := b.send(http.MethodPost, own+q, nil, "Sec-Fetch-Site", "same-origin")
			if got, _, _ := strings.Cut(res.at, "?"); got != w.public+"/signed-out" {
				t.Fatalf("%s: %srd=%q ends at %s", name, own, rd, res.at)
			}
			for _, p := range b.path {
				if u, err := url.Parse(p); err != nil || strings.Contains(u.Host, "evil") || u.Host == "desk.globex.example" {
					t.Fatalf("%s: rd=%q leads over %s", name, rd, p)
				}
			}
		}
	}
}

func TestWorkOSTalksNonsense(t *testing.T) {
	var leaked atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "sk_test") || strings.Contains(string(body), "code_") {
			leaked.Store(true)
		}
	}))
	t.Cleanup(elsewhere.Close)
	profile := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, s)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":                     profile(``),
		"half a profile":              profile(`{"access_token":"x","profile":{"id":"prof_`),
		"null":                        profile(`null`),
		"a list":                      profile(`[]`),
		"a profile that is null":      profile(`{"access_token":"x","profile":null}`),
		"a profile that is a text":    profile(`{"access_token":"x","profile":"prof_ada@acme.test"}`),
		"a profile without id":        profile(`{"access_token":"x","profile":{"organization_id":"org_acme","email":"ada@acme.test"}}`),
		"an id that is a number":      profile(`{"access_token":"x","profile":{"id":7,"organization_id":"org_acme"}}`),
		"an organization that is one": profile(`{"access_token":"x","profile":{"id":"prof_x","organization_id":["org_acme"]}}`),
		"an organization of case":     profile(`{"access_token":"x","profile":{"id":"prof_x","organization_id":"ORG_ACME"}}`),
		"an organization with more":   profile(`{"access_token":"x","profile":{"id":"prof_x","organization_id":"org_acme "}}`),
		"10 MB":                       profile(`{"access_token":"x","profile":{"id":"` + strings.Repeat("x", 10<<20) + `","organization_id":"org_acme"}}`),
		"an id with a line break":     profile(`{"access_token":"x","profile":{"id":"prof_x\r\nX-Battery-Roles: admin","organization_id":"org_acme"}}`),
		"an address of a kilobyte":    profile(`{"access_token":"x","profile":{"id":"prof_x","organization_id":"org_acme","email":"` + strings.Repeat("x", 1<<10) + `"}}`),
		"deep":                        profile(strings.Repeat(`{"profile":`, 20000)),
		"no more, in the middle": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"x"`)
			panic(http.ErrAbortHandler)
		},
		"the way elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"an error in script": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"<script>","error_description":"<script>alert(1)</script>"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.workos.token = func(rw http.ResponseWriter, r *http.Request) bool { answer(rw, r); return true }
			b := w.browser()
			res := b.visit(w.crm + "/")
			if res.StatusCode != http.StatusBadGateway && res.StatusCode != http.StatusGatewayTimeout && res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusBadRequest {
				t.Fatal(res.StatusCode)
			}
			refused(t, b, res, res.StatusCode)
			if w.sessions.Count() != 0 || leaked.Load() {
				t.Fatalf("%d sessions, leaked: %v", w.sessions.Count(), leaked.Load())
			}
			w.workos.mu.Lock()
			w.workos.token = nil
			w.workos.mu.Unlock()
			b.visit(w.crm + "/")
			b.mustBe(w.crm, "ada@acme.test") // and then it goes on
		})
	}
}

// An identity provider vouches for its own people alone: what another
// connection of the organization says of somebody's address and id makes
// another person, who changes nothing for the first. (Whether the two link to
// one directory user is the directory's rule, and tested there.)
func TestAConnectionThatAssertsAnothersNameIsAnotherPerson(t *testing.T) {
	w := newWorld(t)
	ada, mallory := w.browser(), w.browser()
	ada.visit(w.crm + "/")
	first := ada.mustBe(w.crm, "ada@acme.test")
	w.workos.mu.Lock()
	w.workos.mutate = func(p map[string]any) { p["id"], p["connection_id"] = "prof_mallory", "conn_2" }
	w.workos.mu.Unlock()
	mallory.visit(w.crm + "/")
	second := mallory.mustBe(w.crm, "ada@acme.test")
	if second.UserID == first.UserID || second.ID == first.ID || second.ConnectionID != "conn_2" || second.IdpID != first.IdpID {
		t.Fatalf("%+v and %+v", first, second)
	}
	ada.mustBe(w.crm, "ada@acme.test")
	w.gone.remove("prof_mallory")
	mallory.mustBeNobody(w.crm, authz.CodeSessionRevoked)
	ada.mustBe(w.crm, "ada@acme.test")
	t.Run("through an organization's own provider, too, under an id that WorkOS has none of", func(t *testing.T) {
		w := newOIDC(t)
		w.op.Tamper = func(c map[string]any) { c["sub"] = "prof_ada@acme.test" }
		b := w.browser()
		b.visit(w.crm + "/")
		if s := b.mustBe(w.crm, "ada@acme.test"); !strings.HasPrefix(s.UserID, "oidc_") || s.UserID == "prof_ada@acme.test" {
			t.Fatalf("%+v", s)
		}
	})
}

func TestARefreshStormIsOneLogin(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.visit(w.crm + "/")
	id := b.mustBe(w.crm, "ada@acme.test").ID
	done := make(chan int, 40)
	for i := range cap(done) {
		twin := w.browser()
		twin.steal(b, w.crm)
		twin.steal(b, w.public)
		go func() {
			origin := []string{w.crm, w.wiki}[i%2]
			done <- twin.visit(origin + "/").StatusCode
		}()
	}
	for range cap(done) {
		if got := <-done; got != http.StatusTeapot {
			t.Errorf("%d", got)
		}
	}
	if s := b.mustBe(w.crm, "ada@acme.test"); s.ID != id || w.sessions.Count() != 1 {
		t.Fatalf("%d sessions", w.sessions.Count())
	}
	if slices.ContainsFunc(b.path[4:], func(p string) bool { return strings.HasPrefix(p, w.workos.URL) }) {
		t.Fatal("somebody had to sign in again")
	}
}
