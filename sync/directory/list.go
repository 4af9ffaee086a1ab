package directory

import (
	"slices"
)

// Connection is an SSO connection that is not deleted.
type Connection struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Name           string `json:"name"`
	Type           string `json:"type"`
	State          string `json:"state"`
}

// Info is a directory that is not deleted.
type Info struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Name           string `json:"name"`
	Type           string `json:"type"`
	State          string `json:"state"`
	Linked         bool   `json:"linked"` // its users and groups count
}

// User is a directory user as operators see it. Groups are the ids of those
// that count; WorkOSRoles is WorkOS's own word, which grants nothing here.
type User struct {
	ID             string         `json:"id"`
	DirectoryID    string         `json:"directory_id"`
	OrganizationID string         `json:"organization_id"`
	IdpID          string         `json:"idp_id"`
	Email          string         `json:"email"`
	FirstName      string         `json:"first_name"`
	LastName       string         `json:"last_name"`
	Username       string         `json:"username"`
	JobTitle       string         `json:"job_title"`
	State          string         `json:"state"`
	WorkOSRoles    []string       `json:"workos_roles"`
	Attributes     map[string]any `json:"attributes"`
	Groups         []string       `json:"groups"`
}

// Group is a directory group as operators see it.
type Group struct {
	ID             string `json:"id"`
	DirectoryID    string `json:"directory_id"`
	OrganizationID string `json:"organization_id"`
	IdpID          string `json:"idp_id"`
	Name           string `json:"name"`
}

// Organization is the organization of an id, if it is alive.
func (v *View) Organization(id string) (Organization, bool) {
	o, ok := v.organizations.Get([]byte(id))
	if !ok || !o.alive() {
		return Organization{}, false
	}
	return o.public(), true
}

func (o *organizationNode) public() Organization {
	return Organization{ID: o.id, Slug: o.rec.Slug, Name: o.rec.Name, Domains: o.claimed()}
}

// OrganizationBySlug is the organization that holds a slug, if it is alive.
func (v *View) OrganizationBySlug(slug string) (Organization, bool) {
	id, ok := v.slugs.Get([]byte(slug))
	if !ok {
		return Organization{}, false
	}
	o, ok := v.Organization(id)
	return o, ok && o.Slug == slug
}

// Organizations are all that are alive, by id.
func (v *View) Organizations() []Organization {
	out := []Organization{}
	v.organizations.Root().Walk(func(_ []byte, o *organizationNode) bool {
		if o.alive() {
			out = append(out, o.public())
		}
		return false
	})
	return out
}

// Connections are an organization's, by id, live or not.
func (v *View) Connections(org string) []Connection {
	out := []Connection{}
	if o, ok := v.organizations.Get([]byte(org)); ok && o.alive() {
		for _, n := range o.connections {
			if n.rec.alive() {
				out = append(out, Connection{n.id, n.rec.OrganizationID, n.rec.Name, n.rec.Type, n.rec.State})
			}
		}
	}
	return out
}

// Connection is one connection by its id, live or not.
func (v *View) Connection(id string) (Connection, bool) {
	n, ok := v.connections.Get([]byte(id))
	if !ok || !n.rec.alive() {
		return Connection{}, false
	}
	return Connection{n.id, n.rec.OrganizationID, n.rec.Name, n.rec.Type, n.rec.State}, true
}

// Directories are an organization's, by id, linked or not.
func (v *View) Directories(org string) []Info {
	out := []Info{}
	if o, ok := v.organizations.Get([]byte(org)); ok && o.alive() {
		for _, n := range o.directories {
			if n.rec.alive() {
				out = append(out, n.info())
			}
		}
	}
	return out
}

// Directory is the directory of an id, if it is not deleted.
func (v *View) Directory(id string) (Info, bool) {
	n, ok := v.directories.Get([]byte(id))
	if !ok || !n.rec.alive() {
		return Info{}, false
	}
	return n.info(), true
}

func (n *linkedNode) info() Info {
	return Info{n.id, n.rec.OrganizationID, n.rec.Name, n.rec.Type, n.rec.State, n.rec.live()}
}

// Users are a directory's, by id, active or not.
func (v *View) Users(dir string) []User { return v.UsersAfter(dir, "", 0) }

