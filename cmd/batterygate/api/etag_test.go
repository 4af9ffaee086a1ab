package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
)

const (
	mappingsPath = "/organizations/" + acme + "/role-mappings"
	pairingsPath = "/organizations/" + acme + "/pairings"
	crmPath      = "/apps/crm.acme"
	editorOnly   = `{"mappings":[{"group_id":"` + groupA + `","roles":["editor"]}]}`
	adminToo     = `{"mappings":[{"group_id":"` + groupA + `","roles":["editor","admin"]}]}`
	paired       = `{"pairings":[{"connection_id":"` + connA + `","directory_id":"` + dirA + `"}]}`
)

func crm(roles string) string {
	return `{"id":"crm.acme","organization_id":"` + acme + `","hosts":["crm.acme.test"],"allowed_roles":` + roles + `}`
}

// under is an operator's request with headers.
func (w *world) under(method, path, body string, header ...string) answer {
	w.t.Helper()
	req := must(http.NewRequest(method, w.server.URL+"/api/v1"+path, strings.NewReader(body)))(w.t)
	req.Header.Set("Authorization", "Bearer "+w.operator)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp := must(http.DefaultClient.Do(req))(w.t)
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, b.String(), resp.Header}
}

func (w *world) tag(path string) string {
	w.t.Helper()
	a := w.under("GET", path, "")
	tag := a.header.Get("ETag")
	if a.status != 200 || len(tag) < 10 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		w.t.Fatalf("%s: %d, ETag %s", path, a.status, tag)
	}
	if h := w.under("HEAD", path, ""); h.status != 200 || h.header.Get("ETag") != tag || h.body != "" {
		w.t.Fatalf("HEAD %s: %d, ETag %s, GET's is %s", path, h.status, h.header.Get("ETag"), tag)
	}
	return tag
}

func (w *world) want(status int, method, path, body string, header ...string) answer {
	w.t.Helper()
	a := w.under(method, path, body, header...)
	if a.status != status {
		w.t.Fatalf("%s %s %v: %d %s, want %d", method, path, header, a.status, a.body, status)
	}
	return a
}

// An operator takes something away; a second one, whose copy is older, changes
// another part of it and sends all of it back.
func TestAnOldCopyBringsNothingBack(t *testing.T) {
	for path, it := range map[string]struct{ first, second, stale string }{
		mappingsPath: {adminToo, editorOnly, strings.Replace(adminToo, "[{", `[{"group_name":"All","roles":["member"]},{`, 1)},
		crmPath:      {crm(`["admin","editor"]`), crm(`["editor"]`), crm(`["admin","editor","member"]`)},
		pairingsPath: {paired, `{"pairings":[]}`, paired},
	} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			w.want(201, "POST", "/apps", crm(`[]`))
			w.want(200, "PUT", path, it.first)
			old := w.tag(path)
			w.want(200, "PUT", path, it.second, "If-Match", old)
			now := w.tag(path)
			if now == old {
				t.Fatal("what changed has the same ETag")
			}
			before := w.under("GET", path, "").body
			a := w.want(412, "PUT", path, it.stale, "If-Match", old)
			if a.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, "Get it again") || w.under("GET", path, "").body != before {
				t.Errorf("%q %s", a.header.Get("Content-Type"), a.body)
			}
			entries := w.entries(0)
			if last := entries[len(entries)-1]; last.Status != 412 {
				t.Errorf("the audit has %+v", last)
			}
			// Whoever names none, or anything there is, or one of several, may.
			w.want(200, "PUT", path, it.second)
			w.want(200, "PUT", path, it.second, "If-Match", "*")
			w.want(200, "PUT", path, it.second, "If-Match", old+` , "other",`, "If-Match", w.tag(path))
			for _, never := range []string{"W/" + w.tag(path), `""`, `"*"`, `"` + strings.Repeat("x", 24) + `", W/` + w.tag(path)} {
				w.want(412, "PUT", path, it.stale, "If-Match", never)
			}
			// What cannot be read is not "no condition".
			for _, bad := range []string{"", " ", ",", "x", strings.Trim(w.tag(path), `"`), `"x`, `"x"y`, `"x""y"`, `*, "x"`, `W/x`, `w/"x"`} {
				w.want(400, "PUT", path, it.stale, "If-Match", bad)
			}
			w.want(412, "PUT", path, it.stale, "If-None-Match", "*")
			if w.under("GET", path, "").header.Get("ETag") != w.tag(path) {
				t.Error("the ETag does not stand still")
			}
		})
	}
}

func TestAnETagIsOfTheContentAndNotOfItsSpelling(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/apps", crm(`["admin","editor"]`))
	tag := w.tag(crmPath)
	a := w.want(200, "PUT", crmPath, strings.Replace(crm(` [ "editor", "admin", "editor" ] `), "crm.acme.test", "CRM.acme.TEST", 1))
	if w.tag(crmPath) != tag {
		t.Error("the same app in another spelling has another ETag")
	}
	if a.header.Get("ETag") != "" {
		t.Error("a PUT that is kept in another spelling answers with a validator")
	}
	entries, _, err := w.st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	w.api.Apps.Load(entries) // as a restart does
	w.api.Directory.Load(entries)
	if w.tag(crmPath) != tag {
		t.Error("the ETag did not outlive a restart")
	}
	w.want(304, "GET", crmPath, "", "If-None-Match", `"x", W/`+tag)
	w.want(304, "HEAD", crmPath, "", "If-None-Match", "*")
	w.want(200, "GET", crmPath, "", "If-None-Match", `"x"`)
}

