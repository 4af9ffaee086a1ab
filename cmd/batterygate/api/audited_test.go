package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/sync/directory"
)

// deed is a request that changes something. made holds what earlier deeds made.
type deed struct {
	path, body string
	status     int
	before     bool // there was something before
	after      bool // there is something after
}

// deeds holds one for each mutating route, in an order in which all succeed.
func deeds(t *testing.T, w *world) ([]string, map[string]deed) {
	order := []string{
		"POST /organizations", "PATCH /organizations/:id", "PUT /organizations/:id/role-mappings", "PUT /organizations/:id/role-source",
		"PUT /organizations/:id/pairings", "POST /organizations/:id/links", "POST /organizations/:id/portal-links", "POST /apps", "PUT /apps/:id",
		"POST /organizations/:id/service-tokens", "DELETE /organizations/:id/service-tokens/:token", "POST /probes", "DELETE /probes/:id", "DELETE /apps/:id",
		"POST /directories/:id/reconcile", "PUT /directories/:id/paused", "POST /sync/reconcile", "POST /sync/brake/:id/approve", "POST /sync/brake/:id/extend",
		"DELETE /sessions/:id", "POST /sessions/revoke", "POST /tokens", "DELETE /tokens/:id", "POST /keys/:purpose/rotate",
		"POST /admin-policies", "POST /admin-policies/:revision/activate", "POST /admin-policies/rollback", "DELETE /organizations/:id",
	}
	app := `{"id":"crm.acme","organization_id":"org_acme","hosts":["crm.acme.test"],"allowed_roles":["editor"]}`
	until := w.clock().Add(48 * time.Hour).Format(time.RFC3339)
	return order, map[string]deed{
		"POST /organizations":                             {"/organizations", `{"name":"Initech","slug":"initech"}`, 201, false, true},
		"PATCH /organizations/:id":                        {"/organizations/org_acme", `{"name":"Acme 2"}`, 200, true, true},
		"PUT /organizations/:id/role-mappings":            {"/organizations/org_acme/role-mappings", `{"mappings":[{"group_id":"` + groupA + `","roles":["editor"]}]}`, 200, true, true},
		"PUT /organizations/:id/role-source":              {"/organizations/org_acme/role-source", `{"source":"workos"}`, 200, true, true},
		"PUT /organizations/:id/pairings":                 {"/organizations/org_acme/pairings", `{"pairings":[{"connection_id":"` + connA + `","directory_id":"` + dirA + `"}]}`, 200, true, true},
		"POST /organizations/:id/links":                   {"/organizations/org_acme/links", `{"profile_id":"prof_ada","directory_user_id":"` + userA + `"}`, 201, true, true},
		"POST /organizations/:id/portal-links":            {"/organizations/org_acme/portal-links", `{"intent":"sso"}`, 201, false, true},
		"POST /apps":                                      {"/apps", app, 201, false, true},
		"PUT /apps/:id":                                   {"/apps/crm.acme", strings.Replace(app, "editor", "admin", 1), 200, true, true},
		"POST /organizations/:id/service-tokens":          {"/organizations/org_acme/service-tokens", `{"name":"ci","apps":["crm.acme"],"roles":["editor"],"ttl":"24h"}`, 201, false, true},
		"DELETE /organizations/:id/service-tokens/:token": {"/organizations/org_acme/service-tokens/{service}", "", 204, true, false},
		"POST /probes":                                    {"/probes", `{"app_id":"crm.acme","ttl":"5m"}`, 201, false, true},
		"DELETE /probes/:id":                              {"/probes/{probe}", "", 204, true, false},
		"DELETE /apps/:id":                                {"/apps/crm.acme", "", 204, true, false},
		"POST /directories/:id/reconcile":                 {"/directories/" + dirA + "/reconcile", `{"dry_run":true}`, 200, false, true},
		"PUT /directories/:id/paused":                     {"/directories/" + dirA + "/paused", `{"paused":true}`, 204, true, true},
		"POST /sync/reconcile":                            {"/sync/reconcile", "", 200, false, true},
		"POST /sync/brake/:id/approve":                    {"/sync/brake/" + dirA + "/approve", "", 204, true, true},
		"POST /sync/brake/:id/extend":                     {"/sync/brake/" + dirA + "/extend", `{"until":"` + until + `"}`, 204, true, true},
		"DELETE /sessions/:id":                            {"/sessions/session_00000000000000000000000000000001", "", 204, true, false},
		"POST /sessions/revoke":                           {"/sessions/revoke", `{"organization_id":"org_acme"}`, 200, false, true},
		"POST /tokens":                                    {"/tokens", `{"name":"n","scopes":["read"]}`, 201, false, true},
		"DELETE /tokens/:id":                              {"/tokens/{token}", "", 204, true, false},
		"POST /keys/:purpose/rotate":                      {"/keys/tickets/rotate", "", 204, true, true},
		"POST /admin-policies":                            {"/admin-policies", bundle(t, "another", ""), 201, false, true},
		"POST /admin-policies/:revision/activate":         {"/admin-policies/{revision}/activate", "", 200, true, true},
		"POST /admin-policies/rollback":                   {"/admin-policies/rollback", "", 200, true, true},
		"DELETE /organizations/:id":                       {"/organizations/org_acme", "", 204, true, false},
	}
}

