package directory

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Event is one WorkOS event as it came by webhook or Events API.
type Event struct {
	ID        string          // the same on both ways
	Type      string          // "dsync.user.created", …
	CreatedAt time.Time       // what orders it
	Data      json.RawMessage // the object, by type
}

// The types of event that change organizations, connections, directories, users
// and groups. domain.go and counted.go have the others that WorkOS documents.
const (
	typeDirectoryActivated    = "dsync.activated"
	typeDirectoryDeactivated  = "dsync.deactivated" // no longer sent; accepted
	typeDirectoryDeleted      = "dsync.deleted"
	typeUserCreated           = "dsync.user.created"
	typeUserUpdated           = "dsync.user.updated"
	typeUserDeleted           = "dsync.user.deleted"
	typeGroupCreated          = "dsync.group.created"
	typeGroupUpdated          = "dsync.group.updated"
	typeGroupDeleted          = "dsync.group.deleted"
	typeGroupUserAdded        = "dsync.group.user_added"
	typeGroupUserRemoved      = "dsync.group.user_removed"
	typeConnectionActivated   = "connection.activated"
	typeConnectionDeactivated = "connection.deactivated"
	typeConnectionDeleted     = "connection.deleted"
	typeOrganizationCreated   = "organization.created"
	typeOrganizationUpdated   = "organization.updated"
	typeOrganizationDeleted   = "organization.deleted"
)

// EventTypes are the types that mean something here, as the Events API wants to
// be asked for them. Others, which only a webhook can bring, are counted.
func EventTypes() []string {
	return []string{
		typeDirectoryActivated, typeDirectoryDeactivated, typeDirectoryDeleted,
		typeUserCreated, typeUserUpdated, typeUserDeleted,
		typeGroupCreated, typeGroupUpdated, typeGroupDeleted, typeGroupUserAdded, typeGroupUserRemoved,
		typeConnectionActivated, typeConnectionDeactivated, typeConnectionDeleted,
		typeOrganizationCreated, typeOrganizationUpdated, typeOrganizationDeleted,
		typeDomainCreated, typeDomainUpdated, typeDomainVerified, typeDomainFailed, typeDomainDeleted,
		typeRoleCreated, typeRoleUpdated, typeRoleDeleted, typeOrgRoleCreated, typeOrgRoleUpdated, typeOrgRoleDeleted,
		typeMembershipCreated, typeMembershipUpdated, typeMembershipDeleted,
		typeSessionRevoked, typeTokenCreated, typeTokenRevoked,
	}
}

// Limits of what one event may carry, so that whatever one transaction writes
// stays below the store's limits. Far above what directories hold.
const (
	maxText       = 4 << 10   // bytes of a name, an e-mail, an idp_id
	maxAttributes = 128 << 10 // bytes of custom_attributes
	maxUserRoles  = 64
	maxDomains    = 256
)

