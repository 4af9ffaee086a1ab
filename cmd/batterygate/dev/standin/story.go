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
	for _, o := range sorted(st.organizations) {
		tell("organization.created", o.CreatedAt, o.wire())
	}
	for _, c := range sorted(st.connections) {
		if c.State == "active" {
			tell("connection.activated", c.CreatedAt, c.event(st.organizations[c.OrganizationID]))
		}
	}
	for _, d := range sorted(st.directories) {
		if d.State == "linked" {
			tell("dsync.activated", d.CreatedAt, d.event(st.organizations[d.OrganizationID]))
		}
	}
	for _, u := range sorted(st.users) {
		tell("dsync.user.created", u.CreatedAt, u)
	}
	for _, g := range sorted(st.groups) {
		tell("dsync.group.created", g.CreatedAt, g)
	}
	for _, g := range sorted(st.groups) {
		for _, u := range st.usersOf(g.ID) {
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
