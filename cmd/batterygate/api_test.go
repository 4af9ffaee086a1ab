package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const acme = "org_01DXF6DT00ACME000000000000"

type rowsPage struct {
	Data       []decisionRow `json:"data"`
	NextCursor *string       `json:"next_cursor"`
}

func TestAdminAPI(t *testing.T) {
	d := startDemo(t)

	t.Run("without a token nothing is told", func(t *testing.T) {
		for _, auth := range []string{"", "Bearer", "Bearer bgt_wrong", "Basic " + d.AdminToken, "Bearer " + d.WorkOSAPIKey} {
			if a := d.do(d.http, "GET", d.AdminURL+"/api/v1/organizations", "", "Authorization", auth); a.status != 401 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%q: %d %s", auth, a.status, a.body)
			}
		}
	})
	t.Run("another Host is refused", func(t *testing.T) {
		for _, path := range []string{"/api/v1/organizations", "/metrics", "/healthz"} {
			if a := d.do(d.http, "GET", d.AdminURL+path, "", "Host", "evil.test", "Authorization", "Bearer "+d.AdminToken); a.status != 421 {
				t.Errorf("%s: %d", path, a.status)
			}
		}
	})
	t.Run("health, readiness and metrics", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz"} {
			if a := d.do(d.http, "GET", d.AdminURL+path, ""); a.status != 200 {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		d.get(d.http, "status.acme")
		a := d.do(d.http, "GET", d.AdminURL+"/metrics", "")
		for _, want := range []string{`battery_decisions_total{app="status.acme",door="forward-auth",result="allow"}`, "battery_decision_duration_seconds", "battery_snapshot_age_seconds", "battery_decisionlog_queue", "battery_webhook_enforced"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("/metrics lacks %s", want)
			}
		}
		if d.do(d.http, "GET", d.PublicURL+"/metrics", "").status != 404 {
			t.Error("metrics are on the public listener")
		}
	})
	t.Run("organizations", func(t *testing.T) { testOrganizations(t, d) })
	t.Run("apps", func(t *testing.T) { testApps(t, d) })
	t.Run("role mappings", func(t *testing.T) { testMappings(t, d) })
	t.Run("health over gRPC", func(t *testing.T) { testHealth(t, d) })
	t.Run("what is not there", func(t *testing.T) { testNothing(t, d) })
	t.Run("sessions", func(t *testing.T) { testSessions(t, d) })
	t.Run("tokens", func(t *testing.T) { testTokens(t, d) })
	t.Run("decisions", func(t *testing.T) { testDecisions(t, d) })
}

