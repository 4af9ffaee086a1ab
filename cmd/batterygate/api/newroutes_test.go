package api_test

import (
	"errors"
	"strings"
	"testing"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/sync/directory"
)

func TestOrganizationsAreChangedAndDeleted(t *testing.T) {
	w := newWorld(t)
	if a := w.ask(w.operator, "PATCH", "/organizations/org_acme", `{"name":"New"}`); a.status != 200 || !strings.Contains(a.body, `"name":"New"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "PATCH", "/organizations/org_acme", `{"name":"New","operators":true}`); a.status != 400 {
		t.Errorf("an unknown member: %d", a.status)
	}
	if a := w.ask(w.operator, "GET", "/organizations/org_acme/domains", ""); a.status != 200 || !strings.Contains(a.body, `{"id":"org_domain_1","domain":"acme.test","state":"verified"}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "DELETE", "/organizations/org_acme", ""); a.status != 204 || a.body != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "GET", "/organizations/org_acme", ""); a.status != 404 {
		t.Errorf("still there: %d", a.status)
	}
}

func TestPairingsAndLinks(t *testing.T) {
	w := newWorld(t)
	get := func() string { return w.ask(w.operator, "GET", "/organizations/org_acme/pairings", "").body }
	if got := get(); got != `{"pairings":[]}` {
		t.Errorf("at first: %s", got)
	}
	body := `{"pairings":[{"connection_id":"` + connA + `","directory_id":"` + dirA + `"}]}`
	if a := w.ask(w.operator, "PUT", "/organizations/org_acme/pairings", body); a.status != 200 || a.body != body || get() != body {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "PUT", "/organizations/org_globex/pairings", body); a.status != 404 {
		t.Errorf("another's connection: %d %s", a.status, a.body)
	}
	link := `{"profile_id":"prof_other","directory_user_id":"` + userA + `"}`
	if a := w.ask(w.operator, "POST", "/organizations/org_acme/links", link); a.status != 201 || a.body != link {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "POST", "/organizations/org_globex/links", link); a.status != 404 {
		t.Errorf("another's user: %d %s", a.status, a.body)
	}
	if got := w.entries(w.head() - 4); !strings.Contains(string(got[1].After), userA) || strings.Contains(string(got[1].Before), userA) {
		t.Errorf("before %s after %s", got[1].Before, got[1].After)
	}
}

