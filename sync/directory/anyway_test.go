package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/sync/directory"
	"pgregory.net/rapid"
)

// truth is what WorkOS would answer at one moment of a history.
type truth struct {
	ms      int
	reading directory.Reading // without a watermark; no directory id: there is none
	world   directory.RemoteWorld
	dirs    []string // every directory that ever was
}

func (h *history) remember() {
	t := truth{ms: h.ms, reading: h.read(), world: directory.RemoteWorld{OrganizationsComplete: true, ConnectionsComplete: true, DirectoriesComplete: true}}
	if len(h.moments) > 0 {
		t.dirs = slices.Clone(h.moments[len(h.moments)-1].dirs)
	}
	if h.orgGone {
		t.world.Gone = append(t.world.Gone, acme)
	} else {
		t.world.Organizations = []directory.RemoteOrganization{{ID: acme}}
		t.world.Connections = []directory.RemoteConnection{{ID: connA, OrganizationID: acme, Name: "C", Type: "OktaSAML",
			State: map[bool]string{true: "active", false: "inactive"}[h.active]}}
	}
	if h.dir != "" && !h.orgGone {
		t.world.Directories = []directory.RemoteDirectory{t.reading.Directory}
		if !slices.Contains(t.dirs, h.dir) {
			t.dirs = append(t.dirs, h.dir)
		}
	}
	for _, dir := range t.dirs {
		if dir != h.dir || h.orgGone {
			t.world.Gone = append(t.world.Gone, dir)
		}
	}
	h.moments = append(h.moments, t)
}

// read is a complete read of the directory as it is.
func (h *history) read() directory.Reading {
	if h.dir == "" || h.orgGone {
		return directory.Reading{}
	}
	r := directory.Reading{Directory: directory.RemoteDirectory{ID: h.dir, OrganizationID: acme, Name: "D", Type: "okta scim v2.0",
		State: map[bool]string{true: "linked", false: "unlinked"}[h.linked]}}
	for _, id := range keys(h.users) {
		r.Users = append(r.Users, remoteUser(*h.users[id]))
	}
	for _, id := range keys(h.groups) {
		r.Groups = append(r.Groups, directory.RemoteGroup{ID: id, Name: h.groups[id], IdpID: h.groups[id]})
	}
	for e, present := range h.edges {
		if present && h.users[e[0]] != nil && h.groups[e[1]] != "" {
			r.Edges = append(r.Edges, directory.Edge{UserID: e[0], GroupID: e[1]})
		}
	}
	slices.SortFunc(r.Edges, func(a, b directory.Edge) int { return strings.Compare(a.UserID+a.GroupID, b.UserID+b.GroupID) })
	return r
}

func remoteUser(p person) directory.RemoteUser {
	return directory.RemoteUser{ID: p.id, IdpID: p.idp, Email: p.email, FirstName: "F", State: or(p.state, "active"),
		Attributes: json.RawMessage(`{ "department": "R&D" }`), Roles: []string{"member"}}
}

// flakyWorld is the world of deliver, over a store that can fail.
func flakyWorld(rt *rapid.T) (*world, *flaky, func()) {
	w, done := deliver(rt, nil)
	f := &flaky{Store: w.st}
	own := worldOver(rt, f, directory.Options{})
	own.now = w.now
	return own, f, done
}

// perform does one act, and does it again if the store failed.
func (w *world) perform(h *history, a act, failing *flaky) error {
	w.lags = a.lag
	failing.arm(a.crash, a.lost)
	err := w.once(h, a)
	if errors.Is(err, errFlaky) {
		w.reload() // a new process
		err = w.once(h, a)
	}
	failing.arm(0, false)
	w.lags = false
	if !a.lag {
		w.catchUp()
	}
	return err
}

func (w *world) once(h *history, a act) error {
	ctx := context.Background()
	switch a.kind {
	case "event":
		_, err := w.d.ApplyEvent(ctx, h.events[a.events[0]])
		return err
	case "page":
		p := directory.Page{}
		for _, i := range a.events {
			p.Events = append(p.Events, h.events[i])
			p.Cursor, p.CursorAt = h.events[i].ID, h.events[i].CreatedAt
		}
		_, err := w.d.ApplyPage(ctx, p)
		return err
	case "world":
		t := h.moments[a.moment]
		r := t.world
		r.Watermark = at(t.ms - a.margin)
		_, err := w.d.ApplyOrganizations(ctx, r)
		return ignoreOld(err)
	}
	t := h.moments[a.moment]
	if t.reading.Directory.ID == "" {
		return nil
	}
	r := t.reading
	if a.short {
		r = leaveOut(r, a.omits)
	}
	r.Watermark = at(t.ms - a.margin)
	_, err := w.d.ApplyReading(ctx, r)
	return ignoreOld(err)
}

// leaveOut is a reading that comes short, as after a fault of WorkOS.
func leaveOut(r directory.Reading, omits []bool) directory.Reading {
	i := -1
	left := func() bool { i++; return i < len(omits) && omits[i] }
	r.Users = slices.DeleteFunc(slices.Clone(r.Users), func(directory.RemoteUser) bool { return left() })
	r.Groups = slices.DeleteFunc(slices.Clone(r.Groups), func(directory.RemoteGroup) bool { return left() })
	r.Edges = slices.DeleteFunc(slices.Clone(r.Edges), func(e directory.Edge) bool {
		return left() || !slices.ContainsFunc(r.Users, func(u directory.RemoteUser) bool { return u.ID == e.UserID })
	})
	return r
}

