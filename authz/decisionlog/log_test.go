package decisionlog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

func TestOpen(t *testing.T) {
	t.Run("refuses what it does not know, without repeating a password", func(t *testing.T) {
		for url, want := range map[string]string{
			"postgres://gate:hunter2@db/decisions": `unknown scheme "postgres"`,
			"decisions.db":                         "no scheme",
			"sqlite:":                              "bad path",
			"sqlite://data/x.db":                   "bad path",
			"sqlite:a\x00b":                        "bad path",
		} {
			_, err := decisionlog.Open(url, decisionlog.Options{})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v", url, err)
			}
		}
	})
	t.Run("refuses negative options", func(t *testing.T) {
		if _, err := decisionlog.Open("sqlite:"+filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Retention: -1}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("keeps files to their owner, also ones that were not", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		path := filepath.Join(dir, "odd ?#%41 name.db")
		l := open(t, path, decisionlog.Options{})
		l.Record(allowed(day))
		run(t, l)
		flush(t, l)
		mode := func(p string) os.FileMode {
			st, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			return st.Mode().Perm()
		}
		if m := mode(dir); m != 0o700 {
			t.Errorf("directory: %o", m)
		}
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			if m := mode(path + suffix); m != 0o600 {
				t.Errorf("%s: %o", suffix, m)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		open(t, path, decisionlog.Options{})
		if m := mode(path); m != 0o600 {
			t.Errorf("reopened: %o", m)
		}
	})
	t.Run("lets one process at a time have the file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		l := open(t, path, decisionlog.Options{})
		for range 2 {
			if _, err := decisionlog.Open("sqlite:"+path, decisionlog.Options{}); !errors.Is(err, decisionlog.ErrInUse) {
				t.Fatalf("second: %v", err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, path, decisionlog.Options{})
	})
	t.Run("refuses a schema from the future and a file that is no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		if err := open(t, path, decisionlog.Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlDB(t, path).Exec(`INSERT INTO schema_versions VALUES (1000, 0)`); err != nil {
			t.Fatal(err)
		}
		if _, err := decisionlog.Open("sqlite:"+path, decisionlog.Options{}); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("future schema: %v", err)
		}
		other := filepath.Join(t.TempDir(), "text.db")
		if err := os.WriteFile(other, []byte(strings.Repeat("not a database, ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := decisionlog.Open("sqlite:"+other, decisionlog.Options{}); err == nil {
			t.Error("opened a text file")
		}
	})
}

func TestFlush(t *testing.T) {
	t.Run("makes every earlier record readable", func(t *testing.T) {
		l := started(t, decisionlog.Options{Every: time.Hour}) // only Flush makes it write
		for range 50 {
			r := allowed(day)
			l.Record(r)
			flush(t, l)
			if _, err := l.Decision(context.Background(), r.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("returns at once when nothing is queued, even when nothing runs", func(t *testing.T) {
		l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := l.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ends with its context, and when the log closes", func(t *testing.T) {
		l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{})
		l.Record(allowed(day))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := l.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		done := make(chan error)
		go func() { done <- l.Flush(context.Background()) }()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("Close wrote everything, but Flush says %v", err)
		}
	})
}

func TestRun(t *testing.T) {
	t.Run("writes without being asked, soon and by the batch", func(t *testing.T) {
		for _, o := range []decisionlog.Options{{Every: time.Millisecond}, {Every: time.Hour, Batch: 10}} {
			l := started(t, o)
			for range 10 {
				l.Record(allowed(day))
			}
			waitFor(t, "stored", func() bool { return l.Stats().Stored == 10 })
		}
	})
	t.Run("drains before it returns, and Close without Run does too", func(t *testing.T) {
		for _, running := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "d.db")
			l := open(t, path, decisionlog.Options{Every: time.Hour, Batch: 7})
			stop := func() {}
			if running {
				stop = run(t, l)
			}
			for range 1000 {
				l.Record(allowed(day))
			}
			stop()
			if s := l.Stats(); running && s != (decisionlog.Stats{Decided: 1000, Stored: 1000}) {
				t.Fatalf("%+v", s)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if stored, missing := covered(t, path, "local"); stored != 1000 || missing != 0 {
				t.Fatalf("running %v: %d stored, %d missing", running, stored, missing)
			}
		}
	})
	t.Run("runs once at a time, again after it ended, never after Close", func(t *testing.T) {
		l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{})
		stop := run(t, l)
		l.Record(allowed(day))
		flush(t, l) // it runs now
		if err := l.Run(context.Background()); err == nil || errors.Is(err, decisionlog.ErrClosed) {
			t.Fatalf("second: %v", err)
		}
		stop()
		run(t, l)
		l.Record(allowed(day))
		flush(t, l)
		if err := l.Close(); err != nil { // stops it
			t.Fatal(err)
		}
		if err := l.Run(context.Background()); !errors.Is(err, decisionlog.ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
	})
	t.Run("counts what comes after Close", func(t *testing.T) {
		logger, errorLines := newCounting()
		l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Logger: logger})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Record(allowed(day))
		l.Record(allowed(day))
		if s := l.Stats(); s != (decisionlog.Stats{Decided: 2, Dropped: 2}) || errorLines.Load() != 1 {
			t.Fatalf("%+v, %d lines", s, errorLines.Load())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	l := open(t, path, decisionlog.Options{Queue: 64, Batch: 16, Every: time.Millisecond})
	stop := run(t, l)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				l.Record(allowed(day.Add(time.Duration(i) * time.Second)))
				if i%100 == 0 {
					flush(t, l)
					balanced(t, l.Stats())
					if _, err := l.Decisions(context.Background(), decisionlog.Filter{AppID: "crm.acme", Limit: w + 1}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stop()
	s := l.Stats()
	balanced(t, s)
	stored, missing := covered(t, path, "local")
	if s.Decided != 4000 || s.Queued != 0 || stored != s.Stored || missing != s.Dropped {
		t.Fatalf("%+v; the database has %d rows and misses %d", s, stored, missing)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Queue: 4096, Batch: 100})
	r := allowed(day)
	if n := testing.AllocsPerRun(1000, func() { l.Record(r) }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
	full := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Queue: 1})
	full.Record(r)
	full.Record(r)
	if n := testing.AllocsPerRun(1000, func() { full.Record(r) }); n != 0 {
		t.Errorf("%v allocations per dropped record", n)
	}
	decisionlog.Abandon(l) // the same record many times: the database would refuse it
}

func TestNilRecordIsNoDecision(t *testing.T) {
	l := started(t, decisionlog.Options{})
	var r *authz.Record
	l.Record(r)
	if s := l.Stats(); s != (decisionlog.Stats{}) {
		t.Fatalf("%+v", s)
	}
}
