package standin

import (
	"cmp"
	"net/http"
	"slices"
)

// RoleDefinition is a role: of the environment, or with OrganizationID of one
// organization. It has the shape of WorkOS's REST API.
type RoleDefinition struct {
	Object         string   `json:"object"`
	ID             string   `json:"id"`
	OrganizationID string   `json:"organization_id,omitempty"` // the API does not show it
	Slug           string   `json:"slug"`
	Name           string   `json:"name"`
	Description    Nullable `json:"description"`
	Type           string   `json:"type"` // EnvironmentRole, OrganizationRole
	ResourceType   string   `json:"resource_type_slug"`
	Permissions    []string `json:"permissions"`
	CreatedAt      Time     `json:"created_at"`
	UpdatedAt      Time     `json:"updated_at"`
}

// key: a slug is unique in its organization, or in the environment.
func (r RoleDefinition) key() string { return r.OrganizationID + "/" + r.Slug }

func (r RoleDefinition) wire() RoleDefinition {
	r.OrganizationID = ""
	return r
}

// roleEvent is the payload of role.created, role.updated and role.deleted.
type roleEvent struct {
	Object       string   `json:"object"`
	Slug         string   `json:"slug"`
	ResourceType string   `json:"resource_type_slug"`
	Permissions  []string `json:"permissions"`
	CreatedAt    Time     `json:"created_at"`
	UpdatedAt    Time     `json:"updated_at"`
}

// organizationRoleEvent is the payload of the organization_role events.
type organizationRoleEvent struct {
	Object         string   `json:"object"`
	OrganizationID string   `json:"organization_id"`
	Slug           string   `json:"slug"`
	Name           string   `json:"name"`
	Description    Nullable `json:"description"`
	ResourceType   string   `json:"resource_type_slug"`
	Permissions    []string `json:"permissions"`
	CreatedAt      Time     `json:"created_at"`
	UpdatedAt      Time     `json:"updated_at"`
}

// event is the role as events tell it, and the family of the events.
func (r RoleDefinition) event() (family string, payload any) {
	if r.OrganizationID == "" {
		return "role", roleEvent{"role", r.Slug, r.ResourceType, r.Permissions, r.CreatedAt, r.UpdatedAt}
	}
	return "organization_role", organizationRoleEvent{
		"organization_role", r.OrganizationID, r.Slug, r.Name, r.Description, r.ResourceType, r.Permissions, r.CreatedAt, r.UpdatedAt,
	}
}

func (s *Server) routeRoles(mux *http.ServeMux) {
	for _, at := range []string{"/authorization/roles", "/authorization/organizations/{id}/roles"} {
		mux.Handle("GET "+at, s.api(s.listRoles))
		mux.Handle("POST "+at, s.repeat.wrap(s.api(s.createRole)))
		mux.Handle("GET "+at+"/{slug}", s.api(s.getRole))
		mux.Handle("PATCH "+at+"/{slug}", s.api(s.updateRole))
	}
	mux.Handle("DELETE /authorization/organizations/{id}/roles/{slug}", s.api(s.deleteRole))
}

// listRoles answers with the environment's roles, and for an organization with
// its own after them.
func (s *Server) listRoles(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	if _, ok := s.st.organizations.byID[id]; !ok && id != "" {
		return 0, nil, notFound("Organization", id)
	}
	data := []RoleDefinition{}
	for _, role := range s.st.roles.all() {
		if role.OrganizationID == "" || role.OrganizationID == id {
			data = append(data, role.wire())
		}
	}
	return http.StatusOK, map[string]any{"object": "list", "data": data}, nil
}

// roleAt finds the role that a path names. The environment's roles are found
// under an organization too.
func (st *state) roleAt(r *http.Request) (RoleDefinition, error) {
	id, slug := r.PathValue("id"), r.PathValue("slug")
	if _, ok := st.organizations.byID[id]; !ok && id != "" {
		return RoleDefinition{}, notFound("Organization", id)
	}
	for _, of := range []string{id, ""} {
		if role, ok := st.roles.byID[RoleDefinition{OrganizationID: of, Slug: slug}.key()]; ok {
			return role, nil
		}
	}
	return RoleDefinition{}, notFound("Role", slug)
}

func (s *Server) getRole(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	role, err := s.st.roleAt(r)
	return http.StatusOK, role.wire(), err
}

