package standin

import (
	"cmp"
	"encoding/json"
	"strings"
)

// ref names an object of the world by any of the ways in which a script may:
// its id, a user's e-mail or a group's name, the id at the identity provider.
// given is the object that came with it, if one came.
type ref struct {
	id, name, idp string
	given         object
}

// userRef reads {"user": "bob@acme.test" | "directory_user_…" | {…}}, or
// user_id, or email.
func userRef(data object) (ref, bool) {
	return readRef(data, "user", "directory_user_", "email", []string{"user_email", "email"})
}

// groupRef reads {"group": "Engineering" | "directory_group_…" | {…}}, or
// group_id, or group_name.
func groupRef(data object) (ref, bool) {
	return readRef(data, "group", "directory_group_", "name", []string{"group_name"})
}

func readRef(data object, key, idPrefix, nameKey string, nameAliases []string) (ref, bool) {
	if o := data.sub(key); o != nil {
		r := ref{id: o.str("id"), name: o.str(nameKey), idp: o.str("idp_id"), given: o}
		return r, r.id != "" || r.name != "" || r.idp != ""
	}
	if s := data.str(key); strings.HasPrefix(s, idPrefix) {
		return ref{id: s}, true
	} else if s != "" {
		return ref{name: s}, true
	}
	if id := data.str(key + "_id"); id != "" {
		return ref{id: id}, true
	}
	for _, alias := range nameAliases {
		if s := data.str(alias); s != "" {
			return ref{name: s}, true
		}
	}
	return ref{}, false
}

func (r ref) String() string {
	for _, s := range []string{r.id, r.name, r.idp} {
		if s != "" {
			return s
		}
	}
	return "(nothing)"
}

// full says whether the object that came is a whole payload, which may speak of
// what the world has not seen yet: WorkOS may tell of a membership before it
// tells of the user.
func (r ref) full(more string) bool {
	for _, k := range []string{"id", "directory_id", "idp_id", more} {
		if r.given.str(k) == "" {
			return false
		}
	}
	return true
}

// user finds the user that is meant, in that directory if one is named.
func (st *state) user(r ref, directory string) (User, error) {
	if r.id != "" {
		if u, ok := st.users.byID[r.id]; ok {
			return u, nil
		}
		return User{}, unprocessable("unknown user %q: no directory user has this id", r.id)
	}
	ids := st.usersByIdp.of(r.idp)
	if r.name != "" {
		ids = st.usersByMail.of(lower(r.name))
	}
	var found []User
	for _, u := range st.users.some(ids) {
		if matches(directory, u.DirectoryID) {
			found = append(found, u)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return User{}, unprocessable("unknown user %q: no directory user has this e-mail or idp_id", r)
	}
	return User{}, unprocessable("user %q is ambiguous: name the directory, or the user by id", r)
}

// group finds the group that is meant, in that directory if one is named.
func (st *state) group(r ref, directory string) (Group, error) {
	if r.id != "" {
		if g, ok := st.groups.byID[r.id]; ok {
			return g, nil
		}
		return Group{}, unprocessable("unknown group %q: no directory group has this id", r.id)
	}
	ids := st.groupsByIdp.of(r.idp)
	if r.name != "" {
		ids = st.groupsByName.of(r.name)
	}
	var found []Group
	for _, g := range st.groups.some(ids) {
		if matches(directory, g.DirectoryID) {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Group{}, unprocessable("unknown group %q: no group has this name or idp_id in the directory", r)
	}
	return Group{}, unprocessable("group %q is ambiguous: name the directory, or the group by id", r)
}

// namedDirectory finds the directory that data names; "" if it names none.
func (st *state) namedDirectory(data object) (string, error) {
	id := data.str("directory_id")
	for _, candidate := range []string{data.str("directory"), data.sub("directory").str("id")} {
		if id == "" {
			id = candidate
		}
	}
	if id == "" {
		return st.directoryOfOrganization(data)
	}
	if _, ok := st.directories.byID[id]; !ok {
		return "", unprocessable("unknown directory %q", id)
	}
	return id, nil
}

// directoryOfOrganization is the one directory of the organization that data
// names; "" if it names none.
func (st *state) directoryOfOrganization(data object) (string, error) {
	o, named, err := st.namedOrganization(data)
	if err != nil || !named {
		return "", err
	}
	return st.onlyDirectory(o)
}

func (st *state) onlyDirectory(o Organization) (string, error) {
	var found []string
	for _, d := range st.directories.all() {
		if d.OrganizationID == o.ID {
			found = append(found, d.ID)
		}
	}
	if len(found) != 1 {
		return "", unprocessable("organization %q has %d directories: name the directory by directory_id", o.ID, len(found))
	}
	return found[0], nil
}

// namedOrganization finds the organization that data names: by organization_id,
// which is an id, or by organization, an id or a slug.
func (st *state) namedOrganization(data object) (Organization, bool, error) {
	id, name := data.str("organization_id"), data.str("organization")
	if id == "" && name == "" {
		return Organization{}, false, nil
	}
	for _, o := range st.organizations.all() {
		if o.ID == id || id == "" && (o.ID == name || o.Slug == name) {
			return o, true, nil
		}
	}
	return Organization{}, false, unprocessable("unknown organization %q", cmp.Or(id, name))
}

// impliedDirectory is the directory for something new: the one that is named,
// that of the organization with the e-mail's domain, or the only one there is.
func (st *state) impliedDirectory(data object, email string) (Directory, error) {
	id, err := st.namedDirectory(data)
	if err != nil {
		return Directory{}, err
	}
	if id == "" {
		_, domain, _ := strings.Cut(email, "@")
		if o, ok := st.organizationWithDomain(domain); ok {
			if id, err = st.onlyDirectory(o); err != nil {
				return Directory{}, err
			}
		}
	}
	if all := st.directories.all(); id == "" && len(all) == 1 {
		id = all[0].ID
	}
	d, ok := st.directories.byID[id]
	if !ok {
		return Directory{}, unprocessable("which directory? Name it by directory_id, or the organization by organization_id")
	}
	return d, nil
}

// asData is for the events that are about one object: {"user": …} beside fields
// of its own, or the object itself.
func asData(data object, key string) (object, error) {
	if sub := data.sub(key); sub != nil {
		return nil, unprocessable("data is the %s itself; data.%s may only be a reference", key, key)
	}
	if !data.has(key) {
		return data, nil
	}
	var s string
	if json.Unmarshal(data[key], &s) != nil {
		return nil, unprocessable("data.%s is not a string", key)
	}
	return data, nil
}
