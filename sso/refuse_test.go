package sso_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/store"
)

// refused checks that an answer is a page with a way on, of that status, and
// that the browser holds no session for crm.
func refused(t *testing.T, b *browser, res reply, status int) {
	t.Helper()
	if res.StatusCode != status || !strings.Contains(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(res.body, "<h1>") {
		t.Fatalf("answered %d at %s: %s", res.StatusCode, res.at, res.body)
	}
	if strings.Contains(res.body, "<script") {
		t.Fatalf("the page runs what it was given: %s", res.body)
	}
	if s, _ := b.session(b.w.crm); s != nil {
		t.Fatalf("there is a session: %+v", s)
	}
	for _, c := range res.Cookies() {
		if strings.HasSuffix(c.Name, "battery_login") || strings.HasSuffix(c.Name, "battery_session") {
			t.Fatalf("the refusal sets %s", c.Name)
		}
	}
}

// login is the address a door sends the browser to, with the verifier set.
func (b *browser) challenge(address string) string {
	b.w.t.Helper()
	u, _ := url.Parse(address)
	app, _ := b.w.apps.App(u.Hostname())
	loc, cookies, err := b.w.service.Challenge(app, u.Scheme, u.Host, address, b.cookies(address), true)
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.jar.SetCookies(u, cookies)
	return loc
}

func TestCallbackRefuses(t *testing.T) {
	t.Run("a state from another browser", func(t *testing.T) {
		w := newWorld(t)
		attacker, victim := w.browser(), w.browser()
		back := attacker.until(attacker.challenge(w.crm+"/"), w.public+"/callback")
		refused(t, victim, victim.get(back), http.StatusBadRequest)
	})
	t.Run("a state that was used", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		kept := w.browser()
		kept.steal(b, w.public)
		if res := b.step(back); res.StatusCode != http.StatusFound {
			t.Fatalf("%d", res.StatusCode)
		}
		refused(t, b, b.get(back), http.StatusBadRequest) // its cookie is gone
		// Another browser kept the cookie and has a code that works.
		fresh, _ := url.Parse(w.browser().until(w.browser().challenge(w.crm+"/"), w.public+"/callback"))
		u, _ := url.Parse(back)
		q := u.Query()
		q.Set("code", fresh.Query().Get("code"))
		refused(t, kept, kept.get(w.public+"/callback?"+q.Encode()), http.StatusBadRequest)
	})
	t.Run("a state that is missing, whatever the code", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		q := back.Query()
		q.Del("state")
		res := b.get(w.public + "/callback?" + q.Encode())
		refused(t, b, res, http.StatusBadRequest)
		if !strings.Contains(res.body, "Start from the app") {
			t.Fatalf("an IdP-initiated login is told: %s", res.body)
		}
	})
	for name, change := range map[string]func(q url.Values){
		"a state that was changed":     func(q url.Values) { q.Set("state", q.Get("state")[:len(q.Get("state"))-2]+"AA") },
		"a state that was cut":         func(q url.Values) { q.Set("state", q.Get("state")[:20]) },
		"a state of nothing but noise": func(q url.Values) { q.Set("state", strings.Repeat("ä.", 4000)) },
		"a state that is there twice":  func(q url.Values) { q.Add("state", q.Get("state")) },
		"a code that is there twice":   func(q url.Values) { q.Add("code", q.Get("code")) },
		"a code that WorkOS never gave": func(q url.Values) {
			q.Set("code", "code_guess")
		},
		"a code of a megabyte": func(q url.Values) { q.Set("code", strings.Repeat("x", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			back, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
			q := back.Query()
			change(q)
			refused(t, b, b.get(w.public+"/callback?"+q.Encode()), http.StatusBadRequest)
		})
	}
	t.Run("a state older than ten minutes", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		w.now.add(10 * time.Minute)
		refused(t, b, b.get(back), http.StatusBadRequest)
	})
	t.Run("a state cookie of another attempt under its name", func(t *testing.T) {
		w := newWorld(t)
		b, other := w.browser(), w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		other.until(other.challenge(w.crm+"/"), w.public+"/callback")
		u, _ := url.Parse(w.public)
		name := b.cookies(w.public)[0].Name
		b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: other.cookies(w.public)[0].Value, Path: "/", Secure: true}})
		refused(t, b, b.get(back), http.StatusBadRequest)
	})
	t.Run("a code that was used", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.browser(), w.browser()
		first, _ := url.Parse(a.until(a.challenge(w.crm+"/"), w.public+"/callback"))
		a.step(first.String())
		second, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		q := second.Query()
		q.Set("code", first.Query().Get("code"))
		res := b.get(w.public + "/callback?" + q.Encode())
		refused(t, b, res, http.StatusBadRequest)
		if !strings.Contains(res.body, "/login?app=crm.acme") {
			t.Fatalf("no way to try again: %s", res.body)
		}
		refused(t, b, b.get(second.String()), http.StatusBadRequest) // the state was spent with it
	})
	for name, org := range map[string]any{"a profile of another organization": "org_globex", "a profile of no organization": nil, "a profile of an empty organization": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.workos.mutate = func(p map[string]any) { p["organization_id"] = org }
			b := w.browser()
			refused(t, b, b.visit(w.crm+"/"), http.StatusForbidden)
			if n := w.sessions.Count(); n != 0 {
				t.Fatalf("%d sessions", n)
			}
		})
	}
	t.Run("an app that changed hands meanwhile", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		moved := *w.apps["crm.acme"]
		moved.OrganizationID = "org_globex"
		w.apps["crm.acme"] = &moved
		refused(t, b, b.get(back), http.StatusNotFound)
	})
	t.Run("anything at another host name", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		r, _ := http.NewRequest(http.MethodGet, back, nil)
		rec := serve(w, r, "crm.acme.example")
		if rec.StatusCode != http.StatusMisdirectedRequest || len(rec.Cookies()) != 0 {
			t.Fatalf("%d %v", rec.StatusCode, rec.Cookies())
		}
	})
}

