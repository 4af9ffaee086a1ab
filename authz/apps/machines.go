package apps

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"

	"battery.app/gate/authz"
)

// Limits of what an app says about machines.
const (
	maxIssuers  = 16
	maxAudience = 512  // bytes
	maxIssuer   = 1024 // bytes
)

// maxAgeLimit is the longest max_age_seconds: 30 days.
const maxAgeLimit = 30 * 24 * 60 * 60

// checkMachines checks which machines' credentials an app takes. Half an answer
// is a fault: an audience that no issuer uses protects nothing, and issuers
// without an audience would take tokens made for other apps.
func checkMachines(e *ValidationError, in authz.MachineAccess) authz.MachineAccess {
	out := in
	out.Issuers = nil
	if len(in.Issuers) > 0 {
		out.Issuers = sortedSet(in.Issuers)
	}
	switch {
	case len(in.Issuers) > maxIssuers:
		e.add("machines.issuers", "at most %d issuers", maxIssuers)
		return authz.MachineAccess{}
	case len(in.Issuers) > 0 && in.Audience == "":
		e.add("machines.audience", "name the audience that tokens for this app must have")
	case len(in.Issuers) == 0 && in.Audience != "":
		e.add("machines.issuers", "an audience is given, but no issuer")
	}
	if len(in.Audience) > maxAudience || !visibleASCII(in.Audience) {
		e.add("machines.audience", "is at most %d bytes of visible ASCII", maxAudience)
	}
	for i, iss := range in.Issuers {
		if !validIssuer(iss) {
			e.add(fmt.Sprintf("machines.issuers[%d]", i), "must be the issuer's URL to the letter: https, or http on loopback")
		}
	}
	return out
}

// validIssuer reports whether s can be a configured issuer's URL.
func validIssuer(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxIssuer || !visibleASCII(s) || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	if u.Scheme == "http" {
		a, err := netip.ParseAddr(u.Hostname())
		return u.Hostname() == "localhost" || err == nil && a.IsLoopback()
	}
	return u.Scheme == "https"
}

func visibleASCII(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c > '~' })
}
