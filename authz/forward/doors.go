package forward

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"battery.app/gate/authz"
)

// Checker answers a canonical request. It makes one record per call.
type Checker interface {
	Check(ctx context.Context, req *authz.Request) *authz.Decision
}

var _ Checker = (*authz.Checker)(nil)

// Signer makes the signed identity assertion (a JWT) for apps that ask for it.
// It is asked only for decisions that allow and have a session; host is the
// app's host without port, the token's audience. An error denies the request.
type Signer interface {
	Assertion(d *authz.Decision, host string) (string, error)
}

// Logins says where a person is sent to log in.
type Logins interface {
	// Challenge begins one attempt to log in: the absolute URL to go to, and
	// the cookies that bind the attempt to this browser, for the app's host.
	// scheme and authority are the origin asked for, target the absolute URL to
	// come back to, sent the cookies that the request carried. Where relayed is
	// false the gateway cannot pass a cookie on; then the URL leads over a page
	// of the app's host that sets it, and cookies are nil.
	Challenge(app *authz.App, scheme, authority, target string, sent []*http.Cookie, relayed bool) (location string, cookies []*http.Cookie, err error)
	// LoginURL is where a program tells its user to log in. It begins no attempt.
	LoginURL(app *authz.App, target string) string
}

// Options is what the doors need. All fields are required but those that ask for
// more (SharedSecret, ClientCertificate, BoundRoutes, CookieRewrite), Probes, Prefix,
// PolicyHeaders, RequestHeaders and Propagator.
type Options struct {
	Checker Checker
	Signer  Signer
	Logins  Logins
	// Endpoints answers /.battery/{login,session,logout} of an app's host when
	// a gateway asks a door about it instead of routing it there. It gets the
	// app's request rebuilt: method, absolute URL, Host, Cookie, Origin,
	// Referer, Sec-Fetch-*, RemoteAddr with the client's address where that is
	// known; never a body. Only 3xx and 4xx answers are passed on.
	Endpoints http.Handler
	// Apps finds the app that owns a canonical host name.
	Apps func(host string) (*authz.App, bool)

	Trusted      []netip.Prefix // addresses of gateways; also the hops that X-Forwarded-For is believed over
	SharedSecret string         // if set, gateways must send it in SecretHeader, too
	// ClientCertificate: gateways must show a certificate that the listener has
	// verified (see ClientTLS), too.
	ClientCertificate bool
	// BoundRoutes are the doors whose gateways name the app that each of their
	// routes belongs to: in RouteAppHeader, over gRPC in context_extensions["app"].
	// There a question without it is malformed, and everywhere an app named that
	// does not own the host is refused.
	BoundRoutes []string
	// CookieRewrite are the HTTP doors whose gateways put the answer's Cookie
	// header in the place of the request's, so that our cookies do not reach the
	// app. An allow then carries the client's other cookies, and no Cookie header
	// if there are none. Over gRPC this is done in any case.
	CookieRewrite []string

	CookieName     func(scheme string) string // of the session cookie, for "http" and "https"
	Prefix         string                     // of the identity headers; empty: DefaultPrefix
	PolicyHeaders  []string                   // what a policy may add to an allow; always emitted
	RequestHeaders []string                   // lower-case names of request headers that a policy may read

	Probes     Probes // nil: there are none
	Now        func() time.Time
	Log        *slog.Logger
	Propagator propagation.TextMapPropagator // reads the gateway's trace context; nil: none is read
}

// DefaultPrefix begins the names of identity headers.
const DefaultPrefix = "X-Battery-"

// SecretHeader carries the shared secret: a header of the gateway's own request
// over HTTP, a metadata entry over gRPC. Never a header of the app's request.
const SecretHeader = "X-Battery-Gateway-Secret"

// Doors answers gateways. It is safe for concurrent use and holds no state.
type Doors struct {
	opt      Options
	identity identityNames
	headers  []policyHeader
	guarded  guard
	page     *page
	cookies  [2]string         // session cookie names: http, https
	secret   [sha256.Size]byte // digest of the shared secret
	// hidden are taken from the request whether they are seen or not: Envoy can be
	// set up to show only some of its headers.
	hidden [2]string
}

// policyHeader is a request header that a policy may read, in the two spellings
// that are needed.
type policyHeader struct{ canonical, lower string }

