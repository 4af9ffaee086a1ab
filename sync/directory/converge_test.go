package directory_test

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"pgregory.net/rapid"
)

// history writes the events of a customer's directory as they happen, and keeps
// what is true at the end in the plainest way, as an oracle.
type history struct {
	rt     *rapid.T
	ms     int
	events []directory.Event

	dir, conn, org string // current ids; dir is "" while there is none
	linked, active bool   // the directory, the connection
	users          map[string]*person
	groups         map[string]string
	edges          map[[2]string]bool
	gone           map[string]int // identity → ms of its last deletion
	next           int
	orgGone        bool
	unit           int     // ms: histories of a second, and of days
	moments        []truth // what is true after each step
}

func generate(rt *rapid.T) *history {
	h := &history{rt: rt, conn: connA, org: acme, users: map[string]*person{}, groups: map[string]string{},
		edges: map[[2]string]bool{}, gone: map[string]int{}, unit: rapid.SampledFrom([]int{1, 1_000_000}).Draw(rt, "unit")}
	h.add(connection("connection.activated", connA, acme, h.tick()))
	h.active = true
	h.remember()
	h.newDirectory()
	h.remember()
	for range rapid.IntRange(5, 25).Draw(rt, "length") {
		h.step()
		h.remember()
	}
	return h
}

func (h *history) add(ev directory.Event) { h.events = append(h.events, ev) }
func (h *history) tick() int              { h.ms += 10 * h.unit; return h.ms }

// id makes ids that sort apart from the order in which they were made.
func (h *history) id(prefix string) string {
	h.next++
	return fmt.Sprintf("%s_%04d_%d", prefix, h.next*7919%10000, h.next)
}

func (h *history) newDirectory() {
	h.dir, h.linked = h.id("directory"), true
	h.add(dirEvent("dsync.activated", h.dir, acme, h.tick()))
}

func keys[V any](m map[string]V) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	return sorted(out)
}

func (h *history) some(m []string, what string) (string, bool) {
	if len(m) == 0 {
		return "", false
	}
	return rapid.SampledFrom(m).Draw(h.rt, what), true
}

func (h *history) step() {
	if h.orgGone {
		return
	}
	if h.dir == "" {
		h.newDirectory()
		return
	}
	u, haveUser := h.some(keys(h.users), "user")
	g, haveGroup := h.some(keys(h.groups), "group")
	switch op := rapid.IntRange(0, 15).Draw(h.rt, "op"); {
	case op <= 2 && len(h.users) < 4:
		n := rapid.IntRange(0, 3).Draw(h.rt, "who")
		p := &person{id: h.id("directory_user"), email: fmt.Sprintf("u%d@acme.test", n), idp: fmt.Sprintf("idp%d", n), dir: h.dir}
		h.users[p.id] = p
		h.add(user("created", *p, h.tick()))
	case op == 3 && haveUser:
		h.users[u].state = rapid.SampledFrom([]string{"active", "inactive", "suspended"}).Draw(h.rt, "state")
		h.add(user("updated", *h.users[u], h.tick()))
	case op == 4 && haveUser:
		p := h.users[u]
		delete(h.users, u)
		h.add(user("deleted", *p, h.tick()))
		h.bury(p)
	case op >= 4 && op <= 6 && len(h.groups) < 3:
		id := fmt.Sprintf("directory_group_%d", h.next)
		h.next++
		h.groups[id] = rapid.SampledFrom([]string{"A", "B"}).Draw(h.rt, "name")
		h.add(event("dsync.group.created", h.tick(), groupData(id, h.groups[id], h.dir, "")))
	case op == 7 && haveGroup:
		h.groups[g] += "'"
		h.add(event("dsync.group.updated", h.tick(), groupData(g, h.groups[g], h.dir, "")))
	case op == 8 && haveGroup:
		h.add(event("dsync.group.deleted", h.tick(), groupData(g, h.groups[g], h.dir, "")))
		delete(h.groups, g)
	case op <= 12 && haveUser && haveGroup:
		in := !h.edges[[2]string{u, g}] || rapid.IntRange(0, 9).Draw(h.rt, "again") == 0
		h.edges[[2]string{u, g}] = in
		h.add(member(map[bool]string{true: "added", false: "removed"}[in], *h.users[u], g, h.groups[g], h.tick()))
	case op == 13:
		h.linked = !h.linked
		h.add(dirEvent(map[bool]string{true: "dsync.activated", false: "dsync.deactivated"}[h.linked], h.dir, acme, h.tick()))
	case op == 14:
		h.active = !h.active
		h.add(connection(map[bool]string{true: "connection.activated", false: "connection.deactivated"}[h.active], connA, acme, h.tick()))
	case op == 15 && rapid.IntRange(0, 19).Draw(h.rt, "leaves") == 0:
		h.orgGone = true
		h.add(organization("deleted", acme, h.tick()))
	case op == 15 && rapid.Bool().Draw(h.rt, "really"):
		h.add(dirEvent("dsync.deleted", h.dir, acme, h.tick()))
		for _, p := range h.users {
			h.bury(p)
		}
		h.dir, h.users, h.groups = "", map[string]*person{}, map[string]string{}
	}
}

