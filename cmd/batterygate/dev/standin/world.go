package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// World is all that the stand-in knows. The objects carry WorkOS's own field
// names; Slug and the profiles are additions that WorkOS's API does not show.
type World struct {
	Organizations []Organization `json:"organizations"`
	Connections   []Connection   `json:"connections"`
	Directories   []Directory    `json:"directories"`
	Groups        []Group        `json:"groups"`
	Users         []User         `json:"users"`
	Memberships   []Membership   `json:"memberships"`
	Profiles      []Profile      `json:"profiles"`

	// Roles nil means those of a new environment: admin, editor, member.
	Roles                   []RoleDefinition         `json:"roles"`
	OrganizationMemberships []OrganizationMembership `json:"organization_memberships"`
}

// Organization is a customer.
type Organization struct {
	Object               string            `json:"object"`
	ID                   string            `json:"id"`
	Slug                 string            `json:"slug,omitempty"` // ours, not WorkOS's
	Name                 string            `json:"name"`
	AllowProfilesOutside bool              `json:"allow_profiles_outside_organization,omitempty"`
	Domains              []Domain          `json:"domains"`
	Metadata             map[string]string `json:"metadata"`
	ExternalID           Nullable          `json:"external_id"`
	StripeCustomerID     string            `json:"stripe_customer_id,omitempty"`
	CreatedAt            Time              `json:"created_at"`
	UpdatedAt            Time              `json:"updated_at"`
}

// Domain is an e-mail domain of an organization.
type Domain struct {
	Object         string `json:"object"`
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Domain         string `json:"domain"`
	State          string `json:"state"` // verified, pending, failed
	Prefix         string `json:"verification_prefix,omitempty"`
	Token          string `json:"verification_token,omitempty"`
	Strategy       string `json:"verification_strategy"` // dns, manual
	CreatedAt      Time   `json:"created_at"`
	UpdatedAt      Time   `json:"updated_at"`
}

// Connection is an SSO connection. State is "active" when people can sign in.
type Connection struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Type           string `json:"connection_type"`
	Name           string `json:"name"`
	State          string `json:"state"`
	ExternalKey    string `json:"external_key"`
	CreatedAt      Time   `json:"created_at"`
	UpdatedAt      Time   `json:"updated_at"`
}

// Directory is a customer's directory. State is in the vocabulary of the REST
// API: linked, unlinked, validating, deleting, invalid_credentials.
type Directory struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Type           string `json:"type"`
	Name           string `json:"name"`
	State          string `json:"state"`
	Domain         string `json:"domain,omitempty"`
	ExternalKey    string `json:"external_key"`
	CreatedAt      Time   `json:"created_at"`
	UpdatedAt      Time   `json:"updated_at"`
}

// Group is a group of a directory, in the very shape that WorkOS sends.
type Group struct {
	Object         string         `json:"object"`
	ID             string         `json:"id"`
	IdpID          string         `json:"idp_id"`
	DirectoryID    string         `json:"directory_id"`
	OrganizationID string         `json:"organization_id"`
	Name           string         `json:"name"`
	RawAttributes  map[string]any `json:"raw_attributes"`
	CreatedAt      Time           `json:"created_at"`
	UpdatedAt      Time           `json:"updated_at"`
}

// User is a user of a directory, in the very shape that WorkOS's events carry.
// State is active, suspended or inactive.
type User struct {
	Object           string         `json:"object"`
	ID               string         `json:"id"`
	DirectoryID      string         `json:"directory_id"`
	OrganizationID   string         `json:"organization_id"`
	IdpID            string         `json:"idp_id"`
	Email            Nullable       `json:"email"`
	FirstName        Nullable       `json:"first_name"`
	LastName         Nullable       `json:"last_name"`
	Name             Nullable       `json:"name"`
	Emails           []UserEmail    `json:"emails"`
	JobTitle         Nullable       `json:"job_title"`
	Username         Nullable       `json:"username"`
	State            string         `json:"state"`
	RawAttributes    map[string]any `json:"raw_attributes"`
	CustomAttributes map[string]any `json:"custom_attributes"`
	Role             *Role          `json:"role,omitempty"`
	Roles            []Role         `json:"roles,omitempty"`
	CreatedAt        Time           `json:"created_at"`
	UpdatedAt        Time           `json:"updated_at"`
}

