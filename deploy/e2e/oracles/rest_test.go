package oracles_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// offered is every endpoint of WorkOS's API that the stand-in has, as the
// description names it, with the status of success.
var offered = []string{
	"GET /sso/authorize 302", "POST /sso/token 200", "GET /sso/profile 200", "GET /sso/jwks/{clientId} 200",
	"GET /connections 200", "GET /connections/{id} 200", "DELETE /connections/{id} 204",
	"GET /directories 200", "GET /directories/{id} 200", "DELETE /directories/{id} 202",
	"GET /directory_users 200", "GET /directory_users/{id} 200", "GET /directory_groups 200", "GET /directory_groups/{id} 200",
	"GET /events 200", "POST /portal/generate_link 201",
	"GET /organizations 200", "POST /organizations 201", "GET /organizations/{id} 200", "PUT /organizations/{id} 200",
	"DELETE /organizations/{id} 202", "GET /organizations/external_id/{external_id} 200",
	"POST /organization_domains 201", "GET /organization_domains/{id} 200", "DELETE /organization_domains/{id} 204",
	"POST /organization_domains/{id}/verify 201",
	"GET /authorization/roles 200", "POST /authorization/roles 201", "GET /authorization/roles/{slug} 200", "PATCH /authorization/roles/{slug} 200",
	"GET /authorization/organizations/{organizationId}/roles 200", "POST /authorization/organizations/{organizationId}/roles 201",
	"GET /authorization/organizations/{organizationId}/roles/{slug} 200", "PATCH /authorization/organizations/{organizationId}/roles/{slug} 200",
	"DELETE /authorization/organizations/{organizationId}/roles/{slug} 204",
	"GET /user_management/organization_memberships 200", "POST /user_management/organization_memberships 201",
	"GET /user_management/organization_memberships/{id} 200", "PUT /user_management/organization_memberships/{id} 200",
	"DELETE /user_management/organization_memberships/{id} 200",
	"PUT /user_management/organization_memberships/{id}/deactivate 200", "PUT /user_management/organization_memberships/{id}/reactivate 200",
	"GET /directory_users 429",
}

// ofThe takes the id that an answer holds.
func ofThe(answer map[string]any) string { return fmt.Sprint(answer["id"]) }

func TestEveryEndpointAnswersAsDescribed(t *testing.T) {
	s := start(t)
	signIn(t, s)
	readEverything(t, s)
	writeOrganizations(t, s)
	writeRoles(t, s)
	provokeErrors(t, s)
	// The organizations' end, last.
	s.call(t, 204, "DELETE", "/connections/"+s.id(t, "connections", "name", "Acme SSO"), "")
	s.call(t, 202, "DELETE", "/directories/"+s.id(t, "directories", "name", "Acme Directory"), "")
	s.call(t, 202, "DELETE", "/organizations/"+s.id(t, "organizations", "slug", "globex"), "")
	readEvents(t, s)
	for _, call := range offered {
		if s.judge.count(call) == 0 {
			t.Errorf("%s was never seen", call)
		}
	}
}

func (j *judge) count(call string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seen[call]
}

// code signs in and returns the code.
func code(t *testing.T, s *standIn, query url.Values) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(s.judged + "/sso/authorize?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %v %s", res.StatusCode, err, body)
	}
	if to.Query().Get("code") == "" || to.Query().Get("state") != "st" {
		t.Fatalf("redirected to %s", to)
	}
	return to.Query().Get("code")
}

func asAda(t *testing.T, s *standIn) url.Values {
	return url.Values{
		"client_id": {s.ClientID}, "redirect_uri": {"http://127.0.0.1:1/callback"}, "response_type": {"code"}, "state": {"st"},
		"organization": {s.id(t, "organizations", "slug", "acme")}, "login_hint": {"ada@acme.test"},
	}
}

func signIn(t *testing.T, s *standIn) {
	body := func(code, secret string) string {
		return fmt.Sprintf(`{"client_id":%q,"client_secret":%q,"grant_type":"authorization_code","code":%q}`, s.ClientID, secret, code)
	}
	_, got := s.call(t, 200, "POST", "/sso/token", body(code(t, s, asAda(t, s)), s.APIKey))
	res, err := http.PostForm(s.judged+"/sso/token", url.Values{ // as the SDKs up to v6 send it
		"client_id": {s.ClientID}, "client_secret": {s.APIKey}, "grant_type": {"authorization_code"}, "code": {code(t, s, asAda(t, s))},
	})
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("a form: %v %v", err, res.StatusCode)
	}
	s.call(t, 400, "POST", "/sso/token", body("used", s.APIKey))
	s.call(t, 400, "POST", "/sso/token", body("x", "wrong"))
	s.call(t, 400, "POST", "/sso/token", `{"client_id":"`+s.ClientID+`","client_secret":"`+s.APIKey+`","grant_type":"password","code":"x"}`)
	for token, want := range map[string]int{fmt.Sprint(got["access_token"]): 200, "wrong": 401} {
		req, _ := http.NewRequest("GET", s.judged+"/sso/profile", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != want {
			t.Errorf("profile: %v %v", err, res.StatusCode)
		}
	}
	s.call(t, 200, "GET", "/sso/jwks/"+s.ClientID, "")
	s.call(t, 404, "GET", "/sso/jwks/nobody", "")
}