// What a break-glass token asks is held back until it is recorded.
func TestABreakGlassTokenReadsAndComparesAlike(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/apps", crm(`["admin"]`))
	tag := w.tag(crmPath)
	_, glass, err := w.api.Tokens.CreateBreakGlass(t.Context(), "fire", 0)
	w.operator = must(glass, err)(t)
	if w.tag(crmPath) != tag {
		t.Error("another ETag")
	}
	w.want(304, "GET", crmPath, "", "If-None-Match", tag)
	w.want(412, "PUT", crmPath, crm(`[]`), "If-Match", `"x"`)
	w.want(200, "PUT", crmPath, crm(`[]`), "If-Match", tag)
}

func TestDeletingComparesToo(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/apps", crm(`["admin"]`))
	old := w.tag(crmPath)
	w.want(200, "PUT", crmPath, crm(`["editor"]`))
	w.want(412, "DELETE", crmPath, "", "If-Match", old)
	w.want(204, "DELETE", crmPath, "", "If-Match", w.tag(crmPath))
	// What is not there is not there, with a condition or without.
	w.want(404, "DELETE", crmPath, "", "If-Match", "*")
	w.want(404, "PUT", crmPath, crm(`[]`), "If-Match", old)
}

// A condition that nobody would look at must not pass for one that holds.
func TestNoRouteOverlooksIfMatch(t *testing.T) {
	w := newWorld(t)
	before := w.under("GET", "/organizations/"+acme, "").body
	for _, r := range [][3]string{
		{"PATCH", "/organizations/" + acme, `{"name":"X"}`}, {"DELETE", "/organizations/" + acme, ""}, {"POST", "/apps", crm(`[]`)},
		{"PUT", "/organizations/" + acme + "/role-source", `{"source":"workos"}`}, {"DELETE", "/sessions/session_" + strings.Repeat("0", 31) + "1", ""},
		{"PUT", "/directories/" + dirA + "/paused", `{"paused":true}`},
	} {
		for _, h := range [][2]string{{"If-Match", `"x"`}, {"If-Match", "*"}, {"If-None-Match", "*"}} {
			w.want(412, r[0], r[1], r[2], h[0], h[1])
		}
	}
	if now := w.under("GET", "/organizations/"+acme, "").body; now != before {
		t.Errorf("%s became %s", before, now)
	}
}

// between does something after the policy was asked about an action, once.
type between struct {
	api.AdminPolicy
	action string
	do     func()
}

func (b *between) Decide(ctx context.Context, in engine.AdminInput) (authz.Verdict, error) {
	v, err := b.AdminPolicy.Decide(ctx, in)
	if do := b.do; do != nil && in.Action == b.action {
		b.do = nil
		do()
	}
	return v, err
}

// The policy was asked about Acme's app. By the time of the write it is another
// customer's.
func TestAnAppThatChangesHandsIsNotChangedByItsOldOwner(t *testing.T) {
	for method, body := range map[string]string{"PUT": crm(`["intruder"]`), "DELETE": ""} {
		for _, to := range []string{acme, globex} { // what the body says of the owner
			w := newWorld(t)
			w.want(201, "POST", "/apps", crm(`["admin"]`))
			bound := w.token(acme, "apps.update", "apps.delete")
			move := func() {
				app := authz.App{ID: "crm.acme", OrganizationID: globex, Hosts: []string{"crm.acme.test"}}
				_, revision, err := w.api.Apps.Replace(t.Context(), app)
				if err == nil {
					err = w.published(t.Context(), revision)
				}
				if err != nil {
					t.Error(err)
				}
			}
			action := map[string]string{"PUT": "apps.update", "DELETE": "apps.delete"}[method]
			w.api.Policy = &between{w.policies, action, move}
			a := w.ask(bound, method, crmPath, strings.Replace(body, acme, to, 1))
			app, ok := w.api.Apps.View().ByID("crm.acme")
			if a.status < 400 || !ok || app.OrganizationID != globex || len(app.AllowedRoles) != 0 {
				t.Errorf("%s as %s's: %d %s; the app is %+v", method, to, a.status, a.body, app)
			}
		}
	}
}

// The compare is in the transaction: the view may be behind it.
func TestTheCompareIsInTheTransaction(t *testing.T) {
	for path, it := range map[string]struct{ mine, theirs string }{
		mappingsPath: {adminToo, editorOnly}, crmPath: {crm(`["admin"]`), crm(`["editor"]`)}, pairingsPath: {`{"pairings":[]}`, paired},
	} {
		w := newWorld(t)
		w.want(201, "POST", "/apps", crm(`[]`))
		tag := w.tag(path)
		w.st.before(2, func() { // 1 is the audit's
			w.want(200, "PUT", path, it.theirs)
		})
		w.want(412, "PUT", path, it.mine, "If-Match", tag)
	}
}

func TestAConfiguredAppIsReadOnlyWhateverTheBody(t *testing.T) {
	w := newWorld(t)
	var err error
	w.api.Apps, err = apps.New(w.st, apps.Options{Scheme: "https", Configured: []authz.App{{ID: "crm.acme", OrganizationID: acme, Hosts: []string{"crm.acme.test"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "no JSON", `{"id":"other.acme"}`, crm(`["admin"]`), fmt.Sprintf(`{"hosts":%q}`, "x")} {
		if a := w.want(409, "PUT", crmPath, body); !strings.Contains(a.body, "configuration file") {
			t.Error(a.body)
		}
	}
}
