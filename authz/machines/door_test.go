package machines_test

import (
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/authz/forward"
	"battery.app/gate/authz/machines"
	"battery.app/gate/policies"
)

// gate is everything between a gateway's question and its answer: the door, the
// Checker, this verifier and the shipped policy.
type gate struct {
	*world
	doors http.Handler
	apps  map[string]*authz.App

	mu       sync.Mutex
	recorded []*authz.Record
}

func (g *gate) App(host string) (*authz.App, bool)                { a, ok := g.apps[host]; return a, ok }
func (g *gate) User(*authz.Session) (*authz.User, bool)           { return nil, false }
func (g *gate) Stale(string) bool                                 { return false }
func (g *gate) RoleMappings(string) (map[string][]string, uint64) { return nil, 0 }
func (g *gate) Session(time.Time, *authz.App, string, []string) (*authz.Session, string) {
	return &authz.Session{ID: "s1", UserID: "prof_ada", OrganizationID: "org_acme", Kind: "sso"}, ""
}
func (g *gate) Assertion(*authz.Decision, string) (string, error) { return "x", nil }
func (g *gate) Challenge(*authz.App, string, string, string, []*http.Cookie, bool) (string, []*http.Cookie, error) {
	return "https://gate.test/login", nil, nil
}
func (g *gate) LoginURL(*authz.App, string) string { return "https://gate.test/login" }
func (g *gate) Record(r *authz.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recorded = append(g.recorded, r)
}

func newGate(t *testing.T, tune ...func(*machines.Options)) *gate {
	t.Helper()
	gin.SetMode(gin.ReleaseMode)
	g := &gate{world: newWorld(t, tune...)}
	serve := func(a *authz.App, host string) *authz.App {
		a.Hosts, a.Scheme, a.AllowedRoles = []string{host}, "https", []string{"editor"}
		return a
	}
	g.apps = map[string]*authz.App{"crm.acme.test": serve(g.crm, "crm.acme.test"), "desk.globex.test": serve(g.desk, "desk.globex.test")}
	sub := func(dir string) fs.FS { return must(fs.Sub(policies.FS, dir)) }
	policy := must(engine.Compile(must(engine.ReadFS(sub("authz"))), engine.Options{Schemas: sub("schemas"), Budget: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}))
	e := engine.New()
	e.Publish(policy, g, g, 1)
	d, err := forward.New(forward.Options{
		Checker: &authz.Checker{Snapshots: e, Sessions: g, Machines: g.Verifier, Recorder: g, Log: slog.New(slog.DiscardHandler), Now: g.clock.Now},
		Signer:  g, Logins: g, Endpoints: http.NotFoundHandler(), Apps: g.App, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		CookieName: func(string) string { return "__Host-battery_session" }, Now: g.clock.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.doors = d.HTTP()
	return g
}

// ask asks the forward-auth door as Traefik does.
func (g *gate) ask(host, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/authz/forward-auth", nil)
	for name, value := range map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": host, "X-Forwarded-Uri": "/v1",
		"Cookie": "__Host-battery_session=x", "Authorization": authorization} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	g.doors.ServeHTTP(w, r)
	return w
}

func TestFromTheDoorToThePolicy(t *testing.T) {
	secret, hash := machines.NewServiceToken()
	kept := &tokens{byHash: map[string]machines.Token{hash: {ID: "st_1", OrganizationID: "org_acme", Apps: []string{"crm.acme"}, Roles: []string{"editor"}, ExpiresAt: noon.Add(time.Hour)}}}
	g := newGate(t, func(o *machines.Options) { o.ServiceTokens = kept })
	good := g.token(g.good())
	for name, c := range map[string]struct {
		host, authorization string
		status              int
		code, user          string
	}{
		"a good JWT":                   {"crm.acme.test", "Bearer " + good, 200, "role", "ci@acme"},
		"a good service token":         {"crm.acme.test", "Bearer " + secret, 200, "role", "st_1"},
		"without a role":               {"crm.acme.test", "Bearer " + g.token(with(g.good(), "scope", "openid")), 403, "no_allowed_role", ""},
		"tampered":                     {"crm.acme.test", "Bearer " + flip(good), 401, "token_invalid", ""},
		"expired":                      {"crm.acme.test", "Bearer " + g.token(with(g.good(), "iat", noon.Unix()-400, "exp", noon.Unix()-100)), 401, "token_expired", ""},
		"for another app":              {"crm.acme.test", "Bearer " + g.token(with(g.good(), "aud", "https://wiki.acme.test")), 401, "token_audience", ""},
		"with a key nobody knows":      {"crm.acme.test", "Bearer " + sign(rsaKey2(), jose.RS256, "new", g.good()), 401, "token_key_unknown", ""},
		"replayed at another's app":    {"desk.globex.test", "Bearer " + good, 401, "token_invalid", ""},
		"a service token there":        {"desk.globex.test", "Bearer " + secret, 401, "token_invalid", ""},
		"basic, and a person's cookie": {"crm.acme.test", "Basic YTpi", 401, "token_invalid", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				g.recorded = nil
				w := g.ask(c.host, c.authorization)
				if w.Code != c.status || w.Header().Get("X-Battery-User-Id") != c.user {
					t.Errorf("%d as %q, want %d as %q: %s", w.Code, w.Header().Get("X-Battery-User-Id"), c.status, c.user, w.Body)
				}
				if len(g.recorded) != 1 || g.recorded[0].Reasons[0].Code != c.code {
					t.Errorf("recorded %+v", g.recorded)
				}
				if c.status == 200 && w.Header().Get("X-Battery-Roles") != "editor" {
					t.Errorf("roles %q", w.Header().Get("X-Battery-Roles"))
				}
			}
		})
	}
}
