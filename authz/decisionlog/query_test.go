package decisionlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

func TestFilters(t *testing.T) {
	l := started(t, decisionlog.Options{})
	records := map[string]*authz.Record{}
	add := func(name string, after time.Duration, change func(*authz.Record)) {
		r := allowed(day.Add(after))
		change(r)
		records[name] = r
		l.Record(r)
	}
	add("ada", 0, func(*authz.Record) {})
	add("gil", 1*time.Second, func(r *authz.Record) { r.App, r.Session, r.User, r.Path = desk, gilSession, gil, "/tïckets/1" })
	add("unlinked", 2*time.Second, func(r *authz.Record) { // ada, before the directory knew her
		r.User, r.Result, r.Status, r.Roles = nil, authz.Deny, 403, nil
		r.Reasons = []authz.Reason{{Code: authz.CodeUserUnknown}, {Code: authz.CodeNoAllowedRole}, {Code: authz.CodeUserUnknown}}
	})
	add("anonymous", 3*time.Second, func(r *authz.Record) {
		r.Session, r.User, r.Result, r.Status, r.Roles, r.Path = nil, nil, authz.Challenge, 302, nil, "/deals_7"
		r.Reasons = []authz.Reason{{Code: authz.CodeNoSession}}
	})
	add("nowhere", 4*time.Second+500*time.Nanosecond, func(r *authz.Record) { *r = *anonymous(r.Time, `/100%\x`) })
	flush(t, l)

	for _, c := range []struct {
		name string
		f    decisionlog.Filter
		want string
	}{
		{"everything, newest first", decisionlog.Filter{}, "nowhere anonymous unlinked gil ada"},
		{"organization", decisionlog.Filter{OrganizationID: "org_acme"}, "anonymous unlinked ada"},
		{"app", decisionlog.Filter{AppID: "desk.globex"}, "gil"},
		{"organization and another's app", decisionlog.Filter{OrganizationID: "org_acme", AppID: "desk.globex"}, ""},
		{"profile id", decisionlog.Filter{User: "prof_ada"}, "unlinked ada"},
		{"directory user", decisionlog.Filter{User: "directory_user_ada"}, "ada"},
		{"e-mail in any case", decisionlog.Filter{User: "aDa@ACME.test"}, "unlinked ada"},
		{"e-mail of the directory", decisionlog.Filter{User: "Ada.Lovelace@acme.test"}, "ada"},
		{"ids keep their case", decisionlog.Filter{User: "PROF_ADA"}, ""},
		{"part of an e-mail", decisionlog.Filter{User: "ada"}, ""},
		{"result allow", decisionlog.Filter{Result: "allow"}, "gil ada"},
		{"result deny", decisionlog.Filter{Result: "deny"}, "nowhere unlinked"},
		{"result challenge", decisionlog.Filter{Result: "challenge"}, "anonymous"},
		{"first reason", decisionlog.Filter{Reason: "user_unknown"}, "unlinked"},
		{"second reason", decisionlog.Filter{Reason: "no_allowed_role"}, "unlinked"},
		{"reason and app", decisionlog.Filter{Reason: "role", AppID: "crm.acme"}, "ada"},
		{"reason, user and result", decisionlog.Filter{Reason: "no_allowed_role", User: "prof_ada", Result: "deny"}, "unlinked"},
		{"path prefix", decisionlog.Filter{Path: "/deals"}, "anonymous unlinked ada"},
		{"path prefix beyond ASCII", decisionlog.Filter{Path: "/tï"}, "gil"},
		{"path in another case", decisionlog.Filter{Path: "/DEALS"}, ""},
		{"underscore is no wildcard", decisionlog.Filter{Path: "/deals_"}, "anonymous"},
		{"percent is no wildcard", decisionlog.Filter{Path: "%"}, ""},
		{"percent and backslash to the letter", decisionlog.Filter{Path: `/100%\`}, "nowhere"},
		{"from is inclusive", decisionlog.Filter{From: day.Add(2 * time.Second)}, "nowhere anonymous unlinked"},
		{"to is exclusive", decisionlog.Filter{To: day.Add(2 * time.Second)}, "gil ada"},
		{"from and to", decisionlog.Filter{From: day.Add(time.Second), To: day.Add(2 * time.Second)}, "gil"},
		{"from between microseconds", decisionlog.Filter{From: day.Add(4*time.Second + 1)}, ""},
		{"to between microseconds", decisionlog.Filter{From: day.Add(4 * time.Second), To: day.Add(4*time.Second + 1)}, "nowhere"},
		{"times of another zone", decisionlog.Filter{From: day.Add(4 * time.Second).In(time.FixedZone("", 5*3600))}, "nowhere"},
		{"the far past and future", decisionlog.Filter{From: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, "nowhere anonymous unlinked gil ada"},
		{"quotes", decisionlog.Filter{AppID: `'; DROP TABLE decisions; --`}, ""},
		{"limit", decisionlog.Filter{Limit: 1}, "nowhere"},
		{"more than the most", decisionlog.Filter{Limit: 1 << 30}, "nowhere anonymous unlinked gil ada"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, row := range list(t, l, c.f).Rows {
				for name, r := range records {
					if r.ID == row.ID {
						got = append(got, name)
					}
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}

	for name, f := range map[string]decisionlog.Filter{
		"NUL": {AppID: "crm\x00"}, "overlong": {User: strings.Repeat("a", 2000)}, "overlong path": {Path: strings.Repeat("/", 1<<20)},
		"no text": {Path: "/\xff"}, "unknown result": {Result: "perhaps"}, "negative limit": {Limit: -1},
	} {
		if _, err := l.Decisions(context.Background(), f); !errors.Is(err, decisionlog.ErrBadFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCursor(t *testing.T) {
	l := started(t, decisionlog.Options{})
	for range 3 {
		l.Record(allowed(day))
	}
	flush(t, l)
	good := list(t, l, decisionlog.Filter{Limit: 1}).NextCursor
	bad := []string{"x", "====", strings.Repeat("A", 34), good[1:], good + "A", strings.ToUpper(good), "\x00", strings.Repeat("A", 1<<16)}
	for i := range good {
		for _, c := range "A_9" {
			if s := good[:i] + string(c) + good[i+1:]; s != good {
				bad = append(bad, s)
			}
		}
	}
	for _, s := range bad {
		if _, err := l.Decisions(context.Background(), decisionlog.Filter{Cursor: s}); !errors.Is(err, decisionlog.ErrBadCursor) {
			t.Errorf("%.50q: %v", s, err)
		}
	}
	if _, err := l.Gaps(context.Background(), good, 0); !errors.Is(err, decisionlog.ErrBadCursor) {
		t.Errorf("a decision cursor among the gaps: %v", err)
	}
}

// Pages put together are the whole, newest first, each decision once, while
// new ones keep arriving.
func TestPagesAreTheWhole(t *testing.T) {
	l := started(t, decisionlog.Options{})
	people := []*authz.User{nil, ada}
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		// Every run has an app of its own, so that one log serves them all.
		app := *crm
		runs++
		app.ID = fmt.Sprintf("app%d", runs)
		record := func() string {
			r := allowed(day.Add(time.Duration(rapid.IntRange(0, 5).Draw(rt, "second")) * time.Second))
			r.App, r.User = &app, rapid.SampledFrom(people).Draw(rt, "user")
			l.Record(r)
			return r.ID
		}
		var before []string
		for range rapid.IntRange(0, 20).Draw(rt, "decisions") {
			before = append(before, record())
		}
		flush(t, l)
		f := decisionlog.Filter{AppID: app.ID, Limit: rapid.IntRange(2, 8).Draw(rt, "limit")}
		if rapid.Bool().Draw(rt, "by user") {
			f.User = "prof_ada" // two people to the log: with and without a directory user
		}
		seen := map[string]bool{}
		last := time.Time{}
		for {
			p := list(t, l, f)
			for _, r := range p.Rows {
				if seen[r.ID] {
					rt.Fatalf("%s twice", r.ID)
				}
				if seen[r.ID] = true; !last.IsZero() && r.Time.After(last) {
					rt.Fatalf("%v after %v", r.Time, last)
				}
				last = r.Time.Time
			}
			if f.Cursor = p.NextCursor; f.Cursor == "" {
				break
			}
			if len(p.Rows) != f.Limit {
				rt.Fatalf("%d rows on a page of %d that is not the last", len(p.Rows), f.Limit)
			}
			for range rapid.IntRange(0, 3).Draw(rt, "new") {
				record()
			}
			flush(t, l)
		}
		for _, id := range before {
			if !seen[id] {
				rt.Fatalf("%s is on no page", id)
			}
		}
	})
}

func TestHostileText(t *testing.T) {
	l := started(t, decisionlog.Options{})
	for _, s := range []string{
		`/'; DROP TABLE decisions; --`, `/"\` + "`", "/päth/✓/\u202e", "/" + strings.Repeat("é%", 8<<10), "/\t\r\n",
		"/\x00nul", "/\xff\xfe", "/" + strings.Repeat("✓", 50<<10), "",
	} {
		r := anonymous(day, s)
		r.Host, r.Method, r.Gateway, r.TraceID, r.ClientIP = s, s, s, s, ""
		r.Reasons = []authz.Reason{{Code: s, Message: s}}
		r.Roles = []string{s}
		session, user, app := *adaSession, *ada, *crm
		session.Email, session.ID, user.ID, app.ID = s, s, s, s
		session.Claims = map[string]any{s: s}
		r.Session, r.User, r.App = &session, &user, &app
		l.Record(r)
		flush(t, l)
		if st := l.Stats(); st.Dropped != 0 {
			t.Fatalf("%.20q was dropped", s)
		}
		row, err := l.Decision(context.Background(), r.ID)
		if err != nil {
			t.Fatalf("%.20q: %v", s, err)
		}
		intact := len(s) <= 1<<10 && !strings.ContainsAny(s, "\x00\xff")
		if row.Input.Exact != (intact) {
			t.Errorf("%.20q: exact %v", s, row.Input.Exact)
		}
		if len(s) <= 64<<10 && !strings.ContainsAny(s, "\x00\xff") && row.Path != s {
			t.Errorf("%.20q came back as %.20q", s, row.Path)
		}
		if intact && s != "" {
			for _, f := range []decisionlog.Filter{{Path: s}, {AppID: s}, {User: s}, {Reason: s}} {
				if p := list(t, l, f); !slices.ContainsFunc(p.Rows, func(x decisionlog.Row) bool { return x.ID == r.ID }) {
					t.Errorf("%.20q: not found by %+v", s, f)
				}
			}
		}
	}
}

// A page must not cost more the longer the log is: no filter by an index may
// sort or read what it does not show.
func TestQueriesWalkAnIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	open(t, path, decisionlog.Options{})
	db := sqlDB(t, path)
	one := int64(1)
	for _, c := range []struct {
		f       decisionlog.Filter
		subject *int64
		index   string
	}{
		{decisionlog.Filter{}, nil, "decisions_time"},
		{decisionlog.Filter{From: day, To: day.Add(time.Hour), Path: "/x"}, nil, "decisions_time"},
		{decisionlog.Filter{AppID: "a"}, nil, "decisions_app"},
		{decisionlog.Filter{OrganizationID: "o"}, nil, "decisions_organization"},
		{decisionlog.Filter{}, &one, "decisions_subject"},
		{decisionlog.Filter{Result: "deny"}, nil, "decisions_refused"},
		{decisionlog.Filter{Result: "allow"}, nil, "decisions_time"},
		{decisionlog.Filter{Reason: "role"}, nil, "r USING PRIMARY KEY"},
		{decisionlog.Filter{Reason: "role", Result: "deny", From: day}, nil, "r USING PRIMARY KEY"},
		{decisionlog.Filter{Reason: "role", AppID: "a", To: day}, nil, "decisions_app"},
	} {
		for _, more := range []bool{false, true} {
			text, args := decisionlog.Statement(c.f, c.subject, more)
			rows, err := db.Query("EXPLAIN QUERY PLAN "+text, args...)
			if err != nil {
				t.Fatal(err)
			}
			plan := ""
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					t.Fatal(err)
				}
				plan += detail + "\n"
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(plan, "\n")
			if strings.Contains(plan, "TEMP B-TREE") || !strings.Contains(plan, c.index) || (!strings.Contains(first, "INDEX") && !strings.Contains(first, "PRIMARY KEY")) {
				t.Errorf("%+v:\n%s", c.f, plan)
			}
		}
	}
}

func TestDecisionNotFound(t *testing.T) {
	l := started(t, decisionlog.Options{})
	for _, id := range []string{"", "0198a3c0-0000-7000-8000-000000000000", "\x00", "\xff", strings.Repeat("x", 1<<20), "' OR 1=1 --"} {
		if _, err := l.Decision(context.Background(), id); !errors.Is(err, decisionlog.ErrNotFound) {
			t.Errorf("%.20q: %v", id, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Decision(ctx, "x"); err == nil || errors.Is(err, decisionlog.ErrNotFound) {
		t.Errorf("an aborted look is not an absence: %v", err)
	}
	if _, err := os.Stat("decisions"); err == nil {
		t.Error("a file was made in the working directory")
	}
}
