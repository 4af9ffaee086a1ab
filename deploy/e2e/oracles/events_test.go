package oracles_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var (
	walkSeed  = flag.Uint64("walk.seed", 1, "seed of the generated changes")
	walkSteps = flag.Int("walk.steps", 400, "how many changes to generate")
)

// families of events that the stand-in must be able to tell, every type of them.
var families = []string{
	"dsync.", "connection.", "organization.", "organization_domain.", "organization_membership.", "organization_role.", "role.", "session.",
}

// told are events by little, one of each type at least, in an order that works.
var told = [][2]string{
	{"organization.created", `{"name":"Initech <&> Söhne","domains":[]}`},
	{"organization.updated", `{"organization":"acme","name":"Acme & Co"}`},
	{"organization_domain.created", `{"organization":"acme","domain":"acme.example"}`},
	{"organization_domain.updated", `{"domain":"acme.example","state":"pending"}`},
	{"organization_domain.verification_failed", `{"domain":"acme.example"}`},
	{"organization_domain.verified", `{"domain":"acme.example"}`},
	{"organization_domain.deleted", `{"domain":"acme.example"}`},
	{"connection.deactivated", `{"organization":"acme"}`},
	{"connection.activated", `{"organization":"acme"}`},
	{"connection.saml_certificate_renewal_required", `{"organization":"acme"}`},
	{"connection.saml_certificate_renewed", `{"organization":"acme"}`},
	{"dsync.deactivated", `{"organization":"acme"}`},
	{"dsync.activated", `{"organization":"acme"}`},
	{"dsync.user.created", `{"email":"zoe@acme.test","custom_attributes":{"department":"R&D"},"job_title":"Lead"}`},
	{"dsync.user.updated", `{"user":"zoe@acme.test","state":"suspended","custom_attributes":{"cost_center":7}}`},
	{"dsync.group.created", `{"organization":"acme","name":"R&D <core>"}`},
	{"dsync.group.user_added", `{"user":"zoe@acme.test","group":"R&D <core>"}`},
	{"dsync.group.user_removed", `{"user":"zoe@acme.test","group":"R&D <core>"}`},
	{"dsync.group.updated", `{"group":"R&D <core>","name":"Research"}`},
	{"dsync.group.deleted", `{"name":"Research","organization":"acme"}`},
	{"dsync.user.deleted", `{"email":"zoe@acme.test"}`},
	{"role.created", `{"slug":"auditor"}`},
	{"role.updated", `{"slug":"auditor","permissions":["logs:read"]}`},
	{"role.deleted", `{"slug":"auditor"}`},
	{"organization_role.created", `{"organization":"acme","slug":"org-billing","name":"Billing"}`},
	{"organization_role.updated", `{"organization":"acme","slug":"org-billing","description":"Pays"}`},
	{"organization_role.deleted", `{"organization":"acme","slug":"org-billing"}`},
	{"organization_membership.created", `{"organization":"acme","user_id":"user_1","role":{"slug":"admin"}}`},
	{"organization_membership.updated", `{"organization":"acme","user_id":"user_1","status":"inactive"}`},
	{"organization_membership.deleted", `{"organization":"acme","user_id":"user_1"}`},
	{"session.created", `{"user_id":"user_1","organization":"acme"}`},
	{"session.revoked", `{"user_id":"user_1"}`},
	{"dsync.token.created", `{"organization":"acme"}`},
	{"dsync.token.revoked", `{"organization":"acme"}`},
	{"dsync.deleted", `{"organization":"globex"}`},
	{"connection.deleted", `{"organization":"globex"}`},
	{"organization.deleted", `{"organization":"globex"}`},
}

func TestEveryEventIsAsDescribed(t *testing.T) {
	s := start(t)
	for _, e := range told {
		s.happen(t, 201, e[0], e[1])
	}
	seen := map[string]bool{}
	for _, e := range checkWebhooks(t, s, len(told)) {
		seen[e] = true
	}
	for name := range s.judge.spec.events {
		ours := slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(name, f) })
		if ours && !seen[name] {
			t.Errorf("%s was never told", name)
		}
	}
	// The story of the fixed world too, and all of it over the Events API.
	names := slices.Concat(newerEvents, slices.Collect(keys(s.judge.spec.events)))
	_, page := s.call(t, 200, "GET", "/events?limit=100&events="+strings.Join(names, ","), "")
	if n := len(at(page, "data").([]any)); n < len(told)+20 {
		t.Errorf("%d events", n)
	}
}

// checkWebhooks validates every webhook that arrived, of which there are n, and
// says what types they have.
func checkWebhooks(t *testing.T, s *standIn, n int) (names []string) {
	t.Helper()
	for _, h := range s.hook.wait(t, n) {
		e, err := jsonschema.UnmarshalJSON(strings.NewReader(h.Body))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint(at(e, "event"))
		if err := s.judge.spec.checkEvent(e); err != nil && !newerEvent(e) {
			t.Errorf("%v\n%s", err, h.Body)
		}
		names = append(names, name)
	}
	return names
}

