package settings_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"battery.app/gate/sso"
	"battery.app/gate/sync/directory"
)

func TestWhoMaySeeThePage(t *testing.T) {
	t.Run("a colleague without the role is told who to ask, and nothing else", func(t *testing.T) {
		w := newWorld(t)
		b := w.signIn("bob@acme.test", "acme")
		res := b.get(page)
		if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "bob@acme.test") || !strings.Contains(res.body, "IT department") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		for _, secret := range []string{"Acme Directory", "Okta", "Engineering", "editor", "setup"} {
			if strings.Contains(res.body, secret) {
				t.Errorf("it shows %q", secret)
			}
		}
		f := w.admin().edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		if res := b.step(page+save, f); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
		w.unchanged()
	})
	t.Run("a user who is not active", func(t *testing.T) {
		w := newWorld(t)
		b := w.signIn("eve@acme.test", "acme")
		if res := b.get(page); res.StatusCode != http.StatusForbidden || strings.Contains(res.body, "Engineering") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	})
	t.Run("a user who is suspended meanwhile", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f, portal := b.edit(), form(b.get(page).body, "/portal")
		portal.Set("intent", "sso")
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		r := acmeReading()
		r.Users[0].State = "inactive"
		w.read(r)
		for _, res := range []reply{b.get(page), b.step(page+save, f), b.step(page+"/portal", portal)} {
			if res.StatusCode != http.StatusForbidden || res.Header.Get("Location") != "" {
				t.Errorf("%d %s", res.StatusCode, res.Header.Get("Location"))
			}
		}
		if w.unchanged(); len(w.workos.asked) != 0 {
			t.Fatal("a link was made")
		}
	})
	t.Run("a user of a paused directory", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		w.must(w.directory.Pause(context.Background(), dirA, "token:t1", true))
		if res := b.get(page); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
	})
	t.Run("somebody whom the directory does not know", func(t *testing.T) {
		w := newWorld(t)
		if res := w.signIn("mallory@acme.test", "acme").get(page); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
	})
	t.Run("a session that was ended", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		if _, err := w.sessions.RevokeWhere(context.Background(), sso.Filter{OrganizationID: acme}); err != nil {
			t.Fatal(err)
		}
		if res := b.get(page); res.StatusCode != http.StatusOK || !strings.Contains(res.body, "Work e-mail") || strings.Contains(res.body, "Engineering") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		if res := b.step(page+save, f); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "nothing was changed") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		w.unchanged()
	})
	t.Run("a user who was deleted", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		w.event("dsync.user.deleted", person("ada@acme.test", "").ID, map[string]any{"object": "directory_user", "directory_id": dirA, "organization_id": acme, "email": "ada@acme.test", "idp_id": "idp_ada@acme.test", "state": "active"})
		if res := b.step(page+save, f); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
		w.unchanged()
	})
	t.Run("an IT admin of another organization", func(t *testing.T) {
		w := newWorld(t)
		f := w.admin().edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		gil := w.signIn("gil@globex.test", "globex")
		gil.get(public + "/orgs/globex/settings/sign-in")
		own := form(gil.get(public+"/orgs/globex/settings").body, save)
		if own == nil {
			t.Fatal("gil is no IT admin at home")
		}
		f.Set("token", own.Get("token"))
		portal := form(gil.get(public+"/orgs/globex/settings").body, "/portal")
		portal.Set("intent", "sso")
		for _, res := range []reply{gil.step(page+save, f), gil.step(page+"/portal", portal)} {
			if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "Work e-mail") {
				t.Fatalf("%d: %s", res.StatusCode, res.body)
			}
		}
		if w.unchanged(); len(w.workos.asked) != 0 || len(w.acts()) != 0 {
			t.Fatal("something was done")
		}
	})
	t.Run("no other host", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		if res := b.get("https://crm.example/orgs/acme/settings"); res.StatusCode != http.StatusMisdirectedRequest {
			t.Fatal(res.StatusCode)
		}
	})
}