func testOrganizations(t *testing.T, d *demo) {
	var list struct {
		Data []struct {
			ID, Slug, Name string
			Domains        []string
		}
		NextCursor *string `json:"next_cursor"`
	}
	d.api("GET", "organizations", "").json(t, &list)
	if len(list.Data) != 2 || list.Data[0].ID != acme || list.Data[0].Slug != "acme" || len(list.Data[0].Domains) != 1 || list.NextCursor != nil {
		t.Fatalf("organizations = %+v", list)
	}
	// Pages: one at a time gives the same.
	d.api("GET", "organizations?limit=1", "").json(t, &list)
	if len(list.Data) != 1 || list.NextCursor == nil {
		t.Fatalf("first page = %+v", list)
	}
	d.api("GET", "organizations?limit=1&cursor="+*list.NextCursor, "").json(t, &list)
	if len(list.Data) != 1 || list.Data[0].Slug != "globex" || list.NextCursor != nil {
		t.Fatalf("second page = %+v", list)
	}
	a := d.api("POST", "organizations", `{"name":"Initech","slug":"initech","domains":["initech.test"]}`)
	var made struct{ ID, Slug string }
	a.json(t, &made)
	if a.status != 201 || !strings.HasPrefix(made.ID, "org_") || made.Slug != "initech" {
		t.Fatalf("create: %d %s", a.status, a.body)
	}
	if a := d.api("GET", "organizations/"+made.ID, ""); a.status != 200 {
		t.Errorf("get: %d", a.status)
	}
	if a := d.do(d.http, "GET", d.WorkOSURL+"/organizations/"+made.ID, "", "Authorization", "Bearer "+d.WorkOSAPIKey); a.status != 200 {
		t.Errorf("WorkOS does not know it: %d", a.status)
	}
	for body, want := range map[string]int{
		`{"name":"X","slug":"acme"}`: 409, `{"name":"X","slug":"Not A Slug"}`: 422, `{"name":"","slug":"x"}`: 422,
		`{"name":"X","slug":"x","unknown":1}`: 400, `{"name":`: 400, `{"name":"X","slug":"x"}{}`: 400,
	} {
		if a := d.api("POST", "organizations", body); a.status != want {
			t.Errorf("%s: %d, want %d: %s", body, a.status, want, a.body)
		}
	}
	link := d.api("POST", "organizations/"+acme+"/portal-links", `{"intent":"dsync","return_url":"`+d.app("crm.acme", "/admin")+`"}`)
	if link.status != 201 || !strings.Contains(link.body, `"link":"http`) || link.header.Get("Cache-Control") != "no-store" {
		t.Errorf("portal link: %d %s", link.status, link.body)
	}
	for _, body := range []string{
		`{"intent":"everything"}`, `{"intent":"sso","return_url":"https://evil.test/"}`, `{"intent":"sso","return_url":"` + d.app("desk.globex", "/") + `"}`,
		`{"intent":"sso","success_url":"http://crm.acme.battery.localhost@evil.test/"}`, `{"intent":"sso","return_url":"javascript:alert(1)"}`,
	} {
		if a := d.api("POST", "organizations/"+acme+"/portal-links", body); a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := d.api("GET", "organizations/org_nobody", ""); a.status != 404 {
		t.Errorf("unknown: %d", a.status)
	}
	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "cursor=%25%25"} {
		if a := d.api("GET", "organizations?"+bad, ""); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
}

func testApps(t *testing.T, d *demo) {
	body := func(id, host, roles string) string {
		return fmt.Sprintf(`{"id":%q,"organization_id":%q,"hosts":[%q],"allowed_roles":%s}`, id, acme, host, roles)
	}
	if a := d.api("POST", "apps", body("docs.acme", "docs.acme.battery.localhost", `["member"]`)); a.status != 201 {
		t.Fatalf("create: %d %s", a.status, a.body)
	}
	// In force when the answer is there: the door knows the host.
	door := func() int {
		return d.do(d.http, "GET", d.AuthzURL+"/authz/forward-auth", "", "X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http",
			"X-Forwarded-Host", "docs.acme.battery.localhost", "X-Forwarded-Uri", "/").status
	}
	if got := door(); got != 401 {
		t.Errorf("the door answers %d for a new app", got)
	}
	// Something echoes behind the demo's gateway, for whom the door lets on.
	bob := d.browse("bob@acme.test", "docs.acme")
	if a := d.do(bob, "GET", d.app("docs.acme", "/new?a=b"), ""); a.status != 200 || !strings.Contains(a.body, `"query": "a=b"`) || !strings.Contains(a.body, "bob@acme.test") {
		t.Errorf("a new app through the gateway: %d %s", a.status, a.body)
	}
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"a host that is taken":          {body("x.acme", "crm.acme.battery.localhost", "[]"), 409},
		"an id that is taken":           {body("crm.acme", "y.acme.battery.localhost", "[]"), 409},
		"a host below another's slug":   {body("x.acme", "x.globex.battery.localhost", "[]"), 422},
		"a host below nobody's slug":    {body("x.acme", "x.nobody.battery.localhost", "[]"), 422},
		"the public host":               {body("x.acme", "127.0.0.1", "[]"), 422},
		"a wildcard":                    {body("x.acme", "*.acme.battery.localhost", "[]"), 422},
		"an owner that is not there":    {`{"id":"x.acme","organization_id":"org_nobody","hosts":["x.test"]}`, 422},
		"a path mode that is not there": {`{"id":"x.acme","organization_id":"` + acme + `","hosts":["x.test"],"path":"loose"}`, 422},
		"a member that is not there":    {`{"id":"x.acme","alowed_roles":[]}`, 400},
	} {
		if a := d.api("POST", "apps", tc.body); a.status != tc.want {
			t.Errorf("%s: %d, want %d: %s", name, a.status, tc.want, a.body)
		}
	}
	if a := d.api("PUT", "apps/docs.acme", body("docs.acme", "docs.acme.battery.localhost", "[]")); a.status != 200 || !strings.Contains(a.body, `"allowed_roles":[]`) {
		t.Errorf("replace: %d %s", a.status, a.body)
	}
	if a := d.api("PUT", "apps/docs.acme", body("other.acme", "docs.acme.battery.localhost", "[]")); a.status != 422 {
		t.Errorf("replace under another id: %d", a.status)
	}
	if a := d.api("DELETE", "apps/docs.acme", ""); a.status != 204 {
		t.Errorf("delete: %d", a.status)
	}
	if got := door(); got != 403 {
		t.Errorf("the door answers %d for a deleted app", got)
	}
	if a := d.api("GET", "apps/docs.acme", ""); a.status != 404 {
		t.Errorf("get a deleted app: %d", a.status)
	}
}

