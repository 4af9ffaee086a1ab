package sso_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
)

func TestCookies(t *testing.T) {
	w := newWorld(t)
	location, cookies, err := w.service.Challenge(w.apps["crm.acme"], "https", "crm.acme.example", w.crm+"/", nil, true)
	if err != nil || len(cookies) != 1 {
		t.Fatalf("%v %v", cookies, err)
	}
	hardened := func(t *testing.T, c *http.Cookie, name string) {
		t.Helper()
		if !strings.HasPrefix(c.Name, "__Host-"+name) || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
			t.Errorf("cookie %s", c)
		}
	}
	b := w.browser()
	u, _ := url.Parse(w.crm)
	b.jar.SetCookies(u, cookies)
	t.Run("each is host-only, Secure, HttpOnly and Lax", func(t *testing.T) {
		hardened(t, cookies[0], "battery_verifier_")
		if strings.Contains(location, cookies[0].Value) {
			t.Error("the verifier is in the address")
		}
		for address, name := location, "battery_state_"; ; {
			res := b.step(address)
			for _, c := range res.Cookies() {
				switch {
				case c.MaxAge < 0:
				case strings.Contains(address, "/callback"):
					hardened(t, c, "battery_login")
				case strings.Contains(address, "/.battery/session"):
					hardened(t, c, "battery_session")
				default:
					hardened(t, c, name)
				}
			}
			if address = res.Header.Get("Location"); address == "" {
				break
			}
		}
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("no answer may be stored, framed or named to others", func(t *testing.T) {
		for _, address := range []string{w.public + "/", w.public + "/login?app=nope", w.public + "/callback", w.crm + "/.battery/session?ticket=x", w.crm + "/.battery/userinfo", w.crm + "/.battery/logout"} {
			res := w.browser().step(address)
			csp := res.Header.Get("Content-Security-Policy")
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" ||
				!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("%s: %v", address, res.Header)
			}
		}
	})
	t.Run("a browser has at most five logins under way, the oldest gives way", func(t *testing.T) {
		b := w.browser()
		var first string
		for i := range 8 {
			loc, cookies, err := w.service.Challenge(w.apps["crm.acme"], "https", "crm.acme.example", "/", b.cookies(w.crm), true)
			if err != nil {
				t.Fatal(err)
			}
			b.jar.SetCookies(u, cookies)
			b.step(loc)
			if i == 0 {
				first = b.cookies(w.crm)[0].Name
			}
			w.now.add(time.Second)
		}
		n := len(b.cookies(w.crm))
		if b.cookie(w.crm, first) != "" || n != 5 || len(b.cookies(w.public)) != 5 {
			t.Fatalf("%d verifiers (the first is still there: %v), %d states", n, b.cookie(w.crm, first) != "", len(b.cookies(w.public)))
		}
	})
	t.Run("the longest return address fits a cookie and a header", func(t *testing.T) {
		b := w.browser()
		long := w.crm + "/x?" + strings.Repeat("&", 1999-len(w.crm+"/x?")) + "z"
		loc := b.challenge(long)
		for _, c := range b.step(loc).Cookies() {
			if n := len(c.Name) + len(c.Value); n > 4096 {
				t.Fatalf("%s has %d bytes", c.Name, n)
			}
		}
		if res := b.get(loc); res.at != long {
			t.Fatalf("ended at %.80s…", res.at)
		}
		for _, p := range b.path {
			if len(p) > 8000 {
				t.Fatalf("an address of %d bytes: %.80s…", len(p), p)
			}
		}
	})
	t.Run("and however many logins a browser begins, its cookies fit what gateways take", func(t *testing.T) {
		// nginx as shipped takes 32 KiB of a header, Envoy 60 in all, the listener 64.
		b := w.browser()
		b.visit(w.crm + "/")
		long := w.crm + "/x?" + strings.Repeat("&", 1999-len(w.crm+"/x?")) + "z"
		for range 30 {
			b.step(b.challenge(long) + "&login_hint=" + strings.Repeat("x", 242) + "%40acme.test")
			w.now.add(time.Second)
		}
		for _, at := range []string{w.public, w.crm} {
			n := 4096 // of a login cookie with as many organizations as it holds
			for _, c := range b.cookies(at) {
				n += len(c.Name) + len(c.Value) + 3
			}
			if n > 24<<10 {
				t.Errorf("%s is sent %d bytes of cookies", at, n)
			}
		}
	})
	t.Run("nor does the login cookie grow beyond what browsers keep, of however many organizations", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		for i := range 60 {
			id := fmt.Sprintf("org_01HZXK%020d", i)
			w.apps[id] = &authz.App{ID: id, OrganizationID: id, Hosts: []string{fmt.Sprintf("app%d.example", i)}, Scheme: "https"}
			b.visit(fmt.Sprintf("https://app%d.example/", i))
		}
		if n := len("__Host-battery_login") + len(b.cookie(w.public, "__Host-battery_login")); n > 4096 {
			t.Fatalf("%d bytes", n)
		}
		b.path = nil
		b.get(w.public + "/login?app=org_01HZXK00000000000000000059") // the last is among them
		b.get(w.public + "/login?app=org_01HZXK00000000000000000048")
		if strings.Contains(strings.Join(b.path, " "), w.workos.URL) {
			t.Fatalf("went %v", b.path)
		}
	})
	t.Run("an app asked over the wrong scheme gets no cookie there", func(t *testing.T) {
		loc, cookies, err := w.service.Challenge(w.apps["crm.acme"], "http", "crm.acme.example", "http://crm.acme.example/x", nil, true)
		if err != nil || len(cookies) != 0 || !strings.HasPrefix(loc, "https://crm.acme.example/.battery/login?") {
			t.Fatalf("%s %v %v", loc, cookies, err)
		}
	})
}

// A cookie that outlives what it names is kept for nothing; one that is deleted
// must not stay with its value in an answer.
func TestCookiesEndWithWhatTheyName(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	find := func(res reply, name string) *http.Cookie {
		t.Helper()
		for _, c := range res.Cookies() {
			if strings.HasPrefix(c.Name, "__Host-"+name) {
				return c
			}
		}
		t.Fatalf("%s is not set: %v", name, res.Header["Set-Cookie"])
		return nil
	}
	lives := func(c *http.Cookie, want time.Duration) {
		t.Helper()
		if c.MaxAge != int(want/time.Second) {
			t.Errorf("%s lives %d s, want %s", c.Name, c.MaxAge, want)
		}
	}
	gone := func(c *http.Cookie) {
		t.Helper()
		if c.MaxAge >= 0 || c.Value != "" || c.Path != "/" || !c.Secure {
			t.Errorf("%s is not deleted: %s", c.Name, c)
		}
	}
	begun := b.step(w.crm + "/.battery/login")
	lives(find(begun, "battery_verifier_"), 10*time.Minute)
	started := b.step(begun.Header.Get("Location"))
	lives(find(started, "battery_state_"), 10*time.Minute)
	back := b.until(started.Header.Get("Location"), w.public+"/callback")
	in := b.step(back)
	gone(find(in, "battery_state_"))
	lives(find(in, "battery_login"), absolute)
	w.now.add(10 * time.Second)
	open := b.step(in.Header.Get("Location"))
	lives(find(open, "battery_session"), absolute-10*time.Second)
	gone(find(open, "battery_verifier_"))
	nav := []string{"Sec-Fetch-Site", "same-origin"}
	gone(find(b.step(w.crm+"/.battery/logout", nav...), "battery_session"))
	gone(find(b.step(w.public+"/logout", nav...), "battery_login"))
}
