package forward_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

// world is a real Checker over a few fixed facts, behind the doors.
type world struct {
	apps     map[string]*authz.App
	sessions map[string]*authz.Session
	users    map[string]*authz.User
	machines map[string]*authz.Session // by bearer token
	endpoint http.HandlerFunc
	signErr  error
	loginErr error
	location string

	mu      sync.Mutex
	records []*authz.Record
	asked   []*authz.Request
	answers []*authz.Decision
	logins  []login
	evalErr error
	before  func() // runs before the Checker is asked

	options forward.Options
	doors   *forward.Doors
	http    http.Handler
	conn    *grpc.ClientConn
}

// login is one call of Challenge.
type login struct {
	app, scheme, authority, target string
	sent                           []string
	relayed                        bool
}

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, tune ...func(*forward.Options)) *world {
	t.Helper()
	crm := &authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.test"}, AllowedRoles: []string{"editor"},
		Identity: []string{"groups", "assertion"}, Scheme: "https", Ports: []string{"8443"}}
	wiki := &authz.App{ID: "wiki.acme", OrganizationID: "org_acme", Hosts: []string{"wiki.acme.test", "[2001:db8::1]"}, AllowedRoles: []string{"member"}, Scheme: "https"}
	status := &authz.App{ID: "status.acme", OrganizationID: "org_acme", Hosts: []string{"status.acme.test"}, Public: true, Scheme: "https"}
	plain := &authz.App{ID: "plain.acme", OrganizationID: "org_acme", Hosts: []string{"plain.acme.localhost"}, AllowedRoles: []string{"member"}, Scheme: "http"}
	api := &authz.App{ID: "api.acme", OrganizationID: "org_acme", Hosts: []string{"api.acme.test"}, AllowedRoles: []string{"editor"}, Scheme: "https",
		Machines: authz.MachineAccess{Audience: "api", Issuers: []string{"https://issuer.test"}, ServiceTokens: true}}
	w := &world{
		machines: map[string]*authz.Session{
			goodJWT: {ID: "jwt_1", UserID: "ci@acme", OrganizationID: "org_acme", Kind: authz.KindJWT, Claims: map[string]any{authz.ClaimRoles: []string{"editor"}}},
			goodBGS: {ID: "st_1", UserID: "st_1", OrganizationID: "org_acme", Kind: authz.KindServiceToken, Claims: map[string]any{authz.ClaimRoles: []string{"editor"}}},
			poorJWT: {ID: "jwt_2", UserID: "poor@acme", OrganizationID: "org_acme", Kind: authz.KindJWT, Claims: map[string]any{authz.ClaimRoles: []string{}}},
		},
		apps: map[string]*authz.App{}, location: "https://auth.test/login?app=x",
		sessions: map[string]*authz.Session{
			"t-ada": {ID: "s1", UserID: "prof_ada", Email: "ada@acme.test", OrganizationID: "org_acme"},
			"t-bob": {ID: "s2", UserID: "prof_bob", Email: "bob@acme.test", OrganizationID: "org_acme"},
		},
		users: map[string]*authz.User{
			"prof_ada": {ID: "du_ada", State: "active", Roles: []string{"editor", "member"}, Groups: []authz.Group{{ID: "g1", Name: "Engineering, R&D"}, {ID: "g2", Name: "Everyone"}}},
			"prof_bob": {ID: "du_bob", State: "active", Roles: []string{"member"}, Groups: []authz.Group{{ID: "g2", Name: "Everyone"}}},
		},
		endpoint: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/landed", http.StatusSeeOther) },
	}
	for _, a := range []*authz.App{crm, wiki, status, plain, api} {
		for _, h := range a.Hosts {
			w.apps[h] = a
		}
	}
	o := forward.Options{
		Checker: w, Signer: w, Logins: w, Endpoints: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.endpoint(rw, r) }),
		Apps:    w.App,
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")},
		CookieName: func(scheme string) string {
			if scheme == "http" {
				return "battery_session"
			}
			return "__Host-battery_session"
		},
		PolicyHeaders: []string{"X-Plan"}, RequestHeaders: []string{"accept-language"},
		Now: func() time.Time { return noon }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Propagator: propagation.TraceContext{},
	}
	for _, f := range tune {
		f(&o)
	}
	w.options = o
	var err error
	if w.doors, err = forward.New(o); err != nil {
		t.Fatal(err)
	}
	w.http = w.doors.HTTP()
	return w
}

// Check hands the question to a real Checker and keeps question and answer.
func (w *world) Check(ctx context.Context, req *authz.Request) *authz.Decision {
	if w.before != nil {
		w.before()
	}
	c := &authz.Checker{Snapshots: w, Sessions: w, Machines: w, Recorder: w, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return noon }}
	d := c.Check(ctx, req)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.answers = append(w.asked, req), append(w.answers, d)
	return d
}

