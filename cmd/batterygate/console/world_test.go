package console_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/console"
	"battery.app/gate/policies"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

const (
	opsOrg, opsConn, opsDir = "org_OPERATORS", "conn_OPS", "directory_OPS"
	acme, connA, dirA       = "org_ACME", "conn_A", "directory_A"
	groupOp, groupAud       = "directory_group_OP", "directory_group_AUD"
	groupIT                 = "directory_group_IT"
)

// world is the console over a real store, directory, sign-in, admin policy, API
// and audit, on two listeners of loopback. WorkOS is this file.
type world struct {
	t        *testing.T
	store    *frail
	dir      *directory.Directory
	sessions *sso.Sessions
	sso      *sso.Service
	tokens   *api.Tokens
	audit    *audit.Log
	api      *api.API
	log      *buffer
	as       string // who WorkOS signs in

	admin, public, idp string // origins
	operator           string // a token's secret

	mu       sync.Mutex
	now      time.Time
	revision uint64
	moved    chan struct{}
	n        int
}

// frail is a store that can be told to fail for keys with a prefix.
type frail struct {
	store.Store
	mu      sync.Mutex
	failing string
}

func (f *frail) fail(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = prefix
}

func (f *frail) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	f.mu.Lock()
	failing := f.failing
	f.mu.Unlock()
	return f.Store.Update(ctx, func(tx store.Tx) error { return fn(frailTx{tx, failing}) })
}

type frailTx struct {
	store.Tx
	failing string
}

func (t frailTx) Put(k string, v []byte) error {
	if t.failing != "" && strings.HasPrefix(k, t.failing) {
		return errors.New("disk is full")
	}
	return t.Tx.Put(k, v)
}

type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// AuthorizationURL and ProfileByCode are WorkOS.
func (w *world) AuthorizationURL(r workosapi.AuthorizationRequest) (string, error) {
	return w.idp + "/authorize?" + url.Values{"state": {r.State}, "redirect_uri": {r.RedirectURI}, "organization": {r.Organization}}.Encode(), nil
}

func (w *world) ProfileByCode(_ context.Context, code string) (workosapi.Profile, error) {
	email, org, _ := strings.Cut(code, "|")
	p := workosapi.Profile{ID: profile(email), IdpID: "idp_" + email, OrganizationID: org, ConnectionID: opsConn, ConnectionType: "OktaSAML", Email: email}
	if org == acme {
		p.ConnectionID = connA
	}
	return p, nil
}

type links struct{ w *world }

func (l links) Linked(ctx context.Context, s *authz.Session) error {
	user, ok := l.w.dir.View().ResolveLink(s)
	if !ok {
		return nil
	}
	_, err := l.w.dir.PinLink(ctx, s.OrganizationID, s.UserID, user)
	return err
}
func (l links) MayOpen(s *authz.Session) bool { return l.w.dir.View().MayOpen(s) }
func (l links) Ended(s *authz.Session) bool {
	_, ended := l.w.dir.View().User(s)
	return ended
}

type noApps struct{}

func (noApps) App(string) (*authz.App, bool)  { return nil, false }
func (noApps) ByID(string) (*authz.App, bool) { return nil, false }

// listen binds a port and serves what is set later.
func (w *world) listen() (origin string, set func(http.Handler)) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(w.t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = s.Listener.Close()
	s.Listener = l
	return "http://" + l.Addr().String(), func(h http.Handler) {
		s.Config.Handler = h
		s.Start()
		w.t.Cleanup(s.Close)
	}
}