func TestCallbackExplainsErrors(t *testing.T) {
	for _, code := range []string{"access_denied", "ambiguous_connection_selector", "connection_domain_invalid", "connection_invalid",
		"connection_strategy_invalid", "connection_unlinked", "domain_connection_selector_not_allowed", "idp_initiated_sso_disabled",
		"invalid_connection_selector", "organization_invalid", "oauth_failed", "profile_not_allowed_outside_organization",
		"signin_consent_denied", "<script>", "server_error"} {
		t.Run(code, func(t *testing.T) {
			w := newWorld(t)
			w.workos.refuse = code
			b := w.browser()
			status := http.StatusForbidden
			if code == "server_error" {
				status = http.StatusBadGateway
			}
			res := b.visit(w.crm + "/")
			refused(t, b, res, status)
			if strings.Contains(res.body, "alert(1)") || !strings.Contains(res.body, "Try again") {
				t.Fatalf("page: %s", res.body)
			}
			if strings.Contains(w.log.String(), "<script>") {
				t.Fatalf("the log repeats what it was given: %s", w.log.String())
			}
		})
	}
}

func TestWorkOSInTrouble(t *testing.T) {
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		token  func(http.ResponseWriter, *http.Request) bool
		status int
	}{
		"down":           {answer(503, ""), http.StatusBadGateway},
		"over its limit": {answer(429, `"Ratelimited"`), http.StatusBadGateway},
		"talking HTML":   {answer(200, `<html>`), http.StatusBadGateway},
		"slow": {func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return true
		}, http.StatusGatewayTimeout},
	} {
		t.Run(name+" gives no session, and the state is spent", func(t *testing.T) {
			w := newWorld(t)
			if name == "slow" {
				w.hasty()
			}
			w.workos.mu.Lock()
			w.workos.token = c.token
			w.workos.mu.Unlock()
			b := w.browser()
			back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
			refused(t, b, b.get(back), c.status)
			w.workos.mu.Lock()
			w.workos.token = nil
			w.workos.mu.Unlock()
			refused(t, b, b.get(back), http.StatusBadRequest)
		})
	}
}

func TestNobodyIsSignedInAsAnother(t *testing.T) {
	t.Run("an attacker's login link in the victim's browser opens nothing", func(t *testing.T) {
		w := newWorld(t)
		attacker, victim := w.browser(), w.browser()
		link := attacker.challenge(w.crm + "/")
		refused(t, victim, victim.get(link), http.StatusForbidden)
		// Nor does it hand the attacker anything: the ticket went to the victim.
		if s, _ := attacker.session(w.crm); s != nil {
			t.Fatalf("the attacker has %+v", s)
		}
	})
	t.Run("not even a victim who is signed in", func(t *testing.T) {
		w := newWorld(t)
		attacker, victim := w.browser(), w.browser()
		victim.visit(w.wiki + "/")
		refused(t, victim, victim.get(attacker.challenge(w.crm+"/")), http.StatusForbidden)
		victim.mustBe(w.wiki, "ada@acme.test")
	})
	t.Run("an attacker's ticket in the victim's browser opens nothing", func(t *testing.T) {
		w := newWorld(t)
		attacker, victim := w.browser(), w.browser()
		link := attacker.until(attacker.challenge(w.crm+"/"), w.crm+"/.battery/session")
		victim.challenge(w.crm + "/")
		refused(t, victim, victim.get(link), http.StatusForbidden)
	})
	t.Run("one login after another changes the session id", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		seen := map[string]bool{}
		for range 3 {
			b.get(w.public + "/login?app=crm.acme&login_hint=" + url.QueryEscape("ada@acme.test"))
			u, _ := url.Parse(w.public)
			seen[b.mustBe(w.crm, "ada@acme.test").ID] = true
			b.jar.SetCookies(u, []*http.Cookie{{Name: "__Host-battery_login", MaxAge: -1, Path: "/", Secure: true}})
		}
		if len(seen) != 3 {
			t.Fatalf("%d ids", len(seen))
		}
	})
}

