package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
)

var decisionNumber = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// A login leads to exactly the address that was opened, as the person who signed
// in; the next app of the organization needs none.
func TestBrowserLogin(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		deep := k.url("crm.acme", "/deals/7?tab=notes&q=a%20b%2Bc%26d&empty=&q=%C3%A4")
		ada := k.window(t, "ada")
		k.signIn(ada, deep, "ada@acme.test")
		v := ada.at(deep, "app")
		if v.URL != deep {
			t.Errorf("landed on %s, not on %s", v.URL, deep)
		}
		e := ada.echo(v)
		if e.Method != http.MethodGet || e.Path != "/deals/7" || "?"+e.Query != deep[strings.Index(deep, "?"):] {
			t.Errorf("the app was asked %s %s?%s", e.Method, e.Path, e.Query)
		}
		for name, want := range map[string]string{"X-Battery-User-Email": "ada@acme.test", "X-Battery-Roles": "editor,member"} {
			if got := e.Headers.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := e.Headers.Get("X-Battery-App-Id"); got != "crm.acme" {
			t.Errorf("X-Battery-App-Id: %q", got)
		}
		if got := e.Headers.Get("X-Battery-User-Id"); !strings.HasPrefix(got, k.userPrefix) {
			t.Errorf("X-Battery-User-Id: %q, want %s…", got, k.userPrefix)
		}
		if got := e.Headers.Get("X-Battery-Org-Id"); got != k.organizationID(t, "acme") {
			t.Errorf("X-Battery-Org-Id: %q", got)
		}

		// No ticket is left in what people see, bookmark and pass on.
		if left := eval[string](ada, `location.href + " " + document.referrer + " " + document.cookie`); strings.Contains(left, "ticket") || strings.Contains(left, "battery_") {
			t.Errorf("the page can read %s", left)
		}

		// The next app: no second trip, and the fragment, which only the browser
		// knows, is still there.
		next := k.url("wiki.acme", "/page?p=2") + "#part-3"
		mark := ada.mark()
		ada.visit(next)
		if v = ada.at(next, ""); v.URL != next {
			t.Errorf("landed on %s, not on %s", v.URL, next)
		}
		if ada.went(mark, k.authorize) {
			ada.fail("the second app needed another trip to the identity provider")
		}
		if got := ada.echo(v).Headers.Get("X-Battery-User-Email"); got != "ada@acme.test" {
			t.Errorf("on the second app: %q", got)
		}
	})
}

// Who may not go on learns who they are, why, and under which number it is on
// record; and can sign in as somebody else.
func TestBrowserDenial(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		target := k.url("crm.acme", "/secrets?of=all")
		bob := k.window(t, "bob")
		k.signIn(bob, target, "bob@acme.test")
		v := bob.at(target, "denied")
		if got := bob.status(); got != http.StatusForbidden {
			t.Errorf("the page came with status %d", got)
		}
		for _, want := range []string{"bob@acme.test", "crm.acme", "role", "administrator"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the page does not say %q:\n%s", want, v.Text)
			}
		}
		number := decisionNumber.FindString(v.Text)
		if number == "" {
			bob.fail("the page names no decision")
		}
		d := k.decision(t, number)
		if d.Result != "deny" || d.Email != "bob@acme.test" || d.AppID != "crm.acme" || d.Path != "/secrets" || d.codes() != "no_allowed_role" || d.Status != http.StatusForbidden {
			t.Errorf("the decision on the page is in the log as %+v", d)
		}

		bob.press("somebody else")
		k.leave(bob)
		k.pick(bob, "ada@acme.test")
		v = bob.at(target, "somebody-else")
		e := bob.echo(v)
		if e.Headers.Get("X-Battery-User-Email") != "ada@acme.test" || v.URL != target || strings.Contains(v.Text, "bob@") {
			bob.fail("ada does not see the app's page as ada")
		}
	})
}

