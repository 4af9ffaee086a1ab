package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Who signs out of one app is out of all, and of the public host, at the next
// request; and the back button shows nothing.
func TestBrowserLogoutEverywhere(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		for name, begin := range map[string]func(b *tab){ // each begins from the tab on the wiki
			"on an app": func(b *tab) {
				// A link on another app does not sign anybody out: it asks.
				mark := b.mark()
				b.click(k.url("crm.acme", "/.battery/logout"))
				if v := b.at(k.url("crm.acme", "/.battery/logout"), "asks"); !strings.Contains(v.Text, "Sign out?") || b.went(mark, k.authorize) {
					b.fail("no question")
				}
				b.press("Sign out")
			},
			"on the public host": func(b *tab) {
				b.click(k.public + "/logout")
				if v := b.at(k.public+"/logout", "asks"); !strings.Contains(v.Text, "Sign out?") {
					b.fail("no question")
				}
				b.press("Sign out")
			},
		} {
			t.Run(name, func(t *testing.T) {
				crm, wiki := k.url("crm.acme", "/deals"), k.url("wiki.acme", "/pages")
				one := k.window(t, strings.ReplaceAll(name, " ", "-"))
				two := one.another(one.name + "-wiki")
				k.signIn(one, crm, "ada@acme.test")
				id := k.session(t, one.echo(one.at(crm, "")))
				two.visit(wiki)
				if other := k.session(t, two.echo(two.at(wiki, ""))); other != id {
					t.Errorf("two apps, two sessions: %s and %s", id, other)
				}

				begin(two)
				if k.provider != "" && k.admin(t, http.MethodDelete, "sessions/"+id, nil, nil) != http.StatusNotFound {
					t.Error("the session outlives the button, until the provider is done")
				}
				k.leave(two)
				v := two.at(k.public+"/signed-out", "signed-out")
				if !strings.Contains(v.Text, "Signed out") {
					two.fail("nothing says that it worked")
				}

				// The back button asks again, and shows no page of the app's.
				two.backTo(wiki)
				if v := two.at(k.asks, "back"); strings.Contains(v.Text, "X-Battery-") {
					two.fail("the back button shows what the app said")
				}
				// Neither app knows the browser, and neither does the public host,
				// which else would send them on without asking.
				if got := eval[int](one, `fetch("/.battery/userinfo").then(r => r.status)`); got != http.StatusUnauthorized {
					one.fail("userinfo is answered %d", got)
				}
				one.visit(crm)
				one.at(k.asks, "after")
				three := one.another(one.name + "-three")
				three.visit(wiki)
				three.at(k.asks, "")
				four := one.another(one.name + "-four")
				four.visit(k.public + "/login?app=wiki.acme&rd=" + url.QueryEscape(wiki))
				four.at(k.asks, "")
			})
		}
	})
}

// Who signs out at the OpenID provider itself is out here at the next request,
// in that browser alone: the provider says so behind the browser's back.
func TestBrowserLogoutAtTheProvider(t *testing.T) {
	k := openIDKind(t)
	defer count(t, k.front)
	crm := k.url("crm.acme", "/deals")
	one, other := k.window(t, "ada"), k.window(t, "elsewhere")
	for _, b := range []*tab{one, other} {
		k.signIn(b, crm, "ada@acme.test")
		b.echo(b.at(crm, ""))
	}
	there := one.another(one.name + "-provider")
	there.visit(k.provider + "/session/end")
	there.press("Yes, sign me out")
	there.at(k.provider, "signed-out-there")

	if got := eval[int](one, `fetch("/deals/1").then(r => r.status)`); got != http.StatusUnauthorized {
		one.fail("a script of the open page is answered %d", got)
	}
	one.click(crm + "?next")
	one.at(k.asks, "next-click")
	mark := other.mark()
	other.visit(crm + "?next")
	other.echo(other.at(crm+"?next", ""))
	if other.went(mark, k.authorize) {
		other.fail("the other browser was signed out too")
	}
}

// An app may say where people land who sign out of it, and the way over the
// provider leads there too.
func TestBrowserLogoutReturns(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		crm, bye := k.url("crm.acme", "/deals"), k.url("crm.acme", "/bye?thanks=1")
		ada := k.window(t, "ada")
		k.signIn(ada, crm, "ada@acme.test")
		ada.echo(ada.at(crm, ""))
		// The app's own button: a form that posts to its own origin.
		ada.submit(`f.method = "post"; f.action = "/.battery/logout?rd=" + encodeURIComponent("` + bye + `")`)
		k.leave(ada)
		ada.at(k.asks, "") // the app's page asks for a login, as all of this app do
		k.pick(ada, "ada@acme.test")
		if v := ada.at(bye, "back"); v.URL != bye {
			t.Errorf("came back to %s", v.URL)
		}
	})
}
