package workosapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/workos/workos-go/v4/pkg/directorysync"
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
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// DirectoryUser is a person in a directory. Only State "active" may grant.
// Groups is what old WorkOS environments still send; newer ones leave it
// empty, so membership is read with a UserQuery by group.
type DirectoryUser struct {
	ID               string
	DirectoryID      string
	OrganizationID   string
	IdpID            string
	Email            string
	FirstName        string
	LastName         string
	State            string
	Role             string          // slug of WorkOS's own role; may be empty
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
	if organizationID != "" {
		if err := checkID(prefixOrganization, organizationID); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	return all(op, func(after string) ([]Directory, string, error) {
		res, err := c.directory.ListDirectories(ctx, directorysync.ListDirectoriesOpts{
			OrganizationID: organizationID, Limit: pageSize, Order: directorysync.Asc, After: after,
		})
		out := make([]Directory, 0, len(res.Data))
		for _, d := range res.Data {
			out = append(out, Directory{ID: d.ID, OrganizationID: d.OrganizationID, Name: d.Name, Domain: d.Domain,
				Type: string(d.Type), State: string(d.State),
				CreatedAt: parseTime(d.CreatedAt), UpdatedAt: parseTime(d.UpdatedAt)})
		}
		return out, res.ListMetadata.After, err
	})
}

// GetDirectory returns one directory, or ErrNotFound.
func (c *Client) GetDirectory(ctx context.Context, id string) (Directory, error) {
	const op = "get directory"
	if err := checkID(prefixDirectory, id); err != nil {
		return Directory{}, fmt.Errorf("%s: %w", op, err)
	}
	d, err := c.directory.GetDirectory(ctx, directorysync.GetDirectoryOpts{Directory: id})
	if err != nil {
		return Directory{}, fail(op, err)
	}
	return Directory{ID: d.ID, OrganizationID: d.OrganizationID, Name: d.Name, Domain: d.Domain,
		Type: string(d.Type), State: string(d.State),
		CreatedAt: parseTime(d.CreatedAt), UpdatedAt: parseTime(d.UpdatedAt)}, nil
}

// UserQuery says whose users to list: all of Directory, or those in Group, in
// which case Directory only says whose rate limit the call counts against.
type UserQuery struct {
	Directory string // directory_…
	Group     string // directory_group_…
}

// ListDirectoryUsers returns every user of a directory or of a group. It is
// paced per directory, so a directory of 10,000 users takes half a minute.
func (c *Client) ListDirectoryUsers(ctx context.Context, q UserQuery) ([]DirectoryUser, error) {
	const op = "list directory users"
	opts := directorysync.ListUsersOpts{Limit: pageSize, Order: directorysync.Asc}
	if q.Directory != "" || q.Group == "" {
		if err := checkID(prefixDirectory, q.Directory); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		opts.Directory = q.Directory
	}
	if q.Group != "" {
		if err := checkID(prefixGroup, q.Group); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		opts.Group, opts.Directory = q.Group, ""
	}
	ctx = context.WithValue(ctx, paceKey{}, q.Directory)
	return all(op, func(after string) ([]DirectoryUser, string, error) {
		opts.After = after
		res, err := c.directory.ListUsers(ctx, opts)
		out := make([]DirectoryUser, 0, len(res.Data))
		for _, u := range res.Data {
			out = append(out, directoryUser(u))
		}
		return out, res.ListMetadata.After, err
	})
}

func directoryUser(u directorysync.User) DirectoryUser {
	out := DirectoryUser{
		ID: u.ID, DirectoryID: u.DirectoryID, OrganizationID: u.OrganizationID, IdpID: u.IdpID,
		Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, State: string(u.State),
		Role: u.Role.Slug, CustomAttributes: u.CustomAttributes,
		CreatedAt: parseTime(u.CreatedAt), UpdatedAt: parseTime(u.UpdatedAt),
	}
	for _, g := range u.Groups {
		out.Groups = append(out.Groups, DirectoryGroup{ID: g.ID, Name: g.Name, DirectoryID: u.DirectoryID, OrganizationID: u.OrganizationID})
	}
	return out
}

// ListDirectoryGroups returns every group of a directory.
func (c *Client) ListDirectoryGroups(ctx context.Context, directoryID string) ([]DirectoryGroup, error) {
	const op = "list directory groups"
	if err := checkID(prefixDirectory, directoryID); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return all(op, func(after string) ([]DirectoryGroup, string, error) {
		res, err := c.directory.ListGroups(ctx, directorysync.ListGroupsOpts{
			Directory: directoryID, Limit: pageSize, Order: directorysync.Asc, After: after,
		})
		out := make([]DirectoryGroup, 0, len(res.Data))
		for _, g := range res.Data {
			out = append(out, DirectoryGroup{ID: g.ID, DirectoryID: g.DirectoryID, OrganizationID: g.OrganizationID,
				IdpID: g.IdpID, Name: g.Name, CreatedAt: parseTime(g.CreatedAt), UpdatedAt: parseTime(g.UpdatedAt)})
		}
		return out, res.ListMetadata.After, err
	})
}