// remember keeps the ids that an answer gives, for the deeds that follow.
func remember(ids map[string]string, what string, a answer) {
	var v struct{ ID, Revision string }
	_ = json.Unmarshal([]byte(a.body), &v)
	switch {
	case what == "POST /probes":
		ids["{probe}"] = v.ID
	case what == "POST /tokens":
		ids["{token}"] = v.ID
	case strings.HasSuffix(what, "service-tokens"):
		ids["{service}"] = v.ID
	case what == "POST /admin-policies":
		ids["{revision}"] = v.Revision
	}
}

func filled(path string, ids map[string]string) string {
	for name, id := range ids {
		path = strings.ReplaceAll(path, name, id)
	}
	return path
}

func TestEveryMutatingRouteIsRecordedBeforeAndAfter(t *testing.T) {
	w := newWorld(t)
	order, all := deeds(t, w)
	actions := map[string]string{}
	for _, r := range w.api.Routes() {
		if r.Mutating {
			actions[r.Method+" "+r.Path] = r.Action
			if !slices.Contains(order, r.Method+" "+r.Path) {
				t.Errorf("%s %s is not among the deeds of this test", r.Method, r.Path)
			}
		}
	}
	ids := map[string]string{}
	for _, what := range order {
		d, at := all[what], w.head()
		method, _, _ := strings.Cut(what, " ")
		a := w.ask(w.operator, method, filled(d.path, ids), d.body)
		if a.status != d.status {
			t.Fatalf("%s: %d %s, want %d", what, a.status, a.body, d.status)
		}
		remember(ids, what, a)
		got := w.entries(at)
		if len(got) != 2 {
			t.Fatalf("%s left %d entries", what, len(got))
		}
		intent, end := got[0], got[1]
		if intent.Kind != audit.Intent || intent.Action != actions[what] || intent.Actor.Kind != "token" || intent.RemoteIP != "127.0.0.1" || !strings.Contains(string(intent.Request), method) {
			t.Errorf("%s: intent %+v %s", what, intent, intent.Request)
		}
		if end.Kind != audit.Ended || end.Intent != intent.Seq || end.Result != audit.Done || end.Status != d.status || end.Action != intent.Action || end.Resource != intent.Resource {
			t.Errorf("%s: outcome %+v", what, end)
		}
		if (end.Before != nil) != d.before || (end.After != nil) != d.after || bytes.Equal(end.Before, end.After) && !slices.Contains([]string{"POST /organizations/:id/links"}, what) {
			t.Errorf("%s: before %s, after %s", what, end.Before, end.After)
		}
	}
}

