package probe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
	"battery.app/gate/cmd/batterygate/probe"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

type world struct {
	*probe.Room
	t   *testing.T
	st  store.Store
	now time.Time
	log bytes.Buffer
}

func newWorld(t *testing.T) *world {
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "b.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{t: t, st: st, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.Room = &probe.Room{Store: st, Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	return w
}

// follow brings the view up to what the store holds.
func (w *world) follow() {
	w.t.Helper()
	entries, _, err := w.st.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.Load(entries)
}

func crm() *authz.App {
	return &authz.App{ID: "crm.acme", OrganizationID: "org_acme", AllowedRoles: []string{"editor", "admin", "battery:operator"}}
}

func (w *world) create(ttl time.Duration) (probe.Probe, string) {
	w.t.Helper()
	p, token, _, err := w.Create(w.t.Context(), crm(), ttl)
	if err != nil {
		w.t.Fatal(err)
	}
	w.follow()
	return p, token
}

func TestAProbeIsGoodForItsAppAndItsTimeAlone(t *testing.T) {
	w := newWorld(t)
	p, token := w.create(10 * time.Minute)
	s := w.Probe(w.now, crm(), token+".mark")
	if s == nil || s.Kind != authz.KindServiceToken || s.UserID != p.ID || s.OrganizationID != "org_acme" || !s.ExpiresAt.Equal(p.ExpiresAt) || s.Email != "" {
		t.Fatalf("got %+v", s)
	}
	if roles := s.Claims[authz.ClaimRoles].([]string); !slices.Equal(roles, []string{"admin", "editor"}) {
		t.Errorf("roles %v: all of the app's, and none of Battery Gate's own", roles)
	}
	other, sold := crm(), crm()
	other.ID, sold.OrganizationID = "wiki.acme", "org_globex"
	for name, got := range map[string]*authz.Session{
		"another app":                   w.Probe(w.now, other, token),
		"an app that changed its owner": w.Probe(w.now, sold, token),
		"another token":                 w.Probe(w.now, crm(), token+"x"),
		"no token":                      w.Probe(w.now, crm(), ""),
		"the id":                        w.Probe(w.now, crm(), p.ID),
		"its end":                       w.Probe(p.ExpiresAt, crm(), token),
	} {
		if got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if app, ok := w.Live(token); !ok || app != "crm.acme" {
		t.Errorf("live: %q %v", app, ok)
	}
	if _, ok, err := w.Delete(t.Context(), p.ID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.follow()
	if _, ok := w.Live(token); ok || w.Probe(w.now, crm(), token) != nil {
		t.Error("it lives on after its end")
	}
	if _, ok := w.Get(p.ID); ok {
		t.Error("it is still shown")
	}
}

func TestTheTokenIsKeptNowhere(t *testing.T) {
	w := newWorld(t)
	_, token := w.create(time.Minute)
	entries, _, err := w.st.List(t.Context(), "")
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if raw := entries[0].Key + string(entries[0].Value) + w.log.String(); strings.Contains(raw, token[4:]) {
		t.Errorf("the token is in %s", raw)
	}
}

func TestProbesAreBounded(t *testing.T) {
	w := newWorld(t)
	for _, ttl := range []time.Duration{0, -time.Second, probe.MaxTTL + 1} {
		if _, _, _, err := w.Create(t.Context(), crm(), ttl); !errors.Is(err, probe.ErrTTL) {
			t.Errorf("ttl %s: %v", ttl, err)
		}
	}
	for range 32 {
		w.create(time.Minute)
	}
	if _, _, _, err := w.Create(t.Context(), crm(), time.Minute); !errors.Is(err, probe.ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.create(time.Minute) // those that are over do not count
	if err := w.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, _, _ := w.st.List(t.Context(), ""); len(entries) != 1 {
		t.Errorf("%d are left in the store", len(entries))
	}
}

func arrival(mark string, h http.Header) forward.Arrival {
	return forward.Arrival{Mark: mark, Peer: "10.0.0.1", Header: h, Status: 403,
		Request: &authz.Request{Dialect: authz.Dialect{Name: "forward-auth"}, Method: "GET", Scheme: "https", Host: "crm.acme.test", Path: "/a", Query: "secret=1"}}
}

func TestNoSecretThatArrivesIsShown(t *testing.T) {
	w := newWorld(t)
	p, token := w.create(time.Minute)
	const secret = "hush-hush"
	h := http.Header{"Cookie": {"battery_session=" + secret + "; theirs=" + secret}, "X-Forwarded-Host": {"crm.acme.test"}}
	for _, name := range []string{"Authorization", "Proxy-Authorization", "X-Battery-Gateway-Secret", "X-Battery-Assertion", "X-Api-Key", "X_battery_gateway_secret",
		"X-Forwarded-Client-Cert", "X-Forwarded-Access-Token", "X-Anything"} {
		h[name] = []string{secret}
	}
	w.Arrived(token, arrival("one", h))
	seen, dropped := w.Seen(p.ID)
	raw, _ := json.Marshal(seen)
	if len(seen) != 1 || dropped != 0 || strings.Contains(string(raw), secret) || strings.Contains(string(raw), "secret=1") {
		t.Fatalf("%s", raw)
	}
	for _, want := range []string{probe.Fingerprint(token, secret), `"value":"crm.acme.test"`, `"name":"theirs","length":9`, `"mark":"one"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is missing from %s", want, raw)
		}
	}
	if probe.Fingerprint("another", secret) == probe.Fingerprint(token, secret) {
		t.Error("whoever does not hold the token can try values")
	}
}

func TestWhatArrivesIsBoundedAndTheNewestStays(t *testing.T) {
	w := newWorld(t)
	p, token := w.create(time.Minute)
	for range 1500 {
		w.Arrived(token, arrival("x", nil))
	}
	w.Arrived(token, arrival("last", nil))
	seen, dropped := w.Seen(p.ID)
	if len(seen) != 1000 || dropped != 501 || seen[999].Mark != "last" || seen[999].Seq != 1500 {
		t.Fatalf("%d kept, %d dropped, last %+v", len(seen), dropped, seen[len(seen)-1])
	}
	big := http.Header{}
	for i := range 90 {
		big["X-Forwarded-"+strings.Repeat("a", i+1)] = []string{strings.Repeat("v", 8000)}
	}
	for range 400 {
		w.Arrived(token, arrival("big", big))
	}
	seen, _ = w.Seen(p.ID)
	if raw, _ := json.Marshal(seen); len(raw) > 3<<20 || len(seen) == 0 {
		t.Errorf("%d bytes of %d observations are kept", len(raw), len(seen))
	}
	w.follow()
	if again, _ := w.Seen(p.ID); len(again) != len(seen) {
		t.Error("reading the store again loses what was seen")
	}
	w.Arrived("bgp_other", arrival("other", nil))
	w.now = w.now.Add(time.Hour)
	w.Arrived(token, arrival("late", nil))
	if seen, _ := w.Seen(p.ID); seen != nil {
		t.Error("a probe that is over still shows what arrived")
	}
}

func TestTheWideMarkPadsWhatTheAppIsTold(t *testing.T) {
	w := newWorld(t)
	_, token := w.create(time.Minute)
	app := crm()
	plain := len(w.Probe(w.now, app, token+"."+probe.Wide).Email)
	app.Identity = []string{"assertion"}
	asserted := len(w.Probe(w.now, app, token+"."+probe.Wide).Email)
	if plain < 2500 || asserted < 700 || asserted >= plain {
		t.Errorf("%d bytes, %d with an assertion", plain, asserted)
	}
}
