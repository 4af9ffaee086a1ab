package engine_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

// readsAll looks at all of input, so all of it is built.
const readsAll = `decision := {"allow": true, "reasons": [{"code": "input", "message": json.marshal(input)}]}`

func TestInputIsWhatTheContractSays(t *testing.T) {
	o := options(t)
	o.RequestHeaders = []string{"X-Region"}
	got, err := compile(t, rules(readsAll), o).InputJSON(question(), noon)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
		"request": {"method": "GET", "scheme": "https", "host": "crm.acme.battery.localhost", "path": "/accounts/42/notes",
			"segments": ["accounts", "42", "notes"], "query": "tab=open", "headers": {"x-region": "eu"},
			"client_ip": "192.0.2.7", "gateway": "127.0.0.1", "time_ns": 1577880000000000000},
		"app": {"id": "crm.acme", "organization_id": "org_acme", "host": "crm.acme.battery.localhost",
			"allowed_roles": ["admin", "editor"], "public": false, "labels": {"tier": "gold"}},
		"session": {"id": "session_ada", "user_id": "prof_ada", "email": "ada@acme.test", "organization_id": "org_acme",
			"connection_id": "conn_acme", "kind": "sso", "issued_at": "2020-01-01T11:00:00Z", "expires_at": "2020-01-01T13:00:00Z",
			"claims": {"amr": ["pwd", "otp"]}},
		"user": {"id": "directory_user_ada", "directory_id": "directory_acme", "state": "active",
			"groups": [{"id": "directory_group_engineering", "name": "Engineering"}, {"id": "directory_group_everyone", "name": "Everyone"}],
			"roles": ["editor", "member"], "attributes": {"department": "R&D", "level": 3}},
		"sync": {"stale": false}
	}`
	sameJSON(t, got, want)
}

func TestInputOfNobody(t *testing.T) {
	in := question()
	in.Session, in.User, in.Stale = nil, nil, true
	in.Request.ClientIP, in.Request.Path, in.Request.Headers, in.App.Labels = netip.Addr{}, "/", nil, nil
	in.App.AllowedRoles = nil
	got, err := compile(t, rules(`decision := {"allow": input.app.public}`), options(t)).InputJSON(in, noon)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, got, `{
		"request": {"method": "GET", "scheme": "https", "host": "crm.acme.battery.localhost", "path": "/",
			"segments": [], "headers": {}, "client_ip": "", "gateway": "127.0.0.1"},
		"app": {"id": "crm.acme", "organization_id": "org_acme", "host": "crm.acme.battery.localhost",
			"allowed_roles": [], "public": false, "labels": {}},
		"session": null, "user": null, "sync": {"stale": true}
	}`)
}

func sameJSON(t *testing.T, got any, want string) {
	t.Helper()
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got\n%s\nwant\n%s", text, strings.Join(strings.Fields(want), " "))
	}
}

func TestIncompleteQuestionsAreErrors(t *testing.T) {
	snap := publish(compile(t, rules(`decision := {"allow": true}`), options(t)), nil)
	for name, in := range map[string]*authz.Input{
		"nothing": nil, "empty": {}, "no app": {Request: &authz.Request{}}, "no request": {App: crm()},
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := snap.Evaluate(context.Background(), in); err == nil || v.Allow {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
	t.Run("claims that are no data", func(t *testing.T) {
		in := question()
		in.Session.Claims = map[string]any{"f": func() {}}
		if v, err := snap.Evaluate(context.Background(), in); err == nil || v.Allow {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}

// Whatever the question, the input has the shape that the shipped schema says.
func TestInputMatchesItsSchema(t *testing.T) {
	o := options(t)
	o.RequestHeaders = []string{"x-region"}
	policies := []*engine.Policy{compile(t, rules(readsAll), o), compile(t, shipped(t, "authz"), o)}
	rapid.Check(t, func(rt *rapid.T) {
		in := anyQuestion(rt)
		for _, p := range policies {
			got, err := p.InputJSON(in, noon)
			if err != nil {
				rt.Fatal(err)
			}
			wrong, err := engine.Validate(o, "input", got)
			if err != nil || len(wrong) > 0 {
				rt.Fatalf("%v %v\n%v", wrong, err, got)
			}
		}
	})
}

// anyQuestion draws from few values, so that they meet often.
func anyQuestion(rt *rapid.T) *authz.Input {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, label) }
	some := func(label string, of ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, len(of), rapid.ID).Draw(rt, label)
	}
	roles := []string{"admin", "editor", "member", "viewer"}
	in := &authz.Input{
		Request: &authz.Request{
			Method: pick("method", "GET", "POST"), Scheme: "https", Host: pick("host", "crm.acme", "wiki.acme"),
			Path: pick("path", "/", "/a", "/a/b/", "/admin/x"), Query: pick("query", "", "a=b"), Time: noon,
			Headers: map[string]string{"x-region": pick("region", "eu", "us")},
		},
		App: &authz.App{
			ID: pick("app", "crm.acme", "wiki.acme"), OrganizationID: pick("owner", "org_acme", "org_globex"),
			AllowedRoles: some("allowed", roles...), Public: rapid.Bool().Draw(rt, "public"),
			Labels: map[string]string{"tier": pick("tier", "gold", "free")},
		},
		Stale: rapid.Bool().Draw(rt, "stale"),
	}
	if rapid.Bool().Draw(rt, "signed in") {
		in.Session = &authz.Session{
			ID: "session_1", UserID: "prof_1", Email: pick("email", "", "ada@acme.test"), Kind: pick("kind", "sso", authz.KindJWT, authz.KindServiceToken),
			OrganizationID: pick("organization", "org_acme", "org_globex"), IssuedAt: noon, ExpiresAt: noon.Add(time.Hour),
			Claims: map[string]any{"mfa": rapid.Bool().Draw(rt, "mfa"), authz.ClaimRoles: some("machine roles", roles...)},
		}
	}
	if rapid.Bool().Draw(rt, "known") {
		in.User = &authz.User{
			ID: "directory_user_1", State: pick("state", "active", "inactive", "suspended", ""), Roles: some("roles", roles...),
			Groups:     []authz.Group{{ID: pick("group", "g1", "g2"), Name: "Engineering"}},
			Attributes: map[string]any{"level": rapid.IntRange(0, 3).Draw(rt, "level")},
		}
	}
	return in
}

func TestWhatAPolicyReads(t *testing.T) {
	for _, c := range []struct {
		name, text           string
		query, time, headers bool
	}{
		{"method only", `decision := {"allow": input.request.method == "GET"}`, false, false, false},
		{"the query", `decision := {"allow": input.request.query == ""}`, true, false, false},
		{"the query in brackets", `decision := {"allow": input["request"]["query"] == ""}`, true, false, false},
		{"the time", `decision := {"allow": input.request.time_ns > 0}`, false, true, false},
		{"a header", `decision := {"allow": input.request.headers["x-region"] == "eu"}`, false, false, true},
		{"all of input", readsAll, true, true, true},
		{"all of the request", `decision := {"allow": count(input.request) > 0}`, true, true, true},
		{"the request in a variable", "decision := {\"allow\": r.method == \"GET\"} if {\n\tr := input.request\n}", true, true, true},
		{"a key known at run time", `decision := {"allow": input.request[input.app.labels.key] == "GET"}`, true, true, true},
		{"every key", "decision := {\"allow\": true} if {\n\tsome k\n\tinput.request[k] == \"GET\"\n}", true, true, true},
		{"through a rule", "decision := {\"allow\": q == \"\"}\n\nq := input.request.query", true, false, false},
		{"through a function", "decision := {\"allow\": f(1)}\n\nf(x) if {\n\tx == 1\n\tinput.request.query == \"\"\n}", true, false, false},
		{"through another package", "import data.lib\n\ndecision := {\"allow\": lib.q == \"\"}", true, false, false},
		{"in an else branch", "decision := {\"allow\": true} if input.app.public\n\nelse := {\"allow\": true} if input.request.query == \"\"", true, false, false},
		{"in a comprehension", `decision := {"allow": count([1 | input.request.query == ""]) > 0}`, true, false, false},
		{"under every", "decision := {\"allow\": true} if {\n\tevery s in input.request.segments {\n\t\ts != input.request.query\n\t}\n}", true, false, false},
		{"in a with", "decision := {\"allow\": true} if x with input.app.id as input.request.query\n\nx if input.app.id == \"\"", true, false, false},
		{"in a head", `decision := {"allow": true, "reasons": [{"code": "a", "message": input.request.query}]}`, true, false, false},
		{"a rule that nothing asks for", "decision := {\"allow\": true}\n\nunused := input.request.query", false, false, false},
		{"a rule by a name known at run time", "import data.lib\n\ndecision := {\"allow\": lib[input.app.id] == \"\"}", true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := rules(c.text)
			src.Modules["lib.rego"] = "package lib\n\nq := input.request.query"
			o := options(t)
			o.RequestHeaders = []string{"X-Region"}
			p := compile(t, src, o)
			if p.ReadsQuery() != c.query || publish(p, nil).ReadsQuery() != c.query {
				t.Errorf("reads the query: %v", p.ReadsQuery())
			}
			if got := p.ReadsTime(); got != c.time {
				t.Errorf("reads the time: %v", got)
			}
			if got := len(p.RequestHeaders()) == 1 && p.RequestHeaders()[0] == "x-region"; got != c.headers {
				t.Errorf("reads headers: %v", p.RequestHeaders())
			}
		})
	}
	for text, want := range map[string]bool{
		`data.battery.role_mappings.g`:                 true,
		`data.battery.role_mappings[input.app.id]`:     true,
		`data.battery.settings.deny_when_stale`:        false,
		`data.lib[input.app.id]`:                       false,
		`[data.battery.role_mappings][0]`:              true,
		`{x | some x in data.battery.role_mappings.g}`: true,
	} {
		t.Run("role mappings through "+text, func(t *testing.T) {
			src := rules("decision := {\"allow\": count(x) > 0}\n\nx := json.marshal(" + text + ")")
			src.Modules["lib.rego"] = "package lib\n\nq := 1"
			if got := compile(t, src, options(t)).ReadsMappings(); got != want {
				t.Errorf("reads them: %v", got)
			}
		})
	}
	t.Run("the shipped policy reads neither query nor headers", func(t *testing.T) {
		p := compile(t, shipped(t, "authz"), options(t))
		if p.ReadsQuery() || p.RequestHeaders() != nil || p.ReadsTime() || p.ReadsMappings() {
			t.Error("reads more than it needs")
		}
	})
}