func (h *history) bury(p *person) { h.gone[p.email], h.gone[p.idp] = h.ms, h.ms }

// sessions of four people, from before, amid and after everything.
func (h *history) sessions() []*authz.Session {
	var out []*authz.Session
	for n := range 4 {
		for _, ms := range []int{0, h.ms / 2, h.ms + 1} {
			s := session(fmt.Sprintf("U%d@acme.test", n), fmt.Sprintf("idp%d", n), ms)
			s.ID = fmt.Sprintf("%d-%d", n, ms)
			out = append(out, s)
		}
	}
	return out
}

// expect is the oracle's word on a session, in the form of world.who.
func (h *history) expect(s *authz.Session) string {
	if !h.active || h.orgGone {
		return "ended"
	}
	issued := int(s.IssuedAt.Sub(epoch0).Milliseconds())
	for _, who := range []string{lower(s.Email), s.IdpID} {
		if ms, ok := h.gone[who]; ok && ms >= issued {
			return "ended"
		}
	}
	var found []*person
	for _, id := range keys(h.users) {
		if h.users[id].idp == s.IdpID {
			found = append(found, h.users[id])
		}
	}
	if h.dir == "" || !h.linked || len(found) != 1 {
		return "nobody"
	}
	p, names, roles := found[0], []string{}, []string{}
	for _, g := range keys(h.groups) {
		if h.edges[[2]string{p.id, g}] {
			names = append(names, h.groups[g])
			if r := "role-" + g; or(p.state, "active") == "active" {
				roles = append(roles, r)
			}
		}
	}
	return fmt.Sprintf("%s %s %v %v", p.id, or(p.state, "active"), names, sorted(roles))
}

func lower(s string) string {
	if s != "" && s[0] == 'U' {
		return "u" + s[1:]
	}
	return s
}

// deliver applies events to a fresh world in which every possible group maps to
// a role of its own, and returns it.
func deliver(rt *rapid.T, events []directory.Event) (*world, func()) {
	folder, err := os.MkdirTemp(memory(), "directory")
	if err != nil {
		rt.Fatalf("%v", err)
	}
	st, err := boltstore.Open(filepath.Join(folder, "battery.db"), boltstore.Options{})
	if err != nil {
		rt.Fatalf("%v", err)
	}
	w := worldOver(rt, st, directory.Options{})
	w.now = at(1_000_000_000)
	w.put(directory.Organization{ID: acme, Slug: "acme"})
	var m []directory.Mapping
	for i := range 60 {
		id := fmt.Sprintf("directory_group_%d", i)
		m = append(m, directory.Mapping{GroupID: id, Roles: []string{"role-" + id}})
	}
	w.mappings(acme, m...)
	last := uint64(0)
	for _, ev := range events {
		a, err := w.d.ApplyEvent(context.Background(), ev)
		if err != nil {
			rt.Fatalf("apply %s: %v", ev.Type, err)
		}
		last = a.Revision
	}
	w.follow(last)
	return w, func() { _ = st.Close(); _ = os.RemoveAll(folder) }
}

// memory is a file system that syncs for free, where there is one: the
// properties commit many thousand times, and durability is not their subject.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func TestAnyDeliveryConvergesToWhatHappened(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := generate(rt)
		sessions := h.sessions()
		inOrder, done := deliver(rt, h.events)
		defer done()
		for _, s := range sessions {
			if got, want := inOrder.who(s), h.expect(s); got != want {
				rt.Fatalf("in order, session %s: %s; want %s", s.ID, got, want)
			}
		}
		want := dump(inOrder.d.View(), sessions)

		events := slices.Clone(h.events)
		copies := rapid.SliceOfN(rapid.IntRange(0, len(events)-1), 0, 10).Draw(rt, "copies")
		for _, i := range copies {
			events = append(events, h.events[i])
		}
		rand.New(rand.NewSource(rapid.Int64().Draw(rt, "order"))).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		shuffled, done := deliver(rt, events)
		defer done()
		if got := dump(shuffled.d.View(), sessions); got != want {
			rt.Fatalf("shuffled:\n%s\nin order:\n%s", got, want)
		}
		shuffled.reload()
		if got := dump(shuffled.d.View(), sessions); got != want {
			rt.Fatalf("reloaded:\n%s\nin order:\n%s", got, want)
		}
	})
}

// Events that happen in the same millisecond have no order of their own; what
// matters is that every replica settles on the same one.
func TestEqualTimesConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := generate(rt)
		for i := range h.events {
			h.events[i].CreatedAt = at(i / 8)
		}
		a, done := deliver(rt, h.events)
		defer done()
		events := slices.Clone(h.events)
		rand.New(rand.NewSource(rapid.Int64().Draw(rt, "order"))).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		b, done := deliver(rt, events)
		defer done()
		if x, y := dump(a.d.View(), h.sessions()), dump(b.d.View(), h.sessions()); x != y {
			rt.Fatalf("one order:\n%s\nanother:\n%s", x, y)
		}
	})
}
