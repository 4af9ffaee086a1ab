package sso_test

import (
	"context"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

// A clock that was ahead and is set right again must not make limits longer than
// they are, nor one that goes back a little log anybody out.
func TestAClockThatIsSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"a month": -30 * 24 * time.Hour, "an hour": -time.Hour} {
		t.Run("ends what was made ahead of it: "+name, func(t *testing.T) {
			w := newWorld(t)
			ada := w.browser()
			ada.visit(w.crm + "/")
			s := ada.mustBe(w.crm, "ada@acme.test")
			w.now.add(back)
			ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
			if _, err := w.sessions.Get(s.ID); err == nil || len(w.sessions.List(sso.Filter{})) != 0 {
				t.Error("it still counts")
			}
			ada.visit(w.crm + "/") // and the way back in is open
			ada.mustBe(w.crm, "ada@acme.test")
		})
	}
	t.Run("a step of NTP logs nobody out", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		w.now.add(-2 * time.Minute)
		ada.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("a use that lies ahead keeps no session from its idle limit", func(t *testing.T) {
		w := newWorld(t)
		ada := w.browser()
		ada.visit(w.crm + "/")
		w.now.add(7 * time.Hour)
		ada.mustBe(w.crm, "ada@acme.test")
		if err := w.sessions.Tidy(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.now.add(-6 * time.Hour)
		ada.mustBe(w.crm, "ada@acme.test") // the last use
		w.now.add(idle)
		ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
	})
	t.Run("a sign-in that lies ahead is no fresh one", func(t *testing.T) {
		w := build(t, "https", "example", "", nil, func(w *world) {
			w.tuneSessions = append(w.tuneSessions, func(o *sso.SessionsOptions) { o.MaxAge = maxAge })
		})
		ada := w.browser()
		ada.visit(w.crm + "/")
		w.now.add(2 * time.Hour)
		ada.visit(w.wiki + "/") // fresh
		ada.mustBe(w.wiki, "ada@acme.test")
		w.now.add(-4 * time.Minute)
		ada.mustBe(w.wiki, "ada@acme.test")
		w.now.add(-2 * time.Minute)
		ada.mustBeNobody(w.wiki, authz.CodeSessionExpired)
	})
}

// The record has limits of its own, whatever a cookie says.
func TestLimitsHoldForRecordsThatNoCookieNames(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	id := ada.mustBe(w.crm, "ada@acme.test").ID
	for range 3 {
		w.now.add(idle - time.Second)
		if s, _ := ada.session(w.crm); s == nil && w.now.Now().Before(time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)) {
			t.Fatal("ended early")
		}
	}
	if _, err := w.sessions.Get(id); err != nil {
		t.Fatal(err)
	}
	w.now.add(3 * time.Second) // used until now, and a day old
	if _, err := w.sessions.Get(id); err == nil || len(w.sessions.List(sso.Filter{})) != 0 {
		t.Error("a session outlives its absolute limit")
	}
}