// ParseEvent reads an event's envelope: {"id","event","created_at","data"}.
// It returns an error wrapping ErrMalformed if one of them is missing. The data
// is looked at by ApplyEvent.
func ParseEvent(body []byte) (Event, error) {
	var envelope struct {
		ID        string          `json:"id"`
		Type      string          `json:"event"`
		CreatedAt string          `json:"created_at"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return Event{}, malformed("the envelope is not JSON of its kind")
	}
	created, err := parseTime(envelope.CreatedAt)
	if err != nil {
		return Event{}, err
	}
	ev := Event{ID: envelope.ID, Type: envelope.Type, CreatedAt: created, Data: envelope.Data}
	return ev, ev.check()
}

func (ev *Event) check() error {
	switch {
	case !validID(ev.ID):
		return malformed("the event has no usable id")
	case ev.Type == "" || len(ev.Type) > 128:
		return malformed("the event has no usable type")
	case ev.CreatedAt.UnixMilli() <= 0:
		return malformed("the event has no usable created_at")
	case len(ev.Data) == 0 || ev.Data[0] != '{':
		return malformed("the event's data is not an object")
	}
	return nil
}

// parseTime is lenient: the API speaks RFC 3339, but WorkOS's own samples also
// show "2023-04-28 20:05:31.093". Without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999 Z07:00",
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, malformed("the event has no usable created_at")
}

// malformed returns an error wrapping ErrMalformed. What is said never repeats
// the event's own bytes.
func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// slug is {"slug": "…"}, WorkOS's shape of a role.
type slug struct {
	Slug string `json:"slug"`
}

type userPayload struct {
	ID             string          `json:"id"`
	DirectoryID    string          `json:"directory_id"`
	OrganizationID string          `json:"organization_id"`
	IdpID          string          `json:"idp_id"`
	Email          string          `json:"email"`
	FirstName      string          `json:"first_name"`
	LastName       string          `json:"last_name"`
	Username       string          `json:"username"`
	JobTitle       string          `json:"job_title"`
	State          string          `json:"state"`
	Role           slug            `json:"role"`
	Roles          []slug          `json:"roles"`
	Attributes     json.RawMessage `json:"custom_attributes"`
}

func (p *userPayload) check() error {
	if !validID(p.ID) || !validID(p.DirectoryID) || !validID(p.OrganizationID) {
		return malformed("the user lacks a usable id, directory or organization")
	}
	if tooLong(p.IdpID, p.Email, p.FirstName, p.LastName, p.Username, p.JobTitle, p.State, p.Role.Slug) ||
		len(p.Roles) > maxUserRoles || len(p.Attributes) > maxAttributes {
		return malformed("the user is too large")
	}
	for _, r := range p.Roles {
		if tooLong(r.Slug) {
			return malformed("the user is too large")
		}
	}
	if string(p.Attributes) == "null" {
		p.Attributes = nil
	}
	if len(p.Attributes) > 0 && p.Attributes[0] != '{' {
		return malformed("the user's custom_attributes are not an object")
	}
	return nil
}

// into writes the payload's attributes over a record's.
func (p *userPayload) into(r *userRecord) {
	head := r.register
	*r = userRecord{
		register: head, DirectoryID: p.DirectoryID, OrganizationID: p.OrganizationID, IdpID: p.IdpID,
		Email: p.Email, FirstName: p.FirstName, LastName: p.LastName, Username: p.Username,
		JobTitle: p.JobTitle, State: p.State, Attributes: p.Attributes,
	}
	for _, s := range append([]slug{p.Role}, p.Roles...) {
		if s.Slug != "" && !slices.Contains(r.Roles, s.Slug) {
			r.Roles = append(r.Roles, s.Slug)
		}
	}
}

type groupPayload struct {
	ID             string `json:"id"`
	DirectoryID    string `json:"directory_id"`
	OrganizationID string `json:"organization_id"`
	IdpID          string `json:"idp_id"`
	Name           string `json:"name"`
}

func (p *groupPayload) check() error {
	if !validID(p.ID) || !validID(p.DirectoryID) || !validID(p.OrganizationID) {
		return malformed("the group lacks a usable id, directory or organization")
	}
	if tooLong(p.IdpID, p.Name) {
		return malformed("the group is too large")
	}
	return nil
}

type membershipPayload struct {
	DirectoryID string       `json:"directory_id"`
	User        userPayload  `json:"user"`
	Group       groupPayload `json:"group"`
}

func (p *membershipPayload) check() error {
	if err := p.User.check(); err != nil {
		return err
	}
	if err := p.Group.check(); err != nil {
		return err
	}
	if p.User.DirectoryID != p.DirectoryID || p.Group.DirectoryID != p.DirectoryID ||
		p.User.OrganizationID != p.Group.OrganizationID {
		return malformed("user, group and directory do not belong together")
	}
	return nil
}

// linkedPayload is a connection or a directory. organization_id is optional in
// WorkOS's schema: without it, nothing is granted through it.
type linkedPayload struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	Name           string `json:"name"`
	Type           string `json:"type"`
	ConnectionType string `json:"connection_type"`
	State          string `json:"state"`
}

func (p *linkedPayload) check() error {
	if !validID(p.ID) || (p.OrganizationID != "" && !validID(p.OrganizationID)) {
		return malformed("the connection or directory has no usable id")
	}
	if p.Type == "" {
		p.Type = p.ConnectionType
	}
	if tooLong(p.Name, p.Type, p.State) {
		return malformed("the connection or directory is too large")
	}
	return nil
}

type organizationPayload struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Domains []struct {
		Domain string `json:"domain"`
	} `json:"domains"`
}

func (p *organizationPayload) check() error {
	if !validID(p.ID) {
		return malformed("the organization has no usable id")
	}
	if tooLong(p.Name) || len(p.Domains) > maxDomains {
		return malformed("the organization is too large")
	}
	for _, d := range p.Domains {
		if tooLong(d.Domain) {
			return malformed("the organization is too large")
		}
	}
	return nil
}

func (p *organizationPayload) domains() []string {
	var out []string
	for _, d := range p.Domains {
		if d.Domain != "" {
			out = append(out, strings.ToLower(d.Domain))
		}
	}
	return out
}

func tooLong(all ...string) bool {
	for _, s := range all {
		if len(s) > maxText {
			return true
		}
	}
	return false
}
