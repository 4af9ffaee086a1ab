package feed_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
	"github.com/gin-gonic/gin"
)

// applied is an Applier that takes everything.
type applied struct{}

func (applied) ApplyEvent(context.Context, directory.Event) (directory.Applied, error) {
	return directory.Applied{Outcome: directory.OutcomeApplied, Revision: 1}, nil
}

func prefixes(t *testing.T, all ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestOnlyAllowedSourcesMayPost(t *testing.T) {
	gin.SetMode(gin.TestMode)
	workos := prefixes(t, "3.217.146.166/32", "23.21.184.92/32", "2001:db8:7::/48")
	proxies := prefixes(t, "10.0.0.0/8", "fd00::/8")
	for _, c := range []struct {
		name       string
		allow, via []netip.Prefix
		peer       string
		forwarded  []string
		ok         bool
	}{
		{"any source, if none is named", nil, nil, "198.51.100.1:4000", nil, true},
		{"a source that is named", workos, nil, "3.217.146.166:4000", nil, true},
		{"the same in IPv6 dress", workos, nil, "[::ffff:3.217.146.166]:4000", nil, true},
		{"a source that is not", workos, nil, "198.51.100.1:4000", nil, false},
		{"a header without a proxy", workos, nil, "198.51.100.1:4000", []string{"3.217.146.166"}, false},
		{"a header by a proxy that is not trusted", workos, proxies, "198.51.100.1:4000", []string{"3.217.146.166"}, false},
		{"through a trusted proxy", workos, proxies, "10.1.1.1:4000", []string{"3.217.146.166"}, true},
		{"through two", workos, proxies, "10.1.1.1:4000", []string{"23.21.184.92, 10.2.2.2"}, true},
		{"through two, in two headers", workos, proxies, "10.1.1.1:4000", []string{"23.21.184.92", "10.2.2.2"}, true},
		{"with a port", workos, proxies, "10.1.1.1:4000", []string{"23.21.184.92:9999"}, true},
		{"over IPv6", workos, proxies, "[fd00::1]:4000", []string{"[2001:db8:7::9]:443"}, true},
		{"what the sender wrote itself stands to the left", workos, proxies, "10.1.1.1:4000", []string{"3.217.146.166, 198.51.100.1"}, false},
		{"a trusted address that the sender claims", workos, proxies, "10.1.1.1:4000", []string{"3.217.146.166, 10.9.9.9, 198.51.100.1"}, false},
		{"a proxy that names nobody", workos, proxies, "10.1.1.1:4000", nil, false},
		{"a header that is empty", workos, proxies, "10.1.1.1:4000", []string{""}, false},
		{"a header that cannot be read", workos, proxies, "10.1.1.1:4000", []string{"3.217.146.166, unknown"}, false},
		{"a hole in the header", workos, proxies, "10.1.1.1:4000", []string{"3.217.146.166,,10.2.2.2"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []string
			w, err := feed.NewWebhooks(feed.Options{
				Secrets: [][]byte{secret}, Directory: applied{}, Published: func(context.Context, uint64) error { return nil },
				Now: func() time.Time { return noon }, AllowFrom: c.allow, TrustedProxies: c.via,
				Delivered: func(ev directory.Event) { told = append(told, ev.ID) },
			})
			if err != nil {
				t.Fatal(err)
			}
			engine := gin.New()
			w.Mount(engine)
			req := httptest.NewRequest(http.MethodPost, "/webhooks/workos", strings.NewReader(userCreated))
			req.Header.Set(feed.SignatureHeader, signed(secret, noon, []byte(userCreated)))
			req.RemoteAddr = c.peer
			for _, f := range c.forwarded {
				req.Header.Add("X-Forwarded-For", f)
			}
			rec := httptest.NewRecorder()
			engine.ServeHTTP(rec, req)
			want, tell := http.StatusForbidden, 0
			if c.ok {
				want, tell = http.StatusOK, 1
			}
			if rec.Code != want || len(told) != tell {
				t.Errorf("status %d, told %v: %s", rec.Code, told, rec.Body)
			}
		})
	}
}

func TestOnlyVerifiedEventsThatMeanSomethingAreToldOf(t *testing.T) {
	g := newGate(t)
	var told []string
	w, err := feed.NewWebhooks(feed.Options{
		Secrets: [][]byte{secret}, Directory: g.d, Published: g.wait, Now: func() time.Time { return noon },
		Delivered: func(ev directory.Event) { told = append(told, ev.ID) },
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := gin.New()
	w.Mount(engine)
	post := func(body, header string) {
		req := httptest.NewRequest(http.MethodPost, "/webhooks/workos", strings.NewReader(body))
		req.Header.Set(feed.SignatureHeader, header)
		engine.ServeHTTP(httptest.NewRecorder(), req)
	}
	post(userCreated, "t=1,v1="+strings.Repeat("0", 64))
	other := envelope("event_2", "made.up.by.someone", created, `{}`)
	post(other, signed(secret, noon, []byte(other)))
	if len(told) != 0 {
		t.Fatalf("told of %v", told)
	}
	g.mu.Lock()
	g.stuck = true // answered with 503, and told of all the same
	g.mu.Unlock()
	post(userCreated, signed(secret, noon, []byte(userCreated)))
	if len(told) != 1 || told[0] != "event_1" {
		t.Errorf("told of %v", told)
	}
}

func TestAnAllowListThatMeansNothingIsRefused(t *testing.T) {
	if _, err := feed.NewWebhooks(feed.Options{Secrets: [][]byte{secret}, Directory: applied{},
		Published: func(context.Context, uint64) error { return nil }, AllowFrom: []netip.Prefix{{}}}); err == nil {
		t.Error("accepted")
	}
}
