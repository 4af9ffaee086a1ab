package standin

import (
	"net/http"
	"strings"
)

// directorySwitched completes dsync.activated (which may be about a directory
// that is new) and dsync.deactivated.
func (st *state) directorySwitched(name string, data object, m moment) (change, error) {
	activated := name == "dsync.activated"
	d, err := st.aboutDirectory(data)
	if err != nil {
		o, named, orgErr := st.namedOrganization(data)
		if !activated || !named || orgErr != nil {
			return change{}, err
		}
		d = newDirectory(o, m)
	}
	d.State, d.UpdatedAt = "unlinked", m.at
	if activated {
		d.State = "linked"
	}
	fields := fieldsOf(data).without("object", "domains", "directory_id")
	payload, err := overlay(d.event(st.organizations.byID[d.OrganizationID]), fields)
	if err != nil {
		return change{}, err
	}
	after, err := merged(d, fields)
	if err != nil {
		return change{}, err
	}
	after.State = restState(after.State)
	if _, ok := st.organizations.byID[after.OrganizationID]; !ok {
		return change{}, unprocessable("directory %q: unknown organization %q", after.ID, after.OrganizationID)
	}
	return change{name: name, payload: payload, apply: func() { st.putDirectory(after) }}, nil
}

func newDirectory(o Organization, m moment) Directory {
	d := Directory{
		ID: m.id("directory_"), OrganizationID: o.ID, Type: "generic scim v2.0", Name: o.Name + " Directory", State: "unlinked",
		ExternalKey: token(), CreatedAt: m.at, UpdatedAt: m.at,
	}
	if len(o.Domains) > 0 {
		d.Domain = o.Domains[0].Domain
	}
	return d
}

// directoryDeleted is the sole event: nothing is said of its users and groups.
func (st *state) directoryDeleted(data object) (change, error) {
	d, err := st.aboutDirectory(data)
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(d.deletedEvent(), fieldsOf(data).without("directory_id"))
	return change{name: "dsync.deleted", payload: payload, apply: func() { st.dropDirectory(d.ID) }}, err
}

func (st *state) aboutDirectory(data object) (Directory, error) {
	id := data.str("id")
	if id == "" {
		named, err := st.namedDirectory(data)
		if err != nil {
			return Directory{}, err
		}
		id = named
	}
	if id == "" {
		return Directory{}, unprocessable("which directory? Name it by id, or its organization by organization_id")
	}
	d, ok := st.directories.byID[id]
	if !ok {
		return Directory{}, unprocessable("unknown directory %q", id)
	}
	return d, nil
}

// connectionSwitched completes connection.activated (which may be about one
// that is new) and connection.deactivated.
func (st *state) connectionSwitched(name string, data object, m moment) (change, error) {
	activated := name == "connection.activated"
	c, err := st.aboutConnection(data)
	if err != nil {
		o, named, orgErr := st.namedOrganization(data)
		if !activated || !named || orgErr != nil {
			return change{}, err
		}
		c = newConnection(o, m)
	}
	c.State, c.UpdatedAt = "inactive", m.at
	if activated {
		c.State = "active"
	}
	fields := fieldsOf(data).without("object", "domains", "status", "connection")
	payload, err := overlay(c.event(st.organizations.byID[c.OrganizationID]), fields)
	if err != nil {
		return change{}, err
	}
	after, err := merged(c, fields)
	if err != nil {
		return change{}, err
	}
	if _, ok := st.organizations.byID[after.OrganizationID]; !ok {
		return change{}, unprocessable("connection %q: unknown organization %q", after.ID, after.OrganizationID)
	}
	return change{name: name, payload: payload, apply: func() { st.putConnection(after) }}, nil
}

func newConnection(o Organization, m moment) Connection {
	return Connection{
		ID: m.id("conn_"), OrganizationID: o.ID, Type: "GenericSAML", Name: o.Name + " SSO", State: "draft",
		ExternalKey: token(), CreatedAt: m.at, UpdatedAt: m.at,
	}
}

func (st *state) connectionDeleted(data object) (change, error) {
	c, err := st.aboutConnection(data)
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(c.deletedEvent(), fieldsOf(data).without("connection"))
	return change{name: "connection.deleted", payload: payload, apply: func() { st.dropConnection(c.ID) }}, err
}

// aboutConnection finds the connection by id, or as the only one of the
// organization that is named.
func (st *state) aboutConnection(data object) (Connection, error) {
	id := data.str("id")
	if id == "" {
		id = data.str("connection")
	}
	if id != "" {
		if c, ok := st.connections.byID[id]; ok {
			return c, nil
		}
		return Connection{}, unprocessable("unknown connection %q", id)
	}
	o, named, err := st.namedOrganization(data)
	if err != nil {
		return Connection{}, err
	}
	var found []Connection
	for _, c := range st.connections.all() {
		if named && c.OrganizationID == o.ID {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return Connection{}, unprocessable("which connection? Name it by id, or an organization that has one by organization_id")
	}
	return found[0], nil
}

// organizationWritten completes organization.created and organization.updated.
func (st *state) organizationWritten(name string, data object, m moment) (change, error) {
	before, err := st.aboutOrganization(data)
	if err != nil {
		if name == "organization.updated" {
			return change{}, err
		}
		before = Organization{ID: m.id("org_"), CreatedAt: m.at}
	}
	before.UpdatedAt = m.at
	fields := fieldsOf(data)
	o, err := merged(before, fields)
	if err != nil {
		return change{}, err
	}
	if o.Name == "" {
		return change{}, unprocessable("data.name is required for a new organization")
	}
	if o.Slug == "" {
		o.Slug = st.slugFor(o)
	}
	o = o.filled()
	payload, err := overlay(o.event(), fields.without("slug"))
	return change{name: name, payload: payload, apply: func() { st.putOrganization(o) }}, err
}

func (st *state) organizationDeleted(data object) (change, error) {
	o, err := st.aboutOrganization(data)
	if err != nil {
		return change{}, err
	}
	payload, err := overlay(o.event(), fieldsOf(data).without("slug"))
	return change{name: "organization.deleted", payload: payload, apply: func() { st.dropOrganization(o.ID) }}, err
}

// aboutOrganization finds the organization by id, slug, external id, or a
// reference in data.organization.
func (st *state) aboutOrganization(data object) (Organization, error) {
	if o, ok := st.organizations.byID[data.str("id")]; ok {
		return o, nil
	}
	want := []string{data.str("slug"), data.str("organization"), data.str("organization_id"), data.str("external_id")}
	for _, o := range st.organizations.all() {
		for _, w := range want {
			if data.str("id") == "" && w != "" && (o.ID == w || o.Slug == w || string(o.ExternalID) == w) {
				return o, nil
			}
		}
	}
	return Organization{}, unprocessable("unknown organization: name it by id, slug or external_id")
}

// slugFor derives a slug that no other organization has.
func (st *state) slugFor(o Organization) string {
	slug := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, lower(o.Name)), "-")
	if o.ExternalID != "" {
		slug = string(o.ExternalID)
	}
	for _, other := range st.organizations.byID {
		if other.Slug == slug && other.ID != o.ID {
			return lower(strings.TrimPrefix(o.ID, "org_"))
		}
	}
	return slug
}

// ownedElsewhere finds another organization that has one of the domains.
func (st *state) ownedElsewhere(o Organization) error {
	for _, d := range o.Domains {
		if owner, ok := st.organizationWithDomain(d.Domain); ok && owner.ID != o.ID {
			return &problem{status: http.StatusConflict, Message: "The domain '" + d.Domain + "' is used by another organization."}
		}
	}
	return nil
}
