package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A customer's IT admin serves themself: sees how sign-in and directory are,
// says what a group may do, which counts at the next request, and opens WorkOS's
// Admin Portal. Nobody else does, and no other page for them.
func TestBrowserSettings(t *testing.T) {
	everyKind(t, func(t *testing.T, k *kind) {
		crm, settings := k.url("crm.acme", "/deals"), k.public+"/orgs/acme/settings"
		before := k.mappings(t)
		if !slices.Equal(before["Everyone"], []string{"member"}) {
			t.Fatalf("the journey begins with the mappings %v", before)
		}

		bob := k.window(t, "bob")
		k.signIn(bob, crm, "bob@acme.test")
		if v := bob.at(crm, ""); bob.status() != http.StatusForbidden {
			t.Fatalf("bob is in before he is let in: %s", v.Text)
		}

		root := k.window(t, "root")
		k.openSettings(root, settings, "root")
		v := root.at(settings, "settings")
		for _, want := range []string{"Acme", "root@acme.test", "Connected", "Engineering", "Admins", "Everyone"} {
			if !strings.Contains(v.Text, want) {
				t.Errorf("the page does not say %q:\n%s", want, v.Text)
			}
		}
		if k.provider == "" && !strings.Contains(v.Text, "Working") {
			t.Errorf("the page does not say how the connection is:\n%s", v.Text)
		}

		// What everybody is becomes an editor, and bob is let in when he clicks next.
		root.tick("Everyone", "editor")
		root.clickOn(`//button[@name="do" and @value="save"]`)
		if v = root.at(settings, "saved"); root.status() != http.StatusOK {
			root.fail("saving was answered %d", root.status())
		}
		if got := k.mappings(t); !slices.Equal(got["Everyone"], []string{"editor", "member"}) || !slices.Equal(got["Engineering"], before["Engineering"]) || !slices.Equal(got["Admins"], before["Admins"]) {
			t.Errorf("the mappings are now %v, they were %v", got, before)
		}
		bob.visit(crm)
		if e := bob.echo(bob.at(crm, "let-in")); e.Headers.Get("X-Battery-Roles") != "editor,member" {
			t.Errorf("bob's roles are %q", e.Headers.Get("X-Battery-Roles"))
		}

		k.refusesForgedForm(t, root, settings)
		k.refusesOthers(t, settings)

		// And back: what was given can be taken away.
		root.visit(settings)
		root.tick("Everyone", "editor")
		root.clickOn(`//button[@name="do" and @value="save"]`)
		root.at(settings, "")
		if got := k.mappings(t); !slices.Equal(got["Everyone"], []string{"member"}) {
			t.Errorf("the mappings are now %v", got)
		}
		bob.visit(crm)
		if bob.at(crm, ""); bob.status() != http.StatusForbidden {
			bob.fail("bob is still in")
		}

		// To the Admin Portal, with a login that is fresh.
		root.visit(settings + "/sign-in")
		if v, err := root.see(); err == nil && strings.HasPrefix(v.URL, k.asks) {
			k.pick(root, "root@acme.test")
		}
		root.at(settings, "fresh")
		root.press("directory sync")
		if v = root.at(k.portal, "portal"); !strings.Contains(v.Text, "Admin Portal") || !strings.Contains(v.Text, "dsync") {
			root.fail("this is not the portal")
		}
		root.press("Go back")
		root.at(settings, "")
	})
}

// openSettings signs in to the settings page by the e-mail address it asks for,
// and picks a person where the provider asks.
func (k *kind) openSettings(b *tab, settings, who string) {
	b.t.Helper()
	b.visit(settings)
	if v := b.at(settings, "asks"); !strings.Contains(v.Text, "e-mail") || strings.Contains(v.Text, "Everyone") {
		b.fail("a stranger is not asked for an e-mail address")
	}
	b.fill(`input[type="email"]`, who+"@"+k.domain)
	b.clickOn(`//form//button`)
	if k.provider != "" { // the stand-in of WorkOS signs in whom it is told, and asks nobody twice
		k.pick(b, who+"@acme.test")
	}
	b.at(settings, "")
}

// tick ticks or unticks a role's box in a group's row.
func (b *tab) tick(group, role string) {
	b.t.Helper()
	box := `//tr[contains(., "` + group + `")]//input[@type="checkbox" and @value="` + role + `"]`
	found := eval[int](b, `document.evaluate('count(`+box+`)', document, null, XPathResult.NUMBER_TYPE, null).numberValue`)
	if found != 1 {
		b.fail("there are %d boxes for the role %s of the group %s", found, role, group)
	}
	eval[any](b, `(document.evaluate('`+box+`', document, null, XPathResult.FIRST_ORDERED_NODE_TYPE, null).singleNodeValue.click(), null)`)
}