func (s *Server) createRole(r *http.Request) (int, any, error) {
	body, err := readObject(r, "slug", "name", "description", "resource_type_slug")
	if err != nil {
		return 0, nil, err
	}
	organization := r.PathValue("id")
	var made RoleDefinition
	_, _, err = s.commit(terms{}, func(st *state, m moment) (change, error) {
		if _, ok := st.organizations.byID[organization]; !ok && organization != "" {
			return change{}, notFound("Organization", organization)
		}
		role := RoleDefinition{
			ID: m.id("role_"), OrganizationID: organization, Slug: body.str("slug"), ResourceType: body.str("resource_type_slug"),
			CreatedAt: m.at, UpdatedAt: m.at,
		}
		if err := role.write(body); err != nil {
			return change{}, err
		}
		if made = role.filled(); made.Slug == "" && organization != "" {
			made.Slug = "org-" + slugOf(made.Name) // WorkOS makes one up for an organization's
		}
		if made.Slug == "" {
			return change{}, invalid(fieldError{Code: "required", Field: "slug"})
		}
		family, payload := made.event()
		if _, taken := st.roles.byID[made.key()]; taken {
			return change{}, &problem{status: http.StatusConflict, Message: "The slug is used already.", Code: family + "_slug_conflict"}
		}
		return change{name: family + ".created", payload: payload, apply: func() { st.putRole(made) }}, nil
	})
	return http.StatusCreated, made.wire(), err
}

// write lays a body over a role.
func (r *RoleDefinition) write(body object) error {
	if err := optional(body, "name", &r.Name); err != nil {
		return err
	}
	if r.Name == "" {
		return invalid(fieldError{Code: "required", Field: "name"})
	}
	if body.has("description") {
		r.Description = Nullable(body.str("description"))
	}
	return nil
}

func (s *Server) updateRole(r *http.Request) (int, any, error) {
	body, err := readObject(r, "name", "description")
	if err != nil {
		return 0, nil, err
	}
	var written RoleDefinition
	_, _, err = s.commit(terms{}, func(st *state, m moment) (change, error) {
		role, err := st.roleAt(r)
		if err != nil {
			return change{}, err
		}
		if err := role.owned(r.PathValue("id")); err != nil {
			return change{}, err
		}
		if err := role.write(body); err != nil {
			return change{}, err
		}
		role.UpdatedAt = m.at
		written = role
		family, payload := role.event()
		return change{name: family + ".updated", payload: payload, apply: func() { st.putRole(role) }}, nil
	})
	return http.StatusOK, written.wire(), err
}

// owned refuses to change an environment's role by way of an organization.
func (r RoleDefinition) owned(organization string) error {
	if r.OrganizationID != organization {
		return &problem{status: http.StatusBadRequest, Message: "The role belongs to the environment.", Code: "bad_request"}
	}
	return nil
}

func (s *Server) deleteRole(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		role, err := st.roleAt(r)
		if err != nil {
			return change{}, err
		}
		if err := role.owned(r.PathValue("id")); err != nil {
			return change{}, err
		}
		if st.assigned(role) {
			return change{}, &problem{status: http.StatusConflict, Message: "The role is assigned.", Code: "role_has_assignments"}
		}
		family, payload := role.event()
		return change{name: family + ".deleted", payload: payload, apply: func() { st.dropRole(role.key()) }}, nil
	})
	return http.StatusNoContent, nil, err
}

func (st *state) assigned(role RoleDefinition) bool {
	return slices.ContainsFunc(st.belongings.all(), func(m OrganizationMembership) bool {
		return m.OrganizationID == role.OrganizationID && slices.Contains(m.Roles, Role{role.Slug})
	})
}

// roleTold completes role.* and organization_role.*: the role is named by its
// slug. An update or deletion may speak of one that the world does not have, if
// it brings all that there is to say.
func (st *state) roleTold(name, what string, data object, m moment) (change, error) {
	organization := ""
	if name != "role."+what {
		o, named, err := st.namedOrganization(data)
		if err != nil {
			return change{}, err
		}
		if !named {
			return change{}, unprocessable("data.organization_id is required")
		}
		organization = o.ID
	}
	slug := data.str("slug")
	if slug == "" {
		return change{}, unprocessable("data.slug is required")
	}
	role, known := st.roles.byID[RoleDefinition{OrganizationID: organization, Slug: slug}.key()]
	if !known {
		role = RoleDefinition{ID: m.id("role_"), OrganizationID: organization, Slug: slug, Name: capital(slug), CreatedAt: m.at, UpdatedAt: m.at}
	}
	if what == "updated" {
		role.UpdatedAt = m.at
	}
	fields := fieldsOf(data).without("object", "id", "type", "organization_id")
	role, err := merged(role, fields)
	if err != nil {
		return change{}, err
	}
	role = role.filled()
	_, shown := role.event()
	payload, err := overlay(shown, fields)
	return change{name: name, payload: payload, apply: func() {
		switch {
		case what == "deleted":
			st.dropRole(role.key())
		case known || what == "created":
			st.putRole(role)
		}
	}}, err
}

// slugOf makes a slug of a name.
func slugOf(name string) string {
	out := []rune{}
	for _, r := range lower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			out = append(out, r)
		} else if n := len(out); n > 0 && out[n-1] != '-' {
			out = append(out, '-')
		}
	}
	return cmp.Or(string(out), "role")
}