func newWorld(t *testing.T, tune ...func(*console.Options)) *world {
	t.Helper()
	gin.SetMode(gin.ReleaseMode)
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), moved: make(chan struct{}), log: &buffer{}, as: "olga@ops.test"}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	st := must(boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{}))(t)
	w.store = &frail{Store: st}
	t.Cleanup(func() { _ = st.Close() })
	root := make([]byte, 32)
	_, _ = rand.Read(root)
	ring := must(keys.FromSecrets(root))(t)
	w.dir = directory.New(w.store, directory.Options{Log: log, Now: w.Now, Operators: opsOrg})
	w.sessions = must(sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: ring, Absolute: 24 * time.Hour, Idle: 8 * time.Hour, Published: w.published, Now: w.Now, Log: log}))(t)
	w.follow()
	var setAdmin, setPublic, setIDP func(http.Handler)
	w.admin, setAdmin = w.listen()
	w.public, setPublic = w.listen()
	w.public = strings.Replace(w.public, "127.0.0.1", "localhost", 1) // another site than the console, as it should be
	w.idp, setIDP = w.listen()
	at := must(url.Parse(w.public))(t)
	w.sso = must(sso.New(context.Background(), sso.Options{PublicURL: at, Apps: func() sso.AppView { return noApps{} }, WorkOS: w,
		Directory: links{w}, Store: w.store, Keys: ring, Sessions: w.sessions, Now: w.Now, Log: log}))(t)
	w.audit = audit.New(audit.Options{Store: w.store, Now: w.Now, Log: log})
	w.tokens = &api.Tokens{Store: w.store, Now: w.Now, Log: log}
	w.api = &api.API{Tokens: w.tokens, Policy: adminPolicy(t, w.Now), Audit: w.audit, Apps: must(apps.New(w.store, apps.Options{Scheme: "https", Log: log}))(t),
		Directory: w.dir, Sessions: w.sessions, Published: w.published, Log: log}
	o := console.Options{URL: must(url.Parse(w.admin))(t), API: w.api, Tokens: w.tokens, Server: func(context.Context) console.Server {
		return console.Server{Version: "1.2.3", PolicyRevision: "p1", AdminPolicy: "a1", DataRevision: 7}
	}, Audit: w.audit, Operators: opsOrg, PublicURL: at, SignIn: w.sso, Directory: func() *directory.View { return w.dir.View() }, Now: w.Now, Log: log}
	for _, f := range tune {
		f(&o)
	}
	pages := must(console.New(o))(t)
	front, back := gin.New(), gin.New()
	w.sso.Mount(front)
	pages.MountPublic(front)
	back.Use(api.HostCheck(nil))
	w.api.Mount(back)
	pages.Mount(back)
	setPublic(front)
	setAdmin(back)
	setIDP(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		http.Redirect(rw, r, q.Get("redirect_uri")+"?"+url.Values{"state": {q.Get("state")}, "code": {w.as + "|" + q.Get("organization")}}.Encode(), http.StatusFound)
	}))
	w.populate()
	w.operator = w.token("operator's", "operator")
	return w
}

// token makes a token and returns its secret.
func (w *world) token(name string, scopes ...string) string {
	w.t.Helper()
	_, secret, err := w.tokens.Create(context.Background(), name, scopes, 0)
	return must(secret, err)(w.t)
}

// adminPolicy is the one that ships.
func adminPolicy(t *testing.T, now func() time.Time) *engine.AdminPolicy {
	t.Helper()
	sub := func(name string) fs.FS { return must(fs.Sub(policies.FS, name))(t) }
	return must(engine.CompileAdmin(must(engine.ReadFS(sub("admin")))(t), engine.Options{Budget: 5 * time.Second, Schemas: sub("schemas"), Now: now, IdentityPrefix: "X-Battery-",
		Settings: map[string]any{"operators_organization": opsOrg, "it_admin_roles": []any{"it-admin"}, "grantable_roles": []any{"editor"}}}))(t)
}

// follow keeps the views in step with the store until the test ends.
func (w *world) follow() {
	entries, revision, err := w.store.List(context.Background(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.dir.Load(entries)
	w.sessions.Load(entries)
	w.revision = revision
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.store.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				w.dir.Apply(c)
				w.sessions.Apply(c)
				w.mu.Lock()
				w.revision = c.Revision
				close(w.moved)
				w.moved = make(chan struct{})
				w.mu.Unlock()
			}
			return nil
		})
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *world) published(ctx context.Context, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		w.mu.Lock()
		done, moved := w.revision >= revision, w.moved
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *world) settled(revision uint64, err error) {
	w.t.Helper()
	if err == nil {
		err = w.published(context.Background(), revision)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// acts are the audit's entries, newest first.
func (w *world) acts() []audit.Entry {
	w.t.Helper()
	all, _, err := w.audit.List(context.Background(), audit.Query{Limit: 500})
	return must(all, err)(w.t)
}

func read(t testing.TB, r io.Reader) string {
	t.Helper()
	return string(must(io.ReadAll(r))(t))
}
