package sso_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

func TestLogoutLeadsOverTheProvider(t *testing.T) {
	post := []string{"Sec-Fetch-Site", "same-origin"}
	t.Run("and from there on, with the ID token as hint", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.crm + "/")
		b.path = nil
		res := b.send(http.MethodPost, w.crm+"/.battery/logout?rd="+url.QueryEscape(w.crm+"/bye"), nil, post...)
		if res.at != w.crm+"/bye" || w.sessions.Count() != 0 {
			t.Fatalf("ended at %s", res.at)
		}
		end, _ := url.Parse(b.path[1])
		if !strings.HasPrefix(b.path[1], w.op.URL+"/end?") || strings.Count(end.Query().Get("id_token_hint"), ".") != 2 ||
			end.Query().Get("post_logout_redirect_uri") != w.public+"/signed-out" {
			t.Fatalf("went %v", b.path)
		}
	})
	t.Run("without rd it ends on the page that says so, on the public host too", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.crm + "/")
		b.path = nil
		res := b.send(http.MethodPost, w.public+"/logout", nil, post...)
		if !strings.HasPrefix(res.at, w.public+"/signed-out") || !strings.Contains(res.body, "Signed out") || !strings.HasPrefix(b.path[1], w.op.URL+"/end?") {
			t.Fatalf("went %v: %s", b.path, res.body)
		}
	})
	t.Run("a page that asks first lets its button lead there", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.crm + "/")
		res := b.get(w.crm + "/.battery/logout")
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' "+w.public+" "+w.op.URL+";") {
			t.Fatalf("policy %s", csp)
		}
	})
	t.Run("a provider that is down keeps nobody signed in", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.crm + "/")
		w.op.Mu.Lock()
		w.op.Instead["/.well-known/openid-configuration"] = status(503)
		w.op.Mu.Unlock()
		o := options(w)
		o.Apps = func() sso.AppView { return w.apps }
		o.Providers = []*oidc.Provider{w.provider()}
		svc, err := sso.New(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		w.engine = newEngine(svc)
		if res := b.send(http.MethodPost, w.crm+"/.battery/logout", nil, post...); res.at != w.public+"/signed-out" || w.sessions.Count() != 0 {
			t.Fatalf("ended at %s", res.at)
		}
	})
	t.Run("what comes back from the provider leads only where we sealed", func(t *testing.T) {
		w := newOIDC(t)
		for _, state := range []string{"x", "https://evil.example/", strings.Repeat("a.", 4000), "A&state=B"} {
			if res := w.browser().step(w.public + "/signed-out?state=" + state); res.Header.Get("Location") != "" {
				t.Fatalf("%q leads to %s", state, res.Header.Get("Location"))
			}
		}
		b := w.browser()
		b.visit(w.crm + "/")
		end := b.stepPost(w.crm+"/.battery/logout?rd="+url.QueryEscape(w.crm+"/bye"), post...)
		u, _ := url.Parse(end.Header.Get("Location"))
		state := u.Query().Get("state")
		w.now.add(10 * time.Minute)
		if res := w.browser().step(w.public + "/signed-out?state=" + url.QueryEscape(state)); res.Header.Get("Location") != "" {
			t.Fatal("an old one still leads")
		}
	})
	t.Run("a provider's session that is to be kept is kept", func(t *testing.T) {
		w := newOIDC(t, func(c *oidc.Config) { c.KeepProviderSession = true })
		b := w.browser()
		b.visit(w.crm + "/")
		if res := b.send(http.MethodPost, w.crm+"/.battery/logout", nil, post...); res.at != w.public+"/signed-out" {
			t.Fatalf("ended at %s", res.at)
		}
	})
}

func (b *browser) stepPost(address string, header ...string) reply {
	old := b.http.CheckRedirect
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { b.http.CheckRedirect = old }()
	return b.send(http.MethodPost, address, nil, header...)
}

