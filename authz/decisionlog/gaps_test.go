package decisionlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

func TestFullQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	logger, errorLines := newCounting()
	l := open(t, path, decisionlog.Options{Queue: 10, Batch: 4, Now: func() time.Time { return day }, Logger: logger})
	for range 25 {
		l.Record(allowed(day))
	}
	if s := l.Stats(); s != (decisionlog.Stats{Decided: 25, Dropped: 15, Queued: 10}) {
		t.Fatalf("%+v", s)
	}
	run(t, l)
	flush(t, l)
	g := gaps(t, l)
	if len(g) != 1 {
		t.Fatalf("%d gaps", len(g))
	}
	b, err := json.Marshal(g[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"replica":"local","from_seq":11,"to_seq":25,"count":15,"reason":"queue_full","time":"2026-03-01T12:00:00.000000Z"}`
	if string(b) != want {
		t.Errorf("gap %s\nwant %s", b, want)
	}
	if s := l.Stats(); s != (decisionlog.Stats{Decided: 25, Stored: 10, Dropped: 15}) {
		t.Fatalf("%+v", s)
	}
	if errorLines.Load() != 1 {
		t.Errorf("%d lines for one episode", errorLines.Load())
	}
	covered(t, path, "local")
}

// Whatever the order of recording, flushing and restarting, every number ends
// up in exactly one row or gap, and the counters add up all the time. All runs
// share one file, so each is a restart of the one before.
func TestNothingIsLostSilently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	if err := open(t, path, decisionlog.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	db := sqlDB(t, path)
	var decided, stored, dropped uint64
	rapid.Check(t, func(rt *rapid.T) {
		l, err := decisionlog.Open("sqlite:"+path, decisionlog.Options{
			Queue: rapid.IntRange(1, 8).Draw(rt, "queue"), Batch: rapid.IntRange(1, 5).Draw(rt, "batch"),
			Every: time.Hour, Logger: quiet()})
		if err != nil {
			rt.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for _, burst := range rapid.SliceOfN(rapid.IntRange(0, 20), 0, 4).Draw(rt, "bursts") {
			for range burst {
				l.Record(allowed(day))
			}
			balanced(t, l.Stats())
			if burst%2 == 0 {
				flush(t, l)
			}
		}
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			rt.Fatal(err)
		}
		s := l.Stats()
		balanced(t, s)
		decided, stored, dropped = decided+s.Decided, stored+s.Stored, dropped+s.Dropped
		if rows, missing := coveredIn(t, db, "local"); rows != stored || missing != dropped || rows+missing != decided {
			rt.Fatalf("decided %d, stored %d, dropped %d; the database has %d rows and misses %d", decided, stored, dropped, rows, missing)
		}
	})
}

func TestRestart(t *testing.T) {
	t.Run("continues the numbers after a clean stop, without a gap", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		for range 3 {
			l := open(t, path, decisionlog.Options{})
			l.Record(allowed(day))
			l.Record(allowed(day))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if stored, missing := covered(t, path, "local"); stored != 6 || missing != 0 {
			t.Fatalf("%d stored, %d missing", stored, missing)
		}
		if g := gaps(t, open(t, path, decisionlog.Options{})); len(g) != 0 {
			t.Fatalf("gaps: %+v", g)
		}
	})
	t.Run("says that a run ended without draining, under whatever name it ran", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		l := open(t, path, decisionlog.Options{Replica: "gate-1"})
		run(t, l)
		for range 3 {
			l.Record(allowed(day))
		}
		flush(t, l)
		// What a machine finds after its power came back: the files as they
		// are now, the queue gone.
		after := filepath.Join(t.TempDir(), "after.db")
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(after+suffix, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again := open(t, after, decisionlog.Options{Replica: "gate-2", Now: func() time.Time { return day }})
		g := gaps(t, again)
		if len(g) != 1 || g[0].Replica != "gate-1" || g[0].FromSeq != 4 || g[0].ToSeq != nil || g[0].Count != nil ||
			g[0].Reason != decisionlog.ReasonCrash || !g[0].Time.Equal(day) {
			t.Fatalf("gaps: %+v", g)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		third := open(t, after, decisionlog.Options{Replica: "gate-1"})
		third.Record(allowed(day))
		if err := third.Close(); err != nil {
			t.Fatal(err)
		}
		if stored, _ := covered(t, after, "gate-1"); stored != 4 {
			t.Fatalf("%d stored", stored)
		}
		if g := gaps(t, open(t, after, decisionlog.Options{})); len(g) != 1 {
			t.Fatalf("one crash, %d gaps", len(g))
		}
	})
}

func TestFailingDatabase(t *testing.T) {
	t.Run("is tried again until it works, and said once", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		logger, errorLines := newCounting()
		l := open(t, path, decisionlog.Options{Every: time.Millisecond, Queue: 20, Logger: logger})
		db := sqlDB(t, path)
		if _, err := db.Exec(`ALTER TABLE decision_reasons RENAME TO away`); err != nil {
			t.Fatal(err)
		}
		for range 5 { // before Run, so that all five are in its first batch
			l.Record(allowed(day))
		}
		run(t, l)
		waitFor(t, "an error in the log", func() bool { return errorLines.Load() > 0 })
		time.Sleep(350 * time.Millisecond) // two more attempts
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := l.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Flush: %v", err)
		}
		for range 30 {
			l.Record(allowed(day))
		}
		if s := l.Stats(); s != (decisionlog.Stats{Decided: 35, Dropped: 10, Queued: 25}) {
			t.Fatalf("%+v", s)
		}
		if n := errorLines.Load(); n != 1 {
			t.Errorf("%d lines for one episode", n)
		}
		if _, err := db.Exec(`ALTER TABLE away RENAME TO decision_reasons`); err != nil {
			t.Fatal(err)
		}
		flush(t, l)
		if s := l.Stats(); s != (decisionlog.Stats{Decided: 35, Stored: 25, Dropped: 10}) {
			t.Fatalf("%+v", s)
		}
		covered(t, path, "local")
	})
	t.Run("that is locked by somebody else only delays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		l := open(t, path, decisionlog.Options{Every: time.Millisecond})
		run(t, l)
		tx, err := sqlDB(t, path).Begin()
		if err != nil {
			t.Fatal(err)
		}
		l.Record(allowed(day))
		waitFor(t, "the batch taken", func() bool { return l.Stats().Queued == 1 })
		if _, err := l.Decisions(context.Background(), decisionlog.Filter{}); err != nil {
			t.Errorf("reading while locked: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		flush(t, l)
	})
	t.Run("that stays broken costs what is queued, and the next start says so", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "d.db")
		l, err := decisionlog.Open("sqlite:"+path, decisionlog.Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		db := sqlDB(t, path)
		for _, table := range []string{"decisions", "gaps"} {
			if _, err := db.Exec(`ALTER TABLE ` + table + ` RENAME TO away_` + table); err != nil {
				t.Fatal(err)
			}
		}
		l.Record(allowed(day))
		l.Record(allowed(day))
		if err := l.Close(); err == nil || !strings.Contains(err.Error(), "gave up 2 decisions") {
			t.Fatalf("Close: %v", err)
		}
		if s := l.Stats(); s != (decisionlog.Stats{Decided: 2, Dropped: 2}) {
			t.Fatalf("%+v", s)
		}
		for _, table := range []string{"decisions", "gaps"} {
			if _, err := db.Exec(`ALTER TABLE away_` + table + ` RENAME TO ` + table); err != nil {
				t.Fatal(err)
			}
		}
		if g := gaps(t, open(t, path, decisionlog.Options{})); len(g) != 1 || g[0].Reason != decisionlog.ReasonCrash {
			t.Fatalf("gaps: %+v", g)
		}
	})
}

func TestRefusedRowBecomesAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	l := open(t, path, decisionlog.Options{})
	first, second, twin := allowed(day), allowed(day), allowed(day)
	twin.ID = first.ID // ids are unique
	for _, r := range []*authz.Record{first, second, twin, allowed(day), allowed(day), allowed(day)} {
		l.Record(r)
	}
	run(t, l)
	flush(t, l)
	g := gaps(t, l)
	if len(g) != 1 || g[0].FromSeq != 3 || *g[0].ToSeq != 3 || *g[0].Count != 1 || g[0].Reason != decisionlog.ReasonWriteFailed {
		t.Fatalf("gaps: %+v", g)
	}
	if s := l.Stats(); s != (decisionlog.Stats{Decided: 6, Stored: 5, Dropped: 1}) {
		t.Fatalf("%+v", s)
	}
	// The facts of the refused transaction went with it and had to be stored anew.
	if in := decision(t, l, second.ID).Input.Authz(); in.App == nil || in.Session == nil || in.User == nil {
		t.Errorf("a neighbour lost its facts: %+v", in)
	}
	covered(t, path, "local")
}

func TestGapPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	l := open(t, path, decisionlog.Options{})
	db := sqlDB(t, path)
	for i := range 25 {
		_, err := db.Exec(`INSERT INTO gaps (replica, from_seq, to_seq, count, reason, time) VALUES (?, ?, ?, 1, 'queue_full', ?)`,
			[]string{"a", "b"}[i%2], i, i, day.Add(time.Duration(i/5)*time.Second).UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
	}
	seen, cursor := map[uint64]bool{}, ""
	for {
		p, err := l.Gaps(context.Background(), cursor, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range p.Gaps {
			if seen[g.FromSeq] {
				t.Fatalf("%d twice", g.FromSeq)
			}
			seen[g.FromSeq] = true
		}
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	if len(seen) != 25 {
		t.Fatalf("%d gaps of 25", len(seen))
	}
	for _, bad := range []string{"x", "AAAA", list(t, l, decisionlog.Filter{}).NextCursor + "!"} {
		if _, err := l.Gaps(context.Background(), bad, 4); !errors.Is(err, decisionlog.ErrBadCursor) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
