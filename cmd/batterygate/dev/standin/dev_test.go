package standin_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHappen(t *testing.T) {
	t.Run("a membership by e-mail and name becomes WorkOS's payload, and the world follows", func(t *testing.T) {
		r := start(t)
		e := r.happen(t, 201, "dsync.group.user_added", `{"user":"BOB@acme.test","group":"Engineering"}`)
		w := r.World()
		bob, _ := w.User("bob@acme.test")
		eng, _ := w.Group("acme", "Engineering")
		for path, want := range map[string]any{
			"data.user.id": bob.ID, "data.user.object": "directory_user", "data.user.email": "bob@acme.test", "data.user.state": "active",
			"data.user.directory_id": bob.DirectoryID, "data.user.organization_id": bob.OrganizationID, "data.user.idp_id": bob.IdpID,
			"data.user.updated_at": "2020-01-01T00:00:00.000Z", "data.group.id": eng.ID, "data.group.name": "Engineering",
			"data.group.object": "directory_group", "data.directory_id": bob.DirectoryID, "object": "event", "event": "dsync.group.user_added",
		} {
			if got := dig(e, strings.Split(path, ".")...); got != want {
				t.Errorf("%s = %v, want %v", path, got, want)
			}
		}
		if !slices.Contains(r.groupsOf("bob@acme.test"), "Engineering") {
			t.Error("bob is not in Engineering")
		}
		r.happen(t, 201, "dsync.group.user_removed", `{"user_id":"`+bob.ID+`","group_id":"`+eng.ID+`"}`)
		if slices.Contains(r.groupsOf("bob@acme.test"), "Engineering") {
			t.Error("bob is still in Engineering")
		}
	})
	t.Run("a whole payload wins", func(t *testing.T) {
		r := start(t)
		bob, _ := r.World().User("bob@acme.test")
		eng, _ := r.World().Group("acme", "Engineering")
		e := r.happen(t, 201, "dsync.group.user_added", fmt.Sprintf(
			`{"directory_id":%q,"user":{"id":%q,"state":"suspended","x":"<&>"},"group":{"id":%q,"name":"Devs"}}`, bob.DirectoryID, bob.ID, eng.ID))
		if dig(e, "data", "user", "state") != "suspended" || dig(e, "data", "user", "x") != "<&>" || dig(e, "data", "group", "name") != "Devs" ||
			dig(e, "data", "user", "email") != "bob@acme.test" {
			t.Errorf("%v", e)
		}
		if u, _ := r.World().User(bob.ID); u.State != "suspended" {
			t.Errorf("bob is %s", u.State)
		}
	})
	t.Run("a membership may come before its user, if it brings the whole user", func(t *testing.T) {
		r := start(t)
		d, _ := r.World().Directory("acme")
		user := fmt.Sprintf(`{"object":"directory_user","id":"directory_user_9","directory_id":%q,"organization_id":%q,"idp_id":"9","email":"nine@acme.test","state":"active","created_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:00.000Z"}`, d.ID, d.OrganizationID)
		r.happen(t, 201, "dsync.group.user_removed", `{"user":`+user+`,"group":"Engineering"}`)
		if _, ok := r.World().User("directory_user_9"); ok {
			t.Error("a removal created the user")
		}
		r.happen(t, 201, "dsync.group.user_added", `{"user":`+user+`,"group":"Engineering"}`)
		if got := r.groupsOf("nine@acme.test"); !slices.Equal(got, []string{"Engineering"}) {
			t.Errorf("nine is in %v", got)
		}
	})
	t.Run("an update says what was before", func(t *testing.T) {
		r := start(t)
		r.happen(t, 201, "dsync.user.updated", `{"user":"ada@acme.test","custom_attributes":{"department":"Sales"}}`)
		e := r.happen(t, 201, "dsync.user.updated", `{"user":"ada@acme.test","email":"ada.l@acme.test","state":"inactive","custom_attributes":{"department":"Eng","cost_center":7}}`)
		want := map[string]any{
			"email": "ada@acme.test", "state": "active", "custom_attributes": map[string]any{"department": "Sales", "cost_center": nil},
			"emails": []any{map[string]any{"primary": true, "type": "work", "value": "ada@acme.test"}},
		}
		if got := dig(e, "data", "previous_attributes"); !reflect.DeepEqual(got, want) {
			t.Errorf("previous_attributes = %v, want %v", got, want)
		}
		if dig(e, "data", "updated_at") != e["created_at"] {
			t.Errorf("updated_at = %v, created_at = %v", dig(e, "data", "updated_at"), e["created_at"])
		}
		if _, ok := r.World().User("ada@acme.test"); ok {
			t.Error("ada has her old e-mail")
		}
	})
	t.Run("users and groups are created by little, deleted, and created anew", func(t *testing.T) {
		r := start(t)
		r.happen(t, 201, "dsync.group.created", `{"organization":"acme","name":"Sales"}`)
		first := r.happen(t, 201, "dsync.user.created", `{"email":"zoe@acme.test"}`)
		r.happen(t, 201, "dsync.group.user_added", `{"user":"zoe@acme.test","group":"Sales"}`)
		r.happen(t, 422, "dsync.user.created", `{"email":"zoe@acme.test"}`)
		r.happen(t, 201, "dsync.user.deleted", `{"email":"zoe@acme.test"}`)
		second := r.happen(t, 201, "dsync.user.created", `{"email":"zoe@acme.test"}`)
		if dig(first, "data", "id") == dig(second, "data", "id") {
			t.Error("a user who is provisioned again has the old id")
		}
		if got := r.groupsOf("zoe@acme.test"); len(got) != 0 {
			t.Errorf("zoe is back in %v", got)
		}
		e := r.happen(t, 201, "dsync.group.updated", `{"group":"Sales","name":"Trade"}`)
		if !reflect.DeepEqual(dig(e, "data", "previous_attributes"), map[string]any{"name": "Sales"}) {
			t.Errorf("previous_attributes = %v", dig(e, "data", "previous_attributes"))
		}
		r.happen(t, 201, "dsync.group.deleted", `{"name":"Trade"}`)
		if _, ok := r.World().Group("acme", "Trade"); ok {
			t.Error("the group is still there")
		}
	})
	t.Run("a deleted user or group is the sole event, and takes memberships along", func(t *testing.T) {
		r := start(t)
		before := eventCount(t, r)
		r.happen(t, 201, "dsync.user.deleted", `{"email":"ada@acme.test"}`)
		r.happen(t, 201, "dsync.group.deleted", `{"name":"Everyone"}`)
		if n := eventCount(t, r) - before; n != 2 {
			t.Errorf("%d events", n)
		}
		if n := len(r.World().Memberships); n != 2 { // root in Admins, gil in Staff
			t.Errorf("%d memberships are left", n)
		}
	})
	t.Run("a deleted directory is the sole event", func(t *testing.T) {
		r := start(t)
		before := eventCount(t, r)
		e := r.happen(t, 201, "dsync.deleted", `{"organization":"acme"}`)
		if eventCount(t, r)-before != 1 || dig(e, "data", "state") != "active" || dig(e, "data", "external_key") != nil {
			t.Errorf("%v", e)
		}
		w := r.World()
		if len(w.Directories) != 1 || len(w.Users) != 1 || len(w.Groups) != 1 || len(w.Memberships) != 1 {
			t.Errorf("%d directories, %d users, %d groups, %d memberships are left", len(w.Directories), len(w.Users), len(w.Groups), len(w.Memberships))
		}
		r.happen(t, 201, "dsync.activated", `{"organization":"acme"}`)
		if d, ok := r.World().Directory("acme"); !ok || d.State != "linked" {
			t.Errorf("%+v", d)
		}
	})
	t.Run("directories and connections are switched, in either vocabulary", func(t *testing.T) {
		r := start(t)
		e := r.happen(t, 201, "dsync.deactivated", `{"organization":"acme"}`)
		d, _ := r.World().Directory("acme")
		if dig(e, "data", "state") != "inactive" || d.State != "unlinked" {
			t.Errorf("%v, REST %s", dig(e, "data"), d.State)
		}
		e = r.happen(t, 201, "connection.deactivated", `{"organization":"acme"}`)
		c, _ := r.World().Connection("acme")
		if dig(e, "data", "state") != "inactive" || dig(e, "data", "status") != "unlinked" || c.State != "inactive" {
			t.Errorf("%v, REST %s", dig(e, "data"), c.State)
		}
		r.happen(t, 201, "connection.deleted", `{"id":"`+c.ID+`"}`)
		if _, ok := r.World().Connection("acme"); ok {
			t.Error("the connection is still there")
		}
	})
	t.Run("organizations come, change and go with all they own", func(t *testing.T) {
		r := start(t)
		e := r.happen(t, 201, "organization.created", `{"name":"Initech"}`)
		r.happen(t, 201, "organization.updated", `{"id":"`+dig(e, "data", "id").(string)+`","name":"Initrode"}`)
		if o, ok := r.World().Organization("initech"); !ok || o.Name != "Initrode" {
			t.Errorf("%+v", o)
		}
		r.happen(t, 201, "organization.deleted", `{"slug":"acme"}`)
		w := r.World()
		if _, ok := w.Organization("acme"); ok || len(w.Users) != 1 || len(w.Connections) != 1 {
			t.Errorf("%+v", w)
		}
	})
	t.Run("an unknown type is kept as given", func(t *testing.T) {
		r := start(t)
		e := r.happen(t, 201, "role.updated", `{"slug":"admin","n":1.50}`)
		if dig(e, "data", "slug") != "admin" {
			t.Errorf("%v", e)
		}
		_, out := r.call(t, http.MethodGet, "/events?events[]=role.updated", "")
		if data, _ := out["data"].([]any); len(data) != 1 || dig(data[0], "id") != e["id"] {
			t.Errorf("%v", out)
		}
	})
}