func TestSessionsAreRevokedByEachSelector(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want []int // sessions that end
	}{
		"an organization":                  {`{"organization_id":"org_acme"}`, []int{1, 2}},
		"a profile":                        {`{"user":"prof_ada"}`, []int{1}},
		"an e-mail":                        {`{"user":"ADA@acme.test"}`, []int{1}},
		"a directory user":                 {`{"user":"` + userA + `"}`, []int{1}},
		"a directory user of another":      {`{"user":"` + userA + `","organization_id":"org_globex"}`, nil},
		"a person in an organization":      {`{"user":"prof_gil","organization_id":"org_globex"}`, []int{3}},
		"a person not in the organization": {`{"user":"prof_gil","organization_id":"org_acme"}`, nil},
		"a connection":                     {`{"connection_id":"` + connA + `"}`, []int{1, 2, 3}},
		"all":                              {`{"all":true}`, []int{1, 2, 3}},
		"nobody":                           {`{"user":"prof_nobody"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ids := []string{"session_00000000000000000000000000000001", w.signIn(2, acme, "prof_bob", "bob@elsewhere.test"), w.signIn(3, globex, "prof_gil", "gil@globex.test")}
			a := w.ask(w.operator, "POST", "/sessions/revoke", c.body)
			var got struct{ Revoked int }
			a.into(t, &got)
			if a.status != 200 || got.Revoked != len(c.want) {
				t.Errorf("%d %s", a.status, a.body)
			}
			for i, id := range ids {
				_, err := w.api.Sessions.Get(id)
				ended := false
				for _, n := range c.want {
					ended = ended || n == i+1
				}
				if (err != nil) != ended {
					t.Errorf("session %d: %v", i+1, err)
				}
			}
		})
	}
	w := newWorld(t)
	for _, body := range []string{`{}`, `{"all":false}`, `{"all":true,"user":"x"}`, `{"user":"x","connection_id":"y"}`, `{"organization_id":"o","connection_id":"y"}`, `{"organization_id":"o","user":"x","all":true}`, `{"user":""}`} {
		if a := w.ask(w.operator, "POST", "/sessions/revoke", body); a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if _, err := w.api.Sessions.Get("session_00000000000000000000000000000001"); err != nil {
		t.Error("a bad request ended a session")
	}
	bound := w.token(acme, "sessions.revoke")
	for body, want := range map[string]int{`{"all":true}`: 403, `{"user":"prof_gil"}`: 403, `{"organization_id":"org_globex"}`: 403, `{"organization_id":"org_acme","user":"x"}`: 200, `{"connection_id":"` + connA + `"}`: 200} {
		if a := w.ask(bound, "POST", "/sessions/revoke", body); a.status != want {
			t.Errorf("bound, %s: %d %s", body, a.status, a.body)
		}
	}
}

// A list is a list, and a time that never was is not told, without catch-up too.
func TestSyncWithoutCatchUpSaysWhatThereIs(t *testing.T) {
	w := newWorld(t)
	w.api.CatchUp = nil
	w.serve()
	a := w.ask(w.operator, "GET", "/sync", "")
	if a.status != 200 || !strings.Contains(a.body, `"reconciling":[]`) || strings.Contains(a.body, "0001-01-01") || !strings.Contains(a.body, dirA) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestKeysAreListedAndRotated(t *testing.T) {
	w := newWorld(t)
	if a := w.ask(w.operator, "GET", "/keys", ""); a.status != 200 || !strings.Contains(a.body, `{"purpose":"tickets","id":"key0","state":"signing","created":"0001-01-01T00:00:00Z","signs_from":null,"retires_at":null}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	at := w.head()
	if a := w.ask(w.operator, "POST", "/keys/tickets/rotate", ""); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	end := w.entries(at)[1]
	if !strings.Contains(string(end.Before), "key0") || !strings.Contains(string(end.After), "key1") || strings.Contains(string(end.After), "sessions") {
		t.Errorf("before %s, after %s", end.Before, end.After)
	}
	w.api.Keys = nil
	w.serve()
	if a, b := w.ask(w.operator, "POST", "/keys/tickets/rotate", ""), w.ask(w.operator, "GET", "/keys", ""); a.status != 409 || b.status != 409 {
		t.Errorf("without keys: %d, %d", a.status, b.status)
	}
}

func TestAdminPoliciesArePushedActivatedAndRolledBack(t *testing.T) {
	w := newWorld(t)
	var v struct{ Revision, Status string }
	a := w.ask(w.operator, "POST", "/admin-policies", bundle(t, "second", ""))
	if a.into(t, &v); a.status != 201 || v.Status != "candidate" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "POST", "/admin-policies/"+v.Revision+"/activate", ""); a.status != 200 || !strings.Contains(a.body, `"status":"active"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if now, err := w.policies.InForce(); now != v.Revision || err != nil {
		t.Errorf("in force: %s %v", now, err)
	}
	if a := w.ask(w.operator, "GET", "/admin-policies", ""); a.status != 200 || strings.Count(a.body, `"revision"`) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "POST", "/admin-policies/rollback", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	broken := w.ask(w.operator, "POST", "/admin-policies", bundle(t, "", "package battery.admin\n\ndecision := nonsense\n"))
	if broken.status != 422 || !strings.Contains(broken.body, `"errors":[{"file":"admin/decision.rego","line":3,"code":`) {
		t.Errorf("%d %s", broken.status, broken.body)
	}
	lockout := w.ask(w.operator, "POST", "/admin-policies", bundle(t, "", "package battery.admin\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": false, \"reasons\": []}\n"))
	if lockout.status != 409 || !strings.Contains(lockout.body, "lock out") {
		t.Errorf("%d %s", lockout.status, lockout.body)
	}
	if a := w.ask(w.operator, "POST", "/admin-policies", "\x1f\x8b"+strings.Repeat("x", 512<<10)); a.status != 413 {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "POST", "/admin-policies", "\x1f\x8b"+strings.Repeat("x", 1<<20)); a.status != 413 {
		t.Errorf("far too large: %d %s", a.status, a.body)
	}
	w.api.AdminPolicies = nil
	w.serve()
	for _, r := range [][2]string{{"GET", "/admin-policies"}, {"POST", "/admin-policies"}, {"POST", "/admin-policies/x/activate"}, {"POST", "/admin-policies/rollback"}} {
		if a := w.ask(w.operator, r[0], r[1], ""); a.status != 409 {
			t.Errorf("without versions %s: %d", r[1], a.status)
		}
	}
}

func TestRolesAreGrantedOnlyByWhoMay(t *testing.T) {
	w := newWorld(t)
	admin := engine.Actor{Kind: "session", ID: "session_x", OrganizationID: acme, Roles: []string{"it-admin"}, Scopes: []string{}}
	m := func(group string, roles ...string) directory.Mapping {
		return directory.Mapping{GroupID: group, Roles: roles}
	}
	named := directory.Mapping{GroupName: "Eng", Roles: []string{"admin"}}
	for name, c := range map[string]struct {
		before, after []directory.Mapping
		role          string // that is refused; empty: none
	}{
		"a grantable role is given":            {nil, []directory.Mapping{m("g", "editor", "member")}, ""},
		"a grantable role is taken":            {[]directory.Mapping{m("g", "editor")}, nil, ""},
		"another is given":                     {nil, []directory.Mapping{m("g", "editor", "admin")}, "admin"},
		"another is taken":                     {[]directory.Mapping{m("g", "admin")}, nil, "admin"},
		"another stays":                        {[]directory.Mapping{m("g", "admin"), named}, []directory.Mapping{named, m("h", "editor"), m("g", "admin")}, ""},
		"another moves to a second group":      {[]directory.Mapping{m("g", "admin")}, []directory.Mapping{m("h", "admin")}, "admin"},
		"another is given to a second group":   {[]directory.Mapping{m("g", "admin")}, []directory.Mapping{m("g", "admin"), m("h", "admin")}, "admin"},
		"another's name becomes an id":         {[]directory.Mapping{named}, []directory.Mapping{m("Eng", "admin")}, "admin"},
		"an operator's role is given":          {nil, []directory.Mapping{m("g", "battery:operator")}, "battery:operator"},
		"a role is given twice to a group":     {[]directory.Mapping{m("g", "admin")}, []directory.Mapping{m("g", "admin", "admin")}, ""},
		"nothing changes":                      {[]directory.Mapping{m("g", "admin")}, []directory.Mapping{m("g", "admin")}, ""},
		"the order of a group's roles changes": {[]directory.Mapping{m("g", "admin", "x")}, []directory.Mapping{m("g", "x", "admin")}, ""},
	} {
		err := api.GrantableChange(t.Context(), w.policies, admin, acme, c.before, c.after)
		var no *api.NotGrantableError
		if got := errors.As(err, &no); got != (c.role != "") || got && (no.Role != c.role || no.Message == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := api.GrantableChange(t.Context(), w.policies, admin, globex, nil, []directory.Mapping{m("g", "editor")}); err == nil {
		t.Error("an IT admin grants in another organization")
	}
	cause := errors.New("no policy")
	if err := api.GrantableChange(t.Context(), locked{cause}, admin, acme, nil, []directory.Mapping{m("g", "editor")}); !errors.Is(err, cause) {
		t.Errorf("a policy without an answer: %v", err)
	}
}

func TestABoundTokenGrantsOnlyWhatThePolicyAllows(t *testing.T) {
	w := newWorld(t)
	put := func(secret, path, body string) int {
		return w.ask(secret, "PUT", "/organizations/org_acme/"+path, body).status
	}
	body := `{"mappings":[{"group_id":"` + groupA + `","roles":["admin"]}]}`
	for name, c := range map[string]struct {
		secret           string
		mappings, source int
	}{
		"unbound, with the scope":       {w.token("", "role-mappings.update"), 200, 200},
		"bound, with the scope":         {w.token(acme, "role-mappings.update"), 403, 403},
		"bound, with that of granting":  {w.token(acme, "role-mappings.*"), 200, 200},
		"of another organization":       {w.token(globex, "role-mappings.*"), 403, 403},
		"bound, with another's scope":   {w.token(acme, "apps.*"), 403, 403},
		"break-glass, which may do all": {w.breakGlass(), 200, 200},
	} {
		w.ask(w.operator, "PUT", "/organizations/org_acme/role-mappings", `{"mappings":[]}`)
		if got := put(c.secret, "role-mappings", body); got != c.mappings {
			t.Errorf("%s: mappings %d", name, got)
		}
		if got := put(c.secret, "role-source", `{"source":"mappings"}`); got != c.source {
			t.Errorf("%s: source %d", name, got)
		}
	}
	put(w.operator, "role-mappings", body)
	at := w.head()
	put(w.token(acme, "role-mappings.update"), "role-mappings", `{"mappings":[]}`)
	if got := w.entries(at); len(got) != 2 || got[1].Result != "refused" || !strings.Contains(got[1].Detail, "admin") {
		t.Errorf("the refusal of a grant: %+v", got)
	}
}

// An act that takes or gives something must be asked for: a body that leaves out
// what is to be is a slip.
func TestWhatIsLeftOutIsNotDone(t *testing.T) {
	w := newWorld(t)
	if a := w.ask(w.operator, "PUT", "/organizations/org_acme/role-mappings", `{"mappings":[{"group_id":"`+groupA+`","roles":["editor"]}]}`); a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	if a := w.ask(w.operator, "PUT", "/directories/"+dirA+"/paused", `{"paused":true}`); a.status != 204 {
		t.Fatal(a.status, a.body)
	}
	for _, body := range []string{`{}`, `null`, `{"mappings":null}`} {
		if a := w.ask(w.operator, "PUT", "/organizations/org_acme/role-mappings", body); a.status/100 != 4 {
			t.Errorf("mappings, %s: %d %s", body, a.status, a.body)
		}
	}
	for _, body := range []string{`{}`, `null`, `{"paused":null}`} {
		if a := w.ask(w.operator, "PUT", "/directories/"+dirA+"/paused", body); a.status != 422 {
			t.Errorf("paused, %s: %d %s", body, a.status, a.body)
		}
	}
	if _, _, paused := w.api.Directory.View().Paused(dirA); !paused || len(w.api.Directory.View().Mappings("org_acme").Mappings) != 1 {
		t.Error("a slip brought roles back, or took them away")
	}
	if a := w.ask(w.operator, "PUT", "/organizations/org_acme/role-mappings", `{"mappings":[]}`); a.status != 200 {
		t.Errorf("all taken away, and meant: %d %s", a.status, a.body)
	}
}

// An app that exists and is not served is in no list, so its id alone must say
// why: whoever makes it anew is told that it exists.
func TestAnAppThatIsNotServedSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.put("apps/app/lost.acme", `{"v":99}`)
	if a := w.ask(w.operator, "GET", "/apps/lost.acme", ""); a.status != 404 || !strings.Contains(a.body, "exists and is not served: ") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "GET", "/apps/never.acme", ""); a.status != 404 || !strings.Contains(a.body, "No app has this id.") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.ask(w.operator, "POST", "/apps", `{"id":"lost.acme","organization_id":"org_acme","hosts":["lost.acme.test"]}`); a.status != 409 || !strings.Contains(a.body, "why it is not served") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