// Who is refused at the identity provider learns that here, in our words alone,
// and can try again.
func TestBrowserLoginCancelled(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		target := k.url("crm.acme", "/deals?n=1")
		ada := k.window(t, "ada")
		ada.visit(target)
		ada.at(k.asks, "")
		ada.press("Cancel")
		v := ada.at(k.public+"/callback", "cancelled")
		if ada.status() != http.StatusForbidden || !strings.Contains(v.Text, "not signed in") || strings.Contains(v.Text, "provider's own words") {
			ada.fail("answered %d", ada.status())
		}
		if ada.cookies(target)["battery_session"] != nil || ada.cookies(target)["__Host-battery_session"] != nil {
			t.Error("there is a session")
		}
		ada.press("Try again")
		k.pick(ada, "ada@acme.test")
		if v = ada.at(target, ""); v.URL != target || ada.echo(v).Headers.Get("X-Battery-User-Email") != "ada@acme.test" {
			ada.fail("trying again does not lead there")
		}
	})
}

// Several tabs begin a login before one of them ends it; all come to where they
// wanted.
func TestBrowserTwoTabs(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		for name, c := range map[string]struct {
			first, second string
			secondFirst   bool
		}{
			"of one app":                       {"crm.acme", "crm.acme", false},
			"of one app, the later ends first": {"crm.acme", "crm.acme", true},
			"of two apps":                      {"crm.acme", "wiki.acme", false},
		} {
			t.Run(name, func(t *testing.T) {
				addresses := []string{k.url(c.first, "/one?tab=1"), k.url(c.second, "/two?tab=2")}
				one := k.window(t, name+"-one")
				two := one.another(one.name + "-two")
				one.visit(addresses[0])
				one.at(k.asks, "")
				two.visit(addresses[1])
				two.at(k.asks, "")

				tabs := []*tab{one, two}
				order := []int{0, 1}
				if c.secondFirst {
					order = []int{1, 0}
				}
				for _, i := range order {
					k.pick(tabs[i], "ada@acme.test")
					if v := tabs[i].at(addresses[i], ""); v.URL != addresses[i] || tabs[i].echo(v).Headers.Get("X-Battery-User-Email") != "ada@acme.test" {
						tabs[i].fail("not at its own page")
					}
				}
				for i, b := range tabs { // and both stay signed in, without asking again
					mark := b.mark()
					b.visit(addresses[i] + "&again=1")
					b.echo(b.at(addresses[i]+"&again=1", ""))
					if b.went(mark, k.authorize) {
						b.fail("it had to sign in again")
					}
				}
			})
		}
		t.Run("the second app asks nothing", func(t *testing.T) {
			one := k.window(t, "one-login")
			two := one.another(one.name + "-two")
			k.signIn(one, k.url("crm.acme", "/"), "ada@acme.test")
			one.echo(one.at(k.url("crm.acme", "/"), ""))
			two.visit(k.url("wiki.acme", "/"))
			two.echo(two.at(k.url("wiki.acme", "/"), ""))
			if two.went(0, k.authorize) {
				two.fail("it needed a second trip to the identity provider")
			}
		})
	})
}

