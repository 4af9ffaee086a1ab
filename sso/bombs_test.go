package sso_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso"
)

func TestHeaderBombs(t *testing.T) {
	w := newOIDC(t)
	victim := w.browser()
	victim.visit(w.crm + "/")
	victim.mustBe(w.crm, "ada@acme.test")
	good := victim.cookie(w.crm, "__Host-battery_session")
	login := victim.cookie(w.public, "__Host-battery_login")
	many := func(name string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s%016x=%s; ", name, i, strings.Repeat("A", 43))
		}
		return b.String()
	}
	bombs := map[string]http.Header{
		"a cookie of a megabyte":            {"Cookie": {"__Host-battery_session=" + strings.Repeat("A", 1<<20)}},
		"a login cookie of a megabyte":      {"Cookie": {"__Host-battery_login=" + strings.Repeat("A", 1<<20)}},
		"2,900 states":                      {"Cookie": {many("__Host-battery_state_", 2900)}},
		"2,900 verifiers":                   {"Cookie": {many("__Host-battery_verifier_", 2900)}},
		"2,900 sessions":                    {"Cookie": {strings.Repeat("__Host-battery_session=x; ", 2900)}},
		"100,000 cookies":                   {"Cookie": {strings.Repeat("a=b; ", 100000)}},
		"1,000 Cookie lines":                {"Cookie": strings.Split(strings.Repeat("__Host-battery_login=x\n", 1000), "\n")},
		"the session twice, one of another": {"Cookie": {"__Host-battery_session=" + good + "; __Host-battery_session=x"}},
		"the login cookie twice":            {"Cookie": {"__Host-battery_login=" + login + "; __Host-battery_login=x"}},
		"a cut session":                     {"Cookie": {"__Host-battery_session=" + good[:len(good)-1]}},
		"a session with a tail":             {"Cookie": {"__Host-battery_session=" + good + "A"}},
		"the session under the http name":   {"Cookie": {"battery_session=" + good}},
		"the login cookie as session":       {"Cookie": {"__Host-battery_session=" + login}},
		"control characters":                {"Cookie": {"__Host-battery_session=\x00\x01\x7f; \r\nx"}},
		"noise":                             {"Cookie": {";;;=;=; ==,,\"\xff\xfe"}},
		"Sec-Fetch-Site 1,000 times":        {"Sec-Fetch-Site": strings.Split(strings.Repeat("same-origin,", 1000), ","), "Cookie": {"__Host-battery_session=x"}},
		"an Origin of a megabyte":           {"Origin": {"https://" + strings.Repeat("a", 1<<20)}},
		"forwarding headers":                {"X-Forwarded-Host": {"crm.acme.example"}, "X-Forwarded-Proto": {"http"}, "X-Original-URL": {"/logout"}, "X-Http-Method-Override": {"POST"}, "Forwarded": {"host=evil.example"}},
	}
	for name, header := range bombs {
		t.Run(name+" opens nothing, ends nothing and breaks nothing", func(t *testing.T) {
			for _, c := range []struct{ method, host, path string }{
				{"GET", "auth.example", "/"}, {"GET", "auth.example", "/login?app=crm.acme"}, {"GET", "auth.example", "/login?app=crm.acme&challenge=" + strings.Repeat("A", 43)},
				{"GET", "auth.example", "/callback?code=x&state=" + strings.Repeat("0", 16) + ".x"}, {"GET", "auth.example", "/logout"}, {"POST", "auth.example", "/logout"},
				{"POST", "auth.example", "/login"}, {"GET", "auth.example", "/signed-out?state=x"}, {"POST", "auth.example", "/backchannel-logout/oidc_acme"},
				{"GET", "crm.acme.example", "/.battery/login"}, {"GET", "crm.acme.example", "/.battery/session?ticket=x"}, {"GET", "crm.acme.example", "/.battery/userinfo"},
				{"GET", "crm.acme.example", "/.battery/logout"}, {"POST", "crm.acme.example", "/.battery/logout"},
			} {
				r, _ := http.NewRequest(c.method, "https://x"+c.path, http.NoBody)
				r.Header = header.Clone()
				start := time.Now()
				res := serve(w, r, c.host)
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("%s %s took %s", c.method, c.path, took)
				}
				if res.StatusCode >= 500 {
					t.Errorf("%s %s: %d", c.method, c.path, res.StatusCode)
				}
				for _, set := range res.Cookies() {
					if set.MaxAge > 0 && !strings.Contains(set.Name, "verifier") && !strings.Contains(set.Name, "state") {
						t.Errorf("%s %s sets %s", c.method, c.path, set.Name)
					}
				}
				if n := len(res.Cookies()); n > 20 {
					t.Errorf("%s %s answers with %d cookies", c.method, c.path, n)
				}
			}
		})
	}
	victim.mustBe(w.crm, "ada@acme.test")
}

