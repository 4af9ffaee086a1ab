package sso_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/workosapi"
)

// world is the whole of signing in, with a real store, the real WorkOS client,
// and a WorkOS that workos_test.go answers for.
type world struct {
	t        *testing.T
	now      clock
	store    store.Store
	ring     *keys.Ring
	keyDir   string // of ring
	sessions *sso.Sessions
	service  *sso.Service
	engine   *gin.Engine
	workos   *workos
	apps     appView
	gone     *gone
	log      *lockedBuffer
	public   string // origins
	crm      string
	wiki     string
	desk     string
	seen     *progress
	live     atomic.Pointer[sso.Sessions] // sessions, for the goroutine that follows the store

	op           *oidctest.Provider // of acme, if there is one
	others       []string           // origins of other providers
	tune         []func(*sso.Options)
	tuneSessions []func(*sso.SessionsOptions)
}

const (
	absolute = 24 * time.Hour
	idle     = 8 * time.Hour
	patience = 30 * time.Second // of who waits for an answer: tests run on busy machines
)

// newWorld is an https world, as in production; newLoopback a plain-http one,
// as in dev.
func newWorld(t *testing.T) *world    { return build(t, "https", "example", "", nil) }
func newLoopback(t *testing.T) *world { return build(t, "http", "battery.localhost", "8000", nil) }

// newOIDC is a world whose acme brings its own OpenID provider.
func newOIDC(t *testing.T, change ...func(*oidc.Config)) *world {
	t.Helper()
	return build(t, "https", "example", "", nil, func(w *world) {
		w.op = oidctest.New(w.now.Now)
		t.Cleanup(w.op.Close)
		w.tune = append(w.tune, func(o *sso.Options) { o.Providers = []*oidc.Provider{w.provider(change...)} })
	})
}

func (w *world) provider(change ...func(*oidc.Config)) *oidc.Provider {
	w.t.Helper()
	c := oidc.Config{OrganizationID: "org_acme", ID: "oidc_acme", Issuer: w.op.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret,
		Timeout: patience, Now: w.now.Now}
	for _, f := range change {
		f(&c)
	}
	p, err := oidc.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func build(t *testing.T, scheme, domain, port string, wrap func(store.Store) store.Store, tune ...func(*world)) *world {
	t.Helper()
	gin.SetMode(gin.TestMode)
	w := &world{t: t, now: newClock(), workos: newWorkOS(t), log: &lockedBuffer{},
		gone: &gone{users: map[string]bool{}}, seen: &progress{moved: make(chan struct{})}}
	var err error
	bolt, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.store = bolt
	if wrap != nil {
		w.store = wrap(bolt)
	}
	w.keyDir = keyDir(t)
	if w.ring, err = keys.Load(w.keyDir); err != nil {
		t.Fatal(err)
	}
	suffix := ""
	app := func(id, org, host string) *authz.App {
		a := &authz.App{ID: id, OrganizationID: org, Hosts: []string{host + "." + domain}, Scheme: scheme, Identity: []string{"groups", "assertion"}}
		if port != "" {
			a.Ports, suffix = []string{port}, ":"+port
		}
		return a
	}
	w.apps = appView{
		"crm.acme":    app("crm.acme", "org_acme", "crm.acme"),
		"wiki.acme":   app("wiki.acme", "org_acme", "wiki.acme"),
		"desk.globex": app("desk.globex", "org_globex", "desk.globex"),
	}
	w.public = scheme + "://auth." + domain + suffix
	w.crm, w.wiki, w.desk = scheme+"://crm.acme."+domain+suffix, scheme+"://wiki.acme."+domain+suffix, scheme+"://desk.globex."+domain+suffix
	for _, f := range tune {
		f(w)
	}
	w.start(t)
	w.follow(t, bolt)
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client, err := workosapi.New(workosapi.Options{APIKey: "sk_test", ClientID: "client_1", Endpoint: w.workos.URL, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	so := sso.SessionsOptions{Store: w.store, Keys: w.ring, Absolute: absolute, Idle: idle,
		Published: w.seen.wait, Now: w.now.Now, Log: log}
	for _, f := range w.tuneSessions {
		f(&so)
	}
	w.sessions, err = sso.NewSessions(so)
	if err != nil {
		t.Fatal(err)
	}
	w.live.Store(w.sessions)
	public, _ := url.Parse(w.public)
	o := sso.Options{
		PublicURL: public, Apps: func() sso.AppView { return w.apps }, WorkOS: client, Directory: w.gone,
		Store: w.store, Keys: w.ring, Sessions: w.sessions, WorkOSTimeout: patience, Now: w.now.Now, Log: log}
	for _, f := range w.tune {
		f(&o)
	}
	w.service, err = sso.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	w.engine = gin.New()
	w.service.Mount(w.engine)
}

// hasty has those who ask give up after a second: for tests in which somebody
// never answers. Nobody has signed in yet.
func (w *world) hasty() {
	w.t.Helper()
	w.tune = append(w.tune, func(o *sso.Options) { o.WorkOSTimeout = time.Second })
	w.start(w.t)
}

// restart makes everything anew out of what the store holds.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.start(t)
	entries, _, err := w.store.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	w.sessions.Load(entries)
}

// follow keeps the sessions in step with the store until the test ends.
func (w *world) follow(t *testing.T, st store.Store) {
	entries, revision, err := st.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	w.sessions.Load(entries)
	w.seen.to(revision)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := st.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				w.live.Load().Apply(c)
				w.seen.to(c.Revision)
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; _ = st.Close() })
}

func keyDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := keys.GenerateRootKey(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newEngine(s *sso.Service) *gin.Engine {
	e := gin.New()
	s.Mount(e)
	return e
}
