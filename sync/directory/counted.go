package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Some events change nothing that a decision rests on, and yet should not come
// and go unseen: of each type, how many came and the last one is kept. These are
// the types that WorkOS documents:
//
//   - organization_membership.*: memberships of AuthKit, WorkOS's own user
//     management. Our people are directory users and SSO profiles.
//   - session.revoked: a session of AuthKit. Its id and user are AuthKit's; our
//     sessions are our own and stand on SSO profiles, so none can be matched.
//   - dsync.token.*: the customer's SCIM token was rotated.
//
// A type that nobody documented yet is kept and counted in the same way.
const (
	typeMembershipCreated = "organization_membership.created"
	typeMembershipUpdated = "organization_membership.updated"
	typeMembershipDeleted = "organization_membership.deleted"
	typeSessionRevoked    = "session.revoked"
	typeTokenCreated      = "dsync.token.created"
	typeTokenRevoked      = "dsync.token.revoked"
)

// maxCounted bounds the types that are counted by name. The rest share one
// counter, so that a sender of ever new types cannot fill the store.
const (
	maxCounted  = 256
	otherCounts = "other"
)

type countRecord struct {
	V     int    `json:"v"`
	Type  string `json:"type"`
	Count int64  `json:"count"`
	Last  stamp  `json:"last"`
	Seen  int64  `json:"seen"` // Unix ms of its receipt
}

func (r countRecord) known() bool { return r.V == version }

// Counted is what is known of a type of event that changes nothing here.
type Counted struct {
	Type     string    `json:"type"`
	Count    int64     `json:"count"`
	LastID   string    `json:"last_id"`
	LastAt   time.Time `json:"last_at"`
	LastSeen time.Time `json:"last_seen"`
}

// planCount plans an event that is only counted. result is its outcome.
func (d *Directory) planCount(ev *Event, result outcome) func(*writer) (outcome, error) {
	typ, id, at := ev.Type, ev.ID, ev.CreatedAt.UnixMilli()
	kind := typ
	if !validID(kind) {
		sum := sha256.Sum256([]byte(typ))
		kind = "sha256-" + hex.EncodeToString(sum[:8])
	}
	if v := d.View(); v.counts.Len() >= maxCounted {
		if _, known := v.counts.Get([]byte(kind)); !known {
			kind, typ = otherCounts, ""
		}
	}
	return func(w *writer) (outcome, error) {
		r, err := get[countRecord](w.tx, countKey(kind))
		if err != nil {
			return stale, err
		}
		if r.Last.ID == id && result == ignored {
			return ignored, nil
		} else if r.Last.ID == id {
			return duplicate, nil
		}
		r = countRecord{V: version, Type: typ, Count: r.Count + 1, Last: stamp{At: at, ID: id}, Seen: w.at.received}
		return result, put(w.tx, countKey(kind), r)
	}
}

// Counted lists the types of event that came and change nothing here.
func (v *View) Counted() []Counted {
	out := []Counted{}
	v.counts.Root().Walk(func(_ []byte, r *countRecord) bool {
		out = append(out, Counted{r.Type, r.Count, r.Last.ID, instant(r.Last.At), instant(r.Seen)})
		return false
	})
	return out
}

// instant is the time of Unix milliseconds; zero for zero.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
