package authz

import "time"

// Probes finds the probe that a token belongs to. A probe is what an operator
// sends through a live gateway to see what becomes of requests on their way: for
// a few minutes it stands for a machine with the roles of exactly one app. It
// returns nil where the token, which "." and what the probe calls its request may
// follow, is not that of a live probe of app. It is called in the request's path
// and never waits for the network.
type Probes interface {
	Probe(now time.Time, app *App, token string) *Session
}

// probe is the rung of requests without anybody behind them that carry the token
// of a probe. The probe stands in for the missing session and for nothing else:
// the policy decides about it as about every machine, and a token that is no
// good changes nothing. Whoever is signed in, or brings a machine's credential,
// is never replaced by it.
func (c *Checker) probe(snap Snapshot, req *Request, at time.Time, d *Decision) {
	if c.Probes == nil || req.Probe == "" || d.Session != nil || d.User != nil {
		return
	}
	s := c.Probes.Probe(at, d.App, req.Probe)
	if !s.Machine() || s.OrganizationID != d.App.OrganizationID || !at.Before(s.ExpiresAt) {
		return // never a person and never another customer's, whoever implements Probes
	}
	if _, ended := snap.User(s); ended {
		return
	}
	d.Session = s
}