// New checks the options and returns the doors. It starts nothing. The error
// names every fault at once.
func New(o Options) (*Doors, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	faults := missing(&o)
	trusted, err := normalPrefixes(o.Trusted)
	faults = append(faults, err, checkPrefix(o.Prefix), checkPolicyHeaders(o.Prefix, o.PolicyHeaders), checkRequestHeaders(o.RequestHeaders),
		checkDoors("BoundRoutes", o.BoundRoutes, DoorForwardAuth, DoorAuthRequest, DoorExtAuthz, DoorGRPC),
		checkDoors("CookieRewrite", o.CookieRewrite, DoorForwardAuth, DoorAuthRequest, DoorExtAuthz), checkSecret(o.SharedSecret))
	names := namesOf(o.Prefix, o.PolicyHeaders)
	if maxIdentity-names.fixed < minRoom {
		faults = append(faults, fmt.Errorf("the names of %d policy headers leave no room for what they and identity say", len(o.PolicyHeaders)))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("set up doors: %w", err)
	}
	o.Trusted = trusted

	d := &Doors{opt: o, identity: names, page: newPage(), secret: sha256.Sum256([]byte(o.SharedSecret))}
	for _, name := range o.RequestHeaders {
		d.headers = append(d.headers, policyHeader{canonical: http.CanonicalHeaderKey(name), lower: name})
	}
	d.guarded = guardOf(o.Prefix, d.identity.canonical, o.RequestHeaders)
	d.hidden = [2]string{strings.ToLower(SecretHeader), strings.ToLower(RouteAppHeader)}
	d.cookies = [2]string{o.CookieName("http"), o.CookieName("https")}
	return d, nil
}

// missing lists the required options that are not set.
func missing(o *Options) []error {
	var faults []error
	need := func(ok bool, name string) {
		if !ok {
			faults = append(faults, fmt.Errorf("option %s is missing", name))
		}
	}
	need(o.Checker != nil, "Checker")
	need(o.Signer != nil, "Signer")
	need(o.Logins != nil, "Logins")
	need(o.Endpoints != nil, "Endpoints")
	need(o.Apps != nil, "Apps")
	need(o.CookieName != nil, "CookieName")
	need(o.Now != nil, "Now")
	need(o.Log != nil, "Log")
	return faults
}

// door is one way in: what it may answer and what it refuses to see.
type door struct {
	dialect authz.Dialect
	// relayed: the gateway passes a cookie on with the answer that sends the
	// person to log in.
	relayed bool
	// envoy: the gateway takes headers away that an allow names, and knows gRPC
	// clients.
	envoy bool
	// headersOnly: the gateway relays no body of a refusal, only headers that its
	// configuration names, and takes headers from requests by name alone.
	headersOnly bool
	// mutates: an allow can change single headers of the request.
	mutates bool
	// refused are headers that have no business at this door: an app behind the
	// gateway may take its path or method from them, so that the app would see
	// another request than the one that was decided.
	refused []string
}

// Headers that override path or method in some frameworks (Symfony, Zend, IIS
// URL Rewrite; Rails, Express method-override).
const (
	headerOriginalURL = "X-Original-Url"
	headerOrigMethod  = "X-Original-Method"
	headerOriginalURI = "X-Original-Uri"
	headerRewriteURL  = "X-Rewrite-Url"
	headerOverride    = "X-Http-Method-Override"
	headerHTTPMethod  = "X-Http-Method"
	headerMethodOver  = "X-Method-Override"
)

func forwardAuthDoor() *door {
	return &door{
		dialect: authz.Dialect{Name: DoorForwardAuth}, relayed: true,
		refused: []string{headerOriginalURL, headerOrigMethod, headerOriginalURI, headerRewriteURL, headerOverride, headerHTTPMethod, headerMethodOver},
	}
}

// authRequestDoor is nginx's: it turns a redirect or a 400 into a 500, and of a
// 401 it relays neither cookies nor body.
func authRequestDoor() *door {
	return &door{
		dialect: authz.Dialect{Name: DoorAuthRequest, NoRedirect: true, No400: true}, headersOnly: true,
		refused: []string{headerOriginalURI, headerRewriteURL, headerOverride, headerHTTPMethod, headerMethodOver},
	}
}

func extAuthzDoor() *door {
	d := forwardAuthDoor()
	d.dialect.Name, d.envoy = DoorExtAuthz, true
	return d
}

func extAuthzGRPCDoor() *door {
	d := forwardAuthDoor()
	d.dialect.Name, d.envoy, d.mutates = DoorGRPC, true, true
	return d
}

// noDoor is where questions end that were sent to an address without a door.
func noDoor() *door { return &door{dialect: authz.Dialect{Name: "none", NoRedirect: true}} }
