package standin

import "encoding/json"

// story tells the state as events. See World.Events.
func (st *state) story() []Event {
	var out []Event
	tell := func(name string, at Time, data any) {
		raw, err := compact(data)
		if err != nil { // only maps with values that JSON lacks can do this
			return
		}
		// The number in the entropy keeps the ids of one millisecond in order.
		n := len(out)
		entropy := [10]byte{6: byte(n >> 24), 7: byte(n >> 16), 8: byte(n >> 8), 9: byte(n)}
		out = append(out, Event{
			Object: "event", ID: "event_" + ulid(at.UnixMilli(), entropy), Name: name, Data: raw, CreatedAt: at, Context: json.RawMessage("{}"),
		})
	}
	for _, o := range st.organizations.all() {
		tell("organization.created", o.CreatedAt, o.event())
	}
	for _, c := range st.connections.all() {
		if c.State == "active" {
			tell("connection.activated", c.CreatedAt, c.event(st.organizations.byID[c.OrganizationID]))
		}
	}
	for _, d := range st.directories.all() {
		if d.State == "linked" {
			tell("dsync.activated", d.CreatedAt, d.event(st.organizations.byID[d.OrganizationID]))
		}
	}
	for _, u := range st.users.all() {
		tell("dsync.user.created", u.CreatedAt, u)
	}
	for _, g := range st.groups.all() {
		tell("dsync.group.created", g.CreatedAt, g)
	}
	for _, g := range st.groups.all() {
		for _, u := range st.users.some(st.members.of(g.ID)) {
			if m, err := membershipPayload(u, g, nil, nil); err == nil {
				tell("dsync.group.user_added", later(u.CreatedAt, g.CreatedAt), m)
			}
		}
	}
	return out
}

func later(a, b Time) Time {
	if a.After(b.Time) {
		return a
	}
	return b
}
