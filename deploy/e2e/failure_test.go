package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// upstream is an app of a test's own, which outlives the gate.
type upstream struct {
	Address
	hits atomic.Int64
	last atomic.Value // http.Header of the latest request, where the handler keeps it
}

func newUpstream(t *testing.T, handler http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		u.hits.Add(1)
		handler(rw, r)
	}))
	s.Config.MaxHeaderBytes = 64 << 20 // what a gateway lets pass is to be seen
	s.Start()
	t.Cleanup(s.Close)
	var err error
	if u.Address, err = ParseAddress(strings.TrimPrefix(s.URL, "http://")); err != nil {
		t.Fatal(err)
	}
	return u
}

// gateways are the fronts that are programs of their own.
func gateways(t *testing.T, test func(t *testing.T, f front)) {
	for _, f := range fronts {
		if f.tool != "" {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				test(t, f)
				count(t, f)
			})
		}
	}
}

// With nobody to ask, nothing passes: not even to a public app. When the gate is
// back, so is everybody, without signing in again.
func TestNothingPassesWhileTheGateIsDown(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		w := freshWorld(t, f, func(w *world) {
			w.replace = map[string]Address{"crm.acme": app.Address, "status.acme": app.Address}
		})
		ada := w.newPerson(t)
		if r := ada.login(t, "crm.acme", "ada@acme.test"); r.Status != http.StatusOK {
			t.Fatalf("ada at crm: status %d", r.Status)
		}
		before := app.hits.Load()

		w.gate.proc.Kill()
		for range 3 {
			for _, name := range []string{"crm.acme", "status.acme"} {
				for how, r := range map[string]reply{"fetch": ada.fetch(t, name, "/"), "click": ada.click(t, w.url(name, "/"))} {
					if r.Status < 400 {
						t.Errorf("%s of %s with the gate down: status %d", how, name, r.Status)
					}
				}
			}
		}
		if got := app.hits.Load(); got != before {
			t.Errorf("%d requests reached the app with the gate down", got-before)
		}

		w.gate.proc = nil
		if err := w.gate.startAgain(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the app answers again", func() bool { return ada.fetch(t, "crm.acme", "/").Status == http.StatusOK })
	})
}

// A stop and a start lose nothing: who is signed in, what the directory said,
// what was decided.
func TestARestartLosesNothing(t *testing.T) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			// Dev's apps are in the process that restarts; a real gateway's are not.
			app := newUpstream(t, func(rw http.ResponseWriter, r *http.Request) {
				_ = json.NewEncoder(rw).Encode(echo{Method: r.Method, Host: r.Host, Path: r.URL.Path, Headers: r.Header})
			})
			testRestart(t, freshWorld(t, f, func(w *world) {
				w.replace = map[string]Address{"crm.acme": app.Address, "wiki.acme": app.Address}
			}))
			count(t, f)
		})
	}
}

func testRestart(t *testing.T, w *world) {
	bob := w.newPerson(t)
	bob.login(t, "wiki.acme", "bob@acme.test")
	bob.open(t, w.url("crm.acme", "/"), "")
	w.deliver(t, newEvent("dsync.group.user_added", w.membership(t, "bob@acme.test", "Engineering")))
	e, ok := bob.fetch(t, "crm.acme", "/before-restart").reached()
	if !ok {
		t.Fatal("bob does not reach crm")
	}
	old := w.decision(t, e.one(t, "X-Battery-Decision-Id"))

	if err := w.gate.restart(); err != nil {
		t.Fatal(err)
	}
	var r reply
	eventually(t, "the gateway finds the gate again", func() bool {
		r = bob.fetch(t, "crm.acme", "/after-restart")
		return w.front.tool == "" || r.Status < 500 && r.Status != http.StatusForbidden
	})
	again, ok := r.reached()
	if !ok {
		t.Fatalf("after the restart: status %d, body %.300s", r.Status, r.Body)
	}
	for _, name := range []string{"User-Id", "Roles", "Groups"} {
		if was, is := e.one(t, "X-Battery-"+name), again.one(t, "X-Battery-"+name); was != is {
			t.Errorf("X-Battery-%s was %q and is %q", name, was, is)
		}
	}
	if now := w.decision(t, old.ID); now.Path != "/before-restart" || now.Result != "allow" {
		t.Errorf("the record of before the restart: %+v", now)
	}
	if r := w.newPerson(t).login(t, "wiki.acme", "ada@acme.test"); r.Status != http.StatusOK {
		t.Errorf("signing in after the restart: status %d", r.Status)
	}
}

// Signing out ends the session everywhere, at the next request.
func TestSigningOutEndsTheSessionForAllApps(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada := w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		if _, ok := ada.open(t, w.url("wiki.acme", "/"), "").reached(); !ok {
			t.Fatal("one login does not open the organization's other app")
		}
		stolen := ada.cookies(t, "crm.acme")
		origin := strings.TrimSuffix(w.url("wiki.acme", "/"), "/")
		r := ada.send(t, http.MethodPost, w.url("wiki.acme", "/.battery/logout"),
			"Origin: "+origin, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if r.Status >= 400 {
			t.Fatalf("logout: status %d, body %.300s", r.Status, r.Body)
		}
		thief := &person{w: w, hc: loopback()}
		for app, r := range map[string]reply{
			"crm.acme": ada.fetch(t, "crm.acme", "/"), "wiki.acme": ada.fetch(t, "wiki.acme", "/"),
			"crm.acme with the old cookie": thief.fetch(t, "crm.acme", "/", "Cookie: "+stolen),
		} {
			if r.Status != http.StatusUnauthorized {
				t.Errorf("%s after logout: status %d, want 401", app, r.Status)
			}
		}
	})
}

// A session cookie is good for the app it was made for, and no other.
func TestAnAppsCookieOpensNoOtherApp(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		ada := w.newPerson(t)
		ada.login(t, "crm.acme", "ada@acme.test")
		cookie := ada.cookies(t, "crm.acme")
		app := &person{w: w, hc: loopback()} // an app that keeps what it is sent
		if _, ok := app.fetch(t, "crm.acme", "/", "Cookie: "+cookie).reached(); !ok {
			t.Fatal("the cookie does not open its own app")
		}
		for _, other := range []string{"wiki.acme", "desk.globex"} {
			if r := app.fetch(t, other, "/", "Cookie: "+cookie); r.Status != http.StatusUnauthorized {
				t.Errorf("crm's cookie at %s: status %d, want 401", other, r.Status)
			}
		}
	})
}
