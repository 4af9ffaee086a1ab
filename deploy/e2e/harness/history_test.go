package harness

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	userAdded    = "dsync.group.user_added"
	userRemoved  = "dsync.group.user_removed"
	userCreated  = "dsync.user.created"
	userUpdated  = "dsync.user.updated"
	userDeleted  = "dsync.user.deleted"
	groupCreated = "dsync.group.created"
	groupDeleted = "dsync.group.deleted"
)

// history makes up what happens in one part of a customer's directory: its own
// users and groups, and groups that several histories share. It is WorkOS's
// side: it goes on whatever becomes of its webhooks.
type history struct {
	rand  *rand.Rand
	place place
	clock time.Time // of the last event; one millisecond lies between two

	users  []string
	now    map[string]attributes // of each user
	groups []string              // shared ones first
	shared int
}

// newHistory begins one. Its events are dated from so long ago that no clock is
// overtaken, however fast they are made.
func newHistory(seed uint64, p place, sharedGroups ...string) *history {
	return &history{
		rand: rand.New(rand.NewPCG(seed, 1)), place: p, clock: time.Now().Add(-12 * time.Hour),
		now: map[string]attributes{}, groups: sharedGroups, shared: len(sharedGroups),
	}
}

// next is one more event.
func (h *history) next() event {
	const few, many = 12, 40
	switch n := h.rand.IntN(100); {
	case len(h.users) < few, n < 6 && len(h.users) < many:
		return h.createUser()
	case n < 50:
		return h.of(userAdded, h.anyUser(), h.anyGroup())
	case n < 76:
		return h.of(userRemoved, h.anyUser(), h.anyGroup())
	case n < 88:
		return h.setUser(userUpdated, h.anyUser(), []string{"active", "inactive", "suspended"}[h.rand.IntN(3)])
	case n < 93:
		return h.deleteUser()
	case n < 97 || len(h.groups) == h.shared:
		g := ulid(h.rand, "directory_group_", h.clock)
		h.groups = append(h.groups, g)
		return h.of(groupCreated, "", g)
	}
	i := h.shared + h.rand.IntN(len(h.groups)-h.shared)
	g := h.groups[i]
	h.groups = append(h.groups[:i:i], h.groups[i+1:]...)
	return h.of(groupDeleted, "", g)
}

func (h *history) of(kind, user, group string) event {
	h.clock = h.clock.Add(time.Millisecond)
	return newEvent(h.rand, h.place, kind, user, group, h.now[user], h.clock)
}

// setUser is an event that changes the user; those that follow carry the user
// as it is then.
func (h *history) setUser(kind, user, state string) event {
	h.now[user] = attributes{state: state}
	e := h.of(kind, user, "")
	h.now[user] = e.is
	return e
}

func (h *history) createUser() event {
	u := ulid(h.rand, "directory_user_", h.clock)
	h.users = append(h.users, u)
	return h.setUser(userCreated, u, "active")
}

func (h *history) deleteUser() event {
	i := h.rand.IntN(len(h.users))
	u := h.users[i]
	h.users = append(h.users[:i:i], h.users[i+1:]...)
	e := h.of(userDeleted, u, "")
	delete(h.now, u)
	return e
}

func (h *history) anyUser() string  { return h.users[h.rand.IntN(len(h.users))] }
func (h *history) anyGroup() string { return h.groups[h.rand.IntN(len(h.groups))] }

// burst is a few events as they are delivered: mostly in order, sometimes
// shuffled, sometimes one of them twice.
func (h *history) burst() []event {
	out := make([]event, 1+h.rand.IntN(6))
	for i := range out {
		out[i] = h.next()
	}
	if h.rand.IntN(3) == 0 {
		h.rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if h.rand.IntN(5) == 0 {
		out = append(out, out[h.rand.IntN(len(out))])
	}
	return out
}

func (e event) String() string {
	return fmt.Sprintf("%s %s user=%s group=%s state=%s", e.kind, e.id, e.user, e.group, e.is.state)
}