// UsersAfter is Users page by page: at most limit of those whose id sorts after
// after. A limit of 0 is none.
func (v *View) UsersAfter(dir, after string, limit int) []User {
	out := []User{}
	v.walk(dir, memberUser, after, func(id string) bool {
		if u, ok := v.UserByID(id); ok {
			out = append(out, u)
		}
		return limit == 0 || len(out) < limit
	})
	return out
}

// Groups are a directory's, by id.
func (v *View) Groups(dir string) []Group {
	out := []Group{}
	v.walk(dir, memberGroup, "", func(id string) bool {
		if g, ok := v.GroupByID(id); ok {
			out = append(out, g)
		}
		return true
	})
	return out
}

// GroupMembers are the users in a group, by id, active or not. It looks at every
// user of the group's directory.
func (v *View) GroupMembers(group string) []User {
	out := []User{}
	g, ok := v.GroupByID(group)
	if !ok {
		return out
	}
	v.walk(g.DirectoryID, memberUser, "", func(id string) bool {
		if n, _ := v.users.Get([]byte(id)); n != nil {
			if _, in := slices.BinarySearch(n.groups, group); in {
				if u, ok := v.UserByID(id); ok {
					out = append(out, u)
				}
			}
		}
		return true
	})
	return out
}

// UserByID is a directory user that is not deleted, nor its directory.
func (v *View) UserByID(id string) (User, bool) {
	n, ok := v.users.Get([]byte(id))
	if !ok || n.rec == nil || !n.rec.alive() || !v.holds(n.rec.DirectoryID, n.rec.OrganizationID) {
		return User{}, false
	}
	r := n.rec
	u := User{
		ID: id, DirectoryID: r.DirectoryID, OrganizationID: r.OrganizationID, IdpID: r.IdpID, Email: r.Email,
		FirstName: r.FirstName, LastName: r.LastName, Username: r.Username, JobTitle: r.JobTitle, State: r.State,
		WorkOSRoles: append([]string{}, r.Roles...), Attributes: attributes(r.Attributes), Groups: []string{},
	}
	for _, g := range n.groups {
		if rec, ok := v.groups.Get([]byte(g)); ok && rec.alive() && rec.DirectoryID == r.DirectoryID {
			u.Groups = append(u.Groups, g)
		}
	}
	return u, true
}

// GroupByID is a group that is not deleted, nor its directory.
func (v *View) GroupByID(id string) (Group, bool) {
	r, ok := v.groups.Get([]byte(id))
	if !ok || !r.alive() || !v.holds(r.DirectoryID, r.OrganizationID) {
		return Group{}, false
	}
	return Group{id, r.DirectoryID, r.OrganizationID, r.IdpID, r.Name}, true
}

// holds reports whether a directory is known, not deleted and the organization's.
func (v *View) holds(dir, org string) bool {
	n, ok := v.directories.Get([]byte(dir))
	return ok && n.rec.alive() && n.rec.OrganizationID == org
}

// Mappings are an organization's role mappings with what each is worth now.
func (v *View) Mappings(org string) Mappings {
	o, ok := v.organizations.Get([]byte(org))
	if !ok || !o.alive() || o.mappings == nil {
		return Mappings{Mappings: []BoundMapping{}, RoleSource: v.RoleSource(org)}
	}
	bearing := map[string]int{}
	for _, dir := range o.directories {
		for _, g := range v.Groups(dir.id) {
			bearing[g.Name]++
		}
	}
	out, _ := o.mappings.rec.describe( // neither of the two can fail
		func(id string) (bool, error) {
			g, ok := v.GroupByID(id)
			return ok && g.OrganizationID == org, nil
		},
		func(name string) (bool, error) { return bearing[name] > 1, nil })
	out.RoleSource = v.RoleSource(org)
	return out
}

// walk visits the ids of a directory's members of a kind in order, from behind
// after, until visit returns false.
func (v *View) walk(dir string, kind byte, after string, visit func(id string) bool) {
	prefix := memberKey(dir, kind, "")
	it := v.members.Root().Iterator()
	from := prefix + after
	it.SeekLowerBound([]byte(from))
	for key, _, ok := it.Next(); ok; key, _, ok = it.Next() {
		if len(key) < len(prefix) || string(key[:len(prefix)]) != prefix {
			return
		}
		if id := string(key[len(prefix):]); id != after && !visit(id) {
			return
		}
	}
}