func TestParallelLogins(t *testing.T) {
	t.Run("in five tabs of one browser each comes to its page, and one session is left", func(t *testing.T) {
		for name, w := range map[string]*world{"WorkOS": newWorld(t), "OpenID": newOIDC(t)} {
			b := w.browser()
			var backs []string
			for i := range 5 {
				backs = append(backs, b.until(b.challenge(fmt.Sprintf("%s/tab%d", w.crm, i)), w.public+"/callback"))
				w.now.add(time.Second)
			}
			for _, i := range []int{3, 0, 4, 2, 1} {
				if res := b.get(backs[i]); res.at != fmt.Sprintf("%s/tab%d", w.crm, i) {
					t.Fatalf("%s: tab %d ended at %s: %s", name, i, res.at, res.body)
				}
			}
			b.mustBe(w.crm, "ada@acme.test")
			if n := len(w.sessions.List(sso.Filter{})); n != 1 {
				t.Fatalf("%s: %d sessions", name, n)
			}
		}
	})
	t.Run("in tabs that come back at once: signing out of one signs out of all", func(t *testing.T) {
		for name, w := range map[string]*world{"WorkOS": newWorld(t), "OpenID": newOIDC(t)} {
			b, elsewhere := w.browser(), w.browser()
			apps := []string{w.crm, w.wiki}
			backs := []string{b.until(b.challenge(w.crm+"/"), w.public+"/callback"), b.until(b.challenge(w.wiki+"/"), w.public+"/callback")}
			desk := b.until(b.challenge(w.desk+"/"), w.public+"/callback") // another organization's
			elsewhere.visit(w.crm + "/")
			// Both callbacks leave before either answer is here.
			second := w.browser()
			for _, address := range []string{w.public, w.crm, w.wiki, w.desk} {
				second.steal(b, address)
			}
			b.get(backs[0])
			second.get(backs[1])
			b.steal(second, w.public)
			b.steal(second, w.wiki)
			b.get(desk)
			if b.mustBe(w.crm, "ada@acme.test").ID == b.mustBe(w.wiki, "ada@acme.test").ID {
				t.Fatalf("%s: it is one session", name)
			}
			b.send(http.MethodPost, apps[0]+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
			for _, app := range apps {
				if s, _ := b.session(app); s != nil {
					t.Fatalf("%s: still signed in at %s", name, app)
				}
			}
			b.mustBe(w.desk, "ada@globex.test")
			elsewhere.mustBe(w.crm, "ada@acme.test")
		}
	})
	t.Run("of many people at once give each their own session", func(t *testing.T) {
		for _, w := range []*world{newWorld(t), newOIDC(t)} {
			var all sync.WaitGroup
			for range 24 {
				b := w.browser()
				all.Go(func() {
					if res := b.visit(w.crm + "/x"); res.at != w.crm+"/x" {
						t.Errorf("ended at %s: %d %s", res.at, res.StatusCode, res.body)
					}
				})
			}
			all.Wait()
			if n := len(w.sessions.List(sso.Filter{})); n != 24 {
				t.Fatalf("%d sessions", n)
			}
		}
	})
	t.Run("one callback twice at once opens one session", func(t *testing.T) {
		for _, w := range []*world{newWorld(t), newOIDC(t)} {
			b := w.browser()
			back := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
			var all sync.WaitGroup
			for range 8 {
				copied := w.browser()
				copied.steal(b, w.public)
				all.Go(func() { copied.step(back) })
			}
			all.Wait()
			if n := w.sessions.Count(); n != 1 {
				t.Fatalf("%d sessions", n)
			}
		}
	})
	t.Run("logins and refreshes while sessions are ended leave no session that was ended", func(t *testing.T) {
		w := newWorld(t)
		var all sync.WaitGroup
		for range 8 {
			b := w.browser()
			all.Go(func() {
				b.visit(w.crm + "/")
				s, _ := b.session(w.crm)
				if s == nil {
					return // ended between the two
				}
				if err := w.sessions.Revoke(t.Context(), s.ID); err != nil {
					t.Errorf("revoke: %v", err)
				}
				if s, _ := b.session(w.crm); s != nil {
					t.Error("an ended session opens the app")
				}
			})
			all.Go(func() { _ = w.sessions.Tidy(t.Context()) })
		}
		all.Wait()
		if n := w.sessions.Count(); n != 0 {
			t.Fatalf("%d sessions are left", n)
		}
	})
}
