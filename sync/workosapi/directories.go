package workosapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Directory is a customer's directory as WorkOS syncs it. State is the REST
// vocabulary: linked, unlinked, validating, deleting, invalid_credentials
// (events say active and inactive instead).
type Directory struct {
	ID             string
	OrganizationID string
	Name           string
	Domain         string
	Type           string
	State          string
	Users          int // as WorkOS counts them, for estimates alone; 0 if it does not say
	Groups         int // the same
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// DirectoryUser is a person in a directory. Only State "active" may grant.
// Groups is what old WorkOS environments still send; newer ones leave it
// empty, so membership is read with a UserQuery by group or by ListGroupsOfUser.
type DirectoryUser struct {
	ID               string
	DirectoryID      string
	OrganizationID   string
	IdpID            string
	Email            string
	FirstName        string
	LastName         string
	JobTitle         string
	Username         string
	State            string
	Role             string          // slug of WorkOS's own role; may be empty
	Roles            []string        // slugs of all of them, Role first
	CustomAttributes json.RawMessage // a JSON object, or empty
	Groups           []DirectoryGroup
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

// DirectoryGroup is a group in a directory.
type DirectoryGroup struct {
	ID             string
	DirectoryID    string
	OrganizationID string
	IdpID          string
	Name           string
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// ListDirectories returns every directory of an organization, or of all if
// organizationID is empty.
func (c *Client) ListDirectories(ctx context.Context, organizationID string) ([]Directory, error) {
	const op = "list directories"
	q, err := within(op, organizationID)
	if err != nil {
		return nil, err
	}
	return listAll[wireDirectory](ctx, c, op, "/directories", prefixDirectory, q)
}

// GetDirectory returns one directory, or ErrNotFound.
func (c *Client) GetDirectory(ctx context.Context, id string) (Directory, error) {
	return getOne[wireDirectory](ctx, c, "get directory", "/directories", prefixDirectory, id)
}

// UserQuery says whose users to list: all of Directory, or those in Group, in
// which case Directory only says whose rate limit the call counts against.
type UserQuery struct {
	Directory string // directory_…
	Group     string // directory_group_…
}

// ListDirectoryUsers returns every user of a directory or of a group. It is
// paced per directory, so a directory of 10,000 users takes half a minute.
func (c *Client) ListDirectoryUsers(ctx context.Context, u UserQuery) ([]DirectoryUser, error) {
	const op = "list directory users"
	q := url.Values{}
	if u.Directory != "" || u.Group == "" {
		if err := checkID(prefixDirectory, u.Directory); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		q.Set("directory", u.Directory)
	}
	if u.Group != "" {
		if err := checkID(prefixGroup, u.Group); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		q.Set("group", u.Group)
		q.Del("directory") // the API takes one of the two
	}
	return listAll[wireUser](paced(ctx, u.Directory), c, op, "/directory_users", prefixUser, q)
}

// GetDirectoryUser returns one user, or ErrNotFound. directoryID says whose
// rate limit the call counts against.
func (c *Client) GetDirectoryUser(ctx context.Context, directoryID, id string) (DirectoryUser, error) {
	return getOne[wireUser](paced(ctx, directoryID), c, "get directory user", "/directory_users", prefixUser, id)
}

// ListDirectoryGroups returns every group of a directory.
func (c *Client) ListDirectoryGroups(ctx context.Context, directoryID string) ([]DirectoryGroup, error) {
	const op = "list directory groups"
	if err := checkID(prefixDirectory, directoryID); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return listAll[wireGroup](ctx, c, op, "/directory_groups", prefixGroup, url.Values{"directory": {directoryID}})
}

// ListGroupsOfUser returns every group that a user is in.
func (c *Client) ListGroupsOfUser(ctx context.Context, userID string) ([]DirectoryGroup, error) {
	const op = "list groups of user"
	if err := checkID(prefixUser, userID); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return listAll[wireGroup](ctx, c, op, "/directory_groups", prefixGroup, url.Values{"user": {userID}})
}

// GetDirectoryGroup returns one group, or ErrNotFound.
func (c *Client) GetDirectoryGroup(ctx context.Context, id string) (DirectoryGroup, error) {
	return getOne[wireGroup](ctx, c, "get directory group", "/directory_groups", prefixGroup, id)
}

// The objects as they come. null reads as the empty value.
type (
	wireDirectory struct {
		ID             string          `json:"id"`
		OrganizationID string          `json:"organization_id"`
		Name           string          `json:"name"`
		Domain         string          `json:"domain"`
		Type           string          `json:"type"`
		State          string          `json:"state"`
		Metadata       json.RawMessage `json:"metadata"`
		CreatedAt      string          `json:"created_at"`
		UpdatedAt      string          `json:"updated_at"`
	}
	wireSlug struct {
		Slug string `json:"slug"`
	}
	wireUser struct {
		ID             string          `json:"id"`
		DirectoryID    string          `json:"directory_id"`
		OrganizationID string          `json:"organization_id"`
		IdpID          string          `json:"idp_id"`
		Email          string          `json:"email"`
		FirstName      string          `json:"first_name"`
		LastName       string          `json:"last_name"`
		JobTitle       string          `json:"job_title"`
		Username       string          `json:"username"`
		State          string          `json:"state"`
		Role           wireSlug        `json:"role"`
		Roles          []wireSlug      `json:"roles"`
		Attributes     json.RawMessage `json:"custom_attributes"`
		Groups         []wireGroup     `json:"groups"`
		CreatedAt      string          `json:"created_at"`
		UpdatedAt      string          `json:"updated_at"`
	}
	wireGroup struct {
		ID             string `json:"id"`
		DirectoryID    string `json:"directory_id"`
		OrganizationID string `json:"organization_id"`
		IdpID          string `json:"idp_id"`
		Name           string `json:"name"`
		CreatedAt      string `json:"created_at"`
		UpdatedAt      string `json:"updated_at"`
	}
)

func (w wireDirectory) key() string { return w.ID }
func (w wireUser) key() string      { return w.ID }
func (w wireGroup) key() string     { return w.ID }

func (w wireDirectory) value() Directory {
	d := Directory{
		ID: w.ID, OrganizationID: w.OrganizationID, Name: w.Name, Domain: w.Domain, Type: w.Type, State: w.State,
		CreatedAt: parseTime(w.CreatedAt), UpdatedAt: parseTime(w.UpdatedAt),
	}
	var counts struct {
		Users struct {
			Active   int `json:"active"`
			Inactive int `json:"inactive"`
		} `json:"users"`
		Groups int `json:"groups"`
	}
	if json.Unmarshal(w.Metadata, &counts) == nil { // they only make estimates
		d.Users, d.Groups = max(0, counts.Users.Active)+max(0, counts.Users.Inactive), max(0, counts.Groups)
	}
	return d
}

func (w wireUser) value() DirectoryUser {
	u := DirectoryUser{
		ID: w.ID, DirectoryID: w.DirectoryID, OrganizationID: w.OrganizationID, IdpID: w.IdpID, Email: w.Email,
		FirstName: w.FirstName, LastName: w.LastName, JobTitle: w.JobTitle, Username: w.Username,
		State: w.State, Role: w.Role.Slug, CustomAttributes: w.Attributes,
		CreatedAt: parseTime(w.CreatedAt), UpdatedAt: parseTime(w.UpdatedAt),
	}
	if string(u.CustomAttributes) == "null" {
		u.CustomAttributes = nil
	}
	for _, r := range append([]wireSlug{w.Role}, w.Roles...) {
		if r.Slug != "" && !slices.Contains(u.Roles, r.Slug) {
			u.Roles = append(u.Roles, r.Slug)
		}
	}
	for _, g := range w.Groups {
		g.DirectoryID, g.OrganizationID = w.DirectoryID, w.OrganizationID
		u.Groups = append(u.Groups, g.value())
	}
	return u
}

func (w wireGroup) value() DirectoryGroup {
	return DirectoryGroup{
		ID: w.ID, DirectoryID: w.DirectoryID, OrganizationID: w.OrganizationID, IdpID: w.IdpID, Name: w.Name,
		CreatedAt: parseTime(w.CreatedAt), UpdatedAt: parseTime(w.UpdatedAt),
	}
}