func (w *world) Current() authz.Snapshot { return w }
func (w *world) App(host string) (*authz.App, bool) {
	a, ok := w.apps[host]
	return a, ok
}
func (w *world) User(s *authz.Session) (*authz.User, bool) { return w.users[s.UserID], false }
func (w *world) Stale(string) bool                         { return false }
func (w *world) ReadsQuery() bool                          { return false }
func (w *world) PolicyRevision() string                    { return "p1" }
func (w *world) DataRevision() uint64                      { return 7 }

func (w *world) Evaluate(_ context.Context, in *authz.Input) (authz.Verdict, error) {
	switch {
	case w.evalErr != nil:
		return authz.Verdict{}, w.evalErr
	case in.App.Public:
		return authz.Verdict{Allow: true, Reasons: []authz.Reason{{Code: authz.CodePublic}}}, nil
	case in.Session == nil:
		return authz.Verdict{Reasons: []authz.Reason{authz.Because(authz.CodeNoSession)}}, nil
	case in.Session.Machine():
		roles, _ := in.Session.Claims[authz.ClaimRoles].([]string)
		if len(roles) > 0 {
			return authz.Verdict{Allow: true, Roles: roles, Reasons: []authz.Reason{{Code: authz.CodeRole}}}, nil
		}
		return authz.Verdict{Reasons: []authz.Reason{{Code: authz.CodeNoAllowedRole, Message: "The machine has no roles."}}}, nil
	case in.User == nil:
		return authz.Verdict{Reasons: []authz.Reason{{Code: authz.CodeUserUnknown, Message: "The directory does not know this user."}}}, nil
	case authz.Segments(in.Request.Path) != nil && authz.Segments(in.Request.Path)[0] == "admin":
		return authz.Verdict{Reasons: []authz.Reason{{Code: authz.CodeNoAllowedRole, Message: "Only for administrators."}}}, nil
	}
	for _, r := range in.User.Roles {
		if slices.Contains(in.App.AllowedRoles, r) {
			return authz.Verdict{Allow: true, Roles: in.User.Roles, Reasons: []authz.Reason{{Code: authz.CodeRole}}, Headers: map[string]string{"X-Plan": "pro"}}, nil
		}
	}
	return authz.Verdict{Reasons: []authz.Reason{{Code: authz.CodeNoAllowedRole, Message: "Your roles <b>do not</b> allow this."}}}, nil
}

func (w *world) Session(_ time.Time, _ *authz.App, _ string, tokens []string) (*authz.Session, string) {
	for _, t := range tokens {
		if t != tokens[0] {
			return nil, authz.CodeNoSession
		}
	}
	if len(tokens) == 0 || w.sessions[tokens[0]] == nil {
		return nil, authz.CodeNoSession
	}
	return w.sessions[tokens[0]], ""
}

const (
	goodJWT = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
	poorJWT = "eyJhbGciOiJFUzI1NiJ9.e30.cG9vcg=="
	goodBGS = "bgs_c2VydmljZQ"
)

func (w *world) Machine(_ context.Context, _ time.Time, _ *authz.App, bearer string) (*authz.Session, string) {
	if s := w.machines[bearer]; s != nil {
		return s, ""
	}
	return nil, authz.CodeTokenInvalid
}

func (w *world) Record(r *authz.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

func (w *world) Assertion(d *authz.Decision, host string) (string, error) {
	return "jwt." + d.Session.ID + "." + host, w.signErr
}

func (w *world) Challenge(app *authz.App, scheme, authority, target string, sent []*http.Cookie, relayed bool) (string, []*http.Cookie, error) {
	l := login{app: app.ID, scheme: scheme, authority: authority, target: target, relayed: relayed}
	for _, c := range sent {
		l.sent = append(l.sent, c.Name)
	}
	w.logins = append(w.logins, l)
	if !relayed {
		return w.location, nil, w.loginErr
	}
	return w.location, []*http.Cookie{{Name: "v1", Value: "a", Path: "/", Secure: true, HttpOnly: true}, {Name: "v0", Path: "/", MaxAge: -1}}, w.loginErr
}

func (w *world) LoginURL(app *authz.App, target string) string {
	return "https://auth.test/login?app=" + app.ID + "&rd=" + url.QueryEscape(target)
}

// one returns the only record since the last call; every question makes one.
func (w *world) one(t testing.TB) *authz.Record {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.records) != 1 {
		t.Fatalf("%d records, want exactly 1", len(w.records))
	}
	r := w.records[0]
	w.records, w.asked, w.answers = nil, nil, nil
	return r
}

// client is what a browser or program sends to the app.
type client struct {
	method, scheme, authority, uri string
	header                         http.Header
}

// get is a GET of https://authority+uri with headers "Name: value".
func get(authority, uri string, headers ...string) client {
	c := client{method: "GET", scheme: "https", authority: authority, uri: uri, header: http.Header{}}
	return c.with(headers...)
}

func (c client) with(headers ...string) client {
	h := c.header.Clone()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		h[name] = append(h[name], strings.TrimPrefix(value, " "))
	}
	c.header = h
	return c
}

