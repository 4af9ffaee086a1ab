package sso_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

const consoleOrigin = "https://gate.example"

// pass makes a pass for somebody who is signed in, and its verifier.
func pass(t *testing.T, w *world) (session *authz.Session, sealed, verifier string) {
	t.Helper()
	w.browser().visit(w.crm + "/")
	session = w.sessions.List(sso.Filter{})[0].Session
	verifier = "a verifier that stays in the browser"
	sealed, err := w.service.Pass(session, consoleOrigin, sso.Challenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return session, sealed, verifier
}

func TestAPassTellsOneOriginOnceWhoSignedIn(t *testing.T) {
	w := newWorld(t)
	session, sealed, verifier := pass(t, w)
	if strings.Contains(sealed, session.ID) {
		t.Error("the pass can be read")
	}
	refused := func(why, sealed, audience, verifier string) {
		t.Helper()
		if _, err := w.service.RedeemPass(t.Context(), sealed, audience, verifier); !errors.Is(err, sso.ErrPass) {
			t.Errorf("%s: %v", why, err)
		}
	}
	refused("another origin", sealed, "https://evil.example", verifier)
	refused("another verifier", sealed, consoleOrigin, verifier+"x")
	refused("no verifier", sealed, consoleOrigin, "")
	refused("its challenge", sealed, consoleOrigin, sso.Challenge(verifier))
	refused("a cut one", sealed[:len(sealed)-4], consoleOrigin, verifier)
	refused("nothing", "", consoleOrigin, verifier)
	got, err := w.service.RedeemPass(t.Context(), sealed, consoleOrigin, verifier)
	if err != nil || got.ID != session.ID {
		t.Fatalf("the right one, after all that: %v", err)
	}
	refused("a second time", sealed, consoleOrigin, verifier)
	w.restart(t)
	refused("after a restart", sealed, consoleOrigin, verifier)
}

// Who has no verifier has none, even if its hash is what was asked for.
func TestAPassForNoVerifierOpensNothing(t *testing.T) {
	w := newWorld(t)
	session, _, _ := pass(t, w)
	sealed, err := w.service.Pass(session, consoleOrigin, sso.Challenge(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.RedeemPass(t.Context(), sealed, consoleOrigin, ""); !errors.Is(err, sso.ErrPass) {
		t.Errorf("%v", err)
	}
}

func TestAPassIsOverWithItsHalfMinuteAndItsSession(t *testing.T) {
	for name, end := range map[string]func(w *world, s *authz.Session){
		"late":            func(w *world, _ *authz.Session) { w.now.add(30 * time.Second) },
		"session revoked": func(w *world, s *authz.Session) { _ = w.sessions.Revoke(context.Background(), s.ID) },
		"user gone":       func(w *world, s *authz.Session) { w.gone.remove(s.UserID) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			session, sealed, verifier := pass(t, w)
			end(w, session)
			if _, err := w.service.RedeemPass(t.Context(), sealed, consoleOrigin, verifier); !errors.Is(err, sso.ErrPass) {
				t.Errorf("%v", err)
			}
			if _, live := w.service.Live(session.ID); live != (name == "late") {
				t.Errorf("live: %v", live)
			}
		})
	}
}

func TestOfManyWhoRedeemAPassAtOnceOneGetsThrough(t *testing.T) {
	w := newWorld(t)
	_, sealed, verifier := pass(t, w)
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := w.service.RedeemPass(context.Background(), sealed, consoleOrigin, verifier); err == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got through", in.Load())
	}
}

func TestPassesAndTicketsAreNoneOfEachOther(t *testing.T) {
	w := newWorld(t)
	_, sealed, verifier := pass(t, w)
	b := w.browser()
	b.challenge(w.crm + "/")
	if res := b.get(w.crm + "/.battery/session?ticket=" + url.QueryEscape(sealed)); res.StatusCode < 400 {
		t.Errorf("a pass as a ticket: %d", res.StatusCode)
	}
	one := w.browser()
	u, _ := url.Parse(one.until(one.challenge(w.crm+"/deals"), w.crm+"/.battery/session"))
	for _, audience := range []string{"", consoleOrigin, w.crm} {
		if _, err := w.service.RedeemPass(t.Context(), u.Query().Get("ticket"), audience, verifier); !errors.Is(err, sso.ErrPass) {
			t.Errorf("a ticket as a pass for %q: %v", audience, err)
		}
	}
}

func TestAPassIsMadeForNobodyAndNowhere(t *testing.T) {
	w := newWorld(t)
	session, _, _ := pass(t, w)
	for name, make := range map[string]func() (string, error){
		"no session":   func() (string, error) { return w.service.Pass(nil, consoleOrigin, sso.Challenge("v")) },
		"no id":        func() (string, error) { return w.service.Pass(&authz.Session{}, consoleOrigin, sso.Challenge("v")) },
		"no origin":    func() (string, error) { return w.service.Pass(session, "", sso.Challenge("v")) },
		"no challenge": func() (string, error) { return w.service.Pass(session, consoleOrigin, "") },
		"a bad one":    func() (string, error) { return w.service.Pass(session, consoleOrigin, "v") },
	} {
		if sealed, err := make(); !errors.Is(err, sso.ErrPass) || sealed != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
