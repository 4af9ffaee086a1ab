package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
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
	"battery.app/gate/authz/decisionlog"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/probe"
	"battery.app/gate/policies"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
)

const (
	acme, globex = "org_acme", "org_globex"
	dirA, connA  = "directory_acme", "conn_acme"
	groupA       = "directory_group_eng"
	userA        = "directory_user_ada"
)

// frail is a store that can be told to fail for keys with a prefix.
type frail struct {
	store.Store
	mu      sync.Mutex
	failing string
	writes  int    // to go until late
	late    func() // happens before a write, once
}

var errFrail = errors.New("disk is full")

func (f *frail) fail(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = prefix
}

// before lets something happen before the n-th write from now on.
func (f *frail) before(n int, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes, f.late = n, do
}

func (f *frail) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	f.mu.Lock()
	failing, late := f.failing, f.late
	if f.writes--; f.writes != 0 {
		late = nil
	}
	f.mu.Unlock()
	if late != nil {
		late()
	}
	return f.Store.Update(ctx, func(tx store.Tx) error { return fn(frailTx{tx, failing}) })
}

type frailTx struct {
	store.Tx
	failing string
}

func (t frailTx) Put(k string, v []byte) error {
	if t.failing != "" && strings.HasPrefix(k, t.failing) {
		return errFrail
	}
	return t.Tx.Put(k, v)
}

// world is an API over real rooms and a real store.
type world struct {
	t        *testing.T
	st       *frail
	api      *api.API
	audit    *audit.Log
	policies *adminpolicy.Service
	server   *httptest.Server
	logged   *logBuffer
	operator string
	timeout  time.Duration // of an answer; 0: none

	mu       sync.Mutex
	now      time.Time
	revision uint64
	moved    *sync.Cond
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	gin.SetMode(gin.ReleaseMode)
	w := &world{t: t, logged: &logBuffer{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.moved = sync.NewCond(&w.mu)
	log := slog.New(slog.NewJSONHandler(w.logged, nil))
	st := must(boltstore.Open(filepath.Join(t.TempDir(), "b.db"), boltstore.Options{}))(t)
	t.Cleanup(func() { st.Close() })
	w.st = &frail{Store: st}
	dir := directory.New(w.st, directory.Options{Log: log, Now: w.clock, Operators: "org_operators"})
	registry := must(apps.New(w.st, apps.Options{Scheme: "https", Log: log}))(t)
	root := make([]byte, 32)
	_, _ = rand.Read(root)
	sessions := must(sso.NewSessions(sso.SessionsOptions{
		Store: w.st, Keys: must(keys.FromSecrets(root))(t), Absolute: 24 * time.Hour, Idle: 8 * time.Hour,
		Published: w.published, Now: w.clock, Log: log,
	}))(t)
	decisions := must(decisionlog.Open("sqlite:"+filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Logger: log}))(t)
	t.Cleanup(func() { decisions.Close() })
	services := &api.ServiceTokens{Store: w.st, Now: w.clock, Log: log}
	probes := &probe.Room{Store: w.st, Now: w.clock, Log: log}
	w.policies = newPolicies(t, w, log)
	w.audit = audit.New(audit.Options{Store: w.st, Now: w.clock, Log: log})
	tokens := &api.Tokens{Store: w.st, Now: w.clock, Log: log}
	w.api = &api.API{
		Tokens: tokens, Policy: w.policies, Audit: w.audit, Apps: registry, Directory: dir, Organizations: &customers{dir, w.published},
		Sessions: sessions, Decisions: decisions, ServiceTokens: services, Portal: portal{}, PublicURL: must(url.Parse("https://auth.test"))(t),
		MachineProblems: func(*authz.App) []string { return nil }, CatchUp: catchUp{}, Probes: probes, Keys: &rotator{}, AdminPolicies: w.policies,
		Published: w.published, Log: log,
	}
	w.follow(dir, registry, sessions, services, probes, w.policies)
	w.lay(dir)
	_, secret, err := tokens.Create(t.Context(), "test", []string{"operator"}, 0)
	w.operator = must(secret, err)(t)
	w.serve()
	return w
}

func (w *world) serve() {
	r := gin.New()
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusInternalServerError) }))
	w.api.Mount(r)
	w.server = httptest.NewUnstartedServer(r)
	w.server.Config.WriteTimeout = w.timeout
	w.server.Start()
	w.t.Cleanup(w.server.Close)
}

func newPolicies(t *testing.T, w *world, log *slog.Logger) *adminpolicy.Service {
	sub := func(name string) fs.FS { return must(fs.Sub(policies.FS, name))(t) }
	return must(adminpolicy.New(adminpolicy.Options{
		Store: w.st, Shipped: must(engine.ReadFS(sub("admin")))(t), Now: w.clock, Log: log,
		Engine: engine.Options{Budget: 10 * time.Second, Schemas: sub("schemas"), Log: log, Now: w.clock, Settings: map[string]any{
			"operators_organization": "org_operators", "it_admin_roles": []any{"it-admin"}, "grantable_roles": []any{"editor", "member"},
		}},
	}))(t)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

type room interface {
	Load([]store.Entry)
	Apply(store.Change)
}

// follow keeps every room in step with the store, as the program does.
func (w *world) follow(rooms ...room) {
	entries, revision, err := w.st.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rooms {
		r.Load(entries)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.st.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				for _, r := range rooms {
					r.Apply(c)
				}
				w.mu.Lock()
				w.revision = c.Revision
				w.moved.Broadcast()
				w.mu.Unlock()
			}
			return nil
		})
	}()
	w.t.Cleanup(func() { stop(); <-done })
}

