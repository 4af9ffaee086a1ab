package authzen_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
)

const (
	one   = "/access/v1/evaluation"
	batch = "/access/v1/evaluations"
)

func ask(subject, action, resource string) string {
	return fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":%q},"resource":{"type":"record","id":%q}}`, subject, action, resource)
}

// TestCertificationRules are the eight decisions of the public certification
// scenario, and what its harness sends besides.
func TestCertificationRules(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	for name, c := range map[string]struct {
		body string
		want bool
	}{
		"1 alice reads":             {ask("alice", "read", "record-1"), true},
		"2 alice writes":            {ask("alice", "write", "record-1"), true},
		"3 bob reads":               {ask("bob", "read", "record-1"), true},
		"4 bob does not write":      {ask("bob", "write", "record-1"), false},
		"5 not what is archived":    {`{"subject":{"type":"user","id":"alice"},"action":{"name":"write"},"resource":{"type":"record","id":"record-2","properties":{"status":"archived"}}}`, false},
		"6 but an admin":            {`{"subject":{"type":"user","id":"bob","properties":{"role":"admin"}},"action":{"name":"write"},"resource":{"type":"record","id":"record-2","properties":{"status":"archived"}}}`, true},
		"7 a soft delete":           {`{"subject":{"type":"user","id":"alice"},"action":{"name":"delete","properties":{"soft":true}},"resource":{"type":"record","id":"record-1"}}`, true},
		"8 no hard delete":          {`{"subject":{"type":"user","id":"alice"},"action":{"name":"delete","properties":{"soft":false}},"resource":{"type":"record","id":"record-1"}}`, false},
		"a context":                 {strings.Replace(ask("alice", "read", "record-1"), `{`, `{"context":{"time":"2025-06-27T18:03-07:00"},`, 1), true},
		"members nobody knows":      {strings.Replace(ask("alice", "read", "record-1"), `{`, `{"foo":"bar","futureField":{"nested":true},`, 1), true},
		"a strange member in parts": {strings.Replace(ask("alice", "read", "record-1"), `"type":"user"`, `"type":"user","identity":"x"`, 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{one, batch} { // a batch without evaluations is a single one
				if got := w.post(path, c.body).decision(t); got != c.want {
					t.Errorf("%s: got %v", path, got)
				}
			}
		})
	}
	t.Run("an empty batch is a single one", func(t *testing.T) {
		if !w.post(batch, strings.Replace(ask("alice", "read", "record-1"), `{`, `{"evaluations":[],`, 1)).decision(t) {
			t.Error("denied")
		}
	})
}

func TestBatches(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	record := func(id string) string { return `{"resource":{"type":"record","id":"` + id + `"}}` }
	three := `"subject":{"type":"user","id":"bob"},"resource":{"type":"record","id":"record-1"},"evaluations":[{"action":{"name":"read"}},{"action":{"name":"write"}},{"action":{"name":"read"}}]`
	for name, c := range map[string]struct{ body, want string }{
		"defaults":                      {`{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[` + record("1") + `,` + record("2") + `]}`, "tt"},
		"in order":                      {`{` + three + `}`, "tft"},
		"execute_all":                   {`{"options":{"evaluations_semantic":"execute_all"},` + three + `}`, "tft"},
		"other options":                 {`{"options":{"another":1},` + three + `}`, "tft"},
		"deny_on_first_deny":            {`{"options":{"evaluations_semantic":"deny_on_first_deny"},` + three + `}`, "tf"},
		"permit_on_first_permit":        {`{"options":{"evaluations_semantic":"permit_on_first_permit"},` + three + `}`, "t"},
		"permit after a deny":           {`{"options":{"evaluations_semantic":"permit_on_first_permit"},"subject":{"type":"user","id":"bob"},"resource":{"type":"record","id":"1"},"evaluations":[{"action":{"name":"write"}},{"action":{"name":"read"}},{"action":{"name":"read"}}]}`, "ft"},
		"no defaults":                   {`{"evaluations":[` + ask("alice", "read", "1") + `,` + ask("bob", "write", "1") + `]}`, "tf"},
		"a part replaces the default":   {`{"subject":{"type":"user","id":"bob","properties":{"role":"admin"}},"action":{"name":"write"},"resource":{"type":"record","id":"2","properties":{"status":"archived"}},"evaluations":[{},{"subject":{"type":"user","id":"bob"}},{"resource":{"type":"record","id":"2"}}]}`, "tff"},
		"but for what it must have":     {`{"subject":{"type":"user","id":"alice"},"action":{"name":"write"},"resource":{"type":"record"},"evaluations":[{"resource":{"id":"1","properties":{"status":"active"}}},{"resource":{"type":"record","id":"2","properties":{"status":"archived"}}}]}`, "tf"},
		"one that cannot be read":       {`{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[` + record("1") + `,{},` + record("2") + `]}`, "tft"},
		"one that is no object":         {`{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[` + record("1") + `,7,null,"x"]}`, "tfff"},
		"unreadable ends a deny batch":  {`{"options":{"evaluations_semantic":"deny_on_first_deny"},"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[{},` + record("1") + `]}`, "f"},
		"undefined is a deny":           {`{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[{"resource":{"type":"spaceship","id":"1"}},` + record("1") + `]}`, "ft"},
		"contexts of a batch are words": {`{"context":{"a":1},"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"evaluations":[` + record("1") + `,{"resource":{"type":"record","id":"1"},"context":7}]}`, "tf"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.post(batch, c.body).decisions(t); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if n := len(w.taken()); n != len(c.want) {
				t.Errorf("%d records, want %d", n, len(c.want))
			}
		})
	}
	t.Run("too many", func(t *testing.T) {
		for n, want := range map[int]int{authzen.MaxBatch: 200, authzen.MaxBatch + 1: 400} {
			items := strings.TrimSuffix(strings.Repeat(`{},`, n), ",")
			if a := w.post(batch, strings.TrimSuffix(ask("alice", "read", "1"), "}")+`,"evaluations":[`+items+`]}`); a.status != want {
				t.Errorf("%d evaluations: %d", n, a.status)
			}
		}
	})
}

