package authz

import (
	"context"
	"time"
)

// Kinds of sessions that are machines': no login made them, and no directory
// user stands behind them.
const (
	KindJWT          = "jwt"           // a JWT of a configured issuer
	KindServiceToken = "service_token" // a service token of ours
)

// ClaimRoles is where a machine's session keeps its roles: a sorted []string in
// Session.Claims. It holds what the issuer's or the token's configuration
// grants, never what a token says by itself.
const ClaimRoles = "roles"

// MachineAccess is what of machines' credentials an app takes. The zero value
// takes none: then the app's Authorization header is its own and is never read.
type MachineAccess struct {
	Audience      string   `json:"audience,omitempty"`       // what a JWT's aud must name, to the letter
	Issuers       []string `json:"issuers,omitempty"`        // iss values whose JWTs the app takes; each must be configured and of the app's organization
	ServiceTokens bool     `json:"service_tokens,omitempty"` // the app takes service tokens of ours that name it
}

// TakesMachines reports whether the app opted into any kind of machine
// credential.
func (a *App) TakesMachines() bool {
	return a.Machines.ServiceTokens || len(a.Machines.Issuers) > 0
}

// Machine reports whether the session is a machine's.
func (s *Session) Machine() bool {
	return s != nil && (s.Kind == KindJWT || s.Kind == KindServiceToken)
}

// Machines finds who a bearer token is, for an app that takes machines. Where
// the token is no good it returns nil and why: CodeTokenInvalid,
// CodeTokenExpired, CodeTokenAudience or CodeTokenKey. It is called in the
// request's path and never waits for the network.
type Machines interface {
	Machine(ctx context.Context, now time.Time, app *App, bearer string) (*Session, string)
}

// machine is the rung of requests that bring a credential of their own. It
// reports false if the request does not, or the app takes none; then cookies
// count. Otherwise the credential alone decides who asks, so that nobody gets
// in with a cookie that the caller did not mean, and a bad one is a 401.
func (c *Checker) machine(ctx context.Context, snap Snapshot, req *Request, at time.Time, d *Decision) (refused *Reason, decided bool) {
	if (!req.Authorized && req.Bearer == "") || !d.App.TakesMachines() {
		return nil, false
	}
	d.bearer = true
	session, code := (*Session)(nil), CodeTokenInvalid
	if c.Machines != nil && req.Bearer != "" {
		session, code = c.Machines.Machine(ctx, at, d.App, req.Bearer)
	}
	if session != nil && !session.Machine() {
		session, code = nil, CodeTokenInvalid // never a person, whoever implements Machines
	}
	if session != nil {
		// The directory says whether the organization still stands. Whatever user
		// it finds is not this machine: a subject is its issuer's to choose.
		if _, ended := snap.User(session); ended {
			session, code = nil, CodeSessionRevoked
		}
	}
	if session == nil {
		if code == "" {
			code = CodeTokenInvalid
		}
		r := Because(code)
		return &r, true
	}
	d.Session = session
	return nil, true
}
