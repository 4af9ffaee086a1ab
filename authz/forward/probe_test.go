package forward_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// probes knows one probe: bgp_good, of crm.acme.
type probes struct {
	seen []forward.Arrival
}

func (p *probes) Live(token string) (string, bool) { return "crm.acme", token == "bgp_good" }
func (p *probes) Arrived(token string, a forward.Arrival) {
	if token != "bgp_good" {
		panic("not a live token: " + token)
	}
	p.seen = append(p.seen, a)
}

func (p *probes) Probe(_ time.Time, app *authz.App, token string) *authz.Session {
	token, _, _ = strings.Cut(token, ".")
	if token != "bgp_good" || app.ID != "crm.acme" {
		return nil
	}
	return &authz.Session{ID: "probe_1", UserID: "probe_1", OrganizationID: "org_acme", Kind: authz.KindServiceToken, ExpiresAt: noon.Add(time.Minute),
		Claims: map[string]any{authz.ClaimRoles: []string{"editor"}}}
}

func probed(t *testing.T) (*world, *probes) {
	p := &probes{}
	w := newWorld(t, func(o *forward.Options) {
		w := o.Checker.(*world)
		o.Probes = p
		o.Checker = &authz.Checker{Snapshots: w, Sessions: w, Machines: w, Probes: p, Recorder: w,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return noon }}
	})
	return w, p
}

const good = "Cookie: battery_probe=bgp_good.one"

func TestAProbeStandsForAMachineOfItsAppAndChangesNothingElse(t *testing.T) {
	person := "Cookie: battery_probe=bgp_good; __Host-battery_session=t-ada"
	for name, tc := range map[string]struct {
		sent, without client
		user          string // that the app is told of; empty: the answer is that of without
		arrived       int
	}{
		"at its app":              {get("crm.acme.test", "/", good), client{}, "probe_1", 1},
		"without a mark":          {get("crm.acme.test", "/", "Cookie: battery_probe=bgp_good"), client{}, "probe_1", 1},
		"at another app":          {get("wiki.acme.test", "/", good), get("wiki.acme.test", "/"), "", 1},
		"a token that is none":    {get("crm.acme.test", "/", "Cookie: battery_probe=bgp_bad"), get("crm.acme.test", "/"), "", 0},
		"two tokens":              {get("crm.acme.test", "/", "Cookie: battery_probe=bgp_good; battery_probe=bgp_good"), get("crm.acme.test", "/"), "", 0},
		"a token too long":        {get("crm.acme.test", "/", good+strings.Repeat("x", 200)), get("crm.acme.test", "/"), "", 0},
		"from a browser":          {get("crm.acme.test", "/", good, "Sec-Fetch-Site: cross-site"), get("crm.acme.test", "/", "Sec-Fetch-Site: cross-site"), "", 0},
		"beside a person":         {get("crm.acme.test", "/", person), client{}, "prof_ada", 1},
		"beside a bad session":    {get("crm.acme.test", "/", good+"; __Host-battery_session=x"), client{}, "probe_1", 1},
		"beside a machine":        {get("api.acme.test", "/", good, "Authorization: Bearer nonsense"), get("api.acme.test", "/", "Authorization: Bearer nonsense"), "", 1},
		"an ambiguous path":       {get("crm.acme.test", "/a%2fb", good), get("crm.acme.test", "/a%2fb"), "", 1},
		"a reserved path":         {get("crm.acme.test", "/.battery/userinfo", good), get("crm.acme.test", "/.battery/userinfo"), "", 1},
		"a host that is nobody's": {get("evil.test", "/", good), get("evil.test", "/"), "", 1},
		"an alias":                {get("crm.acme.test", "/", good, "X_battery_user_id: evil"), get("crm.acme.test", "/", "X_battery_user_id: evil"), "", 1},
	} {
		for door, ask := range doors() {
			t.Run(name+"/"+door, func(t *testing.T) {
				w, p := probed(t)
				got := ask(t, w, tc.sent)
				rec, _ := json.Marshal(w.one(t))
				if strings.Contains(string(rec), "bgp_") || strings.Contains(fmt.Sprint(got.header, got.body), "bgp_") {
					t.Errorf("the token is in the record or the answer: %s %v", rec, got)
				}
				if len(p.seen) != tc.arrived {
					t.Errorf("%d arrivals, want %d", len(p.seen), tc.arrived)
				}
				if tc.arrived == 1 && (p.seen[0].Status != got.status || p.seen[0].Decision == nil || p.seen[0].Peer == "") {
					t.Errorf("arrival says %+v", p.seen[0])
				}
				if tc.user != "" {
					if got.status != 200 || got.get("X-Battery-User-Id") != tc.user {
						t.Errorf("got %d for %q, want %s", got.status, got.get("X-Battery-User-Id"), tc.user)
					}
					return
				}
				if want := ask(t, w, tc.without); got.status != want.status || got.status == 200 {
					t.Errorf("got %d, without a probe %d", got.status, want.status)
				}
			})
		}
	}
}

func TestNothingOfAnUntrustedPeerIsToldToAProbe(t *testing.T) {
	p := &probes{}
	w := newWorld(t, func(o *forward.Options) {
		o.Probes, o.Trusted = p, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	if got := forwardAuth(t, w, get("crm.acme.test", "/", good)); got.status != 403 || len(p.seen) != 0 {
		t.Errorf("got %d, %d arrivals", got.status, len(p.seen))
	}
}

func TestADoorIsSilentForAProbeThatAsksForItAndRecordsADenial(t *testing.T) {
	silence := "Cookie: battery_probe=bgp_good." + forward.ProbeSilence
	w, p := probed(t)
	server := httptest.NewServer(w.http)
	defer server.Close()
	send := func(host string) (int, error) {
		r := question("GET", "/authz/forward-auth", "auth", get(host, "/", silence).header)
		r.URL.Scheme, r.URL.Host, r.RequestURI = "http", server.Listener.Addr().String(), ""
		set(r, "X-Forwarded-Method", "GET")
		set(r, "X-Forwarded-Proto", "https")
		set(r, "X-Forwarded-Host", host)
		set(r, "X-Forwarded-Uri", "/")
		res, err := server.Client().Transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		res.Body.Close()
		return res.StatusCode, nil
	}
	if code, err := send("crm.acme.test"); err == nil {
		t.Errorf("the door answered %d", code)
	}
	if r := w.one(t); r.Result != authz.Deny || r.Status != 403 {
		t.Errorf("recorded as %v %d", r.Result, r.Status)
	}
	// Not at an app that is not its own, and not for whoever has no probe.
	if code, err := send("wiki.acme.test"); err != nil || code == 200 {
		t.Errorf("another app's door: %d %v", code, err)
	}
	w.one(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(w.dial(t)).Check(ctx, checkRequest(get("crm.acme.test", "/", silence)))
	if status.Code(err) != codes.Unavailable || out != nil {
		t.Errorf("over gRPC: %v %v", out, err)
	}
	if r := w.one(t); r.Result != authz.Deny {
		t.Errorf("over gRPC recorded as %v", r.Result)
	}
	if len(p.seen) != 3 {
		t.Errorf("%d arrivals", len(p.seen))
	}
	if got := forwardAuth(t, w, get("crm.acme.test", "/", "Cookie: battery_probe=bgp_bad."+forward.ProbeSilence)); got.status == 200 || got.status == 0 {
		t.Errorf("a token that is none: %d", got.status)
	}
}
