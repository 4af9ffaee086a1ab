package standin

import (
	"slices"
	"strings"
)

func (st *state) userCreated(data object, m moment) (change, error) {
	fields := fieldsOf(data)
	base, known := st.users.byID[data.str("id")]
	if !known {
		d, err := st.impliedDirectory(data, data.str("email"))
		if err != nil {
			return change{}, err
		}
		if base, err = st.newUser(d, data, m); err != nil {
			return change{}, err
		}
	}
	u, err := st.writtenUser(base, fields)
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(u, fields)
	return change{name: "dsync.user.created", payload: payload, apply: func() { st.putUser(u) }}, err
}

// newUser is the user before the given fields are laid over it. One person has
// one idp_id, so a user who is provisioned again gets that of the profile.
func (st *state) newUser(d Directory, data object, m moment) (User, error) {
	email := data.str("email")
	local, _, _ := strings.Cut(email, "@")
	if local == "" && data.str("id") == "" {
		return User{}, unprocessable("data.email is required for a new user")
	}
	for _, u := range st.users.some(st.usersByMail.of(lower(email))) {
		if email != "" && u.DirectoryID == d.ID {
			return User{}, unprocessable("user %q is already in directory %q, as %q", email, d.ID, u.ID)
		}
	}
	idp := "idp|" + lower(email)
	for _, p := range st.profiles.some(st.profilesByMail.of(lower(email))) {
		if email != "" && string(p.OrganizationID) == d.OrganizationID {
			idp = p.IdpID
		}
	}
	return User{
		ID: m.id("directory_user_"), DirectoryID: d.ID, OrganizationID: d.OrganizationID, IdpID: idp,
		Email: Nullable(email), FirstName: Nullable(capital(local)), Username: Nullable(local), State: "active",
		CreatedAt: m.at, UpdatedAt: m.at,
	}, nil
}

func (st *state) userUpdated(data object, m moment) (change, error) {
	before, fields, err := st.aboutUser(data)
	if err != nil {
		return change{}, err
	}
	if !fields.has("updated_at") {
		before.UpdatedAt = m.at
	}
	u, err := st.writtenUser(before, fields)
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(u, fields)
	if err != nil {
		return change{}, err
	}
	if err := payload.setPrevious(before, u); err != nil {
		return change{}, err
	}
	return change{name: "dsync.user.updated", payload: payload, apply: func() { st.putUser(u) }}, nil
}

// setPrevious adds previous_attributes unless they were given.
func (o object) setPrevious(before, after any) error {
	if o.has("previous_attributes") {
		return nil
	}
	previous, err := previousAttributes(before, after)
	if err != nil {
		return err
	}
	o["previous_attributes"], err = compact(previous)
	return err
}

func (st *state) userDeleted(data object) (change, error) {
	u, fields, err := st.aboutUser(data)
	if whole := (ref{given: data}); err != nil && !whole.full("state") {
		return change{}, err
	}
	payload, err := overlay(u.filled(), fields)
	id := payload.str("id")
	return change{name: "dsync.user.deleted", payload: payload, apply: func() { st.dropUser(id) }}, err
}

// aboutUser finds the user that an event is about: data is the user, named by
// id, by a reference in data.user, by e-mail or by idp_id.
func (st *state) aboutUser(data object) (User, object, error) {
	data, err := asData(data, "user")
	if err != nil {
		return User{}, nil, err
	}
	directory, err := st.namedDirectory(data)
	if err != nil {
		return User{}, fieldsOf(data), err
	}
	r := ref{id: data.str("id")}
	if r.id == "" {
		if named, ok := userRef(data); ok {
			r = named
		} else {
			r.idp = data.str("idp_id")
		}
	}
	if r.id == "" && r.name == "" && r.idp == "" || r.given != nil {
		return User{}, nil, unprocessable("which user? Name it by id, email or idp_id")
	}
	u, err := st.user(r, directory)
	return u, fieldsOf(data), err
}

// writtenUser lays the fields over the user and derives what follows from them.
func (st *state) writtenUser(base User, fields object) (User, error) {
	u, err := merged(base, fields)
	if err != nil {
		return User{}, err
	}
	if !fields.has("name") && (fields.has("first_name") || fields.has("last_name") || u.Name == "") {
		u.Name = Nullable(strings.TrimSpace(string(u.FirstName) + " " + string(u.LastName)))
	}
	if fields.has("email") && !fields.has("emails") {
		u.Emails = nil
	}
	u = u.filled()
	return u, st.checkUser(u, false)
}

// checkUser refuses a user that WorkOS could not have.
func (st *state) checkUser(u User, gone bool) error {
	if u.ID == "" || u.IdpID == "" {
		return unprocessable("a user needs id and idp_id")
	}
	if !slices.Contains([]string{"active", "suspended", "inactive"}, u.State) {
		return unprocessable("user %q: state %q is none of active, suspended, inactive", u.ID, u.State)
	}
	if d, ok := st.directories.byID[u.DirectoryID]; !gone && (!ok || d.OrganizationID != u.OrganizationID) {
		return unprocessable("user %q: unknown directory %q of organization %q", u.ID, u.DirectoryID, u.OrganizationID)
	}
	return nil
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