func readEverything(t *testing.T, s *standIn) {
	directory, group := s.id(t, "directories", "name", "Acme Directory"), s.id(t, "groups", "name", "Everyone")
	ada, acme := s.id(t, "users", "email", "ada@acme.test"), s.id(t, "organizations", "slug", "acme")
	for _, path := range []string{
		"/organizations", "/organizations?limit=1", "/organizations?domains=acme.test", "/organizations/" + acme, "/organizations/external_id/acme",
		"/connections", "/connections/" + s.id(t, "connections", "name", "Acme SSO"), "/connections?limit=1&order=asc",
		"/directories", "/directories?limit=1&order=asc", "/directories/" + directory,
		"/directory_groups?directory=" + directory, "/directory_groups?user=" + ada, "/directory_groups/" + group,
		"/directory_groups?limit=1&order=asc&directory=" + directory, "/directory_users/" + ada,
		"/authorization/roles", "/authorization/roles/admin", "/authorization/organizations/" + acme + "/roles",
		"/authorization/organizations/" + acme + "/roles/admin", "/organizations/" + acme + "/roles",
		"/user_management/organization_memberships?organization_id=" + acme,
	} {
		s.call(t, 200, "GET", path, "")
	}
	for _, query := range []string{"directory=" + directory, "group=" + group, "limit=1&directory=" + directory, "email=ada@acme.test&directory=" + directory} {
		_, page := s.call(t, 200, "GET", "/directory_users?"+query, "")
		for _, u := range at(page, "data").([]any) {
			if groups, ok := at(u, "groups").([]any); !ok || len(groups) != 0 {
				t.Errorf("groups = %v", at(u, "groups"))
			}
		}
	}
	for began := time.Now(); s.judge.count("GET /directory_users 429") == 0; {
		s.call(t, 0, "GET", "/directory_users?directory="+directory, "")
		if time.Since(began) > 5*time.Second {
			t.Fatal("never limited")
		}
	}
	link := fmt.Sprintf(`{"organization":%q,"intent":"sso","return_url":"http://127.0.0.1:1/"}`, acme)
	s.call(t, 201, "POST", "/portal/generate_link", link)
}

func writeOrganizations(t *testing.T, s *standIn) {
	_, org := s.call(t, 201, "POST", "/organizations", `{"name":"Initech & Söhne <x>","domain_data":[{"domain":"initech.test","state":"pending"}],"metadata":{"tier":"gold"},"external_id":"ini"}`)
	at := "/organizations/" + ofThe(org)
	s.call(t, 200, "PUT", at, `{"name":"Initech","metadata":{"tier":null,"x":"y"},"domain_data":[{"domain":"initech.test","state":"verified"}],"stripe_customer_id":"cus_1"}`)
	s.call(t, 200, "PUT", at, `{"allow_profiles_outside_organization":true}`)
	s.call(t, 409, "POST", "/organizations", `{"name":"Other","domains":["initech.test"]}`)
	s.call(t, 400, "POST", "/organizations", `{"name":"Other","external_id":"ini"}`)
	s.call(t, 400, "PUT", at, `{"metadata":{"k":"`+strings.Repeat("x", 601)+`"}}`)
	_, domain := s.call(t, 201, "POST", "/organization_domains", fmt.Sprintf(`{"organization_id":%q,"domain":"initech.example"}`, ofThe(org)))
	on := "/organization_domains/" + ofThe(domain)
	s.call(t, 409, "POST", "/organization_domains", fmt.Sprintf(`{"organization_id":%q,"domain":"initech.example"}`, ofThe(org)))
	s.call(t, 200, "GET", on, "")
	s.call(t, 201, "POST", on+"/verify", "")
	s.call(t, 400, "POST", on+"/verify", "")
	s.call(t, 204, "DELETE", on, "")
	s.call(t, 404, "GET", on, "")
	s.call(t, 404, "DELETE", on, "")
}

