package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Who gets where, in the fixed world of `batterygate dev`. "never" is any answer
// that does not come from the app: a refusal, or a login that leads nowhere.
func TestWhoGetsWhere(t *testing.T) {
	const never = 0
	table := []struct {
		email string
		want  map[string]int
	}{
		{"ada@acme.test", map[string]int{"crm.acme": 200, "wiki.acme": 200, "status.acme": 200, "desk.globex": never}},
		{"bob@acme.test", map[string]int{"crm.acme": 403, "wiki.acme": 200, "status.acme": 200}},
		{"eve@acme.test", map[string]int{"crm.acme": 403, "wiki.acme": 403, "status.acme": 200}},
		{"root@acme.test", map[string]int{"crm.acme": 200, "wiki.acme": 200, "status.acme": 200}},
		{"gil@globex.test", map[string]int{"desk.globex": 200, "crm.acme": never, "wiki.acme": never, "status.acme": 200}},
	}
	everyFront(t, func(t *testing.T, w *world) {
		for _, row := range table {
			p := w.newPerson(t)
			for app, want := range row.want {
				got := p.open(t, w.url(app, "/page?q=1"), row.email)
				_, reached := got.reached()
				if onApp := got.URL.Hostname() == app+"."+w.Domain; (want == never && (reached || onApp && got.Status == 200)) ||
					(want != never && (got.Status != want || reached != (want == 200) || !onApp)) {
					t.Errorf("%s at %s: status %d at %s (reached the app: %v), want %d; body %.200s",
						row.email, app, got.Status, got.URL.Host, reached, want, got.Body)
				}
				// The same question from a script, now that whoever can sign in has.
				if got := p.fetch(t, app, "/api"); (got.Status == 200) != (want == 200) {
					t.Errorf("%s fetches %s: status %d, want %d", row.email, app, got.Status, want)
				}
			}
		}
	})
}

// A denied person is told why, on a page; a script as JSON.
func TestDenialsSayWhy(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		for email, reason := range map[string]string{"bob@acme.test": "no_allowed_role", "eve@acme.test": "user_inactive"} {
			p := w.newPerson(t)
			page := p.login(t, "crm.acme", email)
			if page.Status != http.StatusForbidden || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") ||
				!w.front.losesBodies && !strings.Contains(page.Body, email) {
				t.Errorf("%s: status %d, %q, want an HTML page with 403 that names %s", email, page.Status, page.Header.Get("Content-Type"), email)
			}
			r := p.fetch(t, "crm.acme", "/api")
			got := r.problem(t)
			if r.Status != http.StatusForbidden || got["reason"] != reason || got["decision_id"] == "" {
				t.Errorf("%s: status %d, problem %v, want 403 for %s", email, r.Status, got, reason)
			}
		}
	})
}

func TestAnonymousNavigationIsSentToLogIn(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		target := w.url("crm.acme", "/deals/7?tab=notes")
		r := w.newPerson(t).click(t, target)
		if r.Status != http.StatusFound {
			t.Fatalf("status %d, want 302", r.Status)
		}
		// Directly, or over the app's own /.battery/login where a gateway
		// cannot relay the cookie; no gateway here is one of those.
		at := r.Header.Get("Location")
		if !strings.HasPrefix(at, w.PublicURL+"/login?") {
			t.Fatalf("Location %q, want %s/login?…", at, w.PublicURL)
		}
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); q.Get("app") != "crm.acme" || q.Get("rd") != target {
			t.Errorf("login is told app=%q rd=%q, want crm.acme and %q", q.Get("app"), q.Get("rd"), target)
		}
		if len(r.Header.Values("Set-Cookie")) == 0 {
			t.Error("the verifier cookie was not relayed")
		}
		for _, c := range r.Header.Values("Set-Cookie") {
			if low := strings.ToLower(c); strings.Contains(low, "domain=") || !strings.Contains(low, "httponly") {
				t.Errorf("cookie %q is not host-only and HttpOnly", c)
			}
		}
	})
}

