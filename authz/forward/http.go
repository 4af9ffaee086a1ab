package forward

import (
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
)

// The addresses of the HTTP doors.
const (
	forwardAuthPath = "/authz/forward-auth"
	authRequestPath = "/authz/auth-request"
	extAuthzPath    = "/authz/ext-authz"
)

// HTTP returns the HTTP doors. It must be the authz listener's handler as it is:
// behind http.ServeMux or anything else that cleans paths, Envoy's questions
// would be redirected or changed. The server should set
// DisableGeneralOptionsHandler, since net/http answers "OPTIONS *" with 200.
func (d *Doors) HTTP() http.Handler {
	engine := d.engine()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keepFraming(w, r)
		s := &sealed{w: w}
		defer s.close()
		defer func() {
			if p := recover(); p != nil {
				d.opt.Log.ErrorContext(r.Context(), "panic while answering a gateway; denied",
					"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		}()
		engine.ServeHTTP(s, r)
	})
}

// engine routes with everything off that would answer by itself: a redirect to
// another spelling of the path, or a 405. What matches no route (an odd method,
// an odd path) is looked at again by its raw target.
func (d *Doors) engine() *gin.Engine {
	e := gin.New()
	e.RedirectTrailingSlash, e.RedirectFixedPath = false, false
	e.RemoveExtraSlash, e.HandleMethodNotAllowed = false, false
	e.ContextWithFallback = false

	forwardAuth, authRequest := d.handler(forwardAuthDoor(), d.readForwardAuth), d.handler(authRequestDoor(), d.readAuthRequest)
	extAuthz, none := d.handler(extAuthzDoor(), d.readExtAuthz), d.handler(noDoor(), readNothing)
	e.Any(forwardAuthPath, forwardAuth)
	e.Any(authRequestPath, authRequest)
	e.Any(extAuthzPath+"/*target", extAuthz)
	e.NoRoute(func(c *gin.Context) {
		target, _, _ := strings.Cut(c.Request.RequestURI, "?")
		switch {
		case target == forwardAuthPath:
			forwardAuth(c)
		case target == authRequestPath:
			authRequest(c)
		case target == extAuthzPath || strings.HasPrefix(target, extAuthzPath+"/"):
			extAuthz(c)
		default:
			none(c)
		}
	})
	return e
}

// headersToRemove names, in an allow of the HTTP ext_authz door, the request
// headers that Envoy takes away before the app (ext_authz.proto).
const headersToRemove = "X-Envoy-Auth-Headers-To-Remove"

// contract reads one door's headers.
type contract func(r *http.Request, req *authz.Request) *authz.Fault

func (d *Doors) handler(dr *door, read contract) gin.HandlerFunc {
	return func(c *gin.Context) {
		// Gin's own writer answers 200 by default; only the sealed one below it
		// is written to.
		s := c.Writer.(interface{ Unwrap() http.ResponseWriter }).Unwrap().(*sealed)
		r := c.Request
		a := d.ask(r.Context(), &question{
			door: dr, header: r.Header,
			caller:   d.callerOf(r.RemoteAddr, r.TLS, r.Header[SecretHeader]),
			contract: func(req *authz.Request) *authz.Fault { return read(r, req) },
		})
		if a.silent && s.hangUp() {
			return
		}
		d.write(s, a)
		// Gin writes a text of its own after a route it did not find, unless it
		// believes that the answer is out.
		c.Writer.WriteHeader(a.status)
		c.Writer.WriteHeaderNow()
	}
}

// readForwardAuth: Traefik ForwardAuth, Caddy forward_auth, HAProxy.
func (d *Doors) readForwardAuth(r *http.Request, req *authz.Request) *authz.Fault {
	method, ok1 := once(r.Header, "X-Forwarded-Method")
	proto, ok2 := once(r.Header, "X-Forwarded-Proto")
	host, ok3 := once(r.Header, "X-Forwarded-Host")
	uri, ok4 := once(r.Header, "X-Forwarded-Uri")
	fault := fillCanonical(req, method, proto, host, uri)
	if joined(uri, ",/") {
		fault = malformed("X-Forwarded-Uri holds two URIs.")
	}
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return malformed("X-Forwarded-Method, -Proto, -Host and -Uri must each be sent exactly once.")
	}
	return fault
}

// readAuthRequest: nginx auth_request, set up to send the URL as the client
// wrote it ("$scheme://$http_host$request_uri").
func (d *Doors) readAuthRequest(r *http.Request, req *authz.Request) *authz.Fault {
	method, ok1 := once(r.Header, headerOrigMethod)
	raw, ok2 := once(r.Header, headerOriginalURL)
	scheme, rest, _ := strings.Cut(raw, "://")
	authority, uri := rest, ""
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		authority, uri = rest[:i], rest[i:]
	}
	fault := fillCanonical(req, method, scheme, authority, uri)
	if joined(uri, ",http://") || joined(uri, ",https://") {
		fault = malformed("X-Original-URL holds two URLs.")
	}
	if !ok1 || !ok2 {
		return malformed("X-Original-Method and X-Original-URL must each be sent exactly once.")
	}
	if fault == nil && scheme != "http" && scheme != "https" {
		return malformed("X-Original-URL is no absolute http or https URL.")
	}
	return fault
}

