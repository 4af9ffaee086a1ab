package sso_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

func TestTicketRefuses(t *testing.T) {
	ticket := func(t *testing.T) (*world, *browser, string) {
		w := newWorld(t)
		b := w.browser()
		return w, b, b.until(b.challenge(w.crm+"/deals"), w.crm+"/.battery/session")
	}
	t.Run("the second use, in the same browser too", func(t *testing.T) {
		w, b, loc := ticket(t)
		twin := w.browser()
		twin.steal(b, w.crm)
		if res := b.get(loc); res.at != w.crm+"/deals" {
			t.Fatalf("the first use ends at %s", res.at)
		}
		refused(t, twin, twin.get(loc), http.StatusBadRequest)
	})
	t.Run("the second of two at once", func(t *testing.T) {
		w, b, loc := ticket(t)
		var opened atomic.Int32
		done := make(chan struct{})
		for range 8 {
			twin := w.browser()
			twin.steal(b, w.crm)
			go func() {
				if twin.step(loc).StatusCode == http.StatusFound {
					opened.Add(1)
				}
				done <- struct{}{}
			}()
		}
		for range 8 {
			<-done
		}
		if opened.Load() != 1 {
			t.Fatalf("opened %d times", opened.Load())
		}
	})
	t.Run("the second of two at once, on two replicas", func(t *testing.T) {
		w, b, loc := ticket(t)
		one := w.engine
		w.restart(t)
		var opened atomic.Int32
		done := make(chan struct{})
		for i := range 8 {
			r := httptest.NewRequest(http.MethodGet, loc, nil)
			for _, c := range b.cookies(w.crm) {
				r.AddCookie(c)
			}
			replica := []http.Handler{one, w.engine}[i%2]
			go func() {
				rec := httptest.NewRecorder()
				if replica.ServeHTTP(rec, r); rec.Code == http.StatusFound {
					opened.Add(1)
				}
				done <- struct{}{}
			}()
		}
		for range 8 {
			<-done
		}
		if opened.Load() != 1 {
			t.Fatalf("opened %d times", opened.Load())
		}
	})
	t.Run("another browser, and stays good for the right one", func(t *testing.T) {
		w, b, loc := ticket(t)
		stranger := w.browser()
		stranger.challenge(w.crm + "/") // it has a verifier of its own
		refused(t, stranger, stranger.get(loc), http.StatusForbidden)
		b.get(loc)
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("another app of the organization", func(t *testing.T) {
		w, b, loc := ticket(t)
		wiki, _ := url.Parse(w.wiki)
		b.jar.SetCookies(wiki, secure(b.cookies(w.crm)))
		refused(t, b, b.get(strings.Replace(loc, w.crm, w.wiki, 1)), http.StatusBadRequest)
		b.mustBeNobody(w.wiki, authz.CodeNoSession)
	})
	t.Run("another host of the same app", func(t *testing.T) {
		w, b, loc := ticket(t)
		two := *w.apps["crm.acme"]
		two.Hosts = append(two.Hosts, "crm.acme-corp.example")
		w.apps["crm.acme"] = &two
		other := "https://crm.acme-corp.example"
		u, _ := url.Parse(other)
		b.jar.SetCookies(u, secure(b.cookies(w.crm)))
		refused(t, b, b.get(strings.Replace(loc, w.crm, other, 1)), http.StatusBadRequest)
		b.mustBeNobody(other, authz.CodeNoSession)
	})
	t.Run("its host once another app has it", func(t *testing.T) {
		w, b, loc := ticket(t)
		other := *w.apps["crm.acme"]
		other.ID = "new.acme"
		delete(w.apps, "crm.acme")
		w.apps["new.acme"] = &other
		refused(t, b, b.get(loc), http.StatusBadRequest)
	})
	t.Run("after half a minute", func(t *testing.T) {
		w, b, loc := ticket(t)
		w.now.add(30 * time.Second)
		refused(t, b, b.get(loc), http.StatusBadRequest)
	})
	t.Run("once its session is revoked", func(t *testing.T) {
		w, b, loc := ticket(t)
		if n, err := w.sessions.RevokeWhere(context.Background(), sso.Filter{}); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		refused(t, b, b.get(loc), http.StatusForbidden)
	})
	t.Run("once its session is revoked elsewhere, before this replica hears of it", func(t *testing.T) {
		w, b, at := ticket(t)
		hears, err := sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: w.ring, Absolute: absolute, Idle: idle, Published: w.seen.wait, Now: w.now.Now})
		if err != nil {
			t.Fatal(err)
		}
		w.live.Store(hears) // and the one that answers does not
		id := w.sessions.List(sso.Filter{})[0].ID
		if err := hears.Revoke(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := w.sessions.Get(id); err != nil {
			t.Fatal("it has heard of it")
		}
		refused(t, b, b.get(at), http.StatusForbidden)
	})
	t.Run("the second use, after a restart and a new key", func(t *testing.T) {
		w, b, at := ticket(t)
		kept := w.browser()
		kept.steal(b, w.crm)
		if err := w.service.RotatePurpose(t.Context(), sso.PurposeTickets); err != nil {
			t.Fatal(err)
		}
		w.restart(t)
		b.get(at)
		b.mustBe(w.crm, "ada@acme.test")
		w.restart(t)
		refused(t, kept, kept.get(at), http.StatusBadRequest)
	})
	t.Run("once its user is gone", func(t *testing.T) {
		w, b, loc := ticket(t)
		w.gone.remove("prof_ada@acme.test")
		refused(t, b, b.get(loc), http.StatusForbidden)
	})
	for name, change := range map[string]func(string) string{
		"no ticket":         func(string) string { return "" },
		"a cut one":         func(s string) string { return s[:len(s)-4] },
		"a changed one":     func(s string) string { return s[:len(s)-4] + "AAAA" },
		"a megabyte":        func(string) string { return strings.Repeat("A", 1<<20) },
		"another key's":     func(s string) string { return "AAAAAAAA" + s[8:] },
		"a login cookie":    nil,
		"a session cookie":  func(string) string { return "1.AAAAAAAA.AAAA.AAAA" },
		"not even ours, ' ": func(string) string { return "%00%ff'\"<script>" },
	} {
		t.Run(name, func(t *testing.T) {
			w, b, loc := ticket(t)
			u, _ := url.Parse(loc)
			value := u.Query().Get("ticket")
			if change == nil {
				value = b.cookie(w.public, "__Host-battery_login")
			} else {
				value = change(value)
			}
			refused(t, b, b.get(w.crm+"/.battery/session?ticket="+url.QueryEscape(value)), http.StatusBadRequest)
		})
	}
	t.Run("other methods", func(t *testing.T) {
		_, b, loc := ticket(t)
		for _, m := range []string{http.MethodHead, http.MethodPost, http.MethodOptions} {
			if res := b.send(m, loc, nil); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET" {
				t.Fatalf("%s: %d", m, res.StatusCode)
			}
		}
	})
	t.Run("the log holds neither tickets nor codes nor secrets", func(t *testing.T) {
		w, b, loc := ticket(t)
		u, _ := url.Parse(loc)
		twin := w.browser()
		twin.steal(b, w.crm)
		b.get(loc)
		twin.get(loc)
		log := w.log.String()
		if !strings.Contains(log, "signed in") || !strings.Contains(log, "ticket was used before") {
			t.Fatalf("the log says too little:\n%s", log)
		}
		for _, s := range []string{u.Query().Get("ticket"), "code_1", b.cookie(w.crm, "__Host-battery_session"), b.cookie(w.public, "__Host-battery_login"), "ticket="} {
			if strings.Contains(log, s) {
				t.Fatalf("%q is in the log:\n%s", s, log)
			}
		}
	})
}

func secure(in []*http.Cookie) []*http.Cookie {
	for _, c := range in {
		c.Secure, c.Path = true, "/"
	}
	return in
}