const (
	ada     = "Cookie: theme=dark; __Host-battery_session=t-ada"
	bob     = "Cookie: __Host-battery_session=t-bob"
	browser = "Sec-Fetch-Mode: navigate"
	fetch   = "Sec-Fetch-Mode: cors"
)

// result is an answer in the form that all doors share.
type result struct {
	status int
	header http.Header
	body   string
	grpc   *authv3.CheckResponse
}

func (r result) get(name string) string { return r.header.Get(name) }

type ask func(t testing.TB, w *world, c client) result

// doors are the ways to ask, each as its gateway asks.
func doors() map[string]ask {
	return map[string]ask{"forward-auth": forwardAuth, "auth-request": authRequest, "ext-authz": extAuthz, "ext-authz-grpc": extAuthzGRPC}
}

func forwardAuth(_ testing.TB, w *world, c client) result {
	r := question("GET", "/authz/forward-auth", "auth.internal", c.header)
	set(r, "X-Forwarded-Method", c.method)
	set(r, "X-Forwarded-Proto", c.scheme)
	set(r, "X-Forwarded-Host", c.authority)
	set(r, "X-Forwarded-Uri", c.uri)
	return w.send(r)
}

func authRequest(_ testing.TB, w *world, c client) result {
	r := question("GET", "/authz/auth-request", "auth.internal", c.header)
	set(r, "X-Original-Url", c.scheme+"://"+c.authority+c.uri)
	set(r, "X-Original-Method", c.method)
	return w.send(r)
}

// set overwrites, as gateways do, unless the test put the header there itself.
func set(r *http.Request, name, value string) {
	if _, ok := r.Header[name]; !ok {
		r.Header[name] = []string{value}
	}
}

func extAuthz(t testing.TB, w *world, c client) result {
	r := question(c.method, "/authz/ext-authz"+c.uri, c.authority, c.header)
	if r == nil { // net/http answers by itself
		w.Record(&authz.Record{})
		return result{status: 400, header: http.Header{}}
	}
	set(r, "X-Forwarded-Proto", c.scheme)
	return w.send(r)
}

func question(method, target, host string, h http.Header) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: method, URL: u, RequestURI: target, Host: host, Header: h.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: "10.1.2.3:4567"}
}

func (w *world) send(r *http.Request) result {
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return result{status: rec.Code, header: rec.Result().Header, body: rec.Body.String()}
}

func extAuthzGRPC(t testing.TB, w *world, c client) result {
	return w.check(t, context.Background(), checkRequest(c))
}

// checkRequest is what Envoy makes of a request without encode_raw_headers.
func checkRequest(c client) *authv3.CheckRequest {
	hr := &authv3.AttributeContext_HttpRequest{Method: c.method, Scheme: c.scheme, Host: c.authority, Path: c.uri, Headers: map[string]string{
		":method": c.method, ":path": c.uri, ":authority": c.authority, ":scheme": c.scheme,
	}}
	for name, values := range c.header {
		hr.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: hr}}}
}

func (w *world) check(t testing.TB, ctx context.Context, in *authv3.CheckRequest) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(w.dial(t)).Check(ctx, in)
	if err != nil {
		t.Fatalf("a failed call may count as an allow: %v", err)
	}
	res := result{header: http.Header{}, grpc: out}
	headers := out.GetOkResponse().GetHeaders()
	res.status = 200
	if denied := out.GetDeniedResponse(); denied != nil {
		res.status, res.body, headers = int(denied.GetStatus().GetCode()), denied.GetBody(), denied.GetHeaders()
	} else if out.GetOkResponse() == nil || out.GetStatus().GetCode() != 0 {
		t.Fatalf("neither ok nor denied: %v", out)
	}
	if res.status == 200 && out.GetStatus().GetCode() != 0 || res.status != 200 && out.GetStatus().GetCode() == 0 {
		t.Fatalf("status code %d with HTTP %d", out.GetStatus().GetCode(), res.status)
	}
	for _, h := range headers {
		// As Envoy 1.40 does: of a denied response it drops what is to append,
		// and sends every one of those that are to overwrite.
		overwrite := h.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD && !h.GetAppend().GetValue()
		switch {
		case overwrite && res.status == 200:
			res.header.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
		case overwrite || res.status == 200:
			res.header.Add(h.GetHeader().GetKey(), h.GetHeader().GetValue())
		}
	}
	return res
}

func (w *world) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	if w.conn != nil {
		return w.conn
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	w.doors.Register(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.conn.Close()
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return w.conn
}

// identityHeaders are all headers that an allow must carry.
var identityHeaders = []string{"X-Battery-User-Id", "X-Battery-Org-Id", "X-Battery-User-Email", "X-Battery-Roles",
	"X-Battery-App-Id", "X-Battery-Decision-Id", "X-Battery-Groups", "X-Battery-Assertion", "X-Plan"}
