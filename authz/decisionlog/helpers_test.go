package decisionlog_test

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// quiet is where the tests' expected errors go.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// open opens the log at path and closes it with the test.
func open(t testing.TB, path string, o decisionlog.Options) *decisionlog.Log {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	l, err := decisionlog.Open("sqlite:"+path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// run runs the log until the returned function is called or the test ends.
func run(t testing.TB, l *decisionlog.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// started is a running log in a new directory.
func started(t testing.TB, o decisionlog.Options) *decisionlog.Log {
	t.Helper()
	l := open(t, filepath.Join(t.TempDir(), "decisions.db"), o)
	run(t, l)
	return l
}

func flush(t testing.TB, l *decisionlog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func list(t testing.TB, l *decisionlog.Log, f decisionlog.Filter) decisionlog.Page {
	t.Helper()
	p, err := l.Decisions(context.Background(), f)
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	return p
}

func gaps(t testing.TB, l *decisionlog.Log) []decisionlog.Gap {
	t.Helper()
	p, err := l.Gaps(context.Background(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return p.Gaps
}

// The demo world in a few values.
var (
	crm = &authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.battery.localhost"},
		AllowedRoles: []string{"admin", "editor"}, PathMode: "strict", Identity: []string{"groups"}, Labels: map[string]string{"tier": "gold"}}
	desk = &authz.App{ID: "desk.globex", OrganizationID: "org_globex", Hosts: []string{"desk.globex.battery.localhost"},
		AllowedRoles: []string{"member"}, PathMode: "strict", Labels: map[string]string{}}

	adaSession = &authz.Session{ID: "ses_ada", UserID: "prof_ada", Email: "Ada@acme.test", OrganizationID: "org_acme",
		ConnectionID: "conn_acme", Kind: "sso", IssuedAt: day.Add(-time.Hour), ExpiresAt: day.Add(time.Hour)}
	ada = &authz.User{ID: "directory_user_ada", DirectoryID: "directory_acme", State: "active", Email: "ada.lovelace@acme.test",
		Groups: []authz.Group{{ID: "directory_group_eng", Name: "Engineering"}}, Roles: []string{"editor"},
		Attributes: map[string]any{"employee": int64(9007199254740993)}}
	gilSession = &authz.Session{ID: "ses_gil", UserID: "prof_gil", Email: "gil@globex.test", OrganizationID: "org_globex",
		ConnectionID: "conn_globex", Kind: "sso", IssuedAt: day.Add(-time.Hour), ExpiresAt: day.Add(time.Hour)}
	gil = &authz.User{ID: "directory_user_gil", DirectoryID: "directory_globex", State: "active", Email: "gil@globex.test",
		Groups: []authz.Group{}, Roles: []string{"member"}, Attributes: map[string]any{}}
)

// allowed is ada opening a page of crm.
func allowed(at time.Time) *authz.Record {
	return &authz.Record{
		ID: uuid.Must(uuid.NewV7()).String(), Time: at, Result: authz.Allow, Status: 200,
		Reasons: []authz.Reason{{Code: authz.CodeRole, Message: "a role of the user is allowed"}}, Roles: []string{"editor"},
		Gateway: "10.0.0.7", Door: "forward-auth", Method: "GET", Scheme: "http", Host: "crm.acme.battery.localhost:8000",
		Path: "/deals/7", ClientIP: "192.0.2.9", PolicyRevision: "rev-1", DataRevision: 42,
		Duration: 1234 * time.Microsecond, Cached: true, TraceID: "0af7651916cd43dd8448eb211c80319c",
		App: crm, Session: adaSession, User: ada, Headers: map[string]string{"x-plan": "gold"},
	}
}

// anonymous is nobody opening nothing we know.
func anonymous(at time.Time, path string) *authz.Record {
	return &authz.Record{
		ID: uuid.Must(uuid.NewV7()).String(), Time: at, Result: authz.Deny, Status: 403, Path: path,
		Reasons: []authz.Reason{{Code: authz.CodeUnknownHost, Message: "no app has this host"}}, Host: "nobody.test",
	}
}

// sqlDB opens the file beside the log, as an operator's tool would.
func sqlDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// covered fails unless rows and gaps cover every number of the replica up to
// its last settled one, each exactly once. It returns how many rows there are
// and how many numbers lie in gaps of known size.
func covered(t testing.TB, path, replica string) (stored, missing uint64) {
	t.Helper()
	return coveredIn(t, sqlDB(t, path), replica)
}

func coveredIn(t testing.TB, db *sql.DB, replica string) (stored, missing uint64) {
	t.Helper()
	rows, err := db.Query(`
		SELECT seq, seq, 1 FROM decisions WHERE replica = ?1
		UNION ALL SELECT from_seq, COALESCE(to_seq, from_seq), CASE WHEN count IS NULL THEN -1 ELSE 0 END FROM gaps WHERE replica = ?1
		ORDER BY 1`, replica)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	next := uint64(1)
	for rows.Next() {
		var from, to uint64
		var kind int
		if err := rows.Scan(&from, &to, &kind); err != nil {
			t.Fatal(err)
		}
		if from != next || to < from {
			t.Fatalf("sequence numbers %d..%d follow %d", from, to, next-1)
		}
		next = to + 1
		switch kind {
		case 1:
			stored++
		case 0:
			missing += to - from + 1
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	if err := db.QueryRow(`SELECT last_seq FROM replicas WHERE replica = ?`, replica).Scan(&last); err != nil {
		t.Fatal(err)
	}
	if last != next-1 {
		t.Fatalf("the last number is %d, rows and gaps end at %d", last, next-1)
	}
	return stored, missing
}

// balanced fails unless the counters add up.
func balanced(t testing.TB, s decisionlog.Stats) {
	t.Helper()
	if s.Decided != s.Stored+s.Dropped+s.Queued {
		t.Fatalf("counters do not add up: %+v", s)
	}
}

// counting counts log lines by message.
type counting struct {
	slog.Handler
	lines *atomic.Int64
}

func newCounting() (*slog.Logger, *atomic.Int64) {
	n := new(atomic.Int64)
	return slog.New(&counting{slog.NewTextHandler(io.Discard, nil), n}), n
}

func (c *counting) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		c.lines.Add(1)
	}
	return nil
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}
