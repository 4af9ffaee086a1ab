package sso_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// withPage adds a page of the public host, as /orgs/acme/settings is one. It
// answers to signed-in people of acme with their address.
func (w *world) withPage(maxAge time.Duration) {
	w.engine.GET("/orgs/acme/settings", func(c *gin.Context) {
		if s, ok := w.service.SignedIn(c.Request, "org_acme", maxAge); ok {
			c.String(http.StatusOK, "hello %s", s.UserID)
			return
		}
		w.service.SignIn(c.Writer, c.Request, "org_acme", c.Request.URL.RequestURI(), maxAge)
	})
}

func TestPagesOfThePublicHost(t *testing.T) {
	for name, build := range map[string]func(*testing.T) *world{"WorkOS": newWorld, "OpenID": func(t *testing.T) *world { return newOIDC(t) }} {
		t.Run("sign people in and lead back, through "+name, func(t *testing.T) {
			w := build(t)
			w.withPage(0)
			b := w.browser()
			if res := b.get(w.public + "/orgs/acme/settings?tab=sso"); res.at != w.public+"/orgs/acme/settings?tab=sso" || !strings.HasPrefix(res.body, "hello ") {
				t.Fatalf("%d at %s: %s", res.StatusCode, res.at, res.body)
			}
			b.path = nil
			b.visit(w.crm + "/")
			if joined := strings.Join(b.path, " "); strings.Contains(joined, "/authorize") {
				t.Fatalf("an app of the organization asked again: %v", b.path)
			}
		})
		t.Run("and take a login at an app of the organization, through "+name, func(t *testing.T) {
			w := build(t)
			w.withPage(0)
			b := w.browser()
			b.visit(w.crm + "/")
			if res := b.step(w.public + "/orgs/acme/settings"); res.StatusCode != http.StatusOK {
				t.Fatal(res.StatusCode)
			}
		})
	}
	t.Run("may ask for a fresh login", func(t *testing.T) {
		w := newWorld(t)
		w.withPage(10 * time.Minute)
		b := w.browser()
		b.visit(w.crm + "/")
		if res := b.get(w.public + "/orgs/acme/settings"); res.StatusCode != http.StatusOK || !strings.Contains(strings.Join(b.path, " "), "prompt=login") {
			t.Fatalf("%d, went %v", res.StatusCode, b.path)
		}
		w.now.add(12 * time.Minute)
		if res := b.step(w.public + "/orgs/acme/settings"); res.StatusCode != http.StatusFound {
			t.Fatalf("%d", res.StatusCode)
		}
	})
	t.Run("open to nobody of another organization, at no other host, nor when the user is gone", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		b.visit(w.crm + "/")
		ask := func(host, org string) bool {
			r := httptest.NewRequest(http.MethodGet, w.public+"/orgs/acme/settings", nil)
			r.Host = host
			for _, c := range b.cookies(w.public) {
				r.AddCookie(c)
			}
			s, ok := w.service.SignedIn(r, org, 0)
			return ok && s.Email == "ada@acme.test"
		}
		if !ask("auth.example", "org_acme") || ask("auth.example", "org_globex") || ask("auth.example", "") || ask("crm.acme.example", "org_acme") {
			t.Fatal("who is signed in is told wrongly")
		}
		w.gone.remove("prof_ada@acme.test")
		if ask("auth.example", "org_acme") {
			t.Fatal("somebody who is gone is signed in")
		}
	})
	t.Run("take a session as its own organization's alone, wherever it is filed", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		b.visit(w.crm + "/")
		ask := func(filed string) (page bool, login string) {
			c := w.service.Misfile(b.cookies(w.public), "org_acme", filed)
			r := httptest.NewRequest(http.MethodGet, w.public+"/x", nil)
			r.AddCookie(c)
			_, page = w.service.SignedIn(r, filed, 0)
			app := map[string]string{"org_acme": "crm.acme", "org_globex": "desk.globex"}[filed]
			return page, w.browser().step(w.public+"/login?app="+app+"&challenge="+strings.Repeat("A", 43), "Cookie", c.Name+"="+c.Value).Header.Get("Location")
		}
		if page, login := ask("org_acme"); !page || !strings.HasPrefix(login, w.crm+"/.battery/session?") {
			t.Fatalf("its own: %v, %s", page, login)
		}
		if page, login := ask("org_globex"); page || !strings.HasPrefix(login, w.workos.URL) {
			t.Fatalf("another: %v, %s", page, login)
		}
	})
	t.Run("are no way to another organization's account", func(t *testing.T) {
		w := newWorld(t)
		w.withPage(0)
		w.workos.mutate = func(p map[string]any) { p["organization_id"] = "org_globex" }
		b := w.browser()
		refused(t, b, b.get(w.public+"/orgs/acme/settings"), http.StatusForbidden)
		if w.sessions.Count() != 0 {
			t.Fatal("there is a session")
		}
	})
	t.Run("an attacker's answer in the victim's browser opens none", func(t *testing.T) {
		w := newWorld(t)
		w.withPage(0)
		attacker, victim := w.browser(), w.browser()
		back := attacker.until(w.public+"/orgs/acme/settings", w.public+"/callback")
		refused(t, victim, victim.get(back), http.StatusBadRequest)
	})
	t.Run("lead nowhere else", func(t *testing.T) {
		w := newWorld(t)
		for _, uri := range []string{"", "//evil.example/", `/\evil.example`, "https://evil.example/", "x", "@evil.example", "/" + strings.Repeat("x", 2000)} {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, w.public+"/x", nil)
			w.service.SignIn(rec, r, "org_acme", uri, 0)
			if rec.Code != http.StatusBadRequest || rec.Header().Get("Location") != "" || len(rec.Result().Cookies()) != 0 {
				t.Errorf("%.40q: %d %s", uri, rec.Code, rec.Header().Get("Location"))
			}
		}
		rec := httptest.NewRecorder()
		if w.service.SignIn(rec, httptest.NewRequest(http.MethodGet, w.public+"/x", nil), "", "/x", 0); rec.Code != http.StatusBadRequest {
			t.Errorf("for no organization: %d", rec.Code)
		}
		r := httptest.NewRequest(http.MethodGet, "https://crm.acme.example/x", nil)
		rec = httptest.NewRecorder()
		w.service.SignIn(rec, r, "org_acme", "/x", 0)
		if rec.Code != http.StatusMisdirectedRequest {
			t.Errorf("at an app's host: %d", rec.Code)
		}
	})
}