// The cookies are what the design says, and no cookie from before a login is
// worth anything after it, also to who planted it.
func TestBrowserCookies(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		crm := k.url("crm.acme", "/")
		prefix := map[string]string{"http": "", "https": "__Host-"}[k.scheme]
		session, login := prefix+"battery_session", prefix+"battery_login"

		// Bob leaves his session in somebody's browser, as an attacker would.
		bob := k.window(t, "bob")
		k.signIn(bob, k.url("wiki.acme", "/"), "bob@acme.test")
		bob.echo(bob.at(k.url("wiki.acme", "/"), ""))
		bob.visit(crm) // his session there; he is denied
		planted := map[string]*network.Cookie{crm: bob.cookies(crm)[session], k.public: bob.cookies(k.public)[login]}
		ada := k.window(t, "ada")
		for address, c := range planted {
			if c == nil {
				bob.fail("no session cookie for %s: %v", address, bob.cookies(address))
			}
			ada.plant(address, c)
		}
		ada.visit(crm)
		if v := ada.at(crm, "planted"); !strings.Contains(v.Text, "bob@acme.test") {
			ada.fail("a planted session is not shown for what it is")
		}
		ada.press("somebody else") // a provider that never saw this browser asks nothing
		k.pick(ada, "ada@acme.test")
		if e := ada.echo(ada.at(crm, "")); e.Headers.Get("X-Battery-User-Email") != "ada@acme.test" {
			ada.fail("not signed in as ada")
		}

		for address, name := range map[string]string{crm: session, k.public: login} {
			all := ada.cookies(address)
			c := all[name]
			if c == nil {
				ada.fail("no cookie %s for %s: %v", name, address, all)
			}
			if c.Value == planted[address].Value {
				t.Errorf("%s is still the planted one", name)
			}
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if !c.HTTPOnly || c.Secure != (k.scheme == "https") || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != u.Hostname() {
				t.Errorf("%s is %+v", name, c)
			}
			for other := range all { // the attempt's own are gone with it
				if strings.Contains(other, "battery_verifier") || strings.Contains(other, "battery_state") {
					t.Errorf("%s is left on %s", other, address)
				}
			}
		}
		if got := eval[string](ada, `document.cookie`); got != "" {
			t.Errorf("the page reads %q", got)
		}
		// Who planted it has nothing of hers: at best his own login, once more.
		mark := bob.mark()
		bob.visit(crm + "?after")
		if v := bob.at("", ""); !bob.went(mark, k.authorize) || !strings.HasPrefix(v.URL, k.asks) && strings.Contains(v.Text, "ada@acme.test") {
			bob.fail("the planted cookie still opens something")
		}

		// Each login is a new session.
		before := ada.cookies(crm)[session].Value
		ada.visit(k.url("crm.acme", "/.battery/logout"))
		k.leave(ada)
		k.signIn(ada, crm, "ada@acme.test")
		ada.echo(ada.at(crm, ""))
		if ada.cookies(crm)[session].Value == before {
			t.Error("the second login has the first one's session")
		}
	})
}

// An operator ends a session while its page is open: the next click leads to
// where people sign in, and a script there learns that it must.
func TestBrowserRevokedSession(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		first, next := k.url("crm.acme", "/list"), k.url("crm.acme", "/list/9?x=1")
		ada := k.window(t, "ada")
		k.signIn(ada, first, "ada@acme.test")
		old := k.session(t, ada.echo(ada.at(first, "")))
		if got := eval[int](ada, `fetch("/list/1").then(r => r.status)`); got != http.StatusOK {
			ada.fail("a script of the page is answered %d", got)
		}
		if got := k.admin(t, http.MethodDelete, "sessions/"+old, nil, nil); got != http.StatusNoContent {
			t.Fatalf("ending the session: %d", got)
		}
		got := eval[struct {
			Status int
			Type   string
		}](ada, `fetch("/list/1").then(r => ({Status: r.status, Type: r.headers.get("content-type")}))`)
		if got.Status != http.StatusUnauthorized || !strings.Contains(got.Type, "json") {
			t.Errorf("a script of the page is answered %+v", got)
		}
		mark := ada.mark()
		ada.click(next)
		if k.provider == "" { // a provider of its own still knows her
			k.pick(ada, "ada@acme.test")
		}
		v := ada.at(next, "again")
		if !ada.went(mark, k.authorize) {
			ada.fail("the click went on without a login")
		}
		if now := k.session(t, ada.echo(v)); now == old {
			t.Error("the ended session is back")
		}
		if got := k.admin(t, http.MethodDelete, "sessions/"+old, nil, nil); got != http.StatusNotFound {
			t.Errorf("the ended session is still there: %d", got)
		}
	})
}
