package authz

import (
	"net/netip"
	"strings"
	"time"
)

// Dialect is what a door may answer with. The zero value is the forward-auth
// dialect: redirects for navigations, 400 for malformed questions.
type Dialect struct {
	Name       string // "forward-auth", "auth-request", "ext-authz", "ext-authz-grpc"
	NoRedirect bool   // nginx auth_request turns a redirect status into a 500
	No400      bool   // nginx auth_request turns a 400 into a 500
}

// Fault is why a request cannot be put to the policy at all.
type Fault struct {
	Code      string // a reason code: CodeMalformedRequest, CodeUntrustedPeer, …
	Message   string // what exactly, without the client's own bytes; empty: the code's sentence
	Malformed bool   // the gateway's input is malformed: 400 where the dialect has it
}

// Answered is how the door already answered one of its own endpoints below
// /.battery/ on an app host. Such a request is recorded but never allowed.
type Answered struct {
	Status int // 3xx or 4xx; anything else becomes 403
	Code   string
}

// Request is a canonical request: what the client sent to the app, read once,
// at the edge, in one way. Nothing behind the door looks at raw headers again.
type Request struct {
	Dialect Dialect
	Gateway string // who asks: the peer's address, or its name where mTLS gives one

	Method   string            // upper case, a known method
	Scheme   string            // "http" or "https"
	Host     string            // lower case, no trailing dot, no port
	Port     string            // "" for the scheme's default port
	Path     string            // as the gateway forwards it, in the form of CanonicalPath: starts with "/", no query
	Query    string            // raw, without "?"
	Headers  map[string]string // lower-case names, only those the policy may read
	ClientIP netip.Addr        // zero if unknown

	AppID      string   // the app that the gateway's route is bound to; empty: by host
	Tokens     []string // values of the session cookie, every copy that was sent
	Authorized bool     // the app takes machines, and the request has an Authorization header
	Bearer     string   // then: its bearer token; empty if it holds no such thing. Never recorded
	Probe      string   // the token of a probe, with its mark; see Probes. Never recorded
	Navigation bool     // a person looks at the answer: a redirect or a page is right
	Ambiguous  bool     // gateways and apps could read Path differently; see Readings
	Preflight  bool     // a CORS preflight: OPTIONS with Origin and Access-Control-Request-Method
	Fault      *Fault   // the request cannot be evaluated; it is refused and recorded
	Answered   *Answered

	Time    time.Time // when it was asked
	TraceID string    // W3C trace id, if the gateway sent one
}

// Authority is host[:port] as it stands in a URL.
func (r *Request) Authority() string {
	if r.Port == "" {
		return r.Host
	}
	return r.Host + ":" + r.Port
}

// Segments splits a path at its slashes: "/a/b" → ["a","b"], "/" → [].
// A trailing slash adds no segment. For paths with one reading this is what every
// app sees, because others have empty, dotted or encoded segments.
func Segments(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}