// Every attempt to log in has a cookie of its own, and only the youngest five
// stay: an answer then carries two cookies, and gateways must relay both.
func TestAttemptsToLogInDoNotPileUp(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		p, most := w.newPerson(t), 0
		for range 8 {
			r := p.click(t, w.url("crm.acme", "/"))
			most = max(most, len(r.Header.Values("Set-Cookie")))
		}
		if n := strings.Count(p.cookies(t, "crm.acme"), "="); most < 2 || n == 0 || n > 5 {
			t.Errorf("after 8 attempts the browser holds %d cookies, and an answer carried %d at most", n, most)
		}
		if _, ok := p.login(t, "crm.acme", "ada@acme.test").reached(); !ok {
			t.Error("the ninth attempt does not lead to the app")
		}
	})
}

func TestAnonymousScriptGets401(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		p := w.newPerson(t)
		for name, r := range map[string]reply{
			"a fetch": p.fetch(t, "crm.acme", "/api/deals"),
			"curl":    p.send(t, http.MethodGet, w.url("crm.acme", "/api"), "Accept: */*"),
			"a fetch that takes HTML": p.send(t, http.MethodGet, w.url("crm.acme", "/part"),
				"Accept: text/html", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin"),
			"a form post": p.send(t, http.MethodPost, w.url("crm.acme", "/api"), "Accept: text/html"),
			"an image":    p.send(t, http.MethodGet, w.url("crm.acme", "/x.png"), "Accept: image/png", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
		} {
			if r.Status != http.StatusUnauthorized || r.Header.Get("Www-Authenticate") == "" {
				t.Errorf("%s: status %d, WWW-Authenticate %q, want 401 with one", name, r.Status, r.Header.Get("Www-Authenticate"))
				continue
			}
			got := r.problem(t)
			login, _ := got["login_url"].(string)
			if got["reason"] != "no_session" || !strings.HasPrefix(login, w.PublicURL+"/login?") || got["decision_id"] == "" {
				t.Errorf("%s: problem %v, want no_session with a login_url and a decision_id", name, got)
			}
		}
	})
}

func TestAnyoneReachesAPublicApp(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		for name, r := range map[string]reply{
			"a click": w.newPerson(t).click(t, w.url("status.acme", "/")),
			"a fetch": w.newPerson(t).fetch(t, "status.acme", "/api"),
		} {
			if e, ok := r.reached(); !ok {
				t.Errorf("%s: status %d, want the app's 200", name, r.Status)
			} else if got := e.Headers.Values("X-Battery-App-Id"); len(got) != 1 || got[0] != "status.acme" {
				t.Errorf("%s: the app received X-Battery-App-Id %q", name, got)
			}
		}
	})
}

func TestUnknownHostsAreRefused(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		for _, host := range []string{"nope.acme", "crm.globex", "xcrm.acme", "crm.acme.evil"} {
			if r := w.newPerson(t).fetch(t, host, "/"); r.Status != http.StatusForbidden {
				t.Errorf("%s: status %d, want 403", host, r.Status)
			}
		}
	})
}

// What lies below /.battery/ on an app's host is ours, however it is spelled:
// not even a public app sees it.
func TestReservedPathsNeverReachAnApp(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada := w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		for _, path := range []string{
			"/.battery/", "/.battery/x", "/.battery/session", "/.battery/session?ticket=x", "/.battery/userinfo",
			"/%2ebattery/x", "/%2Ebattery/session", "/.%62attery/x", "/.BATTERY/x", "/.battery;a=b/x", "//.battery/x", "/./.battery/x",
			"/x/../.battery/session", "/.battery%2fx", "/.battery%5cx", "/%252ebattery/x", "/.battery",
		} {
			for _, app := range []string{"status.acme", "crm.acme"} {
				if r := ada.fetch(t, app, path); r.Header.Get("Demo-App") != "" {
					t.Errorf("%s of %s reached the app: %d %.200s", path, app, r.Status, r.Body)
				}
			}
		}
	})
}

// An app's pages can ask who is signed in.
func TestUserInfo(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada := w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		var info struct{ Email string }
		if r := ada.fetch(t, "crm.acme", "/.battery/userinfo"); r.Status != http.StatusOK || json.Unmarshal([]byte(r.Body), &info) != nil || info.Email != "ada@acme.test" {
			t.Errorf("signed in: status %d, body %.200s", r.Status, r.Body)
		}
		if r := w.newPerson(t).fetch(t, "crm.acme", "/.battery/userinfo"); r.Status != http.StatusUnauthorized {
			t.Errorf("anonymous: status %d, want 401", r.Status)
		}
	})
}
