package sso_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

func TestSignIn(t *testing.T) {
	for name, build := range map[string]func(*testing.T) *world{"over https": newWorld, "on plain-http loopback": newLoopback} {
		t.Run(name+" leads back to the page that was asked for", func(t *testing.T) {
			w := build(t)
			ada := w.browser()
			res := ada.visit(w.crm + "/deals?id=7&x=a%2Fb")
			if res.StatusCode != http.StatusTeapot || res.at != w.crm+"/deals?id=7&x=a%2Fb" {
				t.Fatalf("ended with %d at %s: %s", res.StatusCode, res.at, res.body)
			}
			s := ada.mustBe(w.crm, "ada@acme.test")
			if s.UserID != "prof_ada@acme.test" || s.OrganizationID != "org_acme" || s.ConnectionID != "conn_1" || s.Kind != "sso" ||
				s.IdpID != "idp_ada@acme.test" || !s.ExpiresAt.Equal(w.now.Now().Add(absolute)) || !strings.HasPrefix(s.ID, "session_") {
				t.Fatalf("got %+v", s)
			}
			if len(s.Claims) == 0 || s.Claims["groups"] != nil || s.Claims["role"] != nil {
				t.Fatalf("claims %v", s.Claims)
			}
			if len(w.gone.linked) != 1 {
				t.Fatalf("linked %v", w.gone.linked)
			}
			for _, c := range ada.cookies(w.crm) {
				if strings.Contains(c.Name, "verifier") {
					t.Errorf("the verifier cookie is still there: %s", c.Name)
				}
			}
			for _, c := range ada.cookies(w.public) {
				if strings.Contains(c.Name, "state") {
					t.Errorf("the state cookie is still there: %s", c.Name)
				}
			}
		})
	}

	t.Run("a second app of the organization asks nobody", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		ada.path = nil
		ada.visit(w.wiki + "/page")
		if a, b := ada.mustBe(w.crm, "ada@acme.test"), ada.mustBe(w.wiki, "ada@acme.test"); a != b {
			t.Fatal("two apps of one organization have two sessions")
		}
		for _, p := range ada.path {
			if strings.HasPrefix(p, w.workos.URL) {
				t.Fatalf("went to WorkOS: %v", ada.path)
			}
		}
	})
	t.Run("another organization's app needs its own sign-in", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		ada.visit(w.desk + "/")
		ada.mustBe(w.crm, "ada@acme.test")
		if s := ada.mustBe(w.desk, "ada@globex.test"); s.OrganizationID != "org_globex" {
			t.Fatalf("got %+v", s)
		}
	})
	t.Run("opened directly, with a hint, the way leads over the app's host", func(t *testing.T) {
		w := newWorld(t)
		bob := w.browser()
		res := bob.get(w.public + "/login?" + url.Values{"app": {"crm.acme"}, "rd": {w.crm + "/x"}, "login_hint": {"bob@acme.test"}}.Encode())
		if res.at != w.crm+"/x" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
		bob.mustBe(w.crm, "bob@acme.test")
	})
	t.Run("without rd it leads to the app's front page", func(t *testing.T) {
		w := newLoopback(t)
		ada := w.browser()
		if res := ada.get(w.public + "/login?app=crm.acme"); res.at != w.crm+"/" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
	})
	t.Run("the front page is at the port of the public URL, where gateways serve the app there too", func(t *testing.T) {
		w := newLoopback(t)
		w.apps["crm.acme"].Ports = []string{"7000", "8000"}
		ada := w.browser()
		if res := ada.get(w.public + "/login?app=crm.acme"); res.at != w.crm+"/" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
	})
	t.Run("where the gateway cannot relay the cookie, the way leads over the app's host", func(t *testing.T) {
		w := newWorld(t)
		location, cookies, err := w.service.Challenge(w.apps["crm.acme"], "https", "crm.acme.example", "/a?b", nil, false)
		if err != nil || len(cookies) != 0 || !strings.HasPrefix(location, w.crm+"/.battery/login?rd=") {
			t.Fatalf("%s %v %v", location, cookies, err)
		}
		ada := w.browser()
		if res := ada.get(location); res.at != w.crm+"/a?b" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
	})
	t.Run("the same hint in another case asks nobody, another hint does", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		login := func(hint string) {
			b.path = nil
			b.get(w.public + "/login?" + url.Values{"app": {"crm.acme"}, "login_hint": {hint}}.Encode())
		}
		asked := func() bool { return strings.Contains(strings.Join(b.path, " "), w.workos.URL) }
		login("ada@acme.test")
		first := b.mustBe(w.crm, "ada@acme.test")
		if login("ADA@acme.test"); asked() {
			t.Fatal("the same person was asked again")
		}
		if login("bob@acme.test"); !asked() {
			t.Fatal("another person was not asked")
		}
		if s := b.mustBe(w.crm, "bob@acme.test"); s.ID == first.ID {
			t.Fatal("the session id did not change with the login")
		}
		if _, err := w.sessions.Get(first.ID); err == nil {
			t.Fatal("the first person's session outlived the second's login in the same browser")
		}
	})
}

