package standin

import (
	"net/http"
	"slices"
	"strings"
)

// OrganizationMembership is a user's place in an organization, with the roles
// that WorkOS itself gives them there. Not to be confused with Membership, a
// directory user's place in a group. It has the shape of WorkOS's events.
type OrganizationMembership struct {
	Object           string         `json:"object"`
	ID               string         `json:"id"`
	UserID           string         `json:"user_id"`
	OrganizationID   string         `json:"organization_id"`
	Status           string         `json:"status"` // active, inactive, pending
	Role             Role           `json:"role"`
	Roles            []Role         `json:"roles,omitempty"`
	CustomAttributes map[string]any `json:"custom_attributes"`
	DirectoryManaged bool           `json:"directory_managed"`
	CreatedAt        Time           `json:"created_at"`
	UpdatedAt        Time           `json:"updated_at"`
}

// restMembership is a membership over REST.
type restMembership struct {
	OrganizationMembership
	OrganizationName string   `json:"organization_name"`
	User             restSelf `json:"user"`
}

// restSelf is a user of WorkOS's user management. The stand-in has no such
// users: one is whatever user_id says, under the organization's domain.
type restSelf struct {
	Object            string            `json:"object"`
	ID                string            `json:"id"`
	FirstName         Nullable          `json:"first_name"`
	LastName          Nullable          `json:"last_name"`
	ProfilePictureURL Nullable          `json:"profile_picture_url"`
	Email             string            `json:"email"`
	EmailVerified     bool              `json:"email_verified"`
	ExternalID        Nullable          `json:"external_id"`
	Metadata          map[string]string `json:"metadata"`
	LastSignInAt      *Time             `json:"last_sign_in_at"`
	CreatedAt         Time              `json:"created_at"`
	UpdatedAt         Time              `json:"updated_at"`
}

func (st *state) restMembership(m OrganizationMembership) restMembership {
	o := st.organizations.byID[m.OrganizationID]
	domain := "user.test"
	if len(o.Domains) > 0 {
		domain = o.Domains[0].Domain
	}
	if len(m.Roles) == 1 {
		m.Roles = nil // WorkOS shows them where several are
	}
	return restMembership{
		OrganizationMembership: m, OrganizationName: o.Name,
		User: restSelf{
			Object: "user", ID: m.UserID, Email: lower(m.UserID) + "@" + domain, EmailVerified: true, Metadata: map[string]string{},
			CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
		},
	}
}

func (s *Server) routeBelongings(mux *http.ServeMux) {
	const at = "/user_management/organization_memberships"
	mux.Handle("GET "+at, s.api(s.listBelongings))
	mux.Handle("POST "+at, s.repeat.wrap(s.api(s.createBelonging)))
	mux.Handle("GET "+at+"/{id}", s.api(s.getBelonging))
	mux.Handle("PUT "+at+"/{id}", s.api(s.updateBelonging))
	mux.Handle("DELETE "+at+"/{id}", s.api(s.deleteBelonging))
	mux.Handle("PUT "+at+"/{id}/{act}", s.api(s.switchBelonging))
}

