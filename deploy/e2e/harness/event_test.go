package harness

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// stamp orders events: created_at in milliseconds, then the id.
type stamp struct {
	at int64
	id string
}

func (s stamp) before(o stamp) bool { return s.at < o.at || s.at == o.at && s.id < o.id }

// event is a WorkOS event: what it says, and the body that says it.
type event struct {
	stamp
	kind        string     // "dsync.user.created", …
	user, group string     // the ids it is about; empty if none
	is          attributes // the user, at that time
	body        []byte
}

// attributes are what a user's events say of the user. The title is the id of
// the event that set them: whoever reads the user can tell what wrote it last.
type attributes struct{ state, title string }

// object is a JSON object.
type object map[string]any

// newEvent makes an event and its body. Without a title, the user gets the
// event's id as one.
func newEvent(r *rand.Rand, p place, kind, user, group string, is attributes, at time.Time) event {
	e := event{stamp: stamp{at.UnixMilli(), ulid(r, "event_", at)}, kind: kind, user: user, group: group, is: is}
	if e.is.title == "" {
		e.is.title = e.id
	}
	when := at.UTC().Format("2006-01-02T15:04:05.000Z")
	u := object{
		"object": "directory_user", "id": user, "directory_id": p.directory, "organization_id": p.organization,
		"idp_id": "flood|" + user, "email": user + "@acme.test", "first_name": "Flo", "last_name": "Od", "username": user,
		"job_title": e.is.title, "state": e.is.state, "custom_attributes": object{}, "raw_attributes": object{}, "emails": []object{},
		"created_at": when, "updated_at": when,
	}
	g := object{
		"object": "directory_group", "id": group, "directory_id": p.directory, "organization_id": p.organization,
		"idp_id": group, "name": "name of " + group, "raw_attributes": object{}, "created_at": when, "updated_at": when,
	}
	var data object
	switch {
	case user != "" && group != "":
		data = object{"directory_id": p.directory, "user": u, "group": g}
	case user != "":
		data = u
	default:
		data = g
	}
	e.body, _ = json.Marshal(object{"object": "event", "id": e.id, "event": kind, "data": data, "created_at": when, "context": object{}})
	return e
}

// ulid is an id as WorkOS makes them: prefix, 10 characters of time, 16 random.
func ulid(r *rand.Rand, prefix string, at time.Time) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	out, ms := [26]byte{}, at.UnixMilli()
	for i := 9; i >= 0; i-- {
		out[i], ms = alphabet[ms&31], ms>>5
	}
	for i := 10; i < len(out); i++ {
		out[i] = alphabet[r.IntN(32)]
	}
	return prefix + string(out[:])
}

// signature is WorkOS's: HMAC-SHA256 over "<ms>.<body>".
func signature(secret string, body []byte, at time.Time) string {
	ms := fmt.Sprint(at.UnixMilli())
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(ms + "."))
	mac.Write(body)
	return "t=" + ms + ", v1=" + hex.EncodeToString(mac.Sum(nil))
}
