package authz_test

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"battery.app/gate/authz"
)

// prober is a Probes that answers what a test says.
type prober struct{ session *authz.Session }

func (p prober) Probe(time.Time, *authz.App, string) *authz.Session { return p.session }

func TestAProbeNeverStandsForMoreThanItMay(t *testing.T) {
	machine := func(edit func(*authz.Session)) *authz.Session {
		s := &authz.Session{ID: "probe_1", UserID: "probe_1", OrganizationID: "org_acme", Kind: authz.KindServiceToken, ExpiresAt: now.Add(time.Minute)}
		if edit != nil {
			edit(s)
		}
		return s
	}
	allow := authz.Verdict{Allow: true, Reasons: []authz.Reason{{Code: "role"}}}
	deny := authz.Verdict{Reasons: []authz.Reason{{Code: "no_allowed_role"}}}
	for name, tc := range map[string]struct {
		probe   *authz.Session
		world   world
		edit    func(*authz.Request)
		stands  bool
		allowed bool
	}{
		"a good one":                      {probe: machine(nil), world: world{verdict: allow}, stands: true, allowed: true},
		"the policy still decides":        {probe: machine(nil), world: world{verdict: deny}, stands: true},
		"a person":                        {probe: machine(func(s *authz.Session) { s.Kind = "sso" }), world: world{verdict: deny}},
		"another organization's":          {probe: machine(func(s *authz.Session) { s.OrganizationID = "org_globex" }), world: world{verdict: deny}},
		"one that is over":                {probe: machine(func(s *authz.Session) { s.ExpiresAt = now }), world: world{verdict: deny}},
		"one without an end":              {probe: machine(func(s *authz.Session) { s.ExpiresAt = time.Time{} }), world: world{verdict: deny}},
		"an organization that is gone":    {probe: machine(nil), world: world{verdict: deny, ended: true}},
		"none":                            {world: world{verdict: deny}},
		"a request that says nothing":     {probe: machine(nil), world: world{verdict: deny}, edit: func(r *authz.Request) { r.Probe = "" }},
		"a fault stays a fault":           {probe: machine(nil), world: world{verdict: allow}, edit: func(r *authz.Request) { r.Fault = &authz.Fault{Code: authz.CodeMalformedRequest} }},
		"a path of ours stays the door's": {probe: machine(nil), world: world{verdict: allow}, edit: func(r *authz.Request) { r.Answered = &authz.Answered{Status: 403, Code: authz.CodeReservedPath} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := &machineWorld{world: &tc.world, app: authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.test"}, Scheme: "https"}}
			req := request()
			req.Time, req.Probe = now, "bgp_x"
			if tc.edit != nil {
				tc.edit(req)
			}
			c := &authz.Checker{Snapshots: w, Sessions: w, Probes: prober{tc.probe}, Recorder: w, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return now }}
			d := c.Check(t.Context(), req)
			if (d.Session != nil) != tc.stands || (d.Result() == authz.Allow) != tc.allowed {
				t.Errorf("got %v as %+v", d.Result(), d.Session)
			}
		})
	}
}