// listBelongings shows those that are active unless statuses asks for others.
func (s *Server) listBelongings(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	user, organization := q.Get("user_id"), q.Get("organization_id")
	if user == "" && organization == "" {
		return 0, nil, &problem{
			status: http.StatusBadRequest, Code: "missing_user_id_or_organization_id", Message: "Either user_id or organization_id is required.",
		}
	}
	var statuses []string
	for _, some := range slices.Concat(q["statuses"], q["statuses[]"]) {
		statuses = append(statuses, strings.Split(some, ",")...)
	}
	if statuses == nil {
		statuses = []string{"active"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := paged(r, listing[restMembership]{
		ids: s.st.belongings.ids,
		want: func(id string) bool {
			m := s.st.belongings.byID[id]
			return matches(user, m.UserID) && matches(organization, m.OrganizationID) && contains(statuses, m.Status)
		},
		show: func(id string) restMembership { return s.st.restMembership(s.st.belongings.byID[id]) },
	})
	return http.StatusOK, out, err
}

func (st *state) belongingAt(r *http.Request) (OrganizationMembership, error) {
	m, ok := st.belongings.byID[r.PathValue("id")]
	if !ok {
		return m, notFound("Organization Membership", r.PathValue("id"))
	}
	return m, nil
}

func (s *Server) getBelonging(r *http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.st.belongingAt(r)
	return http.StatusOK, s.st.restMembership(m), err
}

// roleFields are what a body may say of the roles.
var roleFields = [...]string{"role_slug", "role_slugs"}

func (s *Server) createBelonging(r *http.Request) (int, any, error) {
	body, err := readObject(r, append(roleFields[:], "user_id", "organization_id")...)
	if err != nil {
		return 0, nil, err
	}
	var out restMembership
	_, _, err = s.commit(terms{}, func(st *state, at moment) (change, error) {
		m := OrganizationMembership{
			ID: at.id("om_"), UserID: body.str("user_id"), OrganizationID: body.str("organization_id"), CreatedAt: at.at, UpdatedAt: at.at,
		}
		if m.UserID == "" {
			return change{}, invalid(fieldError{Code: "required", Field: "user_id"})
		}
		if _, ok := st.organizations.byID[m.OrganizationID]; !ok {
			return change{}, notFound("Organization", m.OrganizationID)
		}
		for _, other := range st.belongings.all() {
			if other.UserID == m.UserID && other.OrganizationID == m.OrganizationID {
				return change{}, invalid(fieldError{Code: "the user is a member already", Field: "user_id"})
			}
		}
		if err := st.assign(&m, body); err != nil {
			return change{}, err
		}
		m = m.filled()
		out = st.restMembership(m)
		return change{name: "organization_membership.created", payload: m, apply: func() { st.putBelonging(m) }}, nil
	})
	return http.StatusCreated, out, err
}

// assign sets the roles that a body names; "member" where none were.
func (st *state) assign(m *OrganizationMembership, body object) error {
	var slugs []string
	if err := optional(body, "role_slugs", &slugs); err != nil {
		return err
	}
	if slug := body.str("role_slug"); slug != "" {
		slugs = append(slugs, slug)
	}
	if slugs == nil && m.Roles != nil {
		return nil
	}
	if len(slugs) == 0 {
		slugs = []string{"member"}
	}
	m.Roles = nil
	for _, slug := range slugs {
		_, ofEnvironment := st.roles.byID["/"+slug]
		if _, own := st.roles.byID[m.OrganizationID+"/"+slug]; !own && !ofEnvironment {
			return &problem{status: http.StatusUnprocessableEntity, Code: "invalid_role", Message: "There is no role '" + slug + "'."}
		}
		m.Roles = append(m.Roles, Role{slug})
	}
	m.Role = m.Roles[0]
	return nil
}

// changeBelonging makes one change to one membership.
func (s *Server) changeBelonging(r *http.Request, alter func(*state, *OrganizationMembership) error) (int, any, error) {
	var out restMembership
	_, _, err := s.commit(terms{}, func(st *state, at moment) (change, error) {
		m, err := st.belongingAt(r)
		if err != nil {
			return change{}, err
		}
		if err := alter(st, &m); err != nil {
			return change{}, err
		}
		m.UpdatedAt = at.at
		out = st.restMembership(m)
		return change{name: "organization_membership.updated", payload: m, apply: func() { st.putBelonging(m) }}, nil
	})
	return http.StatusOK, out, err
}

func (s *Server) updateBelonging(r *http.Request) (int, any, error) {
	body, err := readObject(r, roleFields[:]...)
	if err != nil {
		return 0, nil, err
	}
	return s.changeBelonging(r, func(st *state, m *OrganizationMembership) error { return st.assign(m, body) })
}

// switchBelonging is PUT …/deactivate and …/reactivate. A pending membership,
// which is an invitation, can be neither.
func (s *Server) switchBelonging(r *http.Request) (int, any, error) {
	to, ok := map[string]string{"deactivate": "inactive", "reactivate": "active"}[r.PathValue("act")]
	if !ok {
		return 0, nil, &problem{status: http.StatusNotFound, Message: "Not Found"}
	}
	return s.changeBelonging(r, func(_ *state, m *OrganizationMembership) error {
		if m.Status == "pending" {
			return &problem{
				status: http.StatusBadRequest, Message: "A pending organization membership cannot be changed.",
				Code: "cannot_" + r.PathValue("act") + "_pending_organization_membership",
			}
		}
		m.Status = to
		return nil
	})
}

func (s *Server) deleteBelonging(r *http.Request) (int, any, error) {
	_, _, err := s.commit(terms{}, func(st *state, _ moment) (change, error) {
		m, err := st.belongingAt(r)
		if err != nil {
			return change{}, err
		}
		return change{name: "organization_membership.deleted", payload: m, apply: func() { st.dropBelonging(m.ID) }}, nil
	})
	return http.StatusOK, nil, err // WorkOS: 200 and nothing
}

// belongingTold completes organization_membership.*: named by id, or by user_id
// and organization.
func (st *state) belongingTold(name, what string, data object, at moment) (change, error) {
	m, known, err := st.namedBelonging(data, at)
	if err != nil {
		return change{}, err
	}
	if !known && what == "updated" {
		return change{}, unprocessable("unknown organization membership: name it by id, or by user_id and organization_id")
	}
	if what != "deleted" {
		m.UpdatedAt = at.at
	}
	fields := data.without("organization")
	if data.has("role") && !data.has("roles") {
		m.Roles = nil
	}
	if m, err = merged(m, fields); err != nil {
		return change{}, err
	}
	if m.Role.Slug == "" {
		m.Role.Slug = "member"
	}
	m = m.filled()
	if !contains([]string{"active", "inactive", "pending"}, m.Status) {
		return change{}, unprocessable("status %q is none of active, inactive, pending", m.Status)
	}
	payload, err := overlay(m, fields)
	return change{name: name, payload: payload, apply: func() {
		if what == "deleted" {
			st.dropBelonging(m.ID)
		} else {
			st.putBelonging(m)
		}
	}}, err
}

func (st *state) namedBelonging(data object, at moment) (m OrganizationMembership, known bool, err error) {
	if m, known = st.belongings.byID[data.str("id")]; known {
		return m, true, nil
	}
	o, named, err := st.namedOrganization(data)
	if err != nil {
		return m, false, err
	}
	user := data.str("user_id")
	if !named || user == "" {
		return m, false, unprocessable("data.user_id and data.organization_id are required")
	}
	for _, m := range st.belongings.all() {
		if m.OrganizationID == o.ID && m.UserID == user && data.str("id") == "" {
			return m, true, nil
		}
	}
	return OrganizationMembership{ID: at.id("om_"), UserID: user, OrganizationID: o.ID, CreatedAt: at.at, UpdatedAt: at.at}, false, nil
}