func TestARefusedActIsRecordedAndNotDone(t *testing.T) {
	w := newWorld(t)
	reader := w.token("", "read")
	order, all := deeds(t, w)
	for _, what := range order {
		d, at := all[what], w.head()
		method, _, _ := strings.Cut(what, " ")
		before := w.snapshot()
		a := w.ask(reader, method, d.path, d.body)
		if a.status != 403 {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
		got := w.entries(at)
		if len(got) != 1 || got[0].Kind != audit.Whole || got[0].Result != audit.Refused || got[0].Status != 403 || got[0].Detail == "" {
			t.Fatalf("%s: %+v", what, got)
		}
		if after := w.snapshot(); before != after {
			t.Errorf("%s changed the store: %s → %s", what, before, after)
		}
	}
}

// snapshot is what the store holds beside the audit.
func (w *world) snapshot() string {
	w.t.Helper()
	all, _, err := w.st.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range all {
		if !strings.HasPrefix(e.Key, "admin/audit/") {
			b.WriteString(e.Key + "=" + string(e.Value) + "\n")
		}
	}
	return b.String()
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	w := newWorld(t)
	order, all := deeds(t, w)
	w.st.fail("admin/audit/")
	keys, _ := w.api.Keys.KeyInfo(t.Context())
	before := w.snapshot()
	for _, what := range order {
		method, _, _ := strings.Cut(what, " ")
		a := w.ask(w.operator, method, all[what].path, all[what].body)
		if a.status != 503 || !strings.Contains(a.body, "recorded") {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	if after := w.snapshot(); before != after {
		t.Errorf("something was done: %s → %s", before, after)
	}
	if now, _ := w.api.Keys.KeyInfo(t.Context()); now[0] != keys[0] {
		t.Error("a key was rotated")
	}
	w.st.fail("")
	w.api.Audit = nil
	w.serve()
	if a := w.ask(w.operator, "POST", "/tokens", `{"scopes":["read"]}`); a.status != 503 {
		t.Errorf("without an audit: %d", a.status)
	}
	if a := w.ask(w.operator, "GET", "/organizations", ""); a.status != 200 {
		t.Errorf("a read without an audit: %d", a.status)
	}
}

func TestActsThatFailAreRecordedAsFailed(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PATCH", "/organizations/org_acme", `{"slug":"other"}`, 409}, {"PATCH", "/organizations/org_nobody", `{"name":"n"}`, 404},
		{"PATCH", "/organizations/org_acme", `{}`, 422}, {"PATCH", "/organizations/org_acme", `{"name":`, 400},
		{"DELETE", "/organizations/org_nobody", "", 404}, {"PUT", "/organizations/org_acme/pairings", `{}`, 422},
		{"PUT", "/organizations/org_acme/pairings", `{"pairings":[{"connection_id":"conn_x","directory_id":"` + dirA + `"}]}`, 404},
		{"POST", "/organizations/org_acme/links", `{"profile_id":"prof_ada","directory_user_id":"directory_user_x"}`, 404},
		{"POST", "/keys/passwords/rotate", "", 404}, {"POST", "/admin-policies", "not a bundle", 415}, {"POST", "/admin-policies/0123456789abcdef/activate", "", 404},
		{"POST", "/admin-policies/rollback", "", 409}, {"POST", "/sessions/revoke", `{}`, 422}, {"DELETE", "/apps/x", "", 404},
	} {
		at := w.head()
		if a := w.ask(w.operator, c.method, c.path, c.body); a.status != c.status {
			t.Errorf("%s %s %s: %d %s, want %d", c.method, c.path, c.body, a.status, a.body, c.status)
		}
		if got := w.entries(at); len(got) != 2 || got[1].Result != audit.Failed || got[1].Status != c.status || got[1].Detail == "" {
			t.Errorf("%s %s %s: %+v", c.method, c.path, c.body, got)
		}
	}
	// Broken in the middle: what happened is what the audit shows.
	at := w.head()
	w.st.fail("apps/")
	if a := w.ask(w.operator, "POST", "/apps", `{"id":"crm.acme","organization_id":"org_acme","hosts":["crm.acme.test"]}`); a.status != 500 || strings.Contains(a.body, "disk") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := w.entries(at); len(got) != 2 || got[1].Result != audit.Failed || got[1].Status != 500 || strings.Contains(got[1].Detail, "disk") || got[1].After != nil {
		t.Errorf("%+v", got)
	}
}

func TestAPanicInAnActIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.api.Portal = nil
	at := w.head()
	if a := w.ask(w.operator, "POST", "/organizations/org_acme/portal-links", `{"intent":"sso"}`); a.status != 500 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := w.entries(at); len(got) != 2 || got[1].Result != audit.Failed || got[1].Status != 500 {
		t.Errorf("%+v", got)
	}
}

func TestNoSecretEntersTheAuditOrTheLog(t *testing.T) {
	w := newWorld(t)
	order, all := deeds(t, w)
	var secrets []string
	ids := map[string]string{}
	for _, what := range order {
		method, _, _ := strings.Cut(what, " ")
		a := w.ask(w.operator, method, filled(all[what].path, ids), all[what].body)
		remember(ids, what, a)
		var v struct{ Token, Link string }
		_ = json.Unmarshal([]byte(a.body), &v)
		for _, s := range []string{v.Token, v.Link} {
			if s != "" {
				secrets = append(secrets, s)
			}
		}
	}
	if len(secrets) != 4 {
		t.Fatalf("%d secrets were given, want a token, a service token, a link and a probe", len(secrets))
	}
	// And what a caller puts in the wrong place.
	stray := w.token("", "read")
	w.ask(w.operator, "POST", "/tokens", `{"name":"`+stray+`","scopes":["read"],"token":"hunter2","password":["hunter2"]}`)
	w.ask(w.operator, "DELETE", "/tokens/"+stray, "")
	w.ask(w.operator, "POST", "/apps", `{"id":"x","hunter2`)
	w.ask(w.operator, "POST", "/apps", `{"labels":{"`+stray+`":"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"}}`)
	secrets = append(secrets, stray, "hunter2", w.operator, "eyJhbGci", "Xc9Y7pQ2")
	stored, _, err := w.st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		for _, e := range stored {
			if strings.HasPrefix(e.Key, "admin/audit/") && bytes.Contains(e.Value, []byte(s)) {
				t.Errorf("%s is in the audit: %s", s, e.Value)
			}
		}
		if strings.Contains(w.logged.text(), s) {
			t.Errorf("%s is in the log", s)
		}
	}
	w.head()
}

