package sso_test

import (
	"net/http"
	"strings"
	"testing"
)

// Somebody signs out while another tab of the browser is on its way back from the
// identity provider. That tab must not sign them in again a moment later.
func TestLogoutEndsTheLoginsThatAreUnderWay(t *testing.T) {
	for name, logout := range map[string]func(w *world, b *browser){
		"at an app": func(w *world, b *browser) {
			b.send(http.MethodPost, w.crm+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
		},
		"at the public host": func(w *world, b *browser) {
			b.send(http.MethodPost, w.public+"/logout", nil, "Sec-Fetch-Site", "same-origin")
		},
	} {
		for kind, build := range map[string]func(*testing.T) *world{"WorkOS": newWorld, "OpenID": func(t *testing.T) *world { return newOIDC(t) }} {
			over := func(t *testing.T, w *world, b *browser, back string) {
				t.Helper()
				if res := b.get(back); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "You signed out") || !strings.Contains(res.body, "Try again") {
					t.Errorf("%d at %s: %s", res.StatusCode, res.at, res.body)
				}
				if n := w.sessions.Count(); n != 0 {
					t.Errorf("%d sessions", n)
				}
				b.visit(w.wiki + "/")
				b.mustBe(w.wiki, "ada@acme.test") // a login that begins afterwards is one
			}
			t.Run(name+", of tabs that were opened together, through "+kind, func(t *testing.T) {
				w := build(t)
				b := w.browser()
				first := b.until(b.challenge(w.crm+"/"), w.public+"/callback")
				second := b.until(b.challenge(w.wiki+"/"), w.public+"/callback")
				b.get(first)
				b.mustBe(w.crm, "ada@acme.test")
				w.restart(t) // it is in the store, for every replica
				logout(w, b)
				over(t, w, b, second)
			})
			t.Run(name+", of one begun while signed in, through "+kind, func(t *testing.T) {
				w := build(t)
				b := w.browser()
				b.visit(w.crm + "/")
				b.mustBe(w.crm, "ada@acme.test")
				again := b.until(b.challenge(w.wiki+"/")+"&login_hint=bob%40acme.test", w.public+"/callback")
				logout(w, b)
				over(t, w, b, again)
			})
		}
		t.Run(name+", of a ticket that is on its way", func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			b.visit(w.crm + "/")
			ticket := b.until(b.challenge(w.wiki+"/"), w.wiki+"/.battery/session")
			logout(w, b)
			refused(t, b, b.get(ticket), http.StatusForbidden)
		})
		t.Run(name+", and of nobody else", func(t *testing.T) {
			w := newWorld(t)
			b, other := w.browser(), w.browser()
			back := other.until(other.challenge(w.crm+"/"), w.public+"/callback")
			b.visit(w.crm + "/")
			logout(w, b)
			other.get(back)
			other.mustBe(w.crm, "ada@acme.test")
		})
	}
}