// TestSlugsCannotBeTriedOut: who is not signed in sees the same, to the byte,
// at an organization's slug and at one that nobody has.
func TestSlugsCannotBeTriedOut(t *testing.T) {
	w := newWorld(t)
	ask := func(slug, path string, f url.Values) string {
		method := http.MethodGet
		if f != nil {
			method = http.MethodPost
		}
		res := w.browser().send(false, method, public+"/orgs/"+slug+"/settings"+path, f)
		var head strings.Builder
		_ = res.Header.Write(&head)
		return res.Status + head.String() + strings.ReplaceAll(res.body, slug, "SLUG")
	}
	for name, c := range map[string]struct {
		path string
		form url.Values
	}{
		"the page":             {"", nil},
		"signing in again":     {"/sign-in", nil},
		"an e-mail of another": {"/sign-in", url.Values{"email": {"x@globex.test"}}},
		"an e-mail of nobody":  {"/sign-in", url.Values{"email": {"x@nobody.test"}}},
		"no e-mail":            {"/sign-in", url.Values{"email": {""}}},
		"a domain alone":       {"/sign-in", url.Values{"email": {"@acme.test"}}},
		"two e-mails":          {"/sign-in", url.Values{"email": {"a@acme.test", "b@acme.test"}}},
		"the table":            {save, url.Values{"do": {"save"}}},
		"the table's address":  {save, nil},
		"the portal":           {"/portal", url.Values{"intent": {"sso"}}},
		"the portal's address": {"/portal", nil},
	} {
		t.Run(name, func(t *testing.T) {
			known, unknown := ask("acme", c.path, c.form), ask("nope", c.path, c.form)
			if strings.ReplaceAll(known, "/orgs/acme", "") != strings.ReplaceAll(unknown, "/orgs/nope", "") {
				t.Errorf("acme: %s\nnobody: %s", known, unknown)
			}
			if strings.Contains(known, "org_") || strings.Contains(known, "Acme") {
				t.Error("the organization is named")
			}
		})
	}
	t.Run("and a colleague's e-mail leads to the sign-in and back", func(t *testing.T) {
		b := w.admin()
		if joined := strings.Join(b.path, " "); !strings.Contains(joined, "https://workos.example/authorize") {
			t.Fatal(joined)
		}
	})
	t.Run("which is told the e-mail, so that nobody types it twice", func(t *testing.T) {
		for typed, want := range map[string]string{
			" ada@acme.test ": "login_hint=ada%40acme.test&", "a&b=c@acme.test": "login_hint=a%26b%3Dc%40acme.test&",
			"a\x00b@acme.test": "login_hint=&", strings.Repeat("a", 300) + "@acme.test": "login_hint=&",
		} {
			b := w.browser()
			w.workos.as = "ada@acme.test"
			b.send(true, http.MethodPost, page+"/sign-in", url.Values{"email": {typed}})
			if joined := strings.Join(b.path, " "); !strings.Contains(joined, want) {
				t.Errorf("%.20q: went %s", typed, joined)
			}
			b.path = nil
			b.get(page + "/sign-in") // a fresh login of the same person
			if joined := strings.Join(b.path, " "); !strings.Contains(joined, "login_hint=ada%40acme.test&") {
				t.Errorf("a fresh login went %s", joined)
			}
		}
	})
	t.Run("an old slug leads its own people to the new one, and nobody else", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		w.must(w.directory.ChangeOrganization(context.Background(), acme, directory.OrganizationChange{Slug: "acme2"}))
		if res := b.get(page); res.at != public+"/orgs/acme2/settings" || res.StatusCode != http.StatusOK {
			t.Fatalf("%d at %s", res.StatusCode, res.at)
		}
		if res := w.browser().get(page); res.at != page+"/sign-in" || !strings.Contains(res.body, "Work e-mail") {
			t.Fatalf("%d at %s", res.StatusCode, res.at)
		}
	})
	t.Run("slugs that are none", func(t *testing.T) {
		for _, slug := range []string{"%22%3E%3Cscript%3E", "a%20b", "%2e%2e", strings.Repeat("x", 3000)} {
			if res := w.browser().get(public + "/orgs/" + slug + "/settings"); strings.Contains(res.body, "<script") || (res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNotFound) {
				t.Errorf("%.40s: %d", slug, res.StatusCode)
			}
		}
	})
}