func TestTheOutcomeIsThereWhenTheAnswerIs(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		at := w.head()
		if a := w.ask(w.operator, "POST", "/tokens", `{"scopes":["read"]}`); a.status != 201 || a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s %v", a.status, a.body, a.header)
		}
		if got := w.entries(at); len(got) != 2 {
			t.Fatal("the answer came first")
		}
	}
}

func TestTheAuditIsReadAndVerified(t *testing.T) {
	w := newWorld(t)
	var made struct{ ID string }
	w.ask(w.operator, "POST", "/tokens", `{"name":"x","scopes":["read"],"organization_id":"org_acme"}`).into(t, &made)
	w.ask(w.operator, "PATCH", "/organizations/org_globex", `{"name":"G"}`)
	w.ask(w.operator, "PATCH", "/organizations/org_acme", `{"name":"A"}`)
	type list struct {
		Data []audit.Entry
		Next *string `json:"next_cursor"`
	}
	for query, want := range map[string]int{
		"": 6, "?org=org_acme": 4, "?action=organizations.update": 4, "?action=organizations.*&org=org_globex": 2, "?resource=organization:org_acme": 2,
		"?actor=token:nobody": 0, "?from=2026-03-01T12:00:00Z": 6, "?to=2026-03-01T12:00:00Z": 0, "?limit=4": 4,
	} {
		var l list
		w.ask(w.operator, "GET", "/audit"+query, "").into(t, &l)
		if len(l.Data) != want || l.Data == nil {
			t.Errorf("%s: %d entries, want %d", query, len(l.Data), want)
		}
		if query == "?limit=4" {
			w.ask(w.operator, "GET", "/audit?cursor="+*l.Next, "").into(t, &l)
			if len(l.Data) != 2 || l.Next != nil {
				t.Errorf("the second page: %d, %v", len(l.Data), l.Next)
			}
		}
	}
	for _, bad := range []string{"from=x", "to=2026", "limit=0", "cursor=x"} {
		if a := w.ask(w.operator, "GET", "/audit?"+bad, ""); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	bound := w.token(acme, "read")
	if a := w.ask(bound, "GET", "/audit", ""); a.status != 403 {
		t.Errorf("a bound token reads everybody's audit: %d", a.status)
	}
	if a := w.ask(bound, "GET", "/audit?org=org_acme", ""); a.status != 200 || strings.Contains(a.body, "globex") {
		t.Errorf("a bound token reads its own: %d %s", a.status, a.body)
	}
	var report audit.Report
	w.ask(w.operator, "GET", "/audit/verify", "").into(t, &report)
	if !report.Intact || report.Entries != 6 || report.HeadHash == "" {
		t.Errorf("%+v", report)
	}
	raw := must(w.st.Get(t.Context(), "admin/audit/00000000000000000003"))(t)
	w.put(raw.Key, strings.Replace(string(raw.Value), "org_globex", "org_acme", 1))
	w.ask(w.operator, "GET", "/audit/verify", "").into(t, &report)
	if report.Intact || report.FirstBroken != 3 {
		t.Errorf("%+v", report)
	}
}

func TestRefusalsDoNotFillTheStore(t *testing.T) {
	w := newWorld(t)
	reader, other := w.token("", "read"), w.token("", "read")
	long := `{"scopes":["read"],"name":"` + strings.Repeat("x", 2000) + `"}`
	for range 100 {
		if a := w.ask(reader, "POST", "/tokens", long); a.status != 403 {
			t.Fatal(a.status)
		}
	}
	got := w.entries(0)
	if len(got) != 60 || !strings.Contains(got[59].Detail, "refused often") || strings.Contains(string(got[0].Request), "xxx") || !strings.Contains(string(got[0].Request), `"length":`) {
		t.Fatalf("%d entries, the last says %q, the first %s", len(got), got[len(got)-1].Detail, got[0].Request)
	}
	if n := strings.Count(w.logged.text(), "admin act refused"); n != 100 {
		t.Errorf("%d are logged", n)
	}
	w.ask(other, "POST", "/tokens", `{}`)
	w.advance(time.Minute)
	w.ask(reader, "POST", "/tokens", `{}`)
	if got := w.entries(60); len(got) != 2 {
		t.Errorf("another actor, and the next minute: %d entries", len(got))
	}
}

// slow is a full read that takes longer than an answer usually may.
type slow struct{ catchUp }

func (slow) Reconcile(context.Context, string, bool) ([]directory.Difference, error) {
	time.Sleep(300 * time.Millisecond)
	return nil, nil
}

func TestALongActIsAnsweredAllTheSame(t *testing.T) {
	w := newWorld(t)
	w.api.CatchUp = slow{}
	w.timeout = 100 * time.Millisecond
	w.serve()
	if a := w.ask(w.operator, "POST", "/sync/reconcile", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