func writeRoles(t *testing.T, s *standIn) {
	acme := s.id(t, "organizations", "slug", "acme")
	s.call(t, 201, "POST", "/authorization/roles", `{"slug":"auditor","name":"Auditor"}`)
	s.call(t, 409, "POST", "/authorization/roles", `{"slug":"auditor","name":"Auditor"}`)
	s.call(t, 200, "PATCH", "/authorization/roles/auditor", `{"description":"Reads & writes nothing"}`)
	s.call(t, 404, "PATCH", "/authorization/roles/nobody", `{"name":"x"}`)
	own := "/authorization/organizations/" + acme + "/roles"
	s.call(t, 201, "POST", own, `{"slug":"org-billing","name":"Billing"}`)
	s.call(t, 201, "POST", own, `{"name":"Made up"}`)
	s.call(t, 409, "POST", own, `{"slug":"org-billing","name":"Billing"}`)
	s.call(t, 200, "PATCH", own+"/org-billing", `{"name":"Billing desk","description":null}`)
	s.call(t, 400, "PATCH", own+"/admin", `{"name":"Not ours"}`)

	const members = "/user_management/organization_memberships"
	member := func(more string) string {
		return fmt.Sprintf(`{"user_id":"user_1","organization_id":%q%s}`, acme, more)
	}
	_, m := s.call(t, 201, "POST", members, member(`,"role_slug":"org-billing"`))
	s.call(t, 422, "POST", members, `{"user_id":"user_2","organization_id":"`+acme+`","role_slug":"nobody"}`)
	s.call(t, 409, "DELETE", own+"/org-billing", "")
	s.call(t, 200, "PUT", members+"/"+ofThe(m), `{"role_slug":"admin"}`)
	s.call(t, 204, "DELETE", own+"/org-billing", "")
	s.call(t, 200, "GET", members+"/"+ofThe(m), "")
	s.call(t, 200, "PUT", members+"/"+ofThe(m)+"/deactivate", "")
	_, page := s.call(t, 200, "GET", members+"?user_id=user_1", "")
	_, all := s.call(t, 200, "GET", members+"?user_id=user_1&statuses=active,inactive", "")
	if len(at(page, "data").([]any)) != 0 || len(at(all, "data").([]any)) != 1 {
		t.Errorf("%v %v", page, all)
	}
	s.call(t, 200, "PUT", members+"/"+ofThe(m)+"/reactivate", "")
	s.call(t, 400, "GET", members, "")
	s.call(t, 200, "DELETE", members+"/"+ofThe(m), "")
	s.call(t, 404, "GET", members+"/"+ofThe(m), "")
}

// provokeErrors: every error that the description has for these calls, and that
// the stand-in makes.
func provokeErrors(t *testing.T, s *standIn) {
	acme := s.id(t, "organizations", "slug", "acme")
	for _, c := range []struct {
		want               int
		method, path, body string
	}{
		{404, "GET", "/organizations/org_x", ""}, {404, "GET", "/organizations/external_id/x", ""}, {404, "PUT", "/organizations/org_x", `{"name":"x"}`},
		{422, "POST", "/organizations", `{"name":""}`}, {422, "POST", "/organizations", `{"name":"x","colour":"red"}`},
		{422, "PUT", "/organizations/" + acme, `{"Name":"x"}`}, {422, "GET", "/organizations?limit=0", ""},
		{404, "GET", "/connections/conn_x", ""}, {404, "DELETE", "/connections/conn_x", ""}, {422, "GET", "/connections?order=up", ""},
		{404, "GET", "/directories/directory_x", ""}, {422, "GET", "/directories?limit=x", ""},
		{404, "GET", "/directory_users/directory_user_x", ""}, {404, "GET", "/directory_users?directory=directory_x", ""}, {422, "GET", "/directory_users", ""},
		{404, "GET", "/directory_groups/directory_group_x", ""}, {404, "GET", "/directory_groups?user=directory_user_x", ""}, {422, "GET", "/directory_groups", ""},
		{422, "GET", "/events", ""}, {400, "GET", "/events?events=role.created&after=event_x", ""},
		{422, "GET", "/events?events=role.created&after=a&range_start=2026-01-01T00:00:00Z", ""},
		{404, "POST", "/portal/generate_link", `{"organization":"org_x","intent":"sso"}`}, {422, "POST", "/portal/generate_link", `{"organization":"` + acme + `","intent":"x"}`},
		{422, "POST", "/authorization/roles", `{"slug":"x"}`}, {404, "GET", "/authorization/organizations/org_x/roles", ""},
		{404, "POST", "/user_management/organization_memberships", `{"user_id":"u","organization_id":"org_x"}`},
		{422, "POST", "/user_management/organization_memberships", `{"organization_id":"` + acme + `"}`},
	} {
		if _, answer := s.call(t, c.want, c.method, c.path, c.body); answer["message"] == "" {
			t.Errorf("%s %s: no message in %v", c.method, c.path, answer)
		}
	}
	// An unknown field is refused in WorkOS's very words.
	_, answer := s.call(t, 422, "POST", "/organizations", `{"name":"x","colour":"red"}`)
	if answer["message"] != "Validation failed." || at(answer, "errors", 0, "field") != "colour" || at(answer, "errors", 0, "code") == nil {
		t.Errorf("%v", answer)
	}
}

// readEvents walks through all that happened.
func readEvents(t *testing.T, s *standIn) {
	var names []string
	for name := range s.judge.spec.events {
		names = append(names, name)
	}
	query := "/events?limit=7&events=" + strings.Join(names, ",")
	last, n := "", 0
	for after := ""; ; n++ {
		_, page := s.call(t, 200, "GET", query+after, "")
		for _, e := range at(page, "data").([]any) {
			id := fmt.Sprint(at(e, "id"))
			if id <= last {
				t.Fatalf("%s after %s: not oldest first", id, last)
			}
			last = id
		}
		next, ok := at(page, "list_metadata", "after").(string)
		if !ok {
			break
		}
		after = "&after=" + next
	}
	if n < 3 {
		t.Errorf("only %d pages", n)
	}
}