func TestLoginRefuses(t *testing.T) {
	w := newWorld(t)
	good := strings.Repeat("A", 43)
	for name, q := range map[string]string{
		"an unknown app":                      "app=nope&challenge=" + good,
		"an app twice":                        "app=crm.acme&app=desk.globex&challenge=" + good,
		"a return address twice":              "app=crm.acme&rd=" + url.QueryEscape(w.crm) + "&rd=" + url.QueryEscape(w.crm) + "&challenge=" + good,
		"a short challenge":                   "app=crm.acme&challenge=" + good[1:],
		"a challenge that is no hash":         "app=crm.acme&challenge=" + good[1:] + "!",
		"a challenge with a line break in it": "app=crm.acme&challenge=" + good[1:] + "%0A",
		"an endless hint":                     "app=crm.acme&challenge=" + good + "&login_hint=" + strings.Repeat("a", 255),
		"a hint with a line break":            "app=crm.acme&challenge=" + good + "&login_hint=a%0d%0ab",
		"a malformed query":                   "app=crm.acme&challenge=" + good + "&x=%zz",
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			res := b.step(w.public + "/login?" + q)
			if res.StatusCode < 400 || res.StatusCode >= 500 || len(res.Cookies()) != 0 || res.Header.Get("Location") != "" {
				t.Fatalf("%d %v", res.StatusCode, res.Header)
			}
		})
	}
	t.Run("nothing unauthenticated writes the store", func(t *testing.T) {
		_, before, _ := w.store.List(context.Background(), "")
		b := w.browser()
		b.step(b.challenge(w.crm + "/"))
		for _, p := range []string{"/login", "/callback?code=x&state=y", "/callback?code=x", "/logout"} {
			b.step(w.public + p)
		}
		b.step(w.crm + "/.battery/session?ticket=x")
		b.step(w.crm + "/.battery/logout")
		if _, after, _ := w.store.List(context.Background(), ""); after != before {
			t.Fatalf("revision %d became %d", before, after)
		}
	})
	t.Run("an app host that is not one", func(t *testing.T) {
		for _, host := range []string{"evil.example", "auth.example", "crm.acme.example:8443", "", "crm.acme.example.evil.example"} {
			r, _ := http.NewRequest(http.MethodGet, "https://x/.battery/login", nil)
			if res := serve(w, r, host); res.StatusCode != http.StatusNotFound || len(res.Cookies()) != 0 {
				t.Errorf("%q: %d", host, res.StatusCode)
			}
		}
	})
	t.Run("a return address on another host than the one that gets the cookie", func(t *testing.T) {
		two := *w.apps["wiki.acme"]
		two.Hosts = append(two.Hosts, "wiki.acme-corp.example")
		w.apps["wiki.acme"] = &two
		res := w.browser().step(w.wiki + "/.battery/login?rd=" + url.QueryEscape("https://wiki.acme-corp.example/"))
		if res.StatusCode != http.StatusBadRequest || len(res.Cookies()) != 0 {
			t.Fatalf("%d", res.StatusCode)
		}
	})
	t.Run("paths below .battery that are not there", func(t *testing.T) {
		for _, p := range []string{"/.battery/", "/.battery/admin", "/.battery/login/", "/.battery/session/x", "/.battery//login"} {
			if res := w.browser().step(w.crm + p); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d", p, res.StatusCode)
			}
		}
	})
}

// broken is a store whose writes fail when it is told so.
type broken struct {
	store.Store
	down atomic.Bool
}

func (b *broken) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	if b.down.Load() {
		return 0, errors.New("disk full")
	}
	return b.Store.Update(ctx, fn)
}

func TestStoreDown(t *testing.T) {
	var st *broken
	w := build(t, "https", "example", "", func(s store.Store) store.Store { st = &broken{Store: s}; return st })
	b := w.browser()
	t.Run("at the callback there is no session", func(t *testing.T) {
		back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
		st.down.Store(true)
		refused(t, b, b.get(back), http.StatusServiceUnavailable)
		st.down.Store(false)
	})
	t.Run("a ticket that cannot be spent opens nothing", func(t *testing.T) {
		loc := b.until(b.challenge(w.crm+"/"), w.crm+"/.battery/session")
		st.down.Store(true)
		refused(t, b, b.get(loc), http.StatusServiceUnavailable)
		st.down.Store(false)
		b.get(loc)
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("a logout that cannot be saved says so", func(t *testing.T) {
		st.down.Store(true)
		res := b.send(http.MethodPost, w.crm+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
		if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "still signed in") {
			t.Fatalf("%d %s", res.StatusCode, res.body)
		}
		for _, address := range []string{w.public + "/logout", w.crm + "/.battery/logout"} {
			res = b.send(http.MethodPost, address, nil, "Sec-Fetch-Site", "same-origin")
			if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "still signed in") || len(res.Cookies()) != 0 || res.Header.Get("Location") != "" {
				t.Fatalf("%s: %d %v %s", address, res.StatusCode, res.Header, res.body)
			}
		}
		st.down.Store(false)
		b.mustBe(w.crm, "ada@acme.test") // it is true
		b.send(http.MethodPost, w.public+"/logout", nil, "Sec-Fetch-Site", "same-origin")
		b.mustBeNobody(w.crm, "session_revoked")
	})
}
