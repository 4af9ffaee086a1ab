package sso_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

var tokenField = regexp.MustCompile(`name="token" value="([^"]+)"`)

func TestLogout(t *testing.T) {
	signedIn := func(t *testing.T) (*world, *browser) {
		w := newWorld(t)
		b := w.browser()
		b.visit(w.crm + "/")
		b.visit(w.wiki + "/")
		return w, b
	}
	over := func(t *testing.T, w *world, b *browser) {
		t.Helper()
		if n := w.sessions.Count(); n != 0 {
			t.Fatalf("%d sessions are left", n)
		}
		if s, _ := b.session(w.wiki); s != nil {
			t.Fatal("another app still has the session")
		}
	}
	still := func(t *testing.T, w *world, b *browser) {
		t.Helper()
		b.mustBe(w.crm, "ada@acme.test")
	}
	nav := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	with := func(site, mode, dest string, more ...string) []string {
		return append([]string{"Sec-Fetch-Site", site, "Sec-Fetch-Mode", mode, "Sec-Fetch-Dest", dest}, more...)
	}

	t.Run("a POST of the app's own page ends the session for all apps", func(t *testing.T) {
		w, b := signedIn(t)
		res := b.send(http.MethodPost, w.crm+"/.battery/logout", nil, "Sec-Fetch-Site", "same-origin")
		if res.StatusCode != http.StatusOK || res.at != w.public+"/signed-out" {
			t.Fatalf("%d at %s", res.StatusCode, res.at)
		}
		over(t, w, b)
		b.mustBeNobody(w.crm, authz.CodeNoSession)       // the cookie is gone
		b.mustBeNobody(w.wiki, authz.CodeSessionRevoked) // the record is
	})
	t.Run("a POST with this Origin does too, where the browser sends no Sec-Fetch", func(t *testing.T) {
		w, b := signedIn(t)
		res := b.send(http.MethodPost, w.crm+"/.battery/logout?rd="+url.QueryEscape(w.crm+"/bye"), nil, "Origin", w.crm)
		if res.at != w.crm+"/bye" {
			t.Fatalf("ended at %s", res.at)
		}
		over(t, w, b)
	})
	t.Run("a link of the app's own page does too", func(t *testing.T) {
		w, b := signedIn(t)
		b.get(w.crm+"/.battery/logout", nav...)
		over(t, w, b)
	})
	for name, header := range map[string][]string{
		"its script":                   with("same-origin", "cors", "empty"),
		"its script with no-cors":      with("same-origin", "no-cors", "empty"),
		"whoever says the origin only": {"Sec-Fetch-Site", "same-origin"},
	} {
		t.Run("a GET of "+name+" does too", func(t *testing.T) {
			w, b := signedIn(t)
			b.get(w.crm+"/.battery/logout", header...)
			over(t, w, b)
			w, b = signedIn(t)
			b.get(w.public+"/logout", header...)
			over(t, w, b)
		})
	}
	t.Run("typing the address does too", func(t *testing.T) {
		w, b := signedIn(t)
		b.get(w.crm+"/.battery/logout", with("none", "navigate", "document")...)
		over(t, w, b)
	})
	t.Run("on the public host it ends every organization's session", func(t *testing.T) {
		w, b := signedIn(t)
		b.visit(w.desk + "/")
		res := b.send(http.MethodPost, w.public+"/logout?rd="+url.QueryEscape(w.desk+"/x"), nil, "Sec-Fetch-Site", "same-origin")
		if res.at != w.desk+"/x" || b.cookie(w.public, "__Host-battery_login") != "" {
			t.Fatalf("ended at %s", res.at)
		}
		over(t, w, b)
	})
	t.Run("the public host leads to no app of an organization one is not signed in to", func(t *testing.T) {
		w, b := signedIn(t)
		if res := b.send(http.MethodPost, w.public+"/logout?rd="+url.QueryEscape(w.desk+"/x"), nil, "Sec-Fetch-Site", "same-origin"); res.at != w.public+"/signed-out" {
			t.Fatalf("ended at %s", res.at)
		}
	})
	t.Run("a script's POST with the person's cookies ends it", func(t *testing.T) {
		w, b := signedIn(t)
		if res := b.send(http.MethodPost, w.crm+"/.battery/logout?rd="+url.QueryEscape(w.crm+"/bye"), nil); res.at != w.crm+"/bye" {
			t.Fatalf("ended at %s", res.at)
		}
		over(t, w, b)
		w, b = signedIn(t)
		b.send(http.MethodPost, w.public+"/logout", nil)
		over(t, w, b)
	})
	for name, header := range map[string][]string{
		"another site's POST":             {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"a sibling customer's POST":       {"Sec-Fetch-Site", "same-site", "Origin", "https://desk.globex.example"},
		"a foreign Origin alone":          {"Origin", "https://evil.example"},
		"a null Origin":                   {"Origin", "null"},
		"a forged Origin under Sec-Fetch": {"Sec-Fetch-Site", "cross-site", "Origin", "https://crm.acme.example"},
		"a sibling app's Origin":          {"Origin", "https://wiki.acme.example"},
	} {
		t.Run(name+" is refused and asked about", func(t *testing.T) {
			w, b := signedIn(t)
			res := b.send(http.MethodPost, w.crm+"/.battery/logout", nil, header...)
			if res.StatusCode != http.StatusForbidden || !tokenField.MatchString(res.body) {
				t.Fatalf("%d %s", res.StatusCode, res.body)
			}
			still(t, w, b)
			res = b.send(http.MethodPost, w.public+"/logout", nil, header...)
			if res.StatusCode != http.StatusForbidden && !strings.Contains(name, "Origin under") {
				t.Fatalf("public: %d", res.StatusCode)
			}
			still(t, w, b)
		})
	}
	for name, header := range map[string][]string{
		"another site's link":           with("cross-site", "navigate", "document"),
		"a sibling customer's link":     with("same-site", "navigate", "document"),
		"a picture of the app":          with("same-origin", "no-cors", "image"),
		"a frame of the app":            with("same-origin", "navigate", "iframe"),
		"another site's script":         with("cross-site", "cors", "empty"),
		"a sibling customer's script":   with("same-site", "no-cors", "empty"),
		"a prefetch of old Firefox":     with("same-origin", "no-cors", "empty", "X-Moz", "prefetch"),
		"a prefetch":                    with("same-origin", "navigate", "document", "Sec-Purpose", "prefetch"),
		"an old prefetch":               with("same-origin", "navigate", "document", "Purpose", "prefetch"),
		"a GET that says nothing":       nil,
		"a GET with an Origin and more": {"Origin", "https://crm.acme.example"},
	} {
		t.Run(name+" is asked about", func(t *testing.T) {
			w, b := signedIn(t)
			res := b.get(w.crm+"/.battery/logout", header...)
			if res.StatusCode != http.StatusOK || !tokenField.MatchString(res.body) {
				t.Fatalf("%d %s", res.StatusCode, res.body)
			}
			still(t, w, b)
		})
	}
	t.Run("the question's button works where the browser says nothing, once for this session", func(t *testing.T) {
		w, b := signedIn(t)
		other := w.browser()
		other.visit(w.crm + "/")
		rd := "?rd=" + url.QueryEscape(w.wiki+"/bye")
		page := b.get(w.crm + "/.battery/logout" + rd)
		m := tokenField.FindStringSubmatch(page.body)
		if m == nil || strings.Contains(page.Header.Get("Referrer-Policy"), "no-referrer") || !strings.Contains(page.Header.Get("Content-Security-Policy"), "form-action 'self'") {
			t.Fatalf("%v %s", page.Header, page.body)
		}
		if res := other.send(http.MethodPost, w.crm+"/.battery/logout", url.Values{"token": m[1:]}); res.StatusCode != http.StatusForbidden {
			t.Fatalf("another session's token: %d", res.StatusCode)
		}
		if res := b.send(http.MethodPost, w.crm+"/.battery/logout", url.Values{"token": m[1:]}, "Origin", "https://evil.example"); res.StatusCode != http.StatusForbidden {
			t.Fatalf("the token with a foreign Origin: %d", res.StatusCode)
		}
		if res := b.send(http.MethodPost, w.crm+"/.battery/logout", url.Values{"token": m[1:]}); res.at != w.public+"/signed-out" {
			t.Fatalf("ended with %d at %s", res.StatusCode, res.at)
		}
		b.mustBeNobody(w.wiki, authz.CodeSessionRevoked)
		other.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("who is not signed in is told so", func(t *testing.T) {
		w := newWorld(t)
		for _, a := range []string{w.crm + "/.battery/logout", w.public + "/logout"} {
			if res := w.browser().get(a); res.at != w.public+"/signed-out" {
				t.Fatalf("%s ends at %s", a, res.at)
			}
		}
	})
}

func TestUserinfo(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	read := func(b *browser) (int, map[string]string) {
		res := b.get(w.crm + "/.battery/userinfo")
		out := map[string]string{}
		if err := json.Unmarshal([]byte(res.body), &out); err != nil || res.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%v: %s", err, res.body)
		}
		return res.StatusCode, out
	}
	t.Run("nobody is 401 with a way to sign in", func(t *testing.T) {
		status, got := read(b)
		if status != http.StatusUnauthorized || got["reason"] != "no_session" || !strings.HasPrefix(got["login_url"], w.public+"/login?app=crm.acme") {
			t.Fatalf("%d %v", status, got)
		}
	})
	b.visit(w.crm + "/")
	t.Run("somebody is named", func(t *testing.T) {
		status, got := read(b)
		if status != http.StatusOK || got["user_id"] != "prof_ada@acme.test" || got["email"] != "ada@acme.test" ||
			got["organization_id"] != "org_acme" || got["expires_at"] != "2026-03-02T12:00:00Z" || len(got) != 4 {
			t.Fatalf("%d %v", status, got)
		}
	})
	t.Run("a deleted user is 401", func(t *testing.T) {
		w.gone.remove("prof_ada@acme.test")
		if status, got := read(b); status != http.StatusUnauthorized || got["reason"] != "session_revoked" {
			t.Fatalf("%d %v", status, got)
		}
	})
}