func TestChallengeStaysOnTheAppsOrigins(t *testing.T) {
	w := newWorld(t)
	app := w.apps["crm.acme"]
	for _, authority := range []string{"", "evil.example", "crm.acme.example:8443", "crm.acme.example@evil.example", "wiki.acme.example", "crm.acme.example/", "crm.acme.example\r\nX: y"} {
		if loc, cookies, err := w.service.Challenge(app, "https", authority, "/", nil, true); err == nil {
			t.Errorf("authority %q: %s %v", authority, loc, cookies)
		}
	}
	plain := *app
	plain.Scheme = "http"
	if loc, _, err := w.service.Challenge(&plain, "http", "crm.acme.example", "/", nil, true); err == nil {
		t.Errorf("plain http outside loopback: %s", loc)
	}
	for uri, want := range map[string]string{
		"/a b":                                w.crm + "/a%20b",
		"//evil.example":                      w.crm + "//evil.example",
		"/x\r\nSet-Cookie: a=b":               w.crm + "/x%0D%0ASet-Cookie:%20a=b",
		"https://evil.example/":               w.crm + "/",
		"/.battery/session?ticket=x":          w.crm + "/",
		"/ü?q=ß":                              w.crm + "/%C3%BC?q=%C3%9F",
		"/long?q=" + strings.Repeat("x", 3e3): w.crm + "/long",
		"/" + strings.Repeat("x", 3e3):        w.crm + "/",
		w.crm + "/absolute?y=1":               w.crm + "/absolute?y=1",
	} {
		loc, _, err := w.service.Challenge(app, "https", "crm.acme.example", uri, nil, true)
		u, _ := url.Parse(loc)
		if err != nil || !strings.HasPrefix(loc, w.public+"/login?") || u.Query().Get("rd") != want {
			t.Errorf("%.60q: %s, %v", uri, loc, err)
		}
	}
	if got := w.service.LoginURL(app, w.crm+"/x"); got != w.public+"/login?app=crm.acme&rd="+url.QueryEscape(w.crm+"/x") {
		t.Errorf("LoginURL: %s", got)
	}
	if got := w.service.LoginURL(app, "https://evil.example/"); got != w.public+"/login?app=crm.acme" {
		t.Errorf("LoginURL: %s", got)
	}
}

func TestSessionEndsEverywhereAtOnce(t *testing.T) {
	ctx := context.Background()
	t.Run("when it is revoked", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		ada.visit(w.wiki + "/")
		if err := w.sessions.Revoke(ctx, ada.mustBe(w.crm, "ada@acme.test").ID); err != nil {
			t.Fatal(err)
		}
		ada.mustBeNobody(w.crm, authz.CodeSessionRevoked)
		ada.mustBeNobody(w.wiki, authz.CodeSessionRevoked)
		ada.path = nil
		ada.visit(w.crm + "/")
		if !strings.Contains(strings.Join(ada.path, " "), w.workos.URL) {
			t.Fatal("the login cookie of a revoked session opened an app")
		}
	})
	t.Run("when its user was deleted, without going in circles", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		w.gone.remove("prof_ada@acme.test")
		res := ada.visit(w.crm + "/")
		if res.StatusCode != http.StatusForbidden || !strings.HasPrefix(res.at, w.public+"/callback") {
			t.Fatalf("%d at %s", res.StatusCode, res.at)
		}
		if n := w.sessions.Count(); n != 0 {
			t.Fatalf("%d sessions of a deleted user", n)
		}
	})
	t.Run("and for good, when what it stood on comes back later", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, func(w *world) {
			w.tuneSessions = append(w.tuneSessions, func(o *sso.SessionsOptions) { o.Ended = w.gone.Ended })
		})
		ada, bob := w.browser(), w.browser()
		ada.visit(w.crm + "/")
		bob.get(w.public + "/login?app=crm.acme&login_hint=bob%40acme.test")
		w.gone.remove("prof_ada@acme.test")
		if err := w.sessions.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		w.gone.bringBack("prof_ada@acme.test")
		waitFor(t, func() bool { return w.sessions.Count() == 1 })
		ada.mustBeNobody(w.crm, authz.CodeSessionRevoked)
		bob.mustBe(w.crm, "bob@acme.test")
	})
	t.Run("for a user whose removal is held there is no new one, and the old one stays", func(t *testing.T) {
		w := newWorld(t)
		ada, other := w.browser(), w.browser()
		ada.visit(w.crm + "/")
		w.gone.hold("prof_ada@acme.test")
		if res := other.visit(w.crm + "/"); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "being checked") {
			t.Fatalf("%d at %s", res.StatusCode, res.at)
		}
		if n := len(w.sessions.List(sso.Filter{User: "ada@acme.test"})); n != 1 {
			t.Fatalf("%d sessions", n)
		}
		if res := ada.visit(w.wiki + "/"); res.StatusCode != http.StatusTeapot {
			t.Fatalf("the session from before: %d at %s", res.StatusCode, res.at)
		}
	})
	t.Run("when it is past its absolute limit", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		for range 3 {
			w.now.add(7 * time.Hour)
			ada.mustBe(w.crm, "ada@acme.test")
		}
		w.now.add(3 * time.Hour)
		ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
		if err := w.sessions.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return w.sessions.Count() == 0 })
		ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
	})
	t.Run("when it is past its idle limit", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		w.now.add(idle)
		ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
		if len(w.sessions.List(sso.Filter{})) != 0 {
			t.Fatal("it is still listed")
		}
	})
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to pass")
		}
	}
}
