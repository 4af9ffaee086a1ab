package sso_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

// maxAge: wiki asks for a login of the last ten minutes.
func maxAge(app *authz.App) time.Duration {
	if app.ID == "wiki.acme" {
		return 10 * time.Minute
	}
	return 0
}

func TestStepUp(t *testing.T) {
	// wiki asks for a login of the last ten minutes, crm does not.
	old := func(w *world) {
		w.tuneSessions = append(w.tuneSessions, func(o *sso.SessionsOptions) { o.MaxAge = maxAge })
	}
	through := func(b *browser, address string) (asked bool) {
		b.path = nil
		b.visit(address)
		at := b.w.workos.URL
		if b.w.op != nil {
			at = b.w.op.URL
		}
		return strings.Contains(strings.Join(b.path, " "), at)
	}
	t.Run("a login of any kind does not count for an app that asks for a fresh one", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, old)
		b := w.browser()
		through(b, w.crm+"/")
		if !through(b, w.wiki+"/") || !strings.Contains(strings.Join(b.path, " "), "prompt=login") {
			t.Fatalf("went %v", b.path)
		}
		b.mustBe(w.wiki, "ada@acme.test")
		if through(b, w.crm+"/") {
			t.Fatal("the fresh login is not good for the other app")
		}
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("a fresh login counts for as long as the app says", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, old)
		b := w.browser()
		through(b, w.wiki+"/")
		first := b.mustBe(w.wiki, "ada@acme.test")
		w.now.add(10 * time.Minute)
		b.mustBe(w.wiki, "ada@acme.test")
		w.now.add(time.Minute)
		b.mustBeNobody(w.wiki, "session_expired")
		if !through(b, w.wiki+"/") {
			t.Fatal("nobody was asked")
		}
		if s := b.mustBe(w.wiki, "ada@acme.test"); s.ID == first.ID {
			t.Fatal("the session id did not change")
		}
	})
	t.Run("the age survives a restart", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, old)
		b := w.browser()
		through(b, w.wiki+"/")
		w.now.add(5 * time.Minute)
		w.restart(t)
		b.mustBe(w.wiki, "ada@acme.test")
		w.now.add(6 * time.Minute)
		b.mustBeNobody(w.wiki, "session_expired")
	})
	t.Run("a session too old for the app can still be signed out of there", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, old)
		b := w.browser()
		through(b, w.wiki+"/")
		w.now.add(time.Hour)
		b.send(http.MethodPost, w.wiki+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
		if w.sessions.Count() != 0 {
			t.Fatal("still signed in")
		}
	})
	t.Run("an OpenID provider is asked for the age, and its word counts", func(t *testing.T) {
		w := newOIDC(t)
		old(w)
		w.restart(t)
		b := w.browser()
		through(b, w.wiki+"/")
		if w.op.Last.Get("max_age") != "600" {
			t.Fatalf("asked with %v", w.op.Last)
		}
		b.mustBe(w.wiki, "ada@acme.test")
		// Another app's login counts here: the provider says when it was.
		c := w.browser()
		through(c, w.crm+"/")
		if through(c, w.wiki+"/") {
			t.Fatal("asked again")
		}
		w.op.Extra["auth_time"] = w.now.Now().Add(-time.Hour).Unix()
		d := w.browser()
		refused(t, d, d.visit(w.wiki+"/"), http.StatusForbidden)
		if through(d, w.crm+"/"); !through(d, w.wiki+"/") {
			t.Fatal("an old login opened the app")
		}
	})
	t.Run("a provider with a slow clock sends nobody in circles", func(t *testing.T) {
		w := newOIDC(t)
		old(w)
		w.restart(t)
		w.op.Extra["auth_time"] = w.now.Now().Add(-10*time.Minute - 20*time.Second).Unix()
		b := w.browser()
		b.visit(w.wiki + "/")
		b.mustBe(w.wiki, "ada@acme.test")
	})
}
