//go:build !race

package sso_test

import (
	"testing"
	"time"
)

// Every request asks this, so it may not make work for the garbage collector.
// The race detector makes pools forget on purpose, so it is left out there.
func TestSessionLookupDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	for range 3 { // an old key among several
		w.rotate(t, "sessions")
		w.now.add(time.Minute)
	}
	tokens := []string{ada.cookie(w.crm, "__Host-battery_session")}
	app, now := w.apps["crm.acme"], w.now.Now()
	n := testing.AllocsPerRun(2000, func() {
		if s, _ := w.sessions.Session(now, app, "crm.acme.example", tokens); s == nil {
			t.Fatal("no session")
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
