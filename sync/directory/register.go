package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"battery.app/gate/store"
)

// version is that of every value written here. A value of another version is
// not read: it grants nothing, and nothing is written over it.
const version = 1

// stamp orders events: created_at in Unix milliseconds, then the event's id.
type stamp struct {
	At int64  `json:"at"`
	ID string `json:"id"`
}

func (s stamp) before(o stamp) bool {
	if s.At != o.At {
		return s.At < o.At
	}
	return s.ID < o.ID
}

// tombstone says when an id was deleted, for good. Where several deletes of one
// id arrive, the earliest stays, in whatever order they came.
type tombstone struct {
	Stamp stamp `json:"stamp"`
	Gone  int64 `json:"gone"` // Unix ms: the earlier of stamp and first receipt
}

// register is the head of every stored object. The object's attributes are
// those of the event with the highest stamp.
type register struct {
	V       int        `json:"v"`
	Stamp   stamp      `json:"stamp"`
	Seen    bool       `json:"seen,omitempty"` // something that may create it was seen
	Read    *sightings `json:"read,omitempty"` // what readings said of it; see sighting.go
	Deleted *tombstone `json:"deleted,omitempty"`
}

func (r register) known() bool   { return r.V == version }
func (r register) alive() bool   { return r.known() && r.Seen && r.Deleted == nil && !r.absent() }
func (r register) deleted() bool { return r.known() && r.Deleted != nil }

// outcome is what an event did to one register; the higher one tells the story
// of an event that wrote several.
type outcome int

const (
	stale outcome = iota
	duplicate
	moved // nothing to see, but something to remember: when the object was last made
	applied
	ignored
)

// writes reports whether a register must be written.
func (o outcome) writes() bool { return o == applied || o == moved }

func (o outcome) String() string {
	return [...]string{stale: OutcomeStale, duplicate: OutcomeDuplicate, moved: OutcomeStale, applied: OutcomeApplied, ignored: OutcomeIgnored}[o]
}

// moment is when an event counts, and when it came in.
type moment struct {
	stamp
	received int64 // Unix ms
	floor    int64 // Unix ms: what the last complete reading of its directory tells of
}

// upsert merges an event, or what a reading saw, into a register. had and has
// say whether the state before and the one in the event take access away: at
// equal times that wins. take is true if the attributes become those of the
// event.
func (r *register) upsert(at moment, had, has, creates bool) (take bool, o outcome) {
	if r.Deleted != nil {
		return false, stale
	}
	same := r.known() && r.Stamp == at.stamp
	if at.ID != "" && at.At < at.floor {
		switch {
		case r.alive() && same:
			return false, duplicate
		case r.alive():
			return false, stale // a later, complete reading confirmed what is known
		}
		read := r.see() // or did not see it at all
		read.Absent = max(read.Absent, at.floor)
	}
	take = !r.known() || beats(at.stamp, has, r.Stamp, had)
	made, born, alive := r.made(), r.Seen, r.alive()
	r.V = version
	r.Seen = r.Seen || creates
	if take {
		r.Stamp = at.stamp
	}
	later := creates && (!born || at.At > made)
	if later {
		made = at.At
	}
	r.madeAt(made)
	switch {
	case take, later && !alive:
		return take, applied
	case later:
		return false, moved
	case same:
		return false, duplicate
	}
	return false, stale
}

// bury merges a delete. take is true if the tombstone is the event's.
func (r *register) bury(at moment) (take bool, o outcome) {
	gone := min(at.At, at.received)
	switch old := r.Deleted; {
	case r.Read != nil && r.Read.Undone != nil && !r.Read.Undone.before(at.stamp):
		return false, stale // two readings took that delete back
	case old != nil && old.Stamp.ID == at.ID:
		return false, duplicate
	case old != nil && !at.before(old.Stamp):
		return false, stale
	case old != nil:
		gone = min(gone, old.Gone)
	}
	r.V, r.Stamp, r.Deleted = version, at.stamp, &tombstone{Stamp: at.stamp, Gone: gone}
	if r.Read != nil {
		r.Read = r.Read.onlyUndone()
	}
	return true, applied
}

// beats is the register rule for two different events. A reading's stamp has no
// id and loses to every event of its millisecond.
func beats(a stamp, aRemoves bool, b stamp, bRemoves bool) bool {
	if a.At == b.At && aRemoves != bRemoves && a.ID != "" && b.ID != "" {
		return aRemoves
	}
	return b.before(a)
}

