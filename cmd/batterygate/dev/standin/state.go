package standin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// keptEvents bounds the log; WorkOS keeps 30 days.
const keptEvents = 20_000

// state is the world as the server holds it, with the log of what happened.
// Server.mu guards it. Identifiers are ULIDs, so the order of ids is the order
// of creation, and every list is in that order.
type state struct {
	organizations map[string]Organization
	connections   map[string]Connection
	directories   map[string]Directory
	groups        map[string]Group
	users         map[string]User
	profiles      map[string]Profile
	members       map[string]map[string]bool // group id → ids of its users

	events  []logged
	pending []string // ids of events whose webhook is still to be delivered
	time    timeline
}

func newState() *state {
	return &state{
		organizations: map[string]Organization{}, connections: map[string]Connection{}, directories: map[string]Directory{},
		groups: map[string]Group{}, users: map[string]User{}, profiles: map[string]Profile{}, members: map[string]map[string]bool{},
	}
}

// lay puts a world in place of the one there was. The log stays.
func (st *state) lay(w World) {
	fresh := newState()
	fresh.events, fresh.pending, fresh.time = st.events, st.pending, st.time
	for _, o := range w.Organizations {
		fresh.organizations[o.ID] = o.filled()
	}
	for _, c := range w.Connections {
		fresh.connections[c.ID] = c
	}
	for _, d := range w.Directories {
		fresh.directories[d.ID] = d
	}
	for _, g := range w.Groups {
		fresh.groups[g.ID] = g.filled()
	}
	for _, u := range w.Users {
		fresh.users[u.ID] = u.filled()
	}
	for _, p := range w.Profiles {
		fresh.profiles[p.ID] = p
	}
	for _, m := range w.Memberships {
		fresh.join(m.GroupID, m.UserID)
	}
	*st = *fresh
}

// check says what is wrong with a world: something without an id, or with a
// reference to what is not in it.
func (w World) check() error {
	st := newState()
	st.lay(w)
	for _, c := range w.Connections {
		if _, ok := st.organizations[c.OrganizationID]; !ok || c.ID == "" {
			return fmt.Errorf("connection %q: organization %q is not in the world", c.ID, c.OrganizationID)
		}
	}
	for _, d := range w.Directories {
		if _, ok := st.organizations[d.OrganizationID]; !ok || d.ID == "" {
			return fmt.Errorf("directory %q: organization %q is not in the world", d.ID, d.OrganizationID)
		}
	}
	for _, g := range w.Groups {
		if st.directories[g.DirectoryID].OrganizationID != g.OrganizationID || g.ID == "" || g.OrganizationID == "" {
			return fmt.Errorf("group %q: directory %q of organization %q is not in the world", g.ID, g.DirectoryID, g.OrganizationID)
		}
	}
	for _, u := range w.Users {
		if st.directories[u.DirectoryID].OrganizationID != u.OrganizationID || u.ID == "" || u.OrganizationID == "" {
			return fmt.Errorf("user %q: directory %q of organization %q is not in the world", u.ID, u.DirectoryID, u.OrganizationID)
		}
	}
	for _, m := range w.Memberships {
		g, u := st.groups[m.GroupID], st.users[m.UserID]
		if g.ID == "" || u.ID == "" || g.DirectoryID != u.DirectoryID {
			return fmt.Errorf("membership of %q in %q: not both in one directory of the world", m.UserID, m.GroupID)
		}
	}
	return nil
}

// world copies the state out, so that the caller may keep it.
func (st *state) world() World {
	w := World{
		Organizations: sorted(st.organizations), Connections: sorted(st.connections), Directories: sorted(st.directories),
		Groups: sorted(st.groups), Users: sorted(st.users), Profiles: sorted(st.profiles), Memberships: []Membership{},
	}
	for _, group := range slices.Sorted(maps.Keys(st.members)) {
		for _, user := range slices.Sorted(maps.Keys(st.members[group])) {
			w.Memberships = append(w.Memberships, Membership{group, user})
		}
	}
	return w
}

// sorted lists the values of a map of objects by id, that is by age.
func sorted[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[id])
	}
	return out
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

func (st *state) join(group, user string) {
	if st.members[group] == nil {
		st.members[group] = map[string]bool{}
	}
	st.members[group][user] = true
}

func (st *state) leave(group, user string) { delete(st.members[group], user) }

// dropUser takes the user's memberships along: WorkOS sends no user_removed.
func (st *state) dropUser(id string) {
	delete(st.users, id)
	for _, users := range st.members {
		delete(users, id)
	}
}

// dropGroup takes the memberships along: WorkOS sends no user_removed.
func (st *state) dropGroup(id string) {
	delete(st.groups, id)
	delete(st.members, id)
}

// dropDirectory takes users and groups along: dsync.deleted is the sole event.
func (st *state) dropDirectory(id string) {
	for _, g := range sorted(st.groups) {
		if g.DirectoryID == id {
			st.dropGroup(g.ID)
		}
	}
	maps.DeleteFunc(st.users, func(_ string, u User) bool { return u.DirectoryID == id })
	delete(st.directories, id)
}

// dropOrganization takes all that it owns along.
func (st *state) dropOrganization(id string) {
	for _, d := range sorted(st.directories) {
		if d.OrganizationID == id {
			st.dropDirectory(d.ID)
		}
	}
	maps.DeleteFunc(st.connections, func(_ string, c Connection) bool { return c.OrganizationID == id })
	maps.DeleteFunc(st.profiles, func(_ string, p Profile) bool { return string(p.OrganizationID) == id })
	delete(st.organizations, id)
}

// groupsOf lists a user's groups.
func (st *state) groupsOf(user string) []Group {
	out := []Group{}
	for _, g := range sorted(st.groups) {
		if st.members[g.ID][user] {
			out = append(out, g)
		}
	}
	return out
}

// usersOf lists a group's users.
func (st *state) usersOf(group string) []User {
	out := []User{}
	for _, id := range slices.Sorted(maps.Keys(st.members[group])) {
		if u, ok := st.users[id]; ok {
			out = append(out, u)
		}
	}
	return out
}

// organizationWithDomain finds the organization that an e-mail's domain belongs to.
func (st *state) organizationWithDomain(domain string) (Organization, bool) {
	for _, o := range sorted(st.organizations) {
		for _, d := range o.Domains {
			if domain != "" && strings.EqualFold(d.Domain, domain) {
				return o, true
			}
		}
	}
	return Organization{}, false
}

// eventByID finds an event in the log; never for the empty id.
func (st *state) eventByID(id string) (logged, bool) {
	if id == "" {
		return logged{}, false
	}
	for i := len(st.events) - 1; i >= 0; i-- {
		if st.events[i].Event.ID == id {
			return st.events[i], true
		}
	}
	return logged{}, false
}