func testMappings(t *testing.T, d *demo) {
	bob := d.browse("bob@acme.test", "crm.acme")
	if got := d.get(bob, "crm.acme"); got != 403 {
		t.Fatalf("bob at crm: %d", got)
	}
	before := d.api("GET", "organizations/"+acme+"/role-mappings", "").body
	a := d.api("PUT", "organizations/"+acme+"/role-mappings",
		`{"mappings":[{"group_name":"Everyone","roles":["editor"]},{"group_name":"Nobody Yet","roles":["admin"]},{"group_id":"directory_group_unknown","roles":["admin"]}]}`)
	if a.status != 200 || strings.Count(a.body, `"dangling"`) != 2 || !strings.Contains(a.body, `"bound_group_id"`) {
		t.Fatalf("put: %d %s", a.status, a.body)
	}
	if got := d.get(bob, "crm.acme"); got != 200 {
		t.Errorf("the first request after the mapping: %d", got)
	}
	// A group that comes later binds its name, once.
	d.event("dsync.group.created", `{"directory_id":"directory_01DXF6DT00ACME000000000000","name":"Nobody Yet"}`)
	if got := d.api("GET", "organizations/"+acme+"/role-mappings", "").body; strings.Count(got, `"dangling"`) != 1 {
		t.Errorf("after the group came: %s", got)
	}
	for body, want := range map[string]int{
		`{"mappings":[{"roles":["x"]}]}`: 422, `{"mappings":[{"group_id":"g","group_name":"n","roles":["x"]}]}`: 422,
		`{"mappings":[{"group_id":"g","roles":["Not A Role"]}]}`: 422, `{"mappings":[{"group_id":"g","roles":["battery:operator"]}]}`: 422, `{"mapping":[]}`: 400,
	} {
		if a := d.api("PUT", "organizations/"+acme+"/role-mappings", body); a.status != want {
			t.Errorf("%s: %d, want %d: %s", body, a.status, want, a.body)
		}
	}
	if a := d.api("PUT", "organizations/org_nobody/role-mappings", `{"mappings":[]}`); a.status != 404 {
		t.Errorf("unknown organization: %d", a.status)
	}
	// What is missing takes nothing away; what was read can be sent back.
	for body, want := range map[string]int{`{}`: 422, `{"mappings":null}`: 422, `null`: 422, before: 200} {
		if a := d.api("PUT", "organizations/"+acme+"/role-mappings", body); a.status != want {
			t.Errorf("%s: %d, want %d: %s", body, a.status, want, a.body)
		}
	}
	if got := d.get(bob, "crm.acme"); got != 403 {
		t.Errorf("after what was read first came back: %d", got)
	}
	if !strings.Contains(d.api("GET", "organizations/"+acme+"/role-mappings", "").body, `"roles":["editor"]`) {
		t.Error("the mappings did not come back")
	}
}

func testSessions(t *testing.T, d *demo) {
	ada := d.browse("ada@acme.test", "wiki.acme")
	var list struct {
		Data []struct {
			ID, Email string
			LastSeen  time.Time `json:"last_seen"`
		}
	}
	for _, who := range []string{"prof_01DXF6DT00ADA0000000000000", "directory_user_01DXF6DT00ADA0000000000000"} {
		if a := d.api("GET", "sessions?user="+who, ""); !strings.Contains(a.body, "ada@acme.test") || strings.Contains(a.body, "bob@acme.test") {
			t.Errorf("sessions of %s = %s", who, a.body)
		}
	}
	a := d.api("GET", "sessions?user=ADA@acme.test", "")
	a.json(t, &list)
	if len(list.Data) != 1 || list.Data[0].Email != "ada@acme.test" || list.Data[0].LastSeen.IsZero() {
		t.Fatalf("sessions = %s", a.body)
	}
	if got := d.get(ada, "wiki.acme"); got != 200 {
		t.Fatalf("ada at wiki: %d", got)
	}
	if a := d.api("DELETE", "sessions/"+list.Data[0].ID, ""); a.status != 204 {
		t.Fatalf("revoke: %d %s", a.status, a.body)
	}
	if got := d.get(ada, "wiki.acme"); got != 302 {
		t.Errorf("the first request after the revocation: %d", got)
	}
	if a := d.api("DELETE", "sessions/"+list.Data[0].ID, ""); a.status != 404 {
		t.Errorf("revoke again: %d", a.status)
	}
	var last rowsPage
	d.api("GET", "decisions?app=wiki.acme&limit=1", "").json(t, &last)
	if last.Data[0].Reasons[0].Code != "session_revoked" || last.Data[0].Result != "challenge" {
		t.Errorf("the record says %+v", last.Data[0])
	}
}