// The stored values, by kind.
type (
	organizationRecord struct {
		register
		Slug    string   `json:"slug,omitempty"`
		Name    string   `json:"name,omitempty"`
		Domains []string `json:"domains,omitempty"`
	}
	// linkedRecord is a connection or a directory.
	linkedRecord struct {
		register
		OrganizationID string `json:"organization_id,omitempty"`
		Name           string `json:"name,omitempty"`
		Type           string `json:"type,omitempty"`
		State          string `json:"state,omitempty"`
	}
	// userRecord keeps idp_id and e-mail in its tombstone, so that sessions of
	// the deleted user are known to be just that.
	userRecord struct {
		register
		DirectoryID    string          `json:"directory_id"`
		OrganizationID string          `json:"organization_id"`
		IdpID          string          `json:"idp_id,omitempty"`
		Email          string          `json:"email,omitempty"`
		FirstName      string          `json:"first_name,omitempty"`
		LastName       string          `json:"last_name,omitempty"`
		Username       string          `json:"username,omitempty"`
		JobTitle       string          `json:"job_title,omitempty"`
		State          string          `json:"state,omitempty"`
		Roles          []string        `json:"roles,omitempty"`
		Attributes     json.RawMessage `json:"attributes,omitempty"`
	}
	groupRecord struct {
		register
		DirectoryID    string `json:"directory_id"`
		OrganizationID string `json:"organization_id"`
		IdpID          string `json:"idp_id,omitempty"`
		Name           string `json:"name,omitempty"`
	}
	edgeRecord struct {
		V       int    `json:"v"`
		Stamp   stamp  `json:"stamp"`
		Present bool   `json:"present"`
		Source  string `json:"source,omitempty"` // the way it came: see Why
		Again   int64  `json:"again,omitempty"`  // watermark of the reading that saw it though an event removed it
	}
	// receiptRecord is the stamp that a future-dated event counts as of.
	receiptRecord struct {
		V  int   `json:"v"`
		At int64 `json:"at"`
	}
	slugRecord struct {
		V              int    `json:"v"`
		OrganizationID string `json:"organization_id"`
	}
	linkRecord struct {
		V      int    `json:"v"`
		UserID string `json:"user_id"`
		At     int64  `json:"at"`
	}
)

func (r edgeRecord) known() bool    { return r.V == version }
func (r receiptRecord) known() bool { return r.V == version }
func (r slugRecord) known() bool    { return r.V == version }
func (r linkRecord) known() bool    { return r.V == version }

// linked: the states that let a directory or connection count. REST says
// linked where events say active.
func linked(state string) bool { return state == "active" || state == "linked" }

func (r *linkedRecord) live() bool { return r.alive() && linked(r.State) }

// active is the one user state that grants anything.
const active = "active"

// Keys. Ids come from outside and are validated before they become one.
func organizationKey(id string) string { return Prefix + "organization/" + id }
func connectionKey(id string) string   { return Prefix + "connection/" + id }
func directoryKey(id string) string    { return Prefix + "directory/" + id }
func userKey(id string) string         { return Prefix + "user/" + id }
func groupKey(id string) string        { return Prefix + "group/" + id }
func edgeKey(user, group string) string {
	return Prefix + "edge/" + user + "/" + group
}
func receiptKey(event string) string     { return Prefix + "stamp/" + event }
func deadKey(event string) string        { return Prefix + "dead/" + event }
func dirtyKey(id string) string          { return Prefix + "dirty/" + id }
func readKey(id string) string           { return Prefix + "read/" + id }
func holdKey(id string) string           { return Prefix + "hold/" + id }
func heldKey(id string, n int) string    { return fmt.Sprintf("%sheld/%s/%04d", Prefix, id, n) }
func pauseKey(directory string) string   { return Prefix + "pause/" + directory }
func sourceKey(org string) string        { return Prefix + "rolesource/" + org }
func pairingKey(org string) string       { return Prefix + "pairing/" + org }
func countKey(kind string) string        { return Prefix + "unknown/" + kind }
func domainKey(id string) string         { return Prefix + "domain/" + id }
func roleKey(org, slug string) string    { return Prefix + "role/" + org + "/" + slug }
func slugKey(slug string) string         { return Prefix + "slug/" + slug }
func mappingKey(org string) string       { return Prefix + "mapping/" + org }
func linkKey(org, profile string) string { return Prefix + "link/" + org + "/" + profile }
func groupNameKey(org, name string) string {
	sum := sha256.Sum256([]byte(name))
	return Prefix + "groupname/" + org + "/" + hex.EncodeToString(sum[:])
}

// validID reports whether s may be an id in a key: [A-Za-z0-9_.-]{1,128}.
func validID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_.-", c) >= 0) {
			return false
		}
	}
	return true
}

// getter is the reading half of a transaction.
type getter interface {
	Get(key string) ([]byte, error)
}

type value interface{ known() bool }

// get reads the value of key. An absent key is the zero value; one that cannot
// be read is ErrCorrupt, because writing on top of it could undo a delete.
func get[T value](g getter, key string) (rec T, err error) {
	raw, err := g.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return rec, nil
	}
	if err != nil {
		return rec, fmt.Errorf("read directory: %w", err)
	}
	return decode[T](raw)
}

func decode[T value](raw []byte) (T, error) {
	var rec, none T
	if err := json.Unmarshal(raw, &rec); err != nil {
		return none, fmt.Errorf("%w: not JSON of its kind", ErrCorrupt)
	}
	if !rec.known() {
		return none, fmt.Errorf("%w: unknown version", ErrCorrupt)
	}
	return rec, nil
}

func put(tx store.Tx, key string, rec any) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode directory value: %w", err)
	}
	if err := tx.Put(key, raw); err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	return nil
}