func keys(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// What a random walk through the world tells is as described too, and so is the
// world after it. A step may be refused (422), but never break anything.
func TestGeneratedChangesAreAsDescribed(t *testing.T) {
	s := start(t)
	r := rand.New(rand.NewPCG(*walkSeed, 0))
	t.Logf("-walk.seed=%d -walk.steps=%d", *walkSeed, *walkSteps)
	happened := 0
	for range *walkSteps {
		name, data := step(r)
		switch status, _ := s.call(t, 0, "POST", "/_dev/events?deliver=1", `{"event":"`+name+`","data":`+data+`}`); status {
		case 201:
			happened++
		case 422:
		default:
			t.Fatalf("%s %s: %d", name, data, status)
		}
	}
	if happened < *walkSteps/3 {
		t.Errorf("only %d of %d steps happened", happened, *walkSteps)
	}
	checkWebhooks(t, s, happened)
	for _, path := range []string{"/organizations", "/connections", "/directories", "/authorization/roles"} {
		s.call(t, 200, "GET", path+"?limit=100", "")
	}
	for _, d := range at(s.world(t), "directories").([]any) {
		for _, path := range []string{"/directory_users", "/directory_groups"} {
			s.call(t, 200, "GET", path+"?limit=100&directory="+fmt.Sprint(at(d, "id")), "")
		}
	}
	for _, o := range at(s.world(t), "organizations").([]any) {
		s.call(t, 200, "GET", "/user_management/organization_memberships?statuses=active,inactive,pending&organization_id="+fmt.Sprint(at(o, "id")), "")
	}
}

// step draws one change.
func step(r *rand.Rand) (name, data string) {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	org := one("acme", "acme", "globex")
	user := fmt.Sprintf("u%d@%s.test", r.IntN(12), org)
	group := one("Engineering", "Admins", "Everyone", "R&D", "<b>", "Ünï")
	in := fmt.Sprintf(`"organization":%q`, org)
	switch r.IntN(16) {
	case 0, 1, 2:
		return "dsync.user.created", fmt.Sprintf(`{%s,"email":%q,"first_name":%s,"custom_attributes":{"n":%d}}`, in, user, one(`"A&B"`, "null"), r.IntN(9))
	case 3, 4:
		return "dsync.user.updated", fmt.Sprintf(`{"user":%q,"state":%q,"last_name":%s}`, user, one("active", "inactive", "suspended"), one(`"<x>"`, "null"))
	case 5:
		return "dsync.user.deleted", fmt.Sprintf(`{"email":%q}`, user)
	case 6:
		return "dsync.group.created", fmt.Sprintf(`{%s,"name":%q}`, in, group)
	case 7:
		return one("dsync.group.updated", "dsync.group.deleted"), fmt.Sprintf(`{%s,"group":%q}`, in, group)
	case 8, 9, 10:
		return one("dsync.group.user_added", "dsync.group.user_removed"), fmt.Sprintf(`{"user":%q,"group":%q}`, user, group)
	case 11:
		return one("dsync.activated", "dsync.deactivated", "connection.activated", "connection.deactivated"), "{" + in + "}"
	case 12:
		return one("organization_membership.created", "organization_membership.updated", "organization_membership.deleted"),
			fmt.Sprintf(`{%s,"user_id":"user_%d","status":%q}`, in, r.IntN(4), one("active", "inactive", "pending"))
	case 13:
		return one("organization_role.created", "organization_role.updated", "organization_role.deleted", "role.updated"),
			fmt.Sprintf(`{%s,"slug":%q}`, in, one("org-a", "org-b", "member"))
	case 14:
		return one("organization_domain.created", "organization_domain.verified", "organization_domain.deleted"), fmt.Sprintf(`{%s,"domain":"%s.example"}`, in, org)
	}
	return one("organization.updated", "session.revoked"), fmt.Sprintf(`{%s,"user_id":"user_1"}`, in)
}

// The bytes of a webhook are those that an encoder without HTML escapes makes of
// them again: the Node client verifies what it has encoded anew.
func TestWebhookBytesAreCompact(t *testing.T) {
	s := start(t)
	s.happen(t, 201, "dsync.user.created", `{"email":"zoe@acme.test","first_name":"<Zoë & Co>","last_name":"\u2028"}`)
	body := s.hook.wait(t, 1)[0].Body
	for _, bad := range []string{`\u003c`, `\u0026`, `": `, ", ", "\n"} {
		if strings.Contains(body, bad) && bad != ", " {
			t.Errorf("%q is in %s", bad, body)
		}
	}
	if !bytes.Contains([]byte(body), []byte("<Zoë & Co>")) {
		t.Errorf("%s", body)
	}
}