func eventCount(t *testing.T, r *rig) int {
	t.Helper()
	names := "dsync.user.deleted,dsync.group.deleted,dsync.group.user_removed,dsync.deleted"
	_, out := r.call(t, http.MethodGet, "/events?limit=100&events="+names, "")
	data, _ := out["data"].([]any)
	return len(data)
}

func TestHappenRefuses(t *testing.T) {
	r := start(t)
	for name, c := range map[string]struct{ event, data, say string }{
		"an unknown user":        {"dsync.group.user_added", `{"user":"no@acme.test","group":"Engineering"}`, "unknown user"},
		"an unknown user id":     {"dsync.group.user_added", `{"user":"directory_user_x","group":"Engineering"}`, "unknown user"},
		"an unknown group":       {"dsync.group.user_added", `{"user":"bob@acme.test","group":"Nope"}`, "unknown group"},
		"another's group":        {"dsync.group.user_added", `{"user":"bob@acme.test","group":"Staff"}`, "unknown group"},
		"no user":                {"dsync.group.user_added", `{"group":"Engineering"}`, "data.user is required"},
		"no group":               {"dsync.group.user_removed", `{"user":"bob@acme.test"}`, "data.group is required"},
		"an unknown directory":   {"dsync.group.user_added", `{"directory_id":"directory_x","user":"bob@acme.test","group":"Everyone"}`, "unknown directory"},
		"an update of nobody":    {"dsync.user.updated", `{"state":"inactive"}`, "which user"},
		"a delete of a stranger": {"dsync.user.deleted", `{"email":"no@acme.test"}`, "unknown user"},
		"a state that is none":   {"dsync.user.updated", `{"email":"bob@acme.test","state":"gone"}`, "none of active"},
		"a field of wrong type":  {"dsync.user.updated", `{"email":"bob@acme.test","state":7}`, "data"},
		"a user of no directory": {"dsync.user.created", `{"email":"x@nowhere.test"}`, "which directory"},
		"a group without a name": {"dsync.group.created", `{"organization":"acme"}`, "data.name"},
		"an unknown connection":  {"connection.deleted", `{"id":"conn_x"}`, "unknown connection"},
		"an unknown org":         {"organization.deleted", `{"slug":"nope"}`, "unknown organization"},
	} {
		t.Run(name, func(t *testing.T) {
			out := r.happen(t, 422, c.event, c.data)
			if message, _ := out["message"].(string); !strings.Contains(message, c.say) {
				t.Errorf("says %q, not %q", message, c.say)
			}
		})
	}
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"no event":           {`{"data":{}}`, 422},
		"no JSON":            {`x`, 400},
		"two bodies":         {`{"event":"x"}{}`, 400},
		"data of wrong type": {`{"event":"x","data":[]}`, 422},
		"an unknown field":   {`{"event":"x","dta":{}}`, 422},
		"a bad time":         {`{"event":"x","created_at":"yesterday"}`, 422},
		"an empty id":        {`{"event":"x","id":""}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			if status, out := r.call(t, http.MethodPost, "/_dev/events", c.body); status != c.want {
				t.Errorf("%d %v", status, out)
			}
		})
	}
	if len(r.World().Memberships) != 7 {
		t.Error("something refused has happened")
	}
}

func TestEventIdentity(t *testing.T) {
	r := start(t)
	t.Run("id and date may be given", func(t *testing.T) {
		_, out := r.call(t, http.MethodPost, "/_dev/events", `{"event":"dsync.user.updated","id":"event_mine","created_at":"2025-01-02T03:04:05.678Z","data":{"email":"bob@acme.test","job_title":"x"}}`)
		if out["id"] != "event_mine" || out["created_at"] != "2025-01-02T03:04:05.678Z" || dig(out, "data", "updated_at") != out["created_at"] {
			t.Errorf("%v", out)
		}
	})
	t.Run("an id that is known does not happen again", func(t *testing.T) {
		r.happen(t, 201, "dsync.user.updated", `{"email":"bob@acme.test","job_title":"y"}`)
		status, out := r.call(t, http.MethodPost, "/_dev/events", `{"event":"dsync.user.updated","id":"event_mine","data":{"email":"bob@acme.test","job_title":"x"}}`)
		if status != 200 || dig(out, "data", "job_title") != "x" {
			t.Errorf("%d %v", status, out)
		}
		if u, _ := r.World().User("bob@acme.test"); u.JobTitle != "y" {
			t.Errorf("bob is %s", u.JobTitle)
		}
	})
	t.Run("made ids and times strictly ascend", func(t *testing.T) {
		last := map[string]any{"id": "", "created_at": ""}
		for range 20 {
			e := r.happen(t, 201, "x.y", `{}`)
			if e["id"].(string) <= last["id"].(string) || e["created_at"].(string) <= last["created_at"].(string) {
				t.Fatalf("%v after %v", e, last)
			}
			last = e
		}
	})
}

func TestEventsQuery(t *testing.T) {
	r := start(t)
	_, out := r.call(t, http.MethodGet, "/events?events=dsync.user.created&events=dsync.group.created,organization.created&events[]=dsync.activated&limit=100&order=desc", "")
	data, _ := out["data"].([]any)
	if len(data) != 5+4+2+2 || dig(data[0], "event") != "organization.created" || dig(out, "list_metadata", "after") != nil {
		t.Errorf("%d events, first %v", len(data), data[0])
	}
	last := dig(data[12], "id").(string)
	for query, want := range map[string]int{
		"events=dsync.user.created&after=" + last:                                  200,
		"events=dsync.user.created&after=event_unknown":                            400,
		"events=dsync.user.created&range_start=2020-01-01T00:00:00Z&after=" + last: 422,
		"events=dsync.user.created&range_start=soon":                               422,
		"events=dsync.user.created&limit=0":                                        422,
		"events=dsync.user.created&limit=101":                                      422,
		"events=":                                                                  422,
		"events=dsync.user.created&range_start=2020-01-01T00:00:00Z&range_end=2020-01-01T00:00:00Z": 200,
	} {
		if status, out := r.call(t, http.MethodGet, "/events?"+query, ""); status != want {
			t.Errorf("%s: %d %v", query, status, out)
		}
	}
	_, out = r.call(t, http.MethodGet, "/events?events=dsync.user.created&range_start=2020-01-02T00:00:00Z", "")
	if data, _ := out["data"].([]any); len(data) != 0 {
		t.Errorf("%d events after the range's start", len(data))
	}
}

func TestWorldEndpoint(t *testing.T) {
	r := start(t)
	status, out := r.call(t, http.MethodGet, "/_dev/world", "")
	for key, want := range map[string]int{"organizations": 2, "connections": 2, "directories": 2, "groups": 4, "users": 5, "memberships": 7, "profiles": 5} {
		if got, _ := out[key].([]any); len(got) != want {
			t.Errorf("%d %s, want %d", len(got), key, want)
		}
	}
	if first := out["organizations"].([]any)[0]; status != 200 || dig(first, "slug") != "acme" {
		t.Errorf("%d %v", status, first)
	}
}

// Pages of any size, from either end, give every object once and in order.
func TestPaging(t *testing.T) {
	r := start(t)
	for i := range 23 {
		r.happen(t, 201, "organization.created", fmt.Sprintf(`{"name":"org %d"}`, i))
	}
	_, out := r.call(t, http.MethodGet, "/organizations?limit=100&order=asc", "")
	all := ids(out)
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 100).Draw(rt, "limit")
		order := rapid.SampledFrom([]string{"asc", "desc", "normal", ""}).Draw(rt, "order")
		key := rapid.SampledFrom([]string{"after", "before"}).Draw(rt, "key")
		want := slices.Clone(all)
		if order == "desc" || order == "" {
			slices.Reverse(want)
		}
		cursor := ""
		var seen []string
		if key == "before" { // walk backwards from the end
			cursor, seen = want[len(want)-1], want[len(want)-1:]
		}
		for range 30 {
			_, page := r.call(t, http.MethodGet, fmt.Sprintf("/organizations?limit=%d&order=%s&%s=%s", limit, order, key, cursor), "")
			got := ids(page)
			if len(got) > limit {
				rt.Fatalf("%d objects, limit %d", len(got), limit)
			}
			if key == "after" {
				seen = append(seen, got...)
			} else {
				seen = append(slices.Clone(got), seen...)
			}
			next, _ := dig(page, "list_metadata", key).(string)
			if cursor = next; cursor == "" {
				break
			}
		}
		if !slices.Equal(seen, want) {
			rt.Fatalf("%s %s: %d seen, %d want", order, key, len(seen), len(want))
		}
	})
}

func ids(page map[string]any) []string {
	var out []string
	data, _ := page["data"].([]any)
	for _, o := range data {
		out = append(out, dig(o, "id").(string))
	}
	return out
}

func TestPagingRefuses(t *testing.T) {
	r := start(t)
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "order=up", "before=a&after=b"} {
		if status, out := r.call(t, http.MethodGet, "/organizations?"+query, ""); status != 422 || out["errors"] == nil {
			t.Errorf("%s: %d %v", query, status, out)
		}
	}
	r.clock.Add(time.Second)
	for path, want := range map[string]int{
		"/directory_users": 422, "/directory_groups": 422, "/directory_users?directory=x": 404, "/directory_users?group=x": 404,
		"/directory_groups?directory=x": 404, "/directory_groups?user=x": 404, "/organizations/x": 404, "/connections/x": 404,
		"/directories/x": 404, "/directory_users/x": 404, "/directory_groups/x": 404, "/nothing": 404, "/organizations/x/roles": 404,
	} {
		if status, out := r.call(t, http.MethodGet, path, ""); status != want || out["message"] == "" {
			t.Errorf("%s: %d %v", path, status, out)
		}
	}
}
