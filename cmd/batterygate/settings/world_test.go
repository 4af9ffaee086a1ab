package settings_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/settings"
	"battery.app/gate/policies"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

const (
	acme, globex = "org_ACME", "org_GLOBEX"
	connA, connG = "conn_A", "conn_G"
	dirA, dirG   = "directory_A", "directory_G"
	it, eng      = "directory_group_IT", "directory_group_ENG"
	all, adm     = "directory_group_ALL", "directory_group_ADM"
	ops          = "directory_group_OPS"
	itG          = "directory_group_ITG"

	public = "https://auth.example"
	page   = public + "/orgs/acme/settings"
)

// world is the page over a real store, directory, sign-in, admin policy and
// audit. WorkOS is this file.
type world struct {
	t         *testing.T
	store     *boltstore.Store
	directory *directory.Directory
	sessions  *sso.Sessions
	sso       *sso.Service
	audit     *audit.Log
	engine    *gin.Engine
	log       *buffer
	workos    *workos
	failAudit error
	unready   error // what Published says
	own       map[string]bool

	mu       sync.Mutex
	now      time.Time
	revision uint64
	moved    chan struct{}
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

// workos signs in whoever the test says, and makes the link it says.
type workos struct {
	w     *world
	as    string // e-mail
	link  string
	err   error
	asked []string
}

func (o *workos) AuthorizationURL(r workosapi.AuthorizationRequest) (string, error) {
	return "https://workos.example/authorize?" + url.Values{"state": {r.State}, "redirect_uri": {r.RedirectURI}, "organization": {r.Organization}, "login_hint": {r.LoginHint}}.Encode(), nil
}

func (o *workos) ProfileByCode(_ context.Context, code string) (workosapi.Profile, error) {
	email, org, _ := strings.Cut(code, "|")
	p := workosapi.Profile{ID: "prof_" + email, IdpID: "idp_" + email, OrganizationID: org, ConnectionID: connA, ConnectionType: "OktaSAML", Email: email}
	if org == globex {
		p.ConnectionID = connG
	}
	return p, nil
}

func (o *workos) PortalLink(_ context.Context, org, intent, back, success string) (string, error) {
	o.asked = append(o.asked, strings.Join([]string{org, intent, back, success}, " "))
	return o.link, o.err
}

// links is what sign-in asks of the directory.
type links struct{ w *world }

func (l links) Linked(context.Context, *authz.Session) error { return nil }
func (l links) MayOpen(s *authz.Session) bool                { return l.w.directory.View().MayOpen(s) }
func (l links) Ended(s *authz.Session) bool {
	_, ended := l.w.directory.View().User(s)
	return ended
}

// Begin is the audit, or its failure.
func (w *world) Begin(ctx context.Context, a audit.Act) (*audit.Pending, error) {
	if w.failAudit != nil {
		return nil, w.failAudit
	}
	return w.audit.Begin(ctx, a)
}

func (w *world) published(ctx context.Context, revision uint64) error {
	if w.unready != nil {
		return w.unready
	}
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

func newWorld(t *testing.T, tune ...func(*settings.Options)) *world {
	t.Helper()
	gin.SetMode(gin.TestMode)
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), moved: make(chan struct{}), log: &buffer{}, own: map[string]bool{}}
	w.workos = &workos{w: w, as: "ada@acme.test", link: "https://setup.workos.com?token=SECRET"}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if w.store, err = boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{}); err != nil {
		t.Fatal(err)
	}
	w.directory = directory.New(w.store, directory.Options{Log: log, Now: w.Now, Operators: "org_OPERATORS", Staleness: 15 * time.Minute, ReconcileStaleness: 3 * time.Hour})
	ring := newKeys(t)
	if w.sessions, err = sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: ring, Absolute: 24 * time.Hour, Idle: 8 * time.Hour, Published: w.published, Now: w.Now, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.follow()
	at, _ := url.Parse(public)
	if w.sso, err = sso.New(context.Background(), sso.Options{PublicURL: at, Apps: func() sso.AppView { return noApps{} }, WorkOS: w.workos,
		Directory: links{w}, Store: w.store, Keys: ring, Sessions: w.sessions, Now: w.Now, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.audit = audit.New(audit.Options{Store: w.store, Now: w.Now, Log: log})
	o := settings.Options{PublicURL: at, SignIn: w.sso, Policy: adminPolicy(t, w.Now), Directory: w.directory, Portal: w.workos, Audit: w,
		Published: w.published, PortalHosts: []string{"setup.workos.com", "127.0.0.1:4001"},
		Roles:       func(string) []string { return []string{"editor", "member", "admin"} },
		OwnProvider: func(org string) bool { return w.own[org] },
		ClientIP:    func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") }, Now: w.Now, Log: log}
	for _, f := range tune {
		f(&o)
	}
	pages, err := settings.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.engine = gin.New()
	w.sso.Mount(w.engine)
	pages.Mount(w.engine)
	w.populate()
	return w
}

type noApps struct{}

func (noApps) App(string) (*authz.App, bool)  { return nil, false }
func (noApps) ByID(string) (*authz.App, bool) { return nil, false }

func newKeys(t *testing.T) *keys.Ring {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := keys.GenerateRootKey(dir); err != nil {
		t.Fatal(err)
	}
	ring, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// adminPolicy is the one that ships.
func adminPolicy(t *testing.T, now func() time.Time) *engine.AdminPolicy {
	t.Helper()
	sub := func(name string) fs.FS {
		f, err := fs.Sub(policies.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	src, err := engine.ReadFS(sub("admin"))
	if err != nil {
		t.Fatal(err)
	}
	// The budget is wide: the machine that tests run on may be busy.
	p, err := engine.CompileAdmin(src, engine.Options{Budget: 5 * time.Second, Schemas: sub("schemas"), Now: now, IdentityPrefix: "X-Battery-",
		Settings: map[string]any{"operators_organization": "org_OPERATORS", "it_admin_roles": []any{"it-admin"}, "grantable_roles": []any{"editor", "member"}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// follow keeps the views in step with the store until the test ends.
func (w *world) follow() {
	entries, revision, err := w.store.List(context.Background(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.directory.Load(entries)
	w.sessions.Load(entries)
	w.revision = revision
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := w.store.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				w.directory.Apply(c)
				w.sessions.Apply(c)
				w.mu.Lock()
				w.revision = c.Revision
				close(w.moved)
				w.moved = make(chan struct{})
				w.mu.Unlock()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			w.t.Errorf("watch ended: %v", err)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done; _ = w.store.Close() })
}

func (w *world) must(revision uint64, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.published(context.Background(), revision); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) event(kind, id string, data map[string]any) {
	w.t.Helper()
	w.pass(time.Second)
	data["id"] = id
	raw, _ := json.Marshal(data)
	a, err := w.directory.ApplyEvent(context.Background(), directory.Event{
		ID: fmt.Sprintf("event_%d", w.Now().UnixNano()), Type: kind, CreatedAt: w.Now(), Data: raw})
	w.must(a.Revision, err)
}

func (w *world) connect(org, conn, dir, name string) {
	w.event("connection.activated", conn, map[string]any{"object": "connection", "organization_id": org, "state": "active", "name": name + " SSO", "connection_type": "OktaSAML"})
	w.event("dsync.activated", dir, map[string]any{"object": "directory", "organization_id": org, "state": "active", "name": name + " Directory", "type": "okta scim v2.0"})
}

// read applies a full read of a directory.
func (w *world) read(r directory.Reading) {
	w.t.Helper()
	w.pass(2 * time.Minute) // behind the margin of what events said
	r.Watermark, r.Started = w.Now(), w.Now()
	d, err := w.directory.ApplyReading(context.Background(), r)
	w.must(d.Revision, err)
	w.directory.NotePoll(w.Now())
	if err := w.directory.NoteReconcile(context.Background(), r.Directory.ID, w.Now(), nil); err != nil {
		w.t.Fatal(err)
	}
	_, revision, err := w.store.List(context.Background(), "none/")
	w.must(revision, err)
}

func person(email, state string) directory.RemoteUser {
	return directory.RemoteUser{ID: "directory_user_" + strings.ToUpper(strings.Map(letters, email)), IdpID: "idp_" + email, Email: email, State: state}
}

func letters(r rune) rune {
	if r == '@' || r == '.' {
		return '_'
	}
	return r
}

// acmeReading is acme's directory: ada and eve in IT, bob and others elsewhere.
func acmeReading() directory.Reading {
	ada, bob, eve := person("ada@acme.test", "active"), person("bob@acme.test", "active"), person("eve@acme.test", "inactive")
	return directory.Reading{
		Directory: directory.RemoteDirectory{ID: dirA, OrganizationID: acme, State: "linked", Type: "okta scim v2.0", Name: "Acme Directory"},
		Users:     []directory.RemoteUser{ada, bob, eve},
		Groups:    []directory.RemoteGroup{{ID: it, Name: "IT"}, {ID: eng, Name: "Engineering"}, {ID: all, Name: "Everyone"}, {ID: adm, Name: "Admins"}, {ID: ops, Name: "Operations"}},
		Edges: []directory.Edge{{UserID: ada.ID, GroupID: it}, {UserID: ada.ID, GroupID: all}, {UserID: bob.ID, GroupID: all},
			{UserID: bob.ID, GroupID: eng}, {UserID: eve.ID, GroupID: it}},
	}
}

func (w *world) populate() {
	w.t.Helper()
	w.must(w.directory.PutOrganization(context.Background(), directory.Organization{ID: acme, Slug: "acme", Name: "Acme", Domains: []string{"acme.test"}}))
	w.must(w.directory.PutOrganization(context.Background(), directory.Organization{ID: globex, Slug: "globex", Name: "Globex", Domains: []string{"globex.test"}}))
	w.connect(acme, connA, dirA, "Acme")
	w.connect(globex, connG, dirG, "Globex")
	w.read(acmeReading())
	gil := person("gil@globex.test", "active")
	w.read(directory.Reading{Directory: directory.RemoteDirectory{ID: dirG, OrganizationID: globex, State: "linked", Type: "azure scim v2.0", Name: "Globex Directory"},
		Users: []directory.RemoteUser{gil}, Groups: []directory.RemoteGroup{{ID: itG, Name: "IT"}}, Edges: []directory.Edge{{UserID: gil.ID, GroupID: itG}}})
	w.put(acme, first...)
	w.put(globex, directory.Mapping{GroupID: itG, Roles: []string{"it-admin"}})
}