// TestBadRequests: a status other than 200 decides nothing, and nothing is
// recorded.
func TestBadRequests(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	good := ask("alice", "read", "1")
	deep := strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)
	for name, c := range map[string]struct {
		body    string
		headers []string
		want    int
	}{
		"no subject":               {body: `{"action":{"name":"read"},"resource":{"type":"record","id":"1"}}`, want: 400},
		"no action":                {body: `{"subject":{"type":"user","id":"alice"},"resource":{"type":"record","id":"1"}}`, want: 400},
		"no resource":              {body: `{"subject":{"type":"user","id":"alice"},"action":{"name":"read"}}`, want: 400},
		"no subject type":          {body: strings.Replace(good, `"type":"user",`, ``, 1), want: 400},
		"no subject id":            {body: strings.Replace(good, `,"id":"alice"`, ``, 1), want: 400},
		"no action name":           {body: strings.Replace(good, `"name":"read"`, ``, 1), want: 400},
		"no resource type":         {body: strings.Replace(good, `"type":"record",`, ``, 1), want: 400},
		"no resource id":           {body: strings.Replace(good, `,"id":"1"`, ``, 1), want: 400},
		"empty id":                 {body: ask("", "read", "1"), want: 400},
		"subject a text":           {body: strings.Replace(good, `{"type":"user","id":"alice"}`, `"alice"`, 1), want: 400},
		"subject null":             {body: strings.Replace(good, `{"type":"user","id":"alice"}`, `null`, 1), want: 400},
		"name a number":            {body: strings.Replace(good, `"read"`, `123`, 1), want: 400},
		"properties a list":        {body: strings.Replace(good, `"name":"read"`, `"name":"read","properties":[]`, 1), want: 400},
		"context a text":           {body: strings.Replace(good, `{`, `{"context":"x",`, 1), want: 400},
		"member in capitals":       {body: strings.Replace(good, `"subject"`, `"Subject"`, 1), want: 400},
		"a member twice":           {body: strings.Replace(good, `{`, `{"subject":{"type":"user","id":"eve"},`, 1), want: 400},
		"a nested member twice":    {body: strings.Replace(good, `"id":"alice"`, `"id":"eve","id":"alice"`, 1), want: 400},
		"too deep":                 {body: strings.Replace(good, `{`, `{"context":`+deep+`,`, 1), want: 400},
		"an absurd number":         {body: strings.Replace(good, `{`, `{"context":{"n":1e999999999},`, 1), want: 400},
		"an endless number":        {body: strings.Replace(good, `{`, `{"context":{"n":0.`+strings.Repeat("1", 100)+`},`, 1), want: 400},
		"no UTF-8":                 {body: strings.Replace(good, `alice`, "al\xffice", 1), want: 400},
		"no JSON":                  {body: `{`, want: 400},
		"half a list":              {body: `{"evaluations":[`, want: 400},
		"a list":                   {body: `[` + good + `]`, want: 400},
		"null":                     {body: `null`, want: 400},
		"something behind it":      {body: good + `{}`, want: 400},
		"nothing":                  {body: ``, want: 400},
		"one long evaluation":      {body: strings.Replace(good, `{`, `{"context":{"x":"`+strings.Repeat("x", 33<<10)+`"},`, 1), want: 400},
		"a body beyond its limit":  {body: strings.Repeat(" ", 257<<10), want: 413},
		"another content type":     {body: good, headers: []string{"Content-Type: text/plain"}, want: 400},
		"no content type":          {body: good, headers: []string{"Content-Type: "}, want: 400},
		"with a charset":           {body: good, headers: []string{"Content-Type: application/json; charset=utf-8"}, want: 200},
		"no token":                 {body: good, headers: []string{"Authorization: "}, want: 401},
		"a bad token":              {body: good, headers: []string{"Authorization: Bearer nope"}, want: 401},
		"another scheme":           {body: good, headers: []string{"Authorization: Basic good-token"}, want: 401},
		"two tokens in one":        {body: good, headers: []string{"Authorization: Bearer good-token,Bearer x"}, want: 401},
		"a token for other things": {body: good, headers: []string{"Authorization: Bearer read-only-token"}, want: 403},
		"a caller without a name":  {body: good, headers: []string{"Authorization: Bearer nameless"}, want: 401},
		"an outage":                {body: good, headers: []string{"Authorization: Bearer outage"}, want: 500},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{one, batch} {
				a := w.post(path, c.body, append(c.headers, "X-Request-ID: r-1")...)
				if a.status != c.want || a.header.Get("X-Request-Id") != "r-1" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %d %v %s", path, a.status, a.header, a.text)
				}
				if c.want == 200 {
					w.taken()
					continue
				}
				if words, ok := a.body.(string); !ok || words == "" || strings.Contains(words, "secret detail") {
					t.Errorf("%s: the message is %s", path, a.text)
				}
				if (a.header.Get("Www-Authenticate") != "") != (c.want == 401) {
					t.Errorf("%s: WWW-Authenticate %q", path, a.header.Get("Www-Authenticate"))
				}
				if n := len(w.taken()); n != 0 {
					t.Errorf("%s: %d records", path, n)
				}
			}
		})
	}
	for name, body := range map[string]string{
		"evaluations an object": `{"evaluations":{}}`, "evaluations null": `{"evaluations":null}`, "options a list": `{"options":[],"evaluations":[{}]}`,
		"another semantic": `{"options":{"evaluations_semantic":"deny_sometimes"},"evaluations":[{}]}`, "a semantic that is no text": `{"options":{"evaluations_semantic":1},"evaluations":[{}]}`,
	} {
		if a := w.post(batch, body); a.status != 400 || len(w.taken()) != 0 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	t.Run("two tokens", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, one, strings.NewReader(good))
		r.Header["Authorization"] = []string{"Bearer good-token", "Bearer good-token"}
		r.Header.Set("Content-Type", "application/json")
		if a := w.do(r); a.status != 401 {
			t.Errorf("%d", a.status)
		}
	})
}

func TestWithoutAPolicyThatAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		world *world
		want  int
	}{
		"no entry point":        {newWorld(t, map[string]string{}), 404},
		"nothing published yet": {newWorld(t), 503},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.world
			w.t = t
			for _, path := range []string{one, batch} {
				if a := w.post(path, ask("alice", "read", "1")); a.status != c.want {
					t.Errorf("%s: %d %s", path, a.status, a.text)
				}
				if a := w.post(path, ask("alice", "read", "1"), "Authorization: "); a.status != 401 {
					t.Errorf("%s tells strangers: %d", path, a.status)
				}
			}
			if a := w.do(httptest.NewRequest(http.MethodGet, "/.well-known/authzen-configuration", nil)); a.status != c.want {
				t.Errorf("metadata: %d", a.status)
			}
			w.publish(map[string]string{"records.rego": records}) // and from then on it answers
			if !w.post(one, ask("alice", "read", "1")).decision(t) {
				t.Error("denied")
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	a := w.do(httptest.NewRequest(http.MethodGet, "/.well-known/authzen-configuration", nil))
	want := map[string]any{
		"policy_decision_point":       "https://gate.test",
		"access_evaluation_endpoint":  "https://gate.test/access/v1/evaluation",
		"access_evaluations_endpoint": "https://gate.test/access/v1/evaluations",
	}
	if a.status != 200 || !reflect.DeepEqual(a.body, any(want)) || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestRequestIDs(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	for sent, want := range map[string]string{"bfe9eb29-ab87": "bfe9eb29-ab87", "any text, with spaces": "any text, with spaces", "": "", strings.Repeat("x", 2000): ""} {
		a := w.post(one, ask("alice", "read", "1"), "X-Request-ID: "+sent)
		if got := a.header.Get("X-Request-Id"); got != want || a.status != 200 {
			t.Errorf("sent %.20q, got %.20q with %d", sent, got, a.status)
		}
	}
}

func TestPolicyFaultsDeny(t *testing.T) {
	for name, c := range map[string]struct{ rules, code string }{
		"undefined": {`decision := {"decision": true} if input.subject.id == "x"`, authz.CodePolicyUndefined},
		"an error":  {`decision := {"decision": true} if not to_number(input.subject.id) == 3`, authz.CodePolicyError},
		"nonsense":  {`decision := {"decision": "true"}`, authz.CodePolicyError},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"p.rego": head + c.rules})
			a := w.post(one, ask("alice", "read", "1"))
			if a.decision(t) {
				t.Fatal("permitted")
			}
			recs := w.taken()
			if len(recs) != 1 || recs[0].Result != authz.Deny || recs[0].Reasons[0].Code != c.code {
				t.Fatalf("recorded %+v", recs)
			}
			context, _ := a.body.(map[string]any)["context"].(map[string]any)
			if context["reason"] != c.code || context["decision_id"] != recs[0].ID {
				t.Errorf("context %v", context)
			}
		})
	}
}

