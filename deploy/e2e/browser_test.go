package e2e

import (
	"strings"
	"testing"
)

// From the first click to the app's page, and to the page that says why not, in
// a real browser, before every front.
func TestInARealBrowser(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		k := workOSOf(w)
		target := w.url("crm.acme", "/deals/7?tab=notes")
		name := w.front.name

		ada := newWindow(t, name+"-ada")
		k.signIn(ada, target, "ada@acme.test")
		v := ada.at(target, "app")
		for _, want := range []string{"X-Battery-User-Email", "ada@acme.test", "X-Battery-Roles", "editor,member", "/deals/7", "tab=notes"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the app's page does not show %q:\n%s", want, v.Text)
			}
		}
		if v.URL != target {
			t.Errorf("ada landed on %s, not on %s", v.URL, target)
		}

		bob := newWindow(t, name+"-bob")
		k.signIn(bob, target, "bob@acme.test")
		v = bob.at(target, "denied")
		if w.front.losesBodies { // its own page, made of what the door says in headers
			if !strings.Contains(v.Text, "no_allowed_role") || strings.Contains(v.Text, "X-Battery-User-Email") {
				t.Errorf("the denial says:\n%s", v.Text)
			}
			return
		}
		for _, want := range []string{"bob@acme.test", "role"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the denial does not say %q:\n%s", want, v.Text)
			}
		}
		if strings.Contains(v.Text, "X-Battery-User-Email") {
			t.Error("bob sees the app's page")
		}

		// From there, with one click, to where somebody else can sign in.
		bob.press("somebody else")
		k.pick(bob, "ada@acme.test")
		if v = bob.at(target, "somebody-else"); !strings.Contains(v.Text, "editor,member") || strings.Contains(v.Text, "bob@") {
			t.Errorf("after bob, ada does not see the app's page as ada:\n%s", v.Text)
		}
	})
}
