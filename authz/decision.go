package authz

import (
	"net/http"
	"time"
)

// Result is the answer in one word. The zero value denies.
type Result uint8

// The three results.
const (
	Deny Result = iota
	Challenge
	Allow
)

// String returns "deny", "challenge" or "allow".
func (r Result) String() string {
	switch r {
	case Allow:
		return "allow"
	case Challenge:
		return "challenge"
	}
	return "deny"
}

// Decision is the answer to one Request. Its result and status cannot be set
// from outside: only Checker makes a Decision, and only a Decision can become
// a 200.
type Decision struct {
	ID      string // UUIDv7
	Reasons []Reason
	Roles   []string
	Headers map[string]string // what the policy adds for the app

	App     *App     // nil if no app has the host
	Session *Session // nil if nobody is signed in
	User    *User    // nil if the directory does not know the session's user

	result Result
	status int
	bearer bool
}

// Bearer reports whether the request's Authorization header decided who asks: a
// machine, which is never sent to a login page.
func (d *Decision) Bearer() bool { return d != nil && d.bearer }

// Result is allow, challenge or deny.
func (d *Decision) Result() Result {
	if d == nil {
		return Deny
	}
	return d.result
}

// Status is the HTTP status that the door answers with (design: exactly 200 for
// allow, 302 or 401 for challenge, 400 or 403 for deny, never 5xx, because
// Envoy may be set to let 5xx through).
func (d *Decision) Status() int {
	if d == nil || d.status == 0 || (d.status == http.StatusOK && d.result != Allow) {
		return http.StatusForbidden
	}
	return d.status
}

// Code is the first reason's code, the one the answer names.
func (d *Decision) Code() string {
	if d == nil || len(d.Reasons) == 0 {
		return ""
	}
	return d.Reasons[0].Code
}

// Record is one decision as it is logged: what was asked, what was answered,
// and from which revisions, with the very input the policy saw, so that it can
// be evaluated again. Cookies, Authorization and a query the policy does not
// read are never in it. (An AuthZEN evaluation keeps what was asked in Query, as
// JSON; see package authzen.)
type Record struct {
	ID             string
	Time           time.Time
	Result         Result
	Status         int
	Reasons        []Reason
	Roles          []string
	Gateway        string
	Door           string
	Method         string
	Scheme         string
	Host           string // host[:port]
	Path           string
	Reading        string // the reading of Path that the policy did not allow, where it allowed Path itself
	ClientIP       string
	PolicyRevision string
	DataRevision   uint64
	Duration       time.Duration
	Cached         bool
	TraceID        string

	App     *App
	Session *Session
	User    *User
	Stale   bool
	Query   string            // only if the policy reads it
	Headers map[string]string // only those the policy may read
}

// OrganizationID is the app's owner, or the session's organization if no app
// was found.
func (r *Record) OrganizationID() string {
	switch {
	case r.App != nil:
		return r.App.OrganizationID
	case r.Session != nil:
		return r.Session.OrganizationID
	}
	return ""
}
