package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// event is a WorkOS event as its webhooks carry it.
type event struct {
	Object    string         `json:"object"`
	ID        string         `json:"id"`
	Event     string         `json:"event"`
	Data      any            `json:"data"`
	CreatedAt string         `json:"created_at"`
	Context   map[string]any `json:"context"`
}

// newEvent dates an event now, never at the same millisecond as the one before:
// at equal times a removal wins.
func newEvent(name string, data any) event {
	time.Sleep(2 * time.Millisecond)
	now := time.Now().UTC()
	return event{Object: "event", ID: ulid("event_", now), Event: name, Data: data, CreatedAt: now.Format("2006-01-02T15:04:05.000Z"), Context: map[string]any{}}
}

// ulid is an id as WorkOS makes them: prefix, 10 characters of time, 16 random.
func ulid(prefix string, at time.Time) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var random [16]byte
	_, _ = rand.Read(random[:])
	out, ms := [26]byte{}, at.UnixMilli()
	for i := 9; i >= 0; i-- {
		out[i], ms = alphabet[ms&31], ms>>5
	}
	for i, b := range random {
		out[10+i] = alphabet[b&31]
	}
	return prefix + string(out[:])
}

func (e event) body(t *testing.T) []byte {
	t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// signature is WorkOS's: HMAC-SHA256 over "<ms>.<body>".
func signature(secret string, body []byte, at time.Time) string {
	ms := fmt.Sprint(at.UnixMilli())
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(ms + "."))
	mac.Write(body)
	return "t=" + ms + ", v1=" + hex.EncodeToString(mac.Sum(nil))
}

