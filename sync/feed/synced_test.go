package feed_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
	"battery.app/gate/sync/workosapi"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

const apiKey = "sk_test_key"

// TestMain runs more tests at once than there are processors: those that are
// parallel wait for the stand-in's rate limit most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		_ = flag.Set("test.parallel", "16")
	}
	os.Exit(m.Run())
}

// call is one request that WorkOS got.
type call struct {
	method, path string
	query        map[string][]string
	at           time.Time
}

// synced is a stand-in WorkOS, a directory over a real store that holds the same
// world, and a CatchUp between them.
type synced struct {
	t      *testing.T
	workos *standin.Server
	url    string
	st     store.Store
	d      *directory.Directory
	c      *feed.CatchUp
	reader *sdkmetric.ManualReader
	logs   *safeBuffer

	mu        sync.Mutex
	calls     []call
	intercept func(w http.ResponseWriter, r *http.Request) (handled bool)
	published uint64
	changed   chan struct{}
}

// setup changes what a test starts from.
type setup struct {
	standin.Options
	feed      feed.CatchUpOptions
	empty     bool                          // the directory does not know the world yet
	wrap      func(store.Store) store.Store // what the directory writes to
	rate      float64                       // of directory users; 0: not paced
	dirNow    func() time.Time
	timeout   time.Duration // of a call with all its attempts
	noReconc  bool          // every list above the users is refused
	staleness time.Duration
}

func start(t *testing.T, more ...func(*setup)) *synced {
	t.Helper()
	set := setup{Options: standin.Options{APIKey: apiKey, ClientID: "client_1", World: standin.DefaultWorld()}, rate: -1, timeout: 2 * time.Second}
	set.feed = feed.CatchUpOptions{
		PollEvery: 30 * time.Millisecond, WakeAfter: []time.Duration{}, DirtyEvery: 20 * time.Millisecond,
		FirstBackoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	}
	for _, f := range more {
		f(&set)
	}
	s := &synced{t: t, reader: sdkmetric.NewManualReader(), logs: &safeBuffer{}, changed: make(chan struct{})}
	var err error
	if s.workos, err = standin.New(set.Options); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.front(s.workos.Handler()))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	if set.noReconc {
		s.hinder(refuseLists)
	}
	if s.st, err = boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.st.Close() })
	writes := s.st
	if set.wrap != nil {
		writes = set.wrap(s.st)
	}
	log := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var laying atomic.Bool
	if set.dirNow == nil {
		set.dirNow = func() time.Time { // the world was known yesterday
			if laying.Load() {
				return time.Now().Add(-24 * time.Hour)
			}
			return time.Now()
		}
	}
	s.d = directory.New(writes, directory.Options{Now: set.dirNow, Log: log, Staleness: set.staleness})
	s.follow()
	if !set.empty {
		laying.Store(true)
		s.lay()
		laying.Store(false)
	}
	client, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "client_1", Endpoint: srv.URL, DirectoryUsersRate: set.rate,
		HTTPClient: &http.Client{Timeout: set.timeout}})
	if err != nil {
		t.Fatal(err)
	}
	o := set.feed
	o.WorkOS, o.Directory, o.Published, o.Log = client, s.d, s.wait, log
	o.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader)).Meter("test")
	if s.c, err = feed.NewCatchUp(o); err != nil {
		t.Fatal(err)
	}
	return s
}

// lay tells the directory the world as the stand-in's events do.
func (s *synced) lay() {
	s.t.Helper()
	var last uint64
	for _, e := range s.workos.World().Events() {
		last = s.apply(e)
	}
	for _, o := range s.workos.World().Organizations {
		rev, err := s.d.PutOrganization(context.Background(), directory.Organization{ID: o.ID, Slug: o.Slug, Name: o.Name})
		if err != nil {
			s.t.Fatal(err)
		}
		last = rev
	}
	if err := s.wait(context.Background(), last); err != nil {
		s.t.Fatal(err)
	}
}

// apply is what a webhook does with an event.
func (s *synced) apply(e standin.Event) uint64 {
	s.t.Helper()
	body, err := e.Body()
	if err != nil {
		s.t.Fatal(err)
	}
	ev, err := directory.ParseEvent(body)
	if err != nil {
		s.t.Fatal(err)
	}
	done, err := s.d.ApplyEvent(context.Background(), ev)
	if err != nil {
		s.t.Fatalf("%s: %v", e.Name, err)
	}
	return done.Revision
}

// follow keeps the View after the store.
func (s *synced) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	entries, rev, err := s.st.List(ctx, directory.Prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	s.d.Load(entries)
	go func() {
		defer close(done)
		_ = s.st.Watch(ctx, directory.Prefix, rev, func(changes []store.Change) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, ch := range changes {
				s.d.Apply(ch)
				s.published = ch.Revision
			}
			close(s.changed)
			s.changed = make(chan struct{})
			return nil
		})
	}()
	s.t.Cleanup(func() { cancel(); <-done })
}

func (s *synced) wait(ctx context.Context, revision uint64) error {
	for {
		s.mu.Lock()
		seen, changed := s.published >= revision, s.changed
		s.mu.Unlock()
		if seen {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run runs the CatchUp until the test ends.
func (s *synced) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.c.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err == nil {
					s.t.Error("Run ended without an error")
				}
			case <-time.After(10 * time.Second):
				s.t.Error("Run does not end")
			}
		})
	}
	s.t.Cleanup(stop)
	return stop
}

// front notes every call and lets the test interfere.
func (s *synced) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if !strings.HasPrefix(r.URL.Path, "/_dev/") {
			s.calls = append(s.calls, call{r.Method, r.URL.Path, r.URL.Query(), time.Now()})
		}
		f := s.intercept
		s.mu.Unlock()
		if f != nil && !strings.HasPrefix(r.URL.Path, "/_dev/") && f(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *synced) hinder(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// refuseLists lets nothing be reconciled.
func refuseLists(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/events" || (r.URL.Path == "/organizations" && r.URL.Query().Get("limit") == "1") {
		return false
	}
	fail(w, http.StatusInternalServerError, `{"message":"no lists today"}`)
	return true
}

func fail(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// asked are the calls of a path so far.
func (s *synced) asked(path string) []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []call
	for _, c := range s.calls {
		if c.path == path {
			out = append(out, c)
		}
	}
	return out
}

// happen makes an event happen in the stand-in without a webhook. more are
// further fields of the event: "created_at", "id".
func (s *synced) happen(event, data string, more ...string) standin.Event {
	s.t.Helper()
	body := `{"event":"` + event + `","data":` + data
	for i := 0; i+1 < len(more); i += 2 {
		body += fmt.Sprintf(`,%q:%q`, more[i], more[i+1])
	}
	req, _ := http.NewRequest(http.MethodPost, s.url+"/_dev/events", strings.NewReader(body+"}"))
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	var e standin.Event
	if err := json.Unmarshal(raw, &e); err != nil || res.StatusCode/100 != 2 {
		s.t.Fatalf("%s: %d %s %v", event, res.StatusCode, raw, err)
	}
	return e
}

// until waits for something that will be.
func (s *synced) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(3 * time.Millisecond) {
		if is() {
			return
		}
	}
	s.t.Fatalf("not within 30 s: %s\n%s", what, s.logs.tail())
}