// tell sends a logout token as the provider does.
func (w *world) tell(connection, token string) int {
	w.t.Helper()
	r, _ := http.NewRequest(http.MethodPost, w.public+"/backchannel-logout/"+connection, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res := serve(w, r, "auth.example")
	if res.Header.Get("Cache-Control") != "no-store" {
		w.t.Fatal("the answer may be stored")
	}
	return res.StatusCode
}

func TestBackChannelLogout(t *testing.T) {
	// people signs in three browsers: ada twice, in two sessions of the provider,
	// and bob.
	people := func(t *testing.T) (w *world, one, two, bob *browser) {
		w = newOIDC(t)
		one, two, bob = w.browser(), w.browser(), w.browser()
		for i, b := range []*browser{one, two, bob} {
			w.op.Extra["sid"] = []string{"s1", "s2", "s3"}[i]
			w.op.Subject = []string{"sub-ada", "sub-ada", "sub-bob"}[i]
			b.visit(w.crm + "/")
			b.mustBe(w.crm, "ada@acme.test")
		}
		w.op.Subject = "sub-ada"
		return
	}
	in := func(b *browser) bool { s, _ := b.session(b.w.crm); return s != nil }
	t.Run("of a subject ends all its sessions and nobody else's, at once", func(t *testing.T) {
		w, one, two, bob := people(t)
		if code := w.tell("oidc_acme", w.op.LogoutToken(nil)); code != http.StatusOK || in(one) || in(two) || !in(bob) {
			t.Fatalf("%d %v %v %v", code, in(one), in(two), in(bob))
		}
		one.path = nil
		one.visit(w.crm + "/")
		if !strings.Contains(strings.Join(one.path, " "), w.op.URL) {
			t.Fatal("the login cookie still opens an app")
		}
	})
	t.Run("of a session ends that one, with subject and without", func(t *testing.T) {
		for _, sub := range []any{"sub-ada", nil} {
			w, one, two, bob := people(t)
			if code := w.tell("oidc_acme", w.op.LogoutToken(map[string]any{"sid": "s2", "sub": sub})); code != http.StatusOK || !in(one) || in(two) || !in(bob) {
				t.Fatalf("%d %v %v %v", code, in(one), in(two), in(bob))
			}
		}
	})
	t.Run("of one person's session in another's name ends none", func(t *testing.T) {
		w, one, two, bob := people(t)
		if w.tell("oidc_acme", w.op.LogoutToken(map[string]any{"sid": "s3"})); !in(one) || !in(two) || !in(bob) {
			t.Fatal("somebody was signed out")
		}
	})
	t.Run("a session without a name ends with its subject's, and not by a stranger's name", func(t *testing.T) {
		w := newOIDC(t)
		delete(w.op.Extra, "sid")
		b := w.browser()
		b.visit(w.crm + "/")
		if w.tell("oidc_acme", w.op.LogoutToken(map[string]any{"sid": "s9", "sub": nil})); !in(b) {
			t.Fatal("ended by another session's name")
		}
		if w.tell("oidc_acme", w.op.LogoutToken(map[string]any{"sid": "s9"})); in(b) {
			t.Fatal("not ended")
		}
	})
	t.Run("a token works once", func(t *testing.T) {
		w, one, _, _ := people(t)
		token := w.op.LogoutToken(nil)
		if code := w.tell("oidc_acme", token); code != http.StatusOK {
			t.Fatal(code)
		}
		w.now.add(time.Second)
		one.visit(w.crm + "/")
		if code := w.tell("oidc_acme", token); code != http.StatusBadRequest || !in(one) {
			t.Fatalf("%d, signed in %v", code, in(one))
		}
	})
	t.Run("a logout during a login ends the login", func(t *testing.T) {
		for _, claims := range []map[string]any{{"sid": "s1"}, {"sid": "s1", "sub": nil}, nil} {
			w := newOIDC(t)
			w.op.Extra["sid"] = "s1"
			b := w.browser()
			back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
			if code := w.tell("oidc_acme", w.op.LogoutToken(claims)); code != http.StatusOK {
				t.Fatal(code)
			}
			refused(t, b, b.get(back), http.StatusForbidden)
			w.now.add(time.Second)
			w.op.Extra["sid"] = "s2"
			b.visit(w.crm + "/")
			if !in(b) {
				t.Fatal("nor can they sign in again")
			}
		}
	})
	t.Run("WorkOS's sessions are not the provider's to end", func(t *testing.T) {
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.desk + "/")
		w.tell("oidc_acme", w.op.LogoutToken(map[string]any{"sub": "idp_ada@globex.test"}))
		b.mustBe(w.desk, "ada@globex.test")
	})
	t.Run("marks are forgotten when they are of no use", func(t *testing.T) {
		w, _, _, _ := people(t)
		w.tell("oidc_acme", w.op.LogoutToken(nil))
		marks := func() int {
			entries, _, err := w.store.List(context.Background(), "sso/logout/")
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		if marks() == 0 {
			t.Fatal("nothing is remembered")
		}
		w.now.add(10 * time.Minute)
		if err := w.sessions.Tidy(context.Background()); err != nil || marks() != 0 {
			t.Fatalf("%d marks, %v", marks(), err)
		}
	})
	t.Run("what is not one ends nobody, and writes nothing", func(t *testing.T) {
		w, one, two, bob := people(t)
		_, before, _ := w.store.List(context.Background(), "")
		evil := oidctest.New(w.now.Now)
		defer evil.Close()
		id := w.op.LogoutToken(map[string]any{"events": nil, "nonce": "n"})
		for name, c := range map[string][2]string{
			"an unknown connection": {"oidc_other", w.op.LogoutToken(nil)},
			"another provider's":    {"oidc_acme", evil.LogoutToken(nil)},
			"an ID token":           {"oidc_acme", id},
			"noise":                 {"oidc_acme", "x"},
			"nothing":               {"oidc_acme", ""},
			"a megabyte":            {"oidc_acme", strings.Repeat("x", 1<<20)},
		} {
			if code := w.tell(c[0], c[1]); code < 400 || code >= 500 {
				t.Errorf("%s: %d", name, code)
			}
		}
		for _, body := range []string{"", "logout_token=a&logout_token=b", "%zz", "other=x"} {
			r, _ := http.NewRequest(http.MethodPost, w.public+"/backchannel-logout/oidc_acme", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if res := serve(w, r, "auth.example"); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: %d", body, res.StatusCode)
			}
		}
		if res := w.browser().step(w.public + "/backchannel-logout/oidc_acme?logout_token=" + w.op.LogoutToken(nil)); res.StatusCode < 400 {
			t.Errorf("a GET: %d", res.StatusCode)
		}
		if _, after, _ := w.store.List(context.Background(), ""); after != before || !in(one) || !in(two) || !in(bob) {
			t.Fatalf("revision %d became %d", before, after)
		}
	})
	t.Run("a store that is down is told, and the token can come again", func(t *testing.T) {
		var st *broken
		w := newOIDC(t)
		b := w.browser()
		b.visit(w.crm + "/")
		st = &broken{Store: w.store}
		so := sso.SessionsOptions{Store: st, Keys: w.ring, Absolute: absolute, Idle: idle, Published: w.seen.wait, Now: w.now.Now}
		sessions, err := sso.NewSessions(so)
		if err != nil {
			t.Fatal(err)
		}
		entries, _, _ := w.store.List(context.Background(), "")
		o := options(w)
		o.Sessions, o.Store, o.Providers = sessions, st, []*oidc.Provider{w.provider()}
		svc, err := sso.New(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		sessions.Load(entries)
		w.engine = newEngine(svc)
		token := w.op.LogoutToken(nil)
		st.down.Store(true)
		if code := w.tell("oidc_acme", token); code != http.StatusServiceUnavailable {
			t.Fatal(code)
		}
		st.down.Store(false)
		if code := w.tell("oidc_acme", token); code != http.StatusOK {
			t.Fatal(code)
		}
		waitFor(t, func() bool { return !in(b) })
	})
}