func TestEveryEvaluationIsRecorded(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	body := `{"subject":{"type":"user","id":"alice"},"action":{"name":"write"},"resource":{"type":"record","id":"a/b?c","properties":{"status":"archived"}},"context":{"n":1.50}}`
	if w.post(one, body).decision(t) {
		t.Fatal("permitted")
	}
	recs := w.taken()
	if len(recs) != 1 {
		t.Fatalf("%d records", len(recs))
	}
	r := recs[0]
	if r.Door != "authzen" || r.Gateway != "token_1" || r.Result != authz.Deny || r.Status != 200 || r.Method != "write" || r.Path != "/record/a%2Fb%3Fc" ||
		r.Session.UserID != "alice" || r.Session.Kind != authzen.Kind || r.OrganizationID() != "org_acme" || !r.Time.Equal(noon) || len(r.ID) != 36 ||
		r.DataRevision != 7 || r.PolicyRevision == "" || r.Reasons[0] != (authz.Reason{Code: authzen.CodeDeny, Message: "not permitted"}) {
		t.Errorf("recorded %+v, session %+v", r, r.Session)
	}
	if strings.Contains(fmt.Sprintf("%+v %+v", r, r.Session), "good-token") {
		t.Error("the token is in the record")
	}
	// The input in the record gives the same answer again.
	var in map[string]any
	if err := json.Unmarshal([]byte(r.Query), &in); err != nil {
		t.Fatal(err)
	}
	e, err := w.engine.Current().(authz.Evaluator).EvaluateAuthZEN(t.Context(), r.OrganizationID(), in, r.Time)
	if err != nil || e.Decision != (r.Result == authz.Allow) {
		t.Errorf("again: %+v, %v", e, err)
	}
	if !strings.Contains(r.Query, `"n":1.50`) || !strings.Contains(r.Query, `"caller":{"id":"token_1","organization_id":"org_acme"}`) {
		t.Errorf("the input is %s", r.Query)
	}
}

func TestThePolicySeesWhoAsks(t *testing.T) {
	w := newWorld(t, map[string]string{"p.rego": head + `decision := {"decision": input.caller == {"id": "token_1", "organization_id": "org_acme"}}`})
	if !w.post(one, ask("alice", "read", "1")).decision(t) {
		t.Error("the caller is another")
	}
	forged := strings.Replace(ask("alice", "read", "1"), `{`, `{"caller":{"id":"root","organization_id":""},`, 1)
	if !w.post(one, forged).decision(t) {
		t.Error("a caller may say who it is")
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	for base, ok := range map[string]bool{
		"https://gate.test": true, "http://127.0.0.1:8080": true, "http://localhost": true, "http://gate.test": false,
		"": false, "gate.test": false, "https://gate.test/x": false, "https://u@gate.test": false, "https://gate.test?x": false, "https://gate.test/#x": false, "ftp://gate.test": false,
	} {
		_, err := authzen.New(authzen.Options{Snapshots: w.engine, Callers: w, Recorder: w, BaseURL: base, Now: time.Now, Log: slog.Default()})
		if (err == nil) != ok {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := authzen.New(authzen.Options{BaseURL: "https://gate.test"}); err == nil {
		t.Error("a service without anything is made")
	}
}

// FuzzBody: no body panics, each is answered, and what is decided is recorded.
func FuzzBody(f *testing.F) {
	w := newWorld(f, map[string]string{"records.rego": records})
	for _, s := range []string{ask("alice", "read", "1"), `{"evaluations":[{}]}`, `{"evaluations":[`, `[]`, `{"options":{}}`, "\xff", `{"a":{"a":1,"a":2}}`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, body string, many bool) {
		w.t = t
		path := one
		if many {
			path = batch
		}
		a := w.post(path, body)
		recs := w.taken()
		if (a.status == 200) != (len(recs) > 0) || a.status != 200 && a.status != 400 && a.status != 413 {
			t.Errorf("%q: %d with %d records", body, a.status, len(recs))
		}
	})
}
