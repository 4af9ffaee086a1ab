package decisionlog_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/decisionlog"
)

func show(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decision(t *testing.T, l *decisionlog.Log, id string) decisionlog.Row {
	t.Helper()
	row, err := l.Decision(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func TestRowShape(t *testing.T) {
	l := started(t, decisionlog.Options{})
	full, empty := allowed(day.Add(1500*time.Microsecond)), &authz.Record{ID: "id-2", Time: day.In(time.FixedZone("", 3600))}
	full.ID = "id-1"
	full.DataRevision = 1<<63 + 1
	l.Record(full)
	l.Record(empty)
	flush(t, l)
	p := list(t, l, decisionlog.Filter{})
	const wantFull = `{"id":"id-1","time":"2026-03-01T12:00:00.001500Z","result":"allow","status":200,` +
		`"reasons":[{"code":"role","message":"a role of the user is allowed"}],"roles":["editor"],"organization_id":"org_acme","app_id":"crm.acme",` +
		`"user_id":"prof_ada","email":"Ada@acme.test","session_id":"ses_ada","gateway":"10.0.0.7","method":"GET","host":"crm.acme.battery.localhost:8000",` +
		`"path":"/deals/7","policy_revision":"rev-1","data_revision":9223372036854775809,"duration_us":1234,"cached":true,"trace_id":"0af7651916cd43dd8448eb211c80319c"}`
	const wantEmpty = `{"id":"id-2","time":"2026-03-01T12:00:00.000000Z","result":"deny","status":0,"reasons":[],"roles":[],"organization_id":"","app_id":"",` +
		`"user_id":"","email":"","session_id":"","gateway":"","method":"","host":"","path":"","policy_revision":"","data_revision":0,"duration_us":0,"cached":false,"trace_id":""}`
	if got := show(t, p.Rows[0]); got != wantFull {
		t.Errorf("got  %s\nwant %s", got, wantFull)
	}
	if got := show(t, p.Rows[1]); got != wantEmpty {
		t.Errorf("got  %s\nwant %s", got, wantEmpty)
	}
	const input = `{"request":{"method":"","scheme":"","host":"","path":"","segments":[],"headers":{},"client_ip":"","gateway":""},` +
		`"app":null,"session":null,"user":null,"sync":{"stale":false}}`
	if got := show(t, decision(t, l, "id-2").Input); got != input {
		t.Errorf("got  %s\nwant %s", got, input)
	}
	var again decisionlog.Row
	if err := json.Unmarshal([]byte(wantFull), &again); err != nil || !reflect.DeepEqual(again, p.Rows[0]) {
		t.Errorf("%v: a client reads %+v", err, again)
	}
}

func TestInput(t *testing.T) {
	l := started(t, decisionlog.Options{})
	r := allowed(day)
	r.Query, r.Stale = "a=1&b=%20", true
	l.Record(r)
	flush(t, l)
	in := decision(t, l, r.ID).Input

	t.Run("has the shape that policies see", func(t *testing.T) {
		const want = `{"request":{"method":"GET","scheme":"http","host":"crm.acme.battery.localhost","path":"/deals/7","segments":["deals","7"],` +
			`"query":"a=1\u0026b=%20","headers":{"x-plan":"gold"},"client_ip":"192.0.2.9","gateway":"10.0.0.7"},` +
			`"app":{"id":"crm.acme","organization_id":"org_acme","host":"crm.acme.battery.localhost","allowed_roles":["admin","editor"],"public":false,"labels":{"tier":"gold"}},` +
			`"session":{"id":"ses_ada","user_id":"prof_ada","email":"Ada@acme.test","organization_id":"org_acme","connection_id":"conn_acme","kind":"sso",` +
			`"issued_at":"2026-03-01T11:00:00Z","expires_at":"2026-03-01T13:00:00Z","claims":{}},` +
			`"user":{"id":"directory_user_ada","directory_id":"directory_acme","state":"active","groups":[{"id":"directory_group_eng","name":"Engineering"}],` +
			`"roles":["editor"],"attributes":{"employee":9007199254740993}},"sync":{"stale":true}}`
		if got := show(t, in); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("can be evaluated again", func(t *testing.T) {
		again := in.Authz()
		if !in.Exact || again.Request.Host != "crm.acme.battery.localhost" || again.Request.Port != "8000" ||
			again.Request.Query != r.Query || again.Request.ClientIP.String() != r.ClientIP || !again.Request.Time.Equal(day) ||
			again.Request.Dialect.Name != r.Door || !again.Stale {
			t.Errorf("exact %v: %+v", in.Exact, again.Request)
		}
		for _, pair := range [][2]any{{r.App, again.App}, {r.Session, again.Session}, {r.User, again.User}, {r.Headers, again.Request.Headers}} {
			if a, b := show(t, pair[0]), show(t, pair[1]); a != b {
				t.Errorf("recorded %s\nagain    %s", a, b)
			}
		}
	})
	t.Run("stays what it was when the world moves on", func(t *testing.T) {
		later := allowed(day.Add(time.Minute))
		moved := *ada
		moved.Groups, moved.Roles = []authz.Group{}, []string{}
		later.User = &moved
		l.Record(later)
		flush(t, l)
		if roles := decision(t, l, r.ID).Input.Authz().User.Roles; len(roles) != 1 {
			t.Errorf("then: %v", roles)
		}
		if roles := decision(t, l, later.ID).Input.Authz().User.Roles; len(roles) != 0 {
			t.Errorf("now: %v", roles)
		}
	})
}

func TestInputThatCannotBeKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.db")
	l := open(t, path, decisionlog.Options{})
	run(t, l)

	secret := allowed(day)
	secret.Headers = map[string]string{"Cookie": "hunter2", "authorization": "Bearer hunter2", "proxy-authorization": "hunter2", "set-cookie": "hunter2", "x-plan": "gold"}
	odd := allowed(day)
	session := *adaSession
	session.Claims = map[string]any{"callback": func() {}}
	odd.Session = &session
	l.Record(secret)
	l.Record(odd)
	flush(t, l)

	in := decision(t, l, secret.ID).Input
	if got := show(t, in); strings.Contains(got, "hunter2") || in.Exact || in.Request.Headers["x-plan"] != "gold" {
		t.Errorf("exact %v: %s", in.Exact, got)
	}
	row := decision(t, l, odd.ID)
	if row.Input.Exact || row.Input.Authz().Session != nil || row.UserID != "prof_ada" {
		t.Errorf("a session that cannot be encoded: exact %v, %+v", row.Input.Exact, row)
	}
	var n int
	if err := sqlDB(t, path).QueryRow(`SELECT count(*) FROM decisions WHERE headers LIKE '%hunter2%'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows hold a secret; %v", n, err)
	}
}

func TestFactsAreStoredOnce(t *testing.T) {
	for name, change := range map[string]func(*authz.Record){
		"by pointer": func(*authz.Record) {},
		"by content": func(r *authz.Record) {
			app, session, user := *crm, *adaSession, *ada
			r.App, r.Session, r.User = &app, &session, &user
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d.db")
			l := open(t, path, decisionlog.Options{Every: time.Hour})
			run(t, l)
			for i := range 200 {
				r := allowed(day.Add(time.Duration(i) * time.Minute)) // over three hours: last_seen moves
				change(r)
				l.Record(r)
				if i%50 == 0 {
					flush(t, l)
				}
			}
			flush(t, l)
			db := sqlDB(t, path)
			newest := day.Add(199 * time.Minute).UnixMicro()
			for table, want := range map[string]int{"facts": 3, "subjects": 1} {
				var n int
				var first, last int64
				if err := db.QueryRow(`SELECT count(*), min(last_seen), max(last_seen) FROM `+table).Scan(&n, &first, &last); err != nil {
					t.Fatal(err)
				}
				if n != want || first < newest || last > newest+time.Hour.Microseconds() {
					t.Errorf("%s: %d rows, last seen %d..%d, newest decision %d", table, n, first, last, newest)
				}
			}
		})
	}
}