// refusesForgedForm posts the page's own form, token and all, from an app of the
// organization: same site where both are below one domain, signed in, and still
// not from here.
func (k *kind) refusesForgedForm(t *testing.T, root *tab, settings string) {
	t.Helper()
	before := k.mappings(t)
	root.visit(settings)
	root.at(settings, "")
	fields := eval[[][2]string](root, `(() => { const b = document.querySelector('button[name="do"][value="save"]');
		return [...new FormData(b.form, b)].filter(e => typeof e[1] === "string") })()`)
	if len(fields) < 4 {
		root.fail("the form has only the fields %v", fields)
	}
	fill := `f.method = "post"; f.action = "` + settings + `/role-mappings";`
	for _, each := range fields {
		if each[0] == "roles.0" { // the attacker's wish
			continue
		}
		fill += `(() => { const i = document.createElement("input"); i.name = ` + quoteJS(each[0]) + `; i.value = ` + quoteJS(each[1]) + `; f.append(i) })();`
	}
	for _, role := range []string{"editor", "member"} {
		fill += `(() => { const i = document.createElement("input"); i.name = "roles.0"; i.value = "` + role + `"; f.append(i) })();`
	}
	app := root.another(root.name + "-forger")
	app.visit(k.url("crm.acme", "/deals"))
	if v, err := app.see(); err == nil && strings.HasPrefix(v.URL, k.asks) {
		k.pick(app, "root@acme.test")
	}
	app.echo(app.at(k.url("crm.acme", "/deals"), ""))
	app.submit(fill)
	app.at(settings, "forged")
	if got := app.status(); got != http.StatusForbidden {
		app.fail("a form from a sibling app's page is answered %d", got)
	}
	if got := k.mappings(t); !equalMappings(got, before) {
		t.Errorf("the forged form changed the mappings from %v to %v", before, got)
	}
}

// refusesOthers: ada is signed in, is told so, and is no IT admin.
func (k *kind) refusesOthers(t *testing.T, settings string) {
	t.Helper()
	ada := k.window(t, "ada")
	k.signIn(ada, k.url("crm.acme", "/deals"), "ada@acme.test")
	ada.echo(ada.at(k.url("crm.acme", "/deals"), ""))
	mark := ada.mark()
	ada.visit(settings)
	v := ada.at(settings, "refused")
	if ada.status() != http.StatusForbidden || !strings.Contains(v.Text, "ada@acme.test") || strings.Contains(v.Text, "Everyone") || ada.went(mark, k.authorize) {
		ada.fail("ada is answered %d", ada.status())
	}
	if n := eval[int](ada, `document.querySelectorAll("form").length`); n != 0 {
		ada.fail("the page for her has %d forms", n)
	}
}

// mappings is what the admin API says of acme's groups, by the group's name.
func (k *kind) mappings(t *testing.T) map[string][]string {
	t.Helper()
	org := k.organizationID(t, "acme")
	var now struct {
		Mappings []struct {
			GroupID   string `json:"group_id"`
			GroupName string `json:"group_name"`
			Roles     []string
		}
	}
	k.admin(t, http.MethodGet, "organizations/"+org+"/role-mappings", nil, &now)
	names := k.groupNames(t, org)
	out := map[string][]string{}
	for _, m := range now.Mappings {
		name := m.GroupName
		if name == "" {
			name = names[m.GroupID]
		}
		slices.Sort(m.Roles)
		out[name] = m.Roles
	}
	return out
}

func (k *kind) groupNames(t *testing.T, org string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var directories, groups struct{ Data []struct{ ID, Name string } }
	k.admin(t, http.MethodGet, "organizations/"+org+"/directories", nil, &directories)
	for _, d := range directories.Data {
		k.admin(t, http.MethodGet, "directories/"+d.ID+"/groups", nil, &groups)
		for _, g := range groups.Data {
			out[g.ID] = g.Name
		}
	}
	return out
}

func equalMappings(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, roles := range a {
		if !slices.Equal(roles, b[name]) {
			return false
		}
	}
	return true
}

// quoteJS is a string as a script writes it.
func quoteJS(s string) string {
	raw, _ := json.Marshal(s) // a string always can be
	return string(raw)
}