func testTokens(t *testing.T, d *demo) {
	var made struct{ ID, Token string }
	a := d.api("POST", "tokens", `{"name":"reader","scopes":["read"],"ttl":"1h"}`)
	a.json(t, &made)
	if a.status != 201 || made.Token == "" {
		t.Fatalf("create: %d %s", a.status, a.body)
	}
	as := func(method, path string) int {
		return d.do(d.http, method, d.AdminURL+"/api/v1/"+path, "{}", "Authorization", "Bearer "+made.Token).status
	}
	if got := as("GET", "decisions"); got != 200 {
		t.Errorf("a reader reads: %d", got)
	}
	for _, write := range [][2]string{{"POST", "tokens"}, {"POST", "apps"}, {"POST", "organizations"}, {"DELETE", "sessions/session_x"}, {"PUT", "organizations/" + acme + "/role-mappings"}, {"DELETE", "apps/crm.acme"}} {
		if got := as(write[0], write[1]); got != http.StatusForbidden {
			t.Errorf("a reader may %s %s: %d", write[0], write[1], got)
		}
	}
	if strings.Contains(d.api("GET", "tokens", "").body, made.Token) {
		t.Error("the list of tokens tells their secrets")
	}
	for _, body := range []string{`{"scopes":[]}`, `{"scopes":["root"]}`, `{"scopes":["read"],"ttl":"-1h"}`, `{"scopes":["read"],"ttl":"soon"}`} {
		if a := d.api("POST", "tokens", body); a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := d.api("DELETE", "tokens/"+made.ID, ""); a.status != 204 {
		t.Errorf("revoke: %d", a.status)
	}
	if got := as("GET", "decisions"); got != 401 {
		t.Errorf("a revoked token: %d", got)
	}
}

func testDecisions(t *testing.T, d *demo) {
	start := time.Now().UTC().Format(time.RFC3339Nano)
	gil := d.browse("gil@globex.test", "desk.globex")
	for i := range 5 {
		d.do(gil, "GET", d.app("desk.globex", fmt.Sprintf("/page/%d?secret=hush", i)), "")
	}
	var all rowsPage
	a := d.api("GET", "decisions?app=desk.globex&from="+strings.ReplaceAll(start, "+", "%2B")+"&path=/page/", "")
	a.json(t, &all)
	if len(all.Data) != 5 {
		t.Fatalf("%d rows: %s", len(all.Data), a.body)
	}
	for _, r := range all.Data {
		if r.Result != "allow" || r.Status != 200 || r.Reasons[0].Code != "role" || len(r.Roles) != 1 || r.PolicyRevision == "" || r.DataRevision == 0 || r.Email != "gil@globex.test" || r.SessionID == "" {
			t.Errorf("row %+v", r)
		}
	}
	if strings.Contains(a.body, "hush") || strings.Contains(d.api("GET", "decisions/"+all.Data[0].ID, "").body, "hush") {
		t.Error("a query that the policy does not read was recorded")
	}
	// Pages join to the whole.
	seen, cursor := map[string]bool{}, ""
	for range 10 {
		var p rowsPage
		d.api("GET", "decisions?app=desk.globex&path=/page/&limit=2&cursor="+cursor, "").json(t, &p)
		for _, r := range p.Data {
			seen[r.ID] = true
		}
		if p.NextCursor == nil {
			break
		}
		cursor = *p.NextCursor
	}
	if len(seen) != 5 {
		t.Errorf("pages hold %d rows", len(seen))
	}
	for query, want := range map[string]int{
		"user=gil@globex.test&result=allow&path=/page/": 5, "user=" + all.Data[0].UserID + "&path=/page/": 5, "reason=role&app=desk.globex&path=/page/": 5,
		"result=deny&app=desk.globex": 0, "org=" + acme + "&app=desk.globex": 0, "to=2020-01-01T00:00:00Z": 0,
	} {
		var p rowsPage
		d.api("GET", "decisions?"+query, "").json(t, &p)
		if len(p.Data) != want {
			t.Errorf("%s: %d rows, want %d", query, len(p.Data), want)
		}
	}
	for _, bad := range []string{"from=yesterday", "to=x", "result=maybe", "limit=9999", "cursor=AAAA"} {
		if a := d.api("GET", "decisions?"+bad, ""); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	if a := d.api("GET", "decisions/nobody", ""); a.status != 404 {
		t.Errorf("unknown id: %d", a.status)
	}
	if a := d.api("GET", "decisions/gaps", ""); a.status != 200 || !strings.Contains(a.body, `"data":[]`) {
		t.Errorf("gaps: %d %s", a.status, a.body)
	}
}
