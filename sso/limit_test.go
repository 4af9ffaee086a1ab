package sso_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"pgregory.net/rapid"

	"battery.app/gate/sso"
)

func TestRateLimits(t *testing.T) {
	from := netip.MustParseAddr("192.0.2.1")
	w := build(t, "https", "example", "", nil, func(w *world) {
		w.tune = append(w.tune, func(o *sso.Options) {
			o.ClientIP = func(*http.Request) netip.Addr { return from }
			o.Limits = sso.Limits{Login: sso.Rate{PerSecond: 1, Burst: 12}, Picker: sso.Rate{PerSecond: 0.5, Burst: 2}, Logout: sso.Rate{PerSecond: 1, Burst: 2}}
		})
	})
	post := func(path string) *http.Response {
		r, _ := http.NewRequest(http.MethodPost, w.public+path, strings.NewReader("email=x%40y.test"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return serve(w, r, "auth.example")
	}
	w.withPage(0)
	asked := 0
	w.engine.POST("/orgs/ask", gin.WrapH(w.service.LimitPicker(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))))
	b := w.browser()
	b.visit(w.crm + "/")
	b.mustBe(w.crm, "ada@acme.test") // a login has room
	for range 20 {
		b.step(w.public + "/login?app=crm.acme")
	}
	for _, address := range []string{w.public + "/login?app=crm.acme", w.public + "/callback?code=x&state=y", w.public + "/callback/oidc_none?code=x&state=y",
		w.public + "/orgs/acme/settings", w.crm + "/.battery/login", w.crm + "/.battery/session?ticket=x"} {
		res := w.browser().step(address)
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "1" || !strings.Contains(res.body, "<h1>") || len(res.Cookies()) != 0 {
			t.Errorf("%s: %d, Retry-After %s", address, res.StatusCode, res.Header.Get("Retry-After"))
		}
	}
	for _, path := range []string{"/login", "/backchannel-logout/oidc_none"} {
		for i := range 3 {
			if res := post(path); (res.StatusCode == http.StatusTooManyRequests) != (i == 2) {
				t.Errorf("%s %d: %d", path, i, res.StatusCode)
			}
		}
	}
	if res := post("/login"); res.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %s", res.Header.Get("Retry-After"))
	}
	if res := post("/orgs/ask"); res.StatusCode != http.StatusTooManyRequests || asked != 0 {
		t.Errorf("a page under the picker's limit: %d, asked %d times", res.StatusCode, asked)
	}
	t.Run("who is signed in is not affected", func(t *testing.T) {
		b.mustBe(w.crm, "ada@acme.test")
		if res := b.get(w.crm + "/.battery/userinfo"); res.StatusCode != http.StatusOK {
			t.Fatal(res.StatusCode)
		}
		if res := b.get(w.public + "/.well-known/jwks.json"); res.StatusCode != http.StatusOK {
			t.Fatal(res.StatusCode)
		}
	})
	t.Run("others are not, nor the same after a while", func(t *testing.T) {
		from = netip.MustParseAddr("192.0.2.2")
		if res := b.step(w.public + "/login?app=crm.acme"); res.StatusCode != http.StatusFound {
			t.Fatal(res.StatusCode)
		}
		from = netip.MustParseAddr("192.0.2.1")
		w.now.add(time.Second)
		if res := b.step(w.public + "/login?app=crm.acme"); res.StatusCode != http.StatusFound {
			t.Fatal(res.StatusCode)
		}
	})
}

func TestLimiter(t *testing.T) {
	now := newClock()
	t.Run("its memory is bounded, whoever comes", func(t *testing.T) {
		l := sso.NewLimiter(sso.Rate{PerSecond: 1, Burst: 2}, 100, now.Now)
		for i := range 10000 {
			l.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
			if l.Size() > 200 {
				t.Fatalf("%d clients", l.Size())
			}
		}
	})
	t.Run("who keeps coming is not forgotten for those who come once", func(t *testing.T) {
		l := sso.NewLimiter(sso.Rate{PerSecond: 0.001, Burst: 2}, 100, now.Now)
		busy := netip.MustParseAddr("192.0.2.1")
		allowed := 0
		for i := range 1000 {
			l.Allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			if _, ok := l.Allow(busy); ok {
				allowed++
			}
		}
		if allowed != 2 {
			t.Fatalf("allowed %d times", allowed)
		}
	})
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"one IPv4 address, mapped or not": {"192.0.2.1", "::ffff:192.0.2.1", true},
		"two IPv4 addresses":              {"192.0.2.1", "192.0.2.2", false},
		"one customer's IPv6 addresses":   {"2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true},
		"two customers' IPv6 addresses":   {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"one link-local, by zones":        {"fe80::1%a", "fe80::1%b", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := sso.NewLimiter(sso.Rate{PerSecond: 1, Burst: 1}, 100, now.Now)
			l.Allow(netip.MustParseAddr(c.a))
			if _, ok := l.Allow(netip.MustParseAddr(c.b)); ok == c.same {
				t.Fatalf("allowed: %v", ok)
			}
		})
	}
	t.Run("unknown addresses share one limit", func(t *testing.T) {
		l := sso.NewLimiter(sso.Rate{PerSecond: 1, Burst: 1}, 100, now.Now)
		l.Allow(netip.Addr{})
		if _, ok := l.Allow(netip.Addr{}); ok {
			t.Fatal("allowed")
		}
	})
	t.Run("no more than burst and rate allow, ever", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			clock := newClock()
			start := clock.Now()
			latest := start
			l := sso.NewLimiter(sso.Rate{PerSecond: 2, Burst: 5}, 100, clock.Now)
			passed := 0.0
			for range rapid.IntRange(1, 100).Draw(rt, "n") {
				clock.add(time.Duration(rapid.IntRange(-100, 700).Draw(rt, "ms")) * time.Millisecond)
				if at := clock.Now(); at.After(latest) {
					latest = at
				} else if at.Before(start) {
					start = at
				}
				if wait, ok := l.Allow(netip.MustParseAddr("192.0.2.1")); ok {
					passed++
				} else if wait < 0 || wait > 500*time.Millisecond {
					rt.Fatalf("told to wait %s", wait)
				}
			}
			// A clock that is set back gives nothing twice.
			if most := 5 + 2*latest.Sub(start).Seconds(); passed > most+1e-6 {
				rt.Fatalf("%v passed, %v allowed", passed, most)
			}
		})
	})
}
