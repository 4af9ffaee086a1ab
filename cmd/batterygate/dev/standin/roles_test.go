package standin_test

import (
	"fmt"
	"net/http"
	"testing"
)

// The roles that WorkOS itself gives: each change is an event, and what is
// assigned cannot be deleted.
func TestRolesAndMemberships(t *testing.T) {
	r := start(t)
	acme, _ := r.World().Organization("acme")
	own, members := "/authorization/organizations/"+acme.ID+"/roles", "/user_management/organization_memberships"
	expect := func(want int, method, path, body string) map[string]any {
		t.Helper()
		status, out := r.call(t, method, path, body)
		if status != want {
			t.Fatalf("%s %s: %d %v, want %d", method, path, status, out, want)
		}
		return out
	}
	expect(201, "POST", own, `{"slug":"org-x","name":"X"}`)
	m := expect(201, "POST", members, fmt.Sprintf(`{"user_id":"user_1","organization_id":%q,"role_slugs":["org-x","admin"]}`, acme.ID))
	if roles, _ := m["roles"].([]any); len(roles) != 2 || dig(m, "role", "slug") != "org-x" || dig(m, "user", "id") != "user_1" {
		t.Errorf("%v", m)
	}
	expect(422, "POST", members, fmt.Sprintf(`{"user_id":"user_1","organization_id":%q}`, acme.ID))
	expect(409, "DELETE", own+"/org-x", "")
	at := members + "/" + m["id"].(string)
	if out := expect(200, "PUT", at, `{"role_slug":"member"}`); dig(out, "role", "slug") != "member" {
		t.Errorf("%v", out)
	}
	if out := expect(200, "PUT", at, `{}`); dig(out, "role", "slug") != "member" {
		t.Errorf("an empty update changed the role: %v", out)
	}
	expect(204, "DELETE", own+"/org-x", "")
	expect(200, "PUT", at+"/deactivate", "")
	expect(404, "PUT", at+"/explode", "")
	expect(422, "PUT", at, `{"status":"active"}`)
	expect(200, "DELETE", at, "")
	expect(404, "DELETE", at, "")
	r.happen(t, 201, "organization_membership.created", fmt.Sprintf(`{"organization_id":%q,"user_id":"user_2","status":"pending"}`, acme.ID))
	pending := r.World().OrganizationMemberships[0].ID
	expect(400, "PUT", members+"/"+pending+"/deactivate", "")
	expect(202, "DELETE", "/organizations/"+acme.ID, "")
	if w := r.World(); len(w.OrganizationMemberships) != 0 || len(w.Roles) != 3 {
		t.Errorf("left: %v %v", w.OrganizationMemberships, w.Roles)
	}
	_, out := r.call(t, http.MethodGet, "/events?limit=100&events=organization_role.created,organization_role.deleted,organization_membership.created,organization_membership.updated,organization_membership.deleted", "")
	var names []string
	for _, e := range out["data"].([]any) {
		names = append(names, dig(e, "event").(string))
	}
	if fmt.Sprint(names) != "[organization_role.created organization_membership.created organization_membership.updated organization_membership.updated organization_role.deleted organization_membership.updated organization_membership.deleted organization_membership.created]" {
		t.Errorf("%v", names)
	}
}

func TestTellingOfRoles(t *testing.T) {
	r := start(t)
	for _, c := range [][2]string{
		{"role.created", `{}`}, {"organization_role.created", `{"slug":"x"}`}, {"organization_role.created", `{"slug":"x","organization":"nobody"}`},
		{"organization_membership.created", `{"organization":"acme"}`}, {"organization_membership.updated", `{"organization":"acme","user_id":"stranger"}`},
		{"organization_membership.created", `{"organization":"acme","user_id":"u","status":"odd"}`},
		{"organization_domain.created", `{"organization":"acme","domain":"acme.test"}`}, {"organization_domain.created", `{"domain":"x.example"}`},
		{"organization_domain.verified", `{"domain":"unknown.example"}`}, {"session.revoked", `{}`}, {"dsync.token.created", `{}`},
		{"connection.saml_certificate_renewed", `{}`},
	} {
		r.happen(t, 422, c[0], c[1])
	}
	e := r.happen(t, 201, "role.updated", `{"slug":"unknown","permissions":["a"]}`)
	if dig(e, "data", "object") != "role" || len(r.World().Roles) != 3 {
		t.Errorf("an update made a role: %v", e)
	}
	e = r.happen(t, 201, "organization_domain.verification_failed", `{"domain":"acme.test","reason":"domain_verified_by_other_organization"}`)
	if dig(e, "data", "reason") != "domain_verified_by_other_organization" || dig(e, "data", "organization_domain", "state") != "failed" {
		t.Errorf("%v", e)
	}
}
