package standin

// op is one change of the state, as the journal holds it.
type op struct {
	Do    string `json:"do"`
	ID    string `json:"id,omitempty"`
	Value any    `json:"value,omitempty"`
}

func (st *state) note(do, id string, value any) { st.changes = append(st.changes, op{do, id, value}) }

func (st *state) putOrganization(o Organization) {
	st.note("organization", "", o)
	before, _ := st.organizations.put(o.ID, o)
	for _, d := range before.Domains {
		st.organizationsByDomain.remove(lower(d.Domain), o.ID)
	}
	for _, d := range o.Domains {
		st.organizationsByDomain.add(lower(d.Domain), o.ID)
	}
}

func (st *state) putConnection(c Connection) {
	st.note("connection", "", c)
	st.connections.put(c.ID, c)
}

func (st *state) putDirectory(d Directory) {
	st.note("directory", "", d)
	st.directories.put(d.ID, d)
}

func (st *state) putGroup(g Group) {
	st.note("group", "", g)
	if before, ok := st.groups.put(g.ID, g); ok {
		st.groupsIn.remove(before.DirectoryID, g.ID)
		st.groupsByName.remove(before.Name, g.ID)
		st.groupsByIdp.remove(before.IdpID, g.ID)
	}
	st.groupsIn.add(g.DirectoryID, g.ID)
	st.groupsByName.add(g.Name, g.ID)
	st.groupsByIdp.add(g.IdpID, g.ID)
}

func (st *state) putUser(u User) {
	st.note("user", "", u)
	if before, ok := st.users.put(u.ID, u); ok {
		st.forgetUser(before)
	}
	st.usersIn.add(u.DirectoryID, u.ID)
	st.usersByMail.add(lower(string(u.Email)), u.ID)
	st.usersByIdp.add(u.IdpID, u.ID)
}

func (st *state) forgetUser(u User) {
	st.usersIn.remove(u.DirectoryID, u.ID)
	st.usersByMail.remove(lower(string(u.Email)), u.ID)
	st.usersByIdp.remove(u.IdpID, u.ID)
}

func (st *state) putProfile(p Profile) {
	st.note("profile", "", p)
	if before, ok := st.profiles.put(p.ID, p); ok {
		st.forgetProfile(before)
	}
	st.profilesAt.add(p.ConnectionID+" "+p.IdpID, p.ID)
	st.profilesByMail.add(lower(p.Email), p.ID)
}

func (st *state) forgetProfile(p Profile) {
	st.profilesAt.remove(p.ConnectionID+" "+p.IdpID, p.ID)
	st.profilesByMail.remove(lower(p.Email), p.ID)
}

func (st *state) putRole(r RoleDefinition) {
	st.note("role", "", r)
	st.roles.put(r.key(), r)
}

func (st *state) putBelonging(m OrganizationMembership) {
	st.note("belonging", "", m)
	st.belongings.put(m.ID, m)
}

func (st *state) join(group, user string) {
	st.note("join", group, user)
	st.members.add(group, user)
	st.groupsWith.add(user, group)
}

func (st *state) leave(group, user string) {
	st.note("leave", group, user)
	st.members.remove(group, user)
	st.groupsWith.remove(user, group)
}

func (st *state) dropConnection(id string) {
	st.note("drop connection", id, nil)
	st.connections.drop(id)
}

func (st *state) dropRole(key string) {
	st.note("drop role", key, nil)
	st.roles.drop(key)
}

func (st *state) dropBelonging(id string) {
	st.note("drop belonging", id, nil)
	st.belongings.drop(id)
}

// dropUser takes the user's memberships along: WorkOS sends no user_removed.
func (st *state) dropUser(id string) {
	st.note("drop user", id, nil)
	st.removeUser(id)
}

func (st *state) removeUser(id string) {
	if u, ok := st.users.drop(id); ok {
		st.forgetUser(u)
	}
	for _, group := range st.groupsWith.of(id) {
		st.members.remove(group, id)
	}
	delete(st.groupsWith, id)
}

// dropGroup takes the memberships along: WorkOS sends no user_removed.
func (st *state) dropGroup(id string) {
	st.note("drop group", id, nil)
	st.removeGroup(id)
}

func (st *state) removeGroup(id string) {
	if g, ok := st.groups.drop(id); ok {
		st.groupsIn.remove(g.DirectoryID, id)
		st.groupsByName.remove(g.Name, id)
		st.groupsByIdp.remove(g.IdpID, id)
	}
	for _, user := range st.members.of(id) {
		st.groupsWith.remove(user, id)
	}
	delete(st.members, id)
}

// dropDirectory takes users and groups along: dsync.deleted is the sole event.
func (st *state) dropDirectory(id string) {
	st.note("drop directory", id, nil)
	st.removeDirectory(id)
}

func (st *state) removeDirectory(id string) {
	for _, g := range st.groups.some(st.groupsIn.of(id)) {
		st.removeGroup(g.ID)
	}
	for _, u := range st.users.some(st.usersIn.of(id)) {
		st.removeUser(u.ID)
	}
	st.directories.drop(id)
}

// dropOrganization takes all that it owns along.
func (st *state) dropOrganization(id string) {
	st.note("drop organization", id, nil)
	for _, d := range st.directories.all() {
		if d.OrganizationID == id {
			st.removeDirectory(d.ID)
		}
	}
	for _, c := range st.connections.all() {
		if c.OrganizationID == id {
			st.connections.drop(c.ID)
		}
	}
	for _, p := range st.profiles.all() {
		if string(p.OrganizationID) == id {
			st.profiles.drop(p.ID)
			st.forgetProfile(p)
		}
	}
	for _, r := range st.roles.all() {
		if r.OrganizationID == id {
			st.roles.drop(r.key())
		}
	}
	for _, m := range st.belongings.all() {
		if m.OrganizationID == id {
			st.belongings.drop(m.ID)
		}
	}
	if o, ok := st.organizations.drop(id); ok {
		for _, d := range o.Domains {
			st.organizationsByDomain.remove(lower(d.Domain), id)
		}
	}
}

// groupsOf lists a user's groups.
func (st *state) groupsOf(user string) []Group { return st.groups.some(st.groupsWith.of(user)) }

// organizationWithDomain finds the organization that an e-mail's domain belongs to.
func (st *state) organizationWithDomain(domain string) (Organization, bool) {
	if domain == "" {
		return Organization{}, false
	}
	found := st.organizations.some(st.organizationsByDomain.of(lower(domain)))
	if len(found) == 0 {
		return Organization{}, false
	}
	return found[0], true
}
