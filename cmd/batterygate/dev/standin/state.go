package standin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// state is the world as the server holds it, with the log of what happened.
// Server.mu guards it. It changes by put…, join, leave and drop… only: they keep
// the indexes, and note what they did, for the journal.
type state struct {
	organizations table[Organization]
	connections   table[Connection]
	directories   table[Directory]
	groups        table[Group]
	users         table[User]
	profiles      table[Profile]
	roles         table[RoleDefinition]
	belongings    table[OrganizationMembership]

	organizationsByDomain               index // by lower-case domain
	usersIn, usersByMail, usersByIdp    index // by directory, lower-case e-mail, idp_id
	groupsIn, groupsByName, groupsByIdp index // by directory, name, idp_id
	members, groupsWith                 index // group → users, user → groups
	profilesAt                          index // by connection and idp_id
	profilesByMail                      index // by lower-case e-mail

	events  eventLog
	pending []string // ids of events whose webhook is still to be delivered
	time    timeline
	changes []op // what was done since the last entry of the journal
}

func newState() *state {
	return &state{
		organizations: newTable[Organization](), connections: newTable[Connection](), directories: newTable[Directory](),
		groups: newTable[Group](), users: newTable[User](), profiles: newTable[Profile](),
		roles: newTable[RoleDefinition](), belongings: newTable[OrganizationMembership](),
		organizationsByDomain: index{}, usersIn: index{}, usersByMail: index{}, usersByIdp: index{}, groupsIn: index{}, groupsByName: index{}, groupsByIdp: index{},
		members: index{}, groupsWith: index{}, profilesAt: index{}, profilesByMail: index{},
	}
}

// lay puts a world in place of the one there was. The log stays.
func (st *state) lay(w World) {
	fresh := newState()
	fresh.events, fresh.pending, fresh.time = st.events, st.pending, st.time
	for _, o := range w.Organizations {
		fresh.putOrganization(o.filled())
	}
	for _, c := range w.Connections {
		fresh.putConnection(c)
	}
	for _, d := range w.Directories {
		fresh.putDirectory(d)
	}
	for _, g := range w.Groups {
		fresh.putGroup(g.filled())
	}
	for _, u := range w.Users {
		fresh.putUser(u.filled())
	}
	for _, p := range w.Profiles {
		fresh.putProfile(p)
	}
	for _, m := range w.Memberships {
		fresh.join(m.GroupID, m.UserID)
	}
	if w.Roles == nil {
		w.Roles = firstRoles()
	}
	for _, r := range w.Roles {
		fresh.putRole(r.filled())
	}
	for _, m := range w.OrganizationMemberships {
		fresh.putBelonging(m.filled())
	}
	fresh.changes = nil
	*st = *fresh
}

// check says what is wrong with a world: something without an id, or with a
// reference to what is not in it.
func (w World) check() error {
	st := newState()
	st.lay(w)
	for _, c := range w.Connections {
		if _, ok := st.organizations.byID[c.OrganizationID]; !ok || c.ID == "" {
			return fmt.Errorf("connection %q: organization %q is not in the world", c.ID, c.OrganizationID)
		}
	}
	for _, d := range w.Directories {
		if _, ok := st.organizations.byID[d.OrganizationID]; !ok || d.ID == "" {
			return fmt.Errorf("directory %q: organization %q is not in the world", d.ID, d.OrganizationID)
		}
	}
	for _, g := range w.Groups {
		if st.directories.byID[g.DirectoryID].OrganizationID != g.OrganizationID || g.ID == "" || g.OrganizationID == "" {
			return fmt.Errorf("group %q: directory %q of organization %q is not in the world", g.ID, g.DirectoryID, g.OrganizationID)
		}
	}
	for _, u := range w.Users {
		if st.directories.byID[u.DirectoryID].OrganizationID != u.OrganizationID || u.ID == "" || u.OrganizationID == "" {
			return fmt.Errorf("user %q: directory %q of organization %q is not in the world", u.ID, u.DirectoryID, u.OrganizationID)
		}
	}
	for _, m := range w.Memberships {
		g, u := st.groups.byID[m.GroupID], st.users.byID[m.UserID]
		if g.ID == "" || u.ID == "" || g.DirectoryID != u.DirectoryID {
			return fmt.Errorf("membership of %q in %q: not both in one directory of the world", m.UserID, m.GroupID)
		}
	}
	for _, r := range w.Roles {
		if _, ok := st.organizations.byID[r.OrganizationID]; !ok && r.OrganizationID != "" || r.ID == "" || r.Slug == "" {
			return fmt.Errorf("role %q: organization %q is not in the world", r.Slug, r.OrganizationID)
		}
	}
	for _, m := range w.OrganizationMemberships {
		if _, ok := st.organizations.byID[m.OrganizationID]; !ok || m.ID == "" || m.UserID == "" {
			return fmt.Errorf("organization membership %q: organization %q is not in the world", m.ID, m.OrganizationID)
		}
	}
	return nil
}

// world copies the state out, so that the caller may keep it.
func (st *state) world() World {
	w := World{
		Organizations: st.organizations.all(), Connections: st.connections.all(), Directories: st.directories.all(),
		Groups: st.groups.all(), Users: st.users.all(), Profiles: st.profiles.all(), Memberships: []Membership{},
		Roles: st.roles.all(), OrganizationMemberships: st.belongings.all(),
	}
	for _, group := range slices.Sorted(maps.Keys(st.members)) {
		for _, user := range st.members.of(group) {
			w.Memberships = append(w.Memberships, Membership{group, user})
		}
	}
	return w
}

func (o Organization) filled() Organization {
	o.Object = "organization"
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	domains := make([]Domain, 0, len(o.Domains))
	for _, d := range o.Domains {
		d.Object, d.OrganizationID, d.Strategy = "organization_domain", o.ID, cmp.Or(d.Strategy, "manual")
		domains = append(domains, d)
	}
	o.Domains = domains
	return o
}

func (r RoleDefinition) filled() RoleDefinition {
	r.Object, r.Type = "role", "EnvironmentRole"
	if r.OrganizationID != "" {
		r.Type = "OrganizationRole"
	}
	r.ResourceType = cmp.Or(r.ResourceType, "organization")
	if r.Permissions == nil {
		r.Permissions = []string{}
	}
	return r
}

func (m OrganizationMembership) filled() OrganizationMembership {
	m.Object, m.Status = "organization_membership", cmp.Or(m.Status, "active")
	if m.CustomAttributes == nil {
		m.CustomAttributes = map[string]any{}
	}
	if m.Roles == nil {
		m.Roles = []Role{m.Role}
	}
	return m
}

func (g Group) filled() Group {
	g.Object = "directory_group"
	if g.RawAttributes == nil {
		g.RawAttributes = map[string]any{}
	}
	return g
}

func (u User) filled() User {
	u.Object = "directory_user"
	if u.RawAttributes == nil {
		u.RawAttributes = map[string]any{}
	}
	if u.CustomAttributes == nil {
		u.CustomAttributes = map[string]any{}
	}
	if u.Emails == nil {
		u.Emails = []UserEmail{}
		if u.Email != "" {
			u.Emails = append(u.Emails, UserEmail{Primary: true, Type: "work", Value: u.Email})
		}
	}
	return u
}