// UserEmail is one address of a directory user.
type UserEmail struct {
	Primary bool     `json:"primary"`
	Type    string   `json:"type"`
	Value   Nullable `json:"value"`
}

// Role names a WorkOS role that a user was given.
type Role struct {
	Slug string `json:"slug"`
}

// Membership is one user's place in one group.
type Membership struct {
	GroupID string `json:"group_id"`
	UserID  string `json:"user_id"`
}

// Profile is a person as one SSO connection knows them. It has the directory
// user's idp_id, and outlives the directory user.
type Profile struct {
	ID             string   `json:"id"`
	OrganizationID Nullable `json:"organization_id"`
	ConnectionID   string   `json:"connection_id"`
	ConnectionType string   `json:"connection_type"`
	IdpID          string   `json:"idp_id"`
	Email          string   `json:"email"`
	FirstName      Nullable `json:"first_name"`
	LastName       Nullable `json:"last_name"`
}

// Nullable is a string that is null in JSON when empty, as many of WorkOS's are.
type Nullable string

// MarshalJSON writes null for the empty string.
func (n Nullable) MarshalJSON() ([]byte, error) {
	if n == "" {
		return []byte("null"), nil
	}
	return compact(string(n))
}

// UnmarshalJSON reads null as the empty string.
func (n *Nullable) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*n = ""
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("not a string: %w", err)
	}
	*n = Nullable(s)
	return nil
}

// Time is a moment in WorkOS's form: UTC with three digits of milliseconds.
type Time struct{ time.Time }

const timeForm = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the time as WorkOS does.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeForm) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("not a time: %w", err)
	}
	parsed, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("not an RFC 3339 time: %w", err)
	}
	t.Time = parsed.UTC().Truncate(time.Millisecond)
	return nil
}

// Organization finds an organization by slug or id.
func (w World) Organization(ref string) (Organization, bool) {
	for _, o := range w.Organizations {
		if o.ID == ref || o.Slug == ref {
			return o, true
		}
	}
	return Organization{}, false
}

// Connection finds the first connection of an organization, by its slug or id.
func (w World) Connection(organization string) (Connection, bool) {
	o, _ := w.Organization(organization)
	for _, c := range w.Connections {
		if o.ID != "" && c.OrganizationID == o.ID {
			return c, true
		}
	}
	return Connection{}, false
}

// Directory finds the first directory of an organization, by its slug or id.
func (w World) Directory(organization string) (Directory, bool) {
	o, _ := w.Organization(organization)
	for _, d := range w.Directories {
		if o.ID != "" && d.OrganizationID == o.ID {
			return d, true
		}
	}
	return Directory{}, false
}

// Group finds a group by its organization's slug or id and its name.
func (w World) Group(organization, name string) (Group, bool) {
	o, _ := w.Organization(organization)
	for _, g := range w.Groups {
		if o.ID != "" && g.OrganizationID == o.ID && g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// User finds a directory user by e-mail or id.
func (w World) User(ref string) (User, bool) {
	for _, u := range w.Users {
		if u.ID == ref || ref != "" && strings.EqualFold(string(u.Email), ref) {
			return u, true
		}
	}
	return User{}, false
}

// Profile finds the profile that a user signs in with, by e-mail or id.
func (w World) Profile(ref string) (Profile, bool) {
	for _, p := range w.Profiles {
		if p.ID == ref || ref != "" && strings.EqualFold(p.Email, ref) {
			return p, true
		}
	}
	return Profile{}, false
}

// Events tells the world as WorkOS would have: organization.created,
// connection.activated, dsync.activated, dsync.user.created,
// dsync.group.created, dsync.group.user_added, in this order, each dated as its
// object is (2020-01-01 for the fixed world), with ids that ascend.
func (w World) Events() []Event {
	st := newState()
	st.lay(w)
	return st.story()
}