func (w *world) published(_ context.Context, revision uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.revision < revision {
		w.moved.Wait()
	}
	return nil
}

// lay makes two customers; Acme has a connection, a directory, a group, a user
// who is signed in, and removals that the brake holds.
func (w *world) lay(dir *directory.Directory) {
	t := w.t
	for _, o := range []directory.Organization{{ID: acme, Slug: "acme", Name: "Acme"}, {ID: globex, Slug: "globex", Name: "Globex"}} {
		must(dir.PutOrganization(t.Context(), o))(t)
	}
	at := w.clock().Add(-time.Hour)
	object := func(id string, more string) string {
		return fmt.Sprintf(`{"id":%q,"organization_id":%q,"name":"n","created_at":%q,"updated_at":%[3]q%s}`, id, acme, at.Format(time.RFC3339), more)
	}
	for i, e := range [][2]string{
		{"connection.activated", object(connA, `,"connection_type":"OktaSAML","state":"active"`)},
		{"dsync.activated", object(dirA, `,"type":"okta scim v2.0","state":"active","external_key":"k"`)},
		{"dsync.group.created", object(groupA, `,"directory_id":"`+dirA+`","idp_id":"g"`)},
		{"dsync.user.created", object(userA, `,"directory_id":"`+dirA+`","idp_id":"ada","emails":[{"primary":true,"value":"ada@acme.test"}],"email":"ada@acme.test","state":"active"`)},
	} {
		if _, err := dir.ApplyEvent(t.Context(), directory.Event{ID: fmt.Sprint("event_", i), Type: e[0], CreatedAt: at, Data: json.RawMessage(e[1])}); err != nil {
			t.Fatal(e[0], err)
		}
	}
	ms := w.clock().UnixMilli()
	w.put("directory/hold/"+dirA, fmt.Sprintf(`{"v":1,"since":%d,"until":%d,"watermark":%d,"count":3,"users":3,"shards":0,"listed":[]}`, ms, ms+86400000, ms))
	w.signIn(1, acme, "prof_ada", "ada@acme.test")
}

func (w *world) put(key, value string) {
	w.t.Helper()
	rev, err := w.st.Update(w.t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) })
	if err == nil {
		err = w.published(w.t.Context(), rev)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// signIn writes the record of a session, as a login would.
func (w *world) signIn(n int, org, profile, email string) (id string) {
	id = fmt.Sprintf("session_%032x", n)
	now := w.clock().Format(time.RFC3339)
	w.put("sso/session/"+id, fmt.Sprintf(`{"v":1,"user_id":%q,"idp_id":%q,"email":%q,"organization_id":%q,"connection_id":%q,"kind":"sso","issued_at":%q,"last_seen":%[6]q,"expires_at":%q}`,
		profile, strings.TrimPrefix(profile, "prof_"), email, org, connA, now, w.clock().Add(10*time.Hour).Format(time.RFC3339)))
	if _, err := w.api.Sessions.Get(id); err != nil {
		w.t.Fatal(id, err)
	}
	return id
}

type answer struct {
	status int
	body   string
	header http.Header
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// ask sends a request as the holder of a token.
func (w *world) ask(token, method, path, body string) answer {
	w.t.Helper()
	req := must(http.NewRequest(method, w.server.URL+"/api/v1"+path, strings.NewReader(body)))(w.t)
	req.Header.Set("Authorization", "Bearer "+token)
	if strings.HasPrefix(body, "\x1f\x8b") {
		req.Header.Set("Content-Type", "application/gzip")
	}
	resp := must(http.DefaultClient.Do(req))(w.t)
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, b.String(), resp.Header}
}

// token makes a token with scopes, bound to an organization or none.
func (w *world) token(org string, scopes ...string) string {
	w.t.Helper()
	_, secret, err := w.api.Tokens.CreateBound(w.t.Context(), org, "t", scopes, 0)
	return must(secret, err)(w.t)
}

// entries are those of the audit after a number, oldest first.
func (w *world) entries(after uint64) (out []audit.Entry) {
	w.t.Helper()
	all, _, err := w.audit.List(w.t.Context(), audit.Query{Limit: 500})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Seq > after {
			out = append(out, all[i])
		}
	}
	return out
}

func (w *world) head() uint64 {
	w.t.Helper()
	r, err := w.audit.Verify(w.t.Context())
	if err != nil || !r.Intact {
		w.t.Fatalf("the audit is broken: %+v %v", r, err)
	}
	return r.HeadSeq
}
