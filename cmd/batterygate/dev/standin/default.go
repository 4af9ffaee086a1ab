package standin

import "time"

// worldStart dates everything in the fixed world.
func worldStart() Time { return Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)} }

// person is one line of the fixed world.
type person struct {
	first    string
	inactive bool
	groups   []string
}

// DefaultWorld is the fixed world of `batterygate dev`: scripts rely on its
// names, and its ids never change. Organizations acme and globex, each with one
// active SSO connection and one linked directory.
func DefaultWorld() World {
	var w World
	w.add("acme", "Acme", "acme.test", "OktaSAML", "okta scim v2.0",
		[]string{"Engineering", "Admins", "Everyone"},
		[]person{
			{first: "Ada", groups: []string{"Engineering", "Everyone"}},
			{first: "Bob", groups: []string{"Everyone"}},
			{first: "Eve", groups: []string{"Everyone"}, inactive: true},
			{first: "Root", groups: []string{"Admins", "Everyone"}},
		})
	w.add("globex", "Globex", "globex.test", "AzureSAML", "azure scim v2.0",
		[]string{"Staff"},
		[]person{{first: "Gil", groups: []string{"Staff"}}})
	return w
}

// firstRoles are the roles of a new environment.
func firstRoles() []RoleDefinition {
	var out []RoleDefinition
	for _, slug := range []string{"admin", "editor", "member"} {
		out = append(out, RoleDefinition{
			ID: fixedID("role_", slug), Slug: slug, Name: capital(slug), CreatedAt: worldStart(), UpdatedAt: worldStart(),
		}.filled())
	}
	return out
}

// add lays one organization with its connection, directory, groups and users.
func (w *World) add(slug, name, domain, ssoType, directoryType string, groups []string, people []person) {
	at := worldStart()
	org := Organization{
		ID: fixedID("org_", slug), Slug: slug, Name: name, ExternalID: Nullable(slug), CreatedAt: at, UpdatedAt: at,
	}
	org.Domains = []Domain{{
		ID: fixedID("org_domain_", slug), OrganizationID: org.ID, Domain: domain, State: "verified", CreatedAt: at, UpdatedAt: at,
	}}
	connection := Connection{
		ID: fixedID("conn_", slug), OrganizationID: org.ID, Type: ssoType, Name: name + " SSO", State: "active",
		ExternalKey: slug + "-sso", CreatedAt: at, UpdatedAt: at,
	}
	directory := Directory{
		ID: fixedID("directory_", slug), OrganizationID: org.ID, Type: directoryType, Name: name + " Directory", State: "linked",
		Domain: domain, ExternalKey: slug + "-directory", CreatedAt: at, UpdatedAt: at,
	}
	w.Organizations = append(w.Organizations, org)
	w.Connections = append(w.Connections, connection)
	w.Directories = append(w.Directories, directory)
	for _, g := range groups {
		w.Groups = append(w.Groups, Group{
			ID: fixedID("directory_group_", g), IdpID: g, DirectoryID: directory.ID, OrganizationID: org.ID,
			Name: g, CreatedAt: at, UpdatedAt: at,
		})
	}
	for _, p := range people {
		w.addPerson(p, org, connection, directory)
	}
}

// addPerson lays a user and the profile they sign in with. Their last name is
// their organization's.
func (w *World) addPerson(p person, o Organization, c Connection, d Directory) {
	at, state, local := worldStart(), "active", lower(p.first)
	if p.inactive {
		state = "inactive"
	}
	u := User{
		ID: fixedID("directory_user_", p.first), DirectoryID: d.ID, OrganizationID: d.OrganizationID,
		IdpID: o.Slug + "|" + local, Email: Nullable(local + "@" + d.Domain),
		FirstName: Nullable(p.first), LastName: Nullable(o.Name), Name: Nullable(p.first + " " + o.Name),
		Username: Nullable(local), State: state, CreatedAt: at, UpdatedAt: at,
	}
	w.Users = append(w.Users, u)
	w.Profiles = append(w.Profiles, Profile{
		ID: fixedID("prof_", p.first), OrganizationID: Nullable(d.OrganizationID), ConnectionID: c.ID, ConnectionType: c.Type,
		IdpID: u.IdpID, Email: string(u.Email), FirstName: u.FirstName, LastName: u.LastName,
	})
	for _, g := range p.groups {
		w.Memberships = append(w.Memberships, Membership{GroupID: fixedID("directory_group_", g), UserID: u.ID})
	}
}
