package decisionlog_test

import (
	"path/filepath"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

// disagreed is a decision in which the policy allowed the path and not one of its
// readings.
func disagreed(id string) *authz.Record {
	r := allowed(day)
	app := *r.App
	app.PathMode = authz.PathEveryReading
	r.ID, r.App, r.Result, r.Status = id, &app, authz.Deny, 403
	r.Path, r.Reading = "/public/%2E%2E/admin", "/admin"
	return r
}

func TestTheReadingThatDisagreed(t *testing.T) {
	l := started(t, decisionlog.Options{})
	l.Record(disagreed("id-1"))
	l.Record(allowed(day))
	flush(t, l)
	row := decision(t, l, "id-1")
	if row.Path != "/public/%2E%2E/admin" || row.Reading != "/admin" || !strings.Contains(show(t, row), `"reading":"/admin"`) {
		t.Errorf("%s", show(t, row))
	}
	// It is evaluated again as it was: about every reading.
	in := row.Input.Authz()
	if !in.Request.Ambiguous || !in.App.EveryReading() {
		t.Errorf("%+v %+v", in.Request, in.App)
	}
	for _, row := range list(t, l, decisionlog.Filter{}).Rows {
		if row.ID != "id-1" && (row.Reading != "" || strings.Contains(show(t, row), "reading")) {
			t.Errorf("%s", show(t, row))
		}
	}
}

// A database of the first version gets the column, and its rows stay as they are.
func TestADatabaseOfTheFirstVersionIsBroughtUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	l := open(t, path, decisionlog.Options{})
	stop := run(t, l)
	l.Record(allowed(day))
	stop()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db := sqlDB(t, path)
	for _, s := range []string{`ALTER TABLE decisions DROP COLUMN reading`, `DELETE FROM schema_versions WHERE version > 1`} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path, decisionlog.Options{})
	run(t, l)
	l.Record(disagreed("id-2"))
	flush(t, l)
	if rows := list(t, l, decisionlog.Filter{}).Rows; len(rows) != 2 {
		t.Errorf("%d rows", len(rows))
	}
	if row := decision(t, l, "id-2"); row.Reading != "/admin" {
		t.Errorf("%+v", row)
	}
}
