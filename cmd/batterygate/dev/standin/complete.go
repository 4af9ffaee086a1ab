package standin

import "strings"

// complete makes a partial event whole from the world, in WorkOS's shape, and
// says what it does to the world. Unknown types are as they were given.
func (st *state) complete(name string, data object, m moment) (change, error) {
	switch name {
	case "dsync.user.created":
		return st.userCreated(data, m)
	case "dsync.user.updated":
		return st.userUpdated(data, m)
	case "dsync.user.deleted":
		return st.userDeleted(data)
	case "dsync.group.created":
		return st.groupCreated(data, m)
	case "dsync.group.updated":
		return st.groupUpdated(data, m)
	case "dsync.group.deleted":
		return st.groupDeleted(data)
	case "dsync.group.user_added", "dsync.group.user_removed":
		return st.membershipChanged(name, data)
	case "dsync.activated", "dsync.deactivated":
		return st.directorySwitched(name, data, m)
	case "dsync.deleted":
		return st.directoryDeleted(data)
	case "connection.activated", "connection.deactivated":
		return st.connectionSwitched(name, data, m)
	case "connection.deleted":
		return st.connectionDeleted(data)
	case "organization.created", "organization.updated":
		return st.organizationWritten(name, data, m)
	case "organization.deleted":
		return st.organizationDeleted(data)
	case "session.created", "session.revoked":
		return st.sessionTold(name, data, m)
	case "dsync.token.created", "dsync.token.revoked":
		return st.tokenTold(name, data, m)
	case "connection.saml_certificate_renewal_required", "connection.saml_certificate_renewed":
		return st.certificateTold(name, data, m)
	}
	switch family, what, _ := strings.Cut(name, "."); family + "." + what {
	case "role.created", "role.updated", "role.deleted",
		"organization_role.created", "organization_role.updated", "organization_role.deleted":
		return st.roleTold(name, what, data, m)
	case "organization_membership.created", "organization_membership.updated", "organization_membership.deleted":
		return st.belongingTold(name, what, data, m)
	case "organization_domain.created", "organization_domain.updated", "organization_domain.deleted",
		"organization_domain.verified", "organization_domain.verification_failed":
		return st.domainTold(name, what, data, m)
	}
	payload, err := overlay(struct{}{}, data)
	return change{name: name, payload: payload}, err
}

// refKeys are the fields that only say which object is meant.
var refKeys = [...]string{"user", "group", "directory", "organization", "user_id", "user_email", "group_id", "group_name"}

// fieldsOf are the fields of the object itself. An empty id is none.
func fieldsOf(data object) object {
	if data.str("id") == "" {
		data = data.without("id")
	}
	return data.without(refKeys[:]...)
}

// membershipChanged completes dsync.group.user_added and user_removed. Neither
// moves updated_at of user or group, as with WorkOS. A removal never creates.
func (st *state) membershipChanged(name string, data object) (change, error) {
	wantUser, ok := userRef(data)
	if !ok {
		return change{}, unprocessable("data.user is required: a user's id or e-mail, or the user")
	}
	wantGroup, ok := groupRef(data)
	if !ok {
		return change{}, unprocessable("data.group is required: a group's id or name, or the group")
	}
	removal := name == "dsync.group.user_removed"
	directory, err := st.namedDirectory(data)
	if err != nil && !removal {
		return change{}, err
	}
	user, knownUser, err := st.memberUser(wantUser, directory, removal)
	if err != nil {
		return change{}, err
	}
	group, knownGroup, err := st.memberGroup(wantGroup, user.DirectoryID, removal)
	if err != nil {
		return change{}, err
	}
	if user.DirectoryID != group.DirectoryID {
		return change{}, unprocessable("user %q and group %q are of different directories", user.ID, group.ID)
	}
	payload, err := membershipPayload(user, group, wantUser.given, wantGroup.given)
	if err != nil {
		return change{}, err
	}
	return change{name: name, payload: payload, apply: func() {
		if !removal || knownUser {
			st.putUser(user)
		}
		if !removal || knownGroup {
			st.putGroup(group)
		}
		if removal {
			st.leave(group.ID, user.ID)
		} else {
			st.join(group.ID, user.ID)
		}
	}}, nil
}

// memberUser is the world's user with the given fields over it, or the given
// one if that is whole. Only a removal may speak of a directory that is gone.
func (st *state) memberUser(r ref, directory string, removal bool) (u User, known bool, err error) {
	u, err = st.user(r, directory)
	known = err == nil
	if err != nil && !r.full("state") {
		return u, false, err
	}
	if u, err = merged(u, r.given); err != nil {
		return u, known, err
	}
	u = u.filled()
	return u, known, st.checkUser(u, removal)
}

func (st *state) memberGroup(r ref, directory string, removal bool) (g Group, known bool, err error) {
	g, err = st.group(r, directory)
	known = err == nil
	if err != nil && !r.full("name") {
		return g, false, err
	}
	if g, err = merged(g, r.given); err != nil {
		return g, known, err
	}
	g = g.filled()
	return g, known, st.checkGroup(g, removal)
}

func membershipPayload(u User, g Group, givenUser, givenGroup object) (wireMembership, error) {
	user, err := overlay(u, givenUser)
	if err != nil {
		return wireMembership{}, err
	}
	group, err := overlay(g, givenGroup)
	if err != nil {
		return wireMembership{}, err
	}
	out := wireMembership{DirectoryID: u.DirectoryID}
	if out.User, err = compact(user); err != nil {
		return wireMembership{}, err
	}
	out.Group, err = compact(group)
	return out, err
}
