package decisionlog_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

func TestRetention(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	now := day.Add(48 * time.Hour)
	var late atomic.Bool // the log's clock stands at day, then at now
	l := open(t, path, decisionlog.Options{Retention: 24 * time.Hour, Every: time.Hour, Now: func() time.Time {
		if late.Load() {
			return now
		}
		return day
	}})
	for i := range 1200 { // more than two batches, many at the same instant
		r := allowed(day.Add(time.Duration(i/600) * time.Second))
		r.App, r.Session, r.User = desk, gilSession, gil
		r.Reasons = append(r.Reasons, authz.Reason{Code: authz.CodeDirectoryStale}, authz.Reason{Code: authz.CodeRole})
		l.Record(r)
	}
	edge := allowed(now.Add(-24 * time.Hour)) // exactly at the limit stays
	l.Record(edge)
	l.Record(allowed(now))
	stop := run(t, l)
	flush(t, l)
	stop()
	if _, err := sqlDB(t, path).Exec(`INSERT INTO gaps VALUES ('other', 1, 1, 1, 'queue_full', ?), ('other', 2, 2, 1, 'queue_full', ?)`,
		day.UnixMicro(), now.UnixMicro()); err != nil {
		t.Fatal(err)
	}

	late.Store(true)
	run(t, l) // the same log, which remembers what facts it stored
	db := sqlDB(t, path)
	count := func(table string) (n int) {
		if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, "old facts deleted", func() bool { return count("facts") == 3 })
	for table, want := range map[string]int{"decisions": 2, "decision_reasons": 2, "facts": 3, "subjects": 1, "gaps": 1} {
		if n := count(table); n != want {
			t.Errorf("%s: %d rows, want %d", table, n, want)
		}
	}
	if row := decision(t, l, edge.ID); row.Input.Authz().User == nil {
		t.Error("a row in time lost its facts")
	}

	// What was deleted is stored again when it is seen again, be it in a record
	// that comes late or in one whose clock was set back.
	again := allowed(day)
	again.App, again.Session, again.User = desk, gilSession, gil
	l.Record(again)
	flush(t, l)
	if row := decision(t, l, again.ID); row.AppID != "desk.globex" || row.UserID != "prof_gil" || row.Input.Authz().Session == nil {
		t.Errorf("%+v", row)
	}
}
