package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// WatermarkMargin is how far before the server's time at its start a reading's
// watermark lies: what happened earlier is surely in what was read (design,
// "Full reconcile").
const WatermarkMargin = time.Minute

// ErrOldReading: a later reading of the same was applied already.
var ErrOldReading = errors.New("a later reading was applied already")

// Reading is one complete, successful read of one directory through the REST
// API. A read of which any part failed is not a Reading.
type Reading struct {
	Directory RemoteDirectory
	Watermark time.Time // the server's time when the read began, less WatermarkMargin
	Started   time.Time // the same moment by our own clock; zero: Watermark + WatermarkMargin
	Users     []RemoteUser
	Groups    []RemoteGroup
	Edges     []Edge
	MembersOf []string // groups whose members were read completely; those of others are not known; nil: all of Groups
}

// RemoteDirectory is a directory as the REST API tells it.
type RemoteDirectory struct{ ID, OrganizationID, State, Type, Name string }

// RemoteUser is a directory user as the REST API tells it. Attributes are its
// custom_attributes, Roles the slugs of its role and roles.
type RemoteUser struct {
	ID, IdpID, Email, FirstName, LastName, State, JobTitle, Username string

	Attributes json.RawMessage
	Roles      []string
}

// RemoteGroup is a directory group as the REST API tells it.
type RemoteGroup struct{ ID, IdpID, Name string }

// Edge is a membership.
type Edge struct{ UserID, GroupID string }

// Difference is what a reading changes, or would change.
type Difference struct {
	Directory string // empty for a RemoteWorld
	Changes   []Change
	Held      []Change // removals that the brake holds
	Pending   []Change // re-additions that wait for a second complete read; of a RemoteWorld also removals that wait for their own read
	Revision  uint64   // wait for it to see the changes
}

// Change is one of them. Kind is "user", "group", "edge", "directory",
// "connection" or "organization", the last three named by ID; Op is "add",
// "update", "remove" or "undelete".
type Change struct {
	Kind    string `json:"kind"`
	Op      string `json:"op"`
	ID      string `json:"id,omitempty"`
	UserID  string `json:"user_id,omitempty"`
	GroupID string `json:"group_id,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Kinds of Change.
const (
	kindUser         = "user"
	kindGroup        = "group"
	kindEdge         = "edge"
	kindDirectory    = "directory"
	kindConnection   = "connection"
	kindOrganization = "organization"
)

// readRecord is what is known of the readings of a directory, or of the list of
// organizations under worldDirty.
type readRecord struct {
	V int `json:"v"`
	// Last is the watermark of the last reading that was applied to its end.
	Last int64 `json:"last,omitempty"`
	// Objects and Edges are the floors: of all users and groups, and of all
	// memberships, a reading of this watermark told, and everything it told is
	// in force. An event from before it has nothing to add. A reading whose
	// removals are held, or whose additions wait, moves no floor.
	Objects int64 `json:"objects,omitempty"`
	Edges   int64 `json:"edges,omitempty"`
	// Begun is the watermark of the reading that is being merged, or was last;
	// Disturbed that, meanwhile, an event from before it changed something.
	Begun     int64 `json:"begun,omitempty"`
	Disturbed bool  `json:"disturbed,omitempty"`
	// At is when the last successful reconcile ended, Failed and Error the last
	// failure after it (Unix ms).
	At     int64  `json:"at,omitempty"`
	Failed int64  `json:"failed,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (r readRecord) known() bool { return r.V == version }

// getRead reads what is known of readings. Where it cannot be read nothing is,
// so that no event waits for it; the next reading writes it anew.
func getRead(g getter, id string) (readRecord, error) {
	r, err := get[readRecord](g, readKey(id))
	if errors.Is(err, ErrCorrupt) {
		return readRecord{}, nil
	}
	return r, err
}

// check refuses a reading whose parts are unusable or do not belong together,
// by the same rules as an event's.
func (r *Reading) check() error {
	if !validID(r.Directory.ID) || !validID(r.Directory.OrganizationID) {
		return malformed("the directory has no usable id or organization")
	}
	if r.Watermark.UnixMilli() <= 0 {
		return malformed("the reading has no watermark")
	}
	for i := range r.Users {
		if err := r.user(&r.Users[i]).check(); err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
	}
	for i := range r.Groups {
		if err := r.group(&r.Groups[i]).check(); err != nil {
			return fmt.Errorf("group %d: %w", i, err)
		}
	}
	for i := range r.Edges {
		if !validID(r.Edges[i].UserID) || !validID(r.Edges[i].GroupID) {
			return malformed("a membership has no usable ids")
		}
	}
	return nil
}

func (r *Reading) started() int64 {
	if r.Started.IsZero() {
		return r.Watermark.Add(WatermarkMargin).UnixMilli()
	}
	return r.Started.UnixMilli()
}

func (r *Reading) directory() *linkedPayload {
	return &linkedPayload{ID: r.Directory.ID, OrganizationID: r.Directory.OrganizationID,
		Name: r.Directory.Name, Type: r.Directory.Type, State: eventState(r.Directory.State)}
}

func (r *Reading) user(u *RemoteUser) *userPayload {
	p := &userPayload{
		ID: u.ID, DirectoryID: r.Directory.ID, OrganizationID: r.Directory.OrganizationID, IdpID: u.IdpID,
		Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, Username: u.Username,
		JobTitle: u.JobTitle, State: u.State, Attributes: u.Attributes,
	}
	if string(p.Attributes) == "null" {
		p.Attributes = nil
	}
	for _, s := range u.Roles {
		p.Roles = append(p.Roles, slug{s})
	}
	return p
}

func (r *Reading) group(g *RemoteGroup) *groupPayload {
	return &groupPayload{ID: g.ID, DirectoryID: r.Directory.ID, OrganizationID: r.Directory.OrganizationID,
		IdpID: g.IdpID, Name: g.Name}
}

// eventState translates the REST API's word for a directory's or connection's
// state into that of events, so that the two do not look like a change.
func eventState(s string) string {
	switch s {
	case "linked":
		return active
	case "unlinked":
		return "inactive"
	}
	return s
}