// joined reports whether the path of a URI looks as if a proxy on the way had
// joined two headers to one (with ", " it would hold a space, which none may).
func joined(uri, seam string) bool {
	path, _, _ := strings.Cut(uri, "?")
	return strings.Contains(path, seam)
}

// readExtAuthz: Envoy's HTTP ext_authz filter, which asks with the request's own
// method, host and path behind a prefix. The path is taken from the request line
// as it came: a parsed one has lost its escapes. Envoy sends no scheme unless it
// is set up to; then it is the app's.
func (d *Doors) readExtAuthz(r *http.Request, req *authz.Request) *authz.Fault {
	uri, found := strings.CutPrefix(r.RequestURI, extAuthzPath)
	var fault *authz.Fault
	if !found {
		fault = malformed("The request's path is not below the door's own.")
		uri = ""
	}
	proto, sent := "", r.Header["X-Forwarded-Proto"]
	switch len(sent) {
	case 0:
		proto = d.schemeOf(r.Host)
	case 1:
		proto = sent[0]
	}
	if f := fillCanonical(req, r.Method, proto, r.Host, uri); fault == nil {
		fault = f
	}
	return fault
}

// schemeOf is the scheme of the app that owns an authority; https if none does.
func (d *Doors) schemeOf(authority string) string {
	host, _, ok := canonicalAuthority(authority, "https")
	if !ok {
		return "https"
	}
	if app, ok := d.opt.Apps(host); ok && app.Scheme != "" {
		return app.Scheme
	}
	return "https"
}

// readNothing: a gateway asks at an address where no door is.
func readNothing(*http.Request, *authz.Request) *authz.Fault {
	return &authz.Fault{Code: authz.CodeMalformedRequest, Message: "No door is at the address that the gateway asks."}
}

// write sends an answer. Nothing else sends one.
func (d *Doors) write(s *sealed, a answer) {
	h := s.Header()
	if a.allows() && len(a.identity) == len(d.identity.canonical) {
		for i, name := range d.identity.canonical {
			h[name] = a.identity[i : i+1 : i+1]
		}
		if a.cookie != "" {
			h["Cookie"] = []string{a.cookie}
		}
		if len(a.remove) > 0 {
			h[headersToRemove] = []string{strings.Join(a.remove, ",")}
		}
		s.decision = a.decision
		s.WriteHeader(http.StatusOK)
		return
	}
	for name, values := range a.header {
		h[name] = values
	}
	s.WriteHeader(a.status)
	_, _ = io.WriteString(s, a.body) // the gateway has gone, if this fails
	s.shut = true
}

// sealed is the only writer that answers go through. It lets a 200 out only for
// a Decision that allows, empty and without cookies, and otherwise 3xx and 4xx;
// all else, silence included, becomes an empty 403. It hides the abilities of
// the writer below, so that nothing can write around it. (authentik
// CVE-2026-25748: a handler returned without writing, and net/http said 200.)
type sealed struct {
	w        http.ResponseWriter
	decision *authz.Decision
	wrote    bool
	shut     bool // no more body may follow
}

func (s *sealed) Header() http.Header { return s.w.Header() }

func (s *sealed) WriteHeader(code int) {
	if s.wrote {
		return
	}
	s.wrote = true
	switch {
	case code == http.StatusOK && decisionAllows(s.decision):
		s.shut = true
		delete(s.w.Header(), "Set-Cookie")
	case code < 300 || code > 499:
		// Headers meant for another answer must not leave with this one; what
		// keepFraming said about the connection still holds.
		h := s.w.Header()
		connection := h["Connection"]
		clear(h)
		h["Cache-Control"] = []string{"no-store"}
		if connection != nil {
			h["Connection"] = connection
		}
		s.shut = true
		code = http.StatusForbidden
	}
	s.w.WriteHeader(code)
}

func (s *sealed) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	if s.shut {
		return len(p), nil
	}
	return s.w.Write(p)
}

// close answers for whoever did not.
func (s *sealed) close() { s.WriteHeader(http.StatusOK) }

// keepFraming gives up the connection after a question that announces a body.
// nginx forwards the client's Content-Length without the body unless it is told
// not to: net/http would wait for that body before it answers, and would then
// take the beginning of the next question for it, at a length that the client
// chose. With Connection: close it answers at once and reads nothing more; the
// deadline ends the wait for a peer that does not close.
func keepFraming(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.ProtoMajor != 1 {
		return
	}
	w.Header()["Connection"] = []string{"close"}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second)) // a test's recorder has none
}