func ignoreOld(err error) error {
	if errors.Is(err, directory.ErrOldReading) {
		return nil
	}
	return err
}

// catchUp lets the View follow to the store's latest revision.
func (w *world) catchUp() {
	w.t.Helper()
	_, rev, err := w.st.List(context.Background(), directory.Prefix+"none")
	if err != nil {
		w.t.Fatalf("list: %v", err)
	}
	w.follow(rev)
}

// The promise of this package: whatever order, duplication, loss with later
// catch-up, readings and crashes do, what policies see in the end is the fold of
// what happened, in order.
func TestWhateverHappensTheViewIsWhatHappened(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := generate(rt)
		s := script{h, deliveries(rt, h)}
		sessions := h.sessions()
		inOrder, done := deliver(rt, h.events)
		defer done()
		want := dump(inOrder.d.View(), sessions)

		w, failing, done := flakyWorld(rt)
		defer done()
		for _, a := range s.acts {
			if err := w.perform(h, a, failing); err != nil {
				rt.Fatalf("%s: %v%s", a, err, s)
			}
		}
		w.catchUp()
		for _, x := range sessions {
			if got, want := w.who(x), h.expect(x); got != want {
				rt.Fatalf("session %s of %s: %s; want %s%s", x.ID, x.Email, got, want, s)
			}
		}
		if got := dump(w.d.View(), sessions); got != want {
			rt.Fatalf("%s%s", unlike(got, want), s)
		}
		w.reload()
		if got := dump(w.d.View(), sessions); got != want {
			rt.Fatalf("after a restart %s%s", unlike(got, want), s)
		}
		w.settled(rt, h, s, sessions, want)
	})
}

// A fault of WorkOS that makes readings come short takes away what they leave
// out, and gives nobody anything. Two readings of the truth heal it.
func TestShortReadingsOnlyTakeAwayAndAreHealed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := generate(rt)
		s := script{h, deliveries(rt, h)}
		for i := range s.acts {
			if a := &s.acts[i]; a.kind == "read" {
				a.short, a.omits = true, rapid.SliceOfN(rapid.Bool(), 0, 12).Draw(rt, "omits")
			}
		}
		sessions := h.sessions()
		inOrder, done := deliver(rt, h.events)
		defer done()
		w, failing, done := flakyWorld(rt)
		defer done()
		for _, a := range s.acts {
			if err := w.perform(h, a, failing); err != nil {
				rt.Fatalf("%s: %v%s", a, err, s)
			}
		}
		w.catchUp()
		for _, x := range sessions {
			u, _ := w.d.View().User(x)
			if u == nil {
				continue
			}
			// Who it is may be clearer than it was, where one of two is left out;
			// what that user holds may not be more.
			really, _ := inOrder.d.View().UserByID(u.ID)
			for _, g := range u.Groups {
				if !slices.Contains(really.Groups, g.ID) {
					rt.Fatalf("session %s is in %s, which it must not be%s", x.ID, g.ID, s)
				}
			}
			if len(u.Roles) > 0 && really.State != "active" {
				rt.Fatalf("session %s has roles, and its user is %s%s", x.ID, really.State, s)
			}
		}
		last := h.moments[len(h.moments)-1].reading
		if last.Directory.ID == "" || !h.linked {
			return
		}
		for i := 1; i <= 2; i++ {
			last.Watermark = at(h.ms + i)
			if _, err := w.d.ApplyReading(context.Background(), last); err != nil {
				rt.Fatalf("reading: %v%s", err, s)
			}
			w.catchUp()
		}
		if got, want := dump(w.d.View(), sessions), dump(inOrder.d.View(), sessions); got != want {
			rt.Fatalf("two readings of the truth did not heal it: %s%s", unlike(got, want), s)
		}
	})
}

// settled reads everything once more, as it is: that must change nothing, hold
// nothing and leave nothing to wait for.
func (w *world) settled(rt *rapid.T, h *history, s script, sessions []*authz.Session, want string) {
	if h.orgGone {
		return // with it, all that hangs on it
	}
	last := h.moments[len(h.moments)-1]
	ctx := context.Background()
	if r := last.reading; r.Directory.ID != "" {
		r.Watermark = at(h.ms + 1)
		if c := w.d.Compare(r); len(c.Changes)+len(c.Held)+len(c.Pending) > 0 {
			rt.Fatalf("a dry run of a reading of what is known says %+v%s", c, s)
		}
		diff, err := w.d.ApplyReading(ctx, r)
		if err != nil || len(diff.Changes)+len(diff.Held)+len(diff.Pending) > 0 {
			rt.Fatalf("a reading of what is known did %+v, error %v%s", diff, err, s)
		}
	}
	world := last.world
	world.Watermark = at(h.ms + 1)
	world.Organizations = nil
	world.OrganizationsComplete = false
	if diff, err := w.d.ApplyOrganizations(ctx, world); err != nil || len(diff.Changes)+len(diff.Pending) > 0 {
		rt.Fatalf("a reading of the world as it is known did %+v, error %v%s", diff, err, s)
	}
	w.catchUp()
	if got := dump(w.d.View(), sessions); got != want {
		rt.Fatalf("after a reading of what is known %s%s", unlike(got, want), s)
	}
	for _, dir := range last.dirs {
		if f := w.d.View().Freshness(dir); f.Held != 0 {
			rt.Fatalf("%s: %d removals are still held%s", dir, f.Held, s)
		}
	}
}