// post sends a webhook with the given signature header ("" for none).
func (g *gate) post(t *testing.T, body []byte, sig string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, g.PublicURL+"/webhooks/workos", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if sig != "" {
		req.Header.Set("Workos-Signature", sig)
	}
	resp, err := loopback().Do(req)
	if err != nil {
		t.Fatalf("post webhook: %v", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// deliver sends an event as WorkOS does; anything but a 200 is a failure.
func (g *gate) deliver(t *testing.T, e event) {
	t.Helper()
	body := e.body(t)
	if got := g.post(t, body, signature(g.WebhookSecret, body, time.Now())); got != http.StatusOK {
		t.Fatalf("webhook %s: status %d, want 200", e.Event, got)
	}
}

// object is one object of the stand-in's world.
type object map[string]any

// find looks into the stand-in's world: the one object of a list whose field has
// that value.
func (g *gate) find(t *testing.T, list, field, value string) object {
	t.Helper()
	var all map[string]json.RawMessage
	call(t, http.MethodGet, g.WorkOSURL+"/_dev/world", g.WorkOSAPIKey, nil, &all)
	var objects []object
	if err := json.Unmarshal(all[list], &objects); err != nil {
		t.Fatalf("world: %v", err)
	}
	for _, o := range objects {
		if o[field] == value {
			return o
		}
	}
	t.Fatalf("no %s with %s %q in the stand-in's world", list, field, value)
	return nil
}

// membership is the payload of dsync.group.user_added and user_removed.
func (g *gate) membership(t *testing.T, email, group string) object {
	t.Helper()
	u := g.find(t, "users", "email", email)
	return object{"directory_id": u["directory_id"], "user": u, "group": g.find(t, "groups", "name", group)}
}

// A change in the customer's directory is enforced at the first request after
// WorkOS was told that it arrived.
func TestDirectoryChangesTakeEffectAtTheNextRequest(t *testing.T) {
	everyFreshFront(t, func(t *testing.T, w *world) {
		bob := w.newPerson(t)
		if r := bob.login(t, "crm.acme", "bob@acme.test"); r.Status != http.StatusForbidden {
			t.Fatalf("bob at crm: status %d, want 403", r.Status)
		}
		if _, ok := bob.open(t, w.url("wiki.acme", "/"), "").reached(); !ok {
			t.Fatal("bob does not reach the wiki")
		}

		added := newEvent("dsync.group.user_added", w.membership(t, "bob@acme.test", "Engineering"))
		w.deliver(t, added)
		e, ok := bob.fetch(t, "crm.acme", "/after-added").reached()
		if !ok {
			t.Fatal("added to Engineering: the first request after the 200 does not open crm")
		}
		if roles := e.one(t, "X-Battery-Roles"); roles != "editor,member" {
			t.Errorf("added to Engineering: roles %q", roles)
		}

		w.deliver(t, newEvent("dsync.group.user_removed", w.membership(t, "bob@acme.test", "Engineering")))
		if r := bob.fetch(t, "crm.acme", "/after-removed"); r.Status != http.StatusForbidden {
			t.Fatalf("removed from Engineering: the first request after has status %d, want 403", r.Status)
		}
		w.deliver(t, added) // late, or sent again: it is older than the removal
		if r := bob.fetch(t, "crm.acme", "/after-replay"); r.Status != http.StatusForbidden {
			t.Errorf("an older event undid a newer one: status %d", r.Status)
		}
		if _, ok := bob.fetch(t, "wiki.acme", "/").reached(); !ok {
			t.Error("removed from Engineering: the wiki is closed too")
		}

		w.deliver(t, newEvent("dsync.user.deleted", w.find(t, "users", "email", "bob@acme.test")))
		if r := bob.fetch(t, "wiki.acme", "/after-deleted"); r.Status != http.StatusUnauthorized || r.problem(t)["reason"] != "session_revoked" {
			t.Errorf("deleted: status %d, body %.200s, want 401 for session_revoked", r.Status, r.Body)
		}
		if r := bob.click(t, w.url("crm.acme", "/after-deleted")); r.Status != http.StatusFound {
			t.Errorf("deleted: a click has status %d, want 302", r.Status)
		}

		var last uint64
		var story []string
		rows := w.rowsBelow(t, "/after-")
		for i := len(rows) - 1; i >= 0; i-- { // oldest first
			d := rows[i]
			if d.DataRevision < last {
				t.Errorf("%s was decided from revision %d, after one from %d", d.Path, d.DataRevision, last)
			}
			last = d.DataRevision
			story = append(story, d.Path+" "+d.Result+" "+d.codes())
		}
		const want = "/after-added allow role; /after-removed deny no_allowed_role; /after-replay deny no_allowed_role; " +
			"/after-deleted challenge session_revoked; /after-deleted challenge session_revoked"
		if got := strings.Join(story, "; "); got != want {
			t.Errorf("the log tells\n%s\nwant\n%s", got, want)
		}
	})
}

// The same, made to happen in WorkOS's world and told by its own webhook.
func TestEventsOfTheStandInArrive(t *testing.T) {
	w := freshWorld(t, fronts[0], nil)
	bob := w.newPerson(t)
	bob.login(t, "crm.acme", "bob@acme.test")
	happen := func(name string) {
		body := map[string]any{"event": name, "data": w.membership(t, "bob@acme.test", "Engineering")}
		if got := call(t, http.MethodPost, w.WorkOSURL+"/_dev/events?deliver=1", w.WorkOSAPIKey, body, nil); got/100 != 2 {
			t.Fatalf("%s: status %d", name, got)
		}
	}
	happen("dsync.group.user_added")
	eventually(t, "crm opens", func() bool { return bob.fetch(t, "crm.acme", "/").Status == http.StatusOK })
	happen("dsync.group.user_removed")
	eventually(t, "crm closes", func() bool { return bob.fetch(t, "crm.acme", "/").Status == http.StatusForbidden })
	w.find(t, "users", "email", "bob@acme.test")
	count(t, fronts[0])
}

// What is not WorkOS's, or not of now, or not whole, changes nothing.
func TestBadWebhooksChangeNothing(t *testing.T) {
	w := sharedWorld(t, fronts[0])
	bob := w.newPerson(t)
	bob.login(t, "crm.acme", "bob@acme.test")
	revision := func() uint64 {
		path := fmt.Sprintf("/revision-%d", time.Now().UnixNano())
		if r := bob.fetch(t, "crm.acme", path); r.Status != http.StatusForbidden {
			t.Fatalf("bob at crm: status %d, want 403", r.Status)
		}
		return w.rowsBelow(t, path)[0].DataRevision
	}
	before := revision()

	good := newEvent("dsync.group.user_added", w.membership(t, "bob@acme.test", "Engineering")).body(t)
	now, key := time.Now(), w.WebhookSecret
	right := signature(key, good, now)
	ms, v1, _ := strings.Cut(right, ", ")
	signed := func(body string) ([]byte, string) { return []byte(body), signature(key, []byte(body), now) }
	with := func(body []byte, sig string) struct {
		body []byte
		sig  string
	} {
		return struct {
			body []byte
			sig  string
		}{body, sig}
	}
	big := append(bytes.TrimSuffix(good, []byte("}")), []byte(`,"padding":"`+strings.Repeat("x", 1100<<10)+`"}`)...)

	table := map[string]struct {
		post struct {
			body []byte
			sig  string
		}
		want []int
	}{
		"no signature":                  {with(good, ""), []int{401, 400}},
		"another secret":                {with(good, signature("whsec_not_this_one", good, now)), []int{401}},
		"the empty secret":              {with(good, signature("", good, now)), []int{401}},
		"signed for another body":       {with(append([]byte(" "), good...), right), []int{401}},
		"stale by 10 minutes":           {with(good, signature(key, good, now.Add(-10*time.Minute))), []int{401}},
		"10 minutes ahead":              {with(good, signature(key, good, now.Add(10*time.Minute))), []int{401}},
		"10 years ahead":                {with(good, signature(key, good, now.AddDate(10, 0, 0))), []int{401}},
		"the time changed":              {with(good, fmt.Sprintf("t=%d, %s", now.UnixMilli()+1, v1)), []int{401}},
		"no time":                       {with(good, v1), []int{401, 400}},
		"no digest":                     {with(good, ms), []int{401, 400}},
		"an empty digest":               {with(good, ms+", v1="), []int{401, 400}},
		"half a digest":                 {with(good, ms+", "+v1[:20]), []int{401, 400}},
		"a comma":                       {with(good, ","), []int{401, 400}},
		"t,v1=x":                        {with(good, "t,v1=x"), []int{401, 400}},
		"t=1,v":                         {with(good, "t=1,v"), []int{401, 400}},
		"a digest that is no hex":       {with(good, ms+", v1="+strings.Repeat("zz", 32)), []int{401, 400}},
		"nothing, signed":               {with(signed("")), []int{400}},
		"no JSON, signed":               {with(signed("bob goes to Engineering")), []int{400}},
		"half a JSON, signed":           {with(signed(string(good[:len(good)/2]))), []int{400}},
		"a list, signed":                {with(signed("[" + string(good) + "]")), []int{400}},
		"two events, signed":            {with(signed(string(good) + string(good))), []int{400}},
		"no id, signed":                 {with(signed(`{"event":"dsync.group.user_added","data":{},"created_at":"2026-01-01T00:00:00.000Z"}`)), []int{400}},
		"a payload without ids, signed": {with(signed(`{"id":"` + ulid("event_", now) + `","event":"dsync.group.user_added","data":{},"created_at":"2026-01-01T00:00:00.000Z"}`)), []int{400}},
		"oversized, signed":             {with(big, signature(key, big, now)), []int{413}},
		"oversized, unsigned":           {with(big, ""), []int{413, 401, 400}},
	}
	for name, c := range table {
		got, ok := w.post(t, c.post.body, c.post.sig), false
		for _, want := range c.want {
			ok = ok || got == want
		}
		if !ok {
			t.Errorf("%s: status %d, want one of %v", name, got, c.want)
		}
	}
	if after := revision(); after != before {
		t.Errorf("the data went from revision %d to %d", before, after)
	}
	count(t, fronts[0])
}
