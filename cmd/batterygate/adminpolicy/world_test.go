package adminpolicy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/policies"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

// Who acts in these tests.
var (
	operator   = engine.Actor{Kind: "token", ID: "token_op", Scopes: []string{"operator"}, Roles: []string{}}
	person     = engine.Actor{Kind: "session", ID: "session_1", OrganizationID: "org_operators", Roles: []string{"battery:operator"}}
	auditor    = engine.Actor{Kind: "session", ID: "session_2", OrganizationID: "org_operators", Roles: []string{"battery:auditor"}}
	breakGlass = engine.Actor{Kind: adminpolicy.KindBreakGlass, ID: "token_glass"}
)

func sub(t testing.TB, dir string) fs.FS {
	t.Helper()
	out, err := fs.Sub(policies.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func shipped(t testing.TB) engine.Source {
	t.Helper()
	src, err := engine.ReadFS(sub(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// clock can be set by a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Second)
	return c.at
}

// world is a store on disk that can be closed and opened again.
type world struct {
	t     testing.TB
	path  string
	store *boltstore.Store
	clock *clock
	log   *lines
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "battery.db"), clock: &clock{at: noon}, log: &lines{}}
	w.open()
	t.Cleanup(func() { _ = w.store.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	s, err := boltstore.Open(w.path, boltstore.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
}

// restart closes the store and opens it again.
func (w *world) restart() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

func (w *world) options() adminpolicy.Options {
	return adminpolicy.Options{
		Store: w.store, Shipped: shipped(w.t), Now: w.clock.now, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Engine: engine.Options{
			Budget: 100 * time.Millisecond, Schemas: sub(w.t, "schemas"), Log: slog.New(slog.DiscardHandler), Now: w.clock.now,
			Settings: map[string]any{"operators_organization": "org_operators"},
		},
	}
}

// service is one replica: a service that follows the store.
type service struct {
	*adminpolicy.Service
	t testing.TB

	mu   sync.Mutex
	seen uint64
}

func (w *world) service(o adminpolicy.Options) *service {
	w.t.Helper()
	s, err := adminpolicy.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	out := &service{Service: s, t: w.t}
	entries, revision, err := w.store.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	s.Load(entries)
	out.seen = revision
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	st := w.store
	done.Go(func() {
		_ = st.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				s.Apply(c)
				out.mu.Lock()
				out.seen = c.Revision
				out.mu.Unlock()
			}
			return nil
		})
	})
	w.t.Cleanup(func() { stop(); done.Wait() })
	return out
}

// wait returns when the service has seen a revision of the store.
func (s *service) wait(revision uint64) {
	s.t.Helper()
	for range 1000 {
		s.mu.Lock()
		seen := s.seen
		s.mu.Unlock()
		if seen >= revision {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.t.Fatalf("revision %d was never seen", revision)
}

func (s *service) push(author engine.Actor, text string) adminpolicy.Version {
	s.t.Helper()
	v, err := s.Push(s.t.Context(), author, bundle(s.t, "decision.rego", text))
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *service) activate(author engine.Actor, revision string) {
	s.t.Helper()
	v, at, err := s.Activate(s.t.Context(), author, revision)
	if err != nil {
		s.t.Fatal(err)
	}
	if v.Revision != revision || v.Status != adminpolicy.StatusActive {
		s.t.Fatalf("activated %+v", v)
	}
	s.wait(at)
}

func (s *service) rollback(author engine.Actor) adminpolicy.Version {
	s.t.Helper()
	v, at, err := s.Rollback(s.t.Context(), author)
	if err != nil {
		s.t.Fatal(err)
	}
	s.wait(at)
	return v
}

func (s *service) may(actor engine.Actor, action string) bool {
	v, err := s.Decide(context.Background(), engine.AdminInput{Actor: actor, Action: action})
	return err == nil && v.Allow
}

func (s *service) inForce() string {
	s.t.Helper()
	revision, err := s.InForce()
	if err != nil {
		s.t.Fatal(err)
	}
	return revision
}

func (s *service) statuses() string {
	s.t.Helper()
	all, err := s.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Revision[:4]+" "+v.Status)
	}
	return strings.Join(out, ", ")
}

// lines is a log that a test can look into.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bundle is a gzipped tar of name, text pairs.
func bundle(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for i := 0; i < len(pairs); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: pairs[i], Typeflag: tar.TypeReg, Size: int64(len(pairs[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// everything is a policy under which tokens with the scope operator and
// operators do everything, and which says its name so that two of them differ.
func everything(name string) string {
	return "package battery.admin\n\n# " + name + `
default decision := {"allow": false}

decision := {"allow": true} if "operator" in input.actor.scopes

decision := {"allow": true} if "battery:operator" in input.actor.roles
`
}

// withNotes is everything and lets nobody's tokens list apps.
func withNotes(name string) string {
	return everything(name) + "\ndecision := {\"allow\": true} if input.action == \"notes." + name + "\"\n"
}
