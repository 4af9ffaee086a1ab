package standin

func (st *state) groupCreated(data object, m moment) (change, error) {
	fields := fieldsOf(data)
	base, known := st.groups.byID[data.str("id")]
	if !known {
		d, err := st.impliedDirectory(data, "")
		if err != nil {
			return change{}, err
		}
		name := data.str("name")
		if name == "" {
			return change{}, unprocessable("data.name is required for a new group")
		}
		base = Group{
			ID: m.id("directory_group_"), IdpID: name, DirectoryID: d.ID, OrganizationID: d.OrganizationID, Name: name,
			CreatedAt: m.at, UpdatedAt: m.at,
		}
	}
	g, err := merged(base, fields)
	if err != nil {
		return change{}, err
	}
	g = g.filled()
	if err := st.checkGroup(g, false); err != nil {
		return change{}, err
	}
	payload, err := overlay(g, fields)
	return change{name: "dsync.group.created", payload: payload, apply: func() { st.putGroup(g) }}, err
}

func (st *state) groupUpdated(data object, m moment) (change, error) {
	before, fields, err := st.aboutGroup(data)
	if err != nil {
		return change{}, err
	}
	if !fields.has("updated_at") {
		before.UpdatedAt = m.at
	}
	g, err := merged(before, fields)
	if err != nil {
		return change{}, err
	}
	g = g.filled()
	if err := st.checkGroup(g, false); err != nil {
		return change{}, err
	}
	payload, err := overlay(g, fields)
	if err != nil {
		return change{}, err
	}
	if err := payload.setPrevious(before, g); err != nil {
		return change{}, err
	}
	return change{name: "dsync.group.updated", payload: payload, apply: func() { st.putGroup(g) }}, nil
}

// groupDeleted is the sole event: no user_removed follows.
func (st *state) groupDeleted(data object) (change, error) {
	g, fields, err := st.aboutGroup(data)
	if whole := (ref{given: data}); err != nil && !whole.full("name") {
		return change{}, err
	}
	payload, err := overlay(g.filled(), fields)
	id := payload.str("id")
	return change{name: "dsync.group.deleted", payload: payload, apply: func() { st.dropGroup(id) }}, err
}

// aboutGroup finds the group that an event is about: data is the group, named
// by id, by a reference in data.group, by name or by idp_id.
func (st *state) aboutGroup(data object) (Group, object, error) {
	data, err := asData(data, "group")
	if err != nil {
		return Group{}, nil, err
	}
	directory, err := st.namedDirectory(data)
	if err != nil {
		return Group{}, fieldsOf(data), err
	}
	r := ref{id: data.str("id")}
	if r.id == "" {
		if named, ok := groupRef(data); ok {
			r = named
		} else {
			r.name, r.idp = data.str("name"), data.str("idp_id")
		}
	}
	if r.id == "" && r.name == "" && r.idp == "" {
		return Group{}, nil, unprocessable("which group? Name it by id, name or idp_id")
	}
	g, err := st.group(r, directory)
	return g, fieldsOf(data), err
}

// checkGroup refuses a group that WorkOS could not have.
func (st *state) checkGroup(g Group, gone bool) error {
	if g.ID == "" || g.Name == "" || g.IdpID == "" {
		return unprocessable("a group needs id, idp_id and name")
	}
	if d, ok := st.directories.byID[g.DirectoryID]; !gone && (!ok || d.OrganizationID != g.OrganizationID) {
		return unprocessable("group %q: unknown directory %q of organization %q", g.ID, g.DirectoryID, g.OrganizationID)
	}
	return nil
}
