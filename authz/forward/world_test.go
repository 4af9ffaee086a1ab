package forward_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"

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
	bots := &authz.App{ID: "bots.acme", OrganizationID: "org_acme", Hosts: []string{"bots.acme.test"}, AllowedRoles: []string{"editor"}, Scheme: "https",
		Machines: authz.MachineAccess{Audience: "api", Issuers: []string{"https://other.test"}}}
	notes := &authz.App{ID: "notes.acme", OrganizationID: "org_acme", Hosts: []string{"notes.acme.test"}, AllowedRoles: []string{"editor"}, Scheme: "https",
		PathMode: authz.PathEveryReading}
	spa := &authz.App{ID: "spa.acme", OrganizationID: "org_acme", Hosts: []string{"spa.acme.test"}, AllowedRoles: []string{"editor"}, Scheme: "https",
		Identity: []string{"assertion"}, CORSPreflight: true}
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
	for _, a := range []*authz.App{crm, wiki, status, plain, api, bots, notes, spa} {
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

func (w *world) Machine(_ context.Context, _ time.Time, app *authz.App, bearer string) (*authz.Session, string) {
	if s := w.machines[bearer]; s != nil && app.ID == "api.acme" {
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
