package directory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sync/directory"
)

// crew is a directory of n people, each in the group all, and k of them in eng,
// which has a role mapping.
type crew struct {
	*world
	people []person
	edges  []directory.Edge
}

func newCrew(t *testing.T, n, k int) *crew {
	t.Helper()
	c := &crew{world: newWorld(t)}
	c.put(directory.Organization{ID: acme, Slug: "acme"})
	c.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	c.apply(connection("connection.activated", connA, acme, 1))
	for i := range n {
		p := person{id: fmt.Sprintf("directory_user_%04d", i), email: fmt.Sprintf("u%d@acme.test", i), idp: fmt.Sprint("idp-", i)}
		c.people = append(c.people, p)
		c.edges = append(c.edges, directory.Edge{UserID: p.id, GroupID: all})
		if i < k {
			c.edges = append(c.edges, directory.Edge{UserID: p.id, GroupID: eng})
		}
	}
	c.read(seen(100, c.people, c.edges...))
	return c
}

// without is a reading that does not show the first n people or their memberships.
func (c *crew) without(ms, n int) directory.Reading {
	r := seen(ms, c.people[n:])
	for _, e := range c.edges {
		for _, p := range c.people[n:] {
			if e.UserID == p.id {
				r.Edges = append(r.Edges, e)
			}
		}
	}
	return r
}

func (c *crew) session(i int) *authz.Session { return session(c.people[i].email, c.people[i].idp, 50) }

func (c *crew) held(dir string) int { return c.d.View().Freshness(dir).Held }

func TestTheBrake(t *testing.T) {
	for _, c := range []struct {
		name         string
		people, engs int
		reading      func(*crew) directory.Reading
		removed      int // changes; 0: all is held
		held         int
	}{
		{"five people with their memberships are ten removals, and few", 20, 0, func(c *crew) directory.Reading { return c.without(200, 5) }, 10, 0},
		{"six are twelve, and too many of forty", 20, 0, func(c *crew) directory.Reading { return c.without(200, 6) }, 0, 12},
		{"a fifth of a large directory is not too much", 100, 0, func(c *crew) directory.Reading { return c.without(200, 20) }, 40, 0},
		{"a little more than a fifth is", 100, 0, func(c *crew) directory.Reading { return c.without(200, 21) }, 0, 42},
		{"nobody at all", 6, 0, func(c *crew) directory.Reading { return c.without(200, 6) }, 0, 12},
		{"the last three members of a group with roles", 50, 3, func(c *crew) directory.Reading {
			r := c.without(200, 0)
			r.Edges = nil
			for _, e := range c.edges {
				if e.GroupID == all {
					r.Edges = append(r.Edges, e)
				}
			}
			return r
		}, 0, 3},
		{"the last two members of one", 50, 2, func(c *crew) directory.Reading {
			r := c.without(200, 0)
			r.Edges = nil
			for _, e := range c.edges {
				if e.GroupID == all {
					r.Edges = append(r.Edges, e)
				}
			}
			return r
		}, 2, 0},
		{"the last three, because they left", 50, 3, func(c *crew) directory.Reading { return c.without(200, 3) }, 0, 9},
		{"two of three members of one", 50, 3, func(c *crew) directory.Reading { return c.without(200, 2) }, 6, 0},
		{"three members replaced by another", 50, 3, func(c *crew) directory.Reading {
			r := c.without(200, 3)
			r.Edges = append(r.Edges, directory.Edge{UserID: c.people[9].id, GroupID: eng})
			return r
		}, 10, 0},
		{"a group with three members that vanished", 50, 3, func(c *crew) directory.Reading {
			r := c.without(200, 0)
			r.Groups = r.Groups[1:]
			r.Edges = nil
			for _, e := range c.edges {
				if e.GroupID == all {
					r.Edges = append(r.Edges, e)
				}
			}
			return r
		}, 0, 1},
		{"a group without roles and with most of the members that vanished", 30, 0, func(c *crew) directory.Reading {
			r := c.without(200, 0)
			r.Groups, r.Edges = r.Groups[:1], nil
			return r
		}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCrew(t, c.people, c.engs)
			d := w.read(c.reading(w))
			if len(d.Changes) != c.removed || len(d.Held) != c.held || w.held(dirA) != c.held {
				t.Errorf("%d changes, %d held (%d in the view); want %d, %d", len(d.Changes), len(d.Held), w.held(dirA), c.removed, c.held)
			}
			w.reload()
			if w.held(dirA) != c.held {
				t.Errorf("%d held after a restart", w.held(dirA))
			}
		})
	}
}

func TestWhatIsHeldKeepsItsAccessAndOpensNoSession(t *testing.T) {
	c := newCrew(t, 20, 3)
	c.read(c.without(200, 8))
	gone, stays := c.session(0), c.session(9)
	c.see(gone, c.people[0].id+" active [Everyone Engineering] [editor]")
	if v := c.d.View(); v.MayOpen(gone) || !v.MayOpen(stays) || !v.HeldUser(c.people[7].id) || v.HeldUser(c.people[8].id) {
		t.Error("a login is let in, or kept out, that should not be")
	}
	if c.d.View().MayOpen(nil) {
		t.Error("no session may open")
	}
	h, ok := c.d.View().Hold(dirA)
	if !ok || h.Users != 8 || h.Removals != 19 || len(h.Listed) != 19 || !h.Since.Equal(c.now.UTC()) || !h.Until.Equal(c.now.Add(24*time.Hour)) {
		t.Errorf("%+v", h)
	}
	c.apply(user("deleted", c.people[0], 300)) // an event is never held
	c.see(gone, "ended")
	c.read(c.without(400, 0)) // WorkOS shows them again
	if v := c.d.View(); c.held(dirA) != 0 || !v.MayOpen(c.session(1)) {
		t.Error("the hold outlives its reason")
	}
	c.see(c.session(1), c.people[1].id+" active [Everyone Engineering] [editor]")
}

func TestAHoldEnds(t *testing.T) {
	ctx := context.Background()
	begin := func(t *testing.T) *crew { c := newCrew(t, 40, 0); c.read(c.without(200, 20)); return c }
	see := func(t *testing.T, c *crew, d directory.Difference, changes, held int) {
		t.Helper()
		if len(d.Changes) != changes || len(d.Held) != held || c.held(dirA) != held {
			t.Errorf("%d changes, %d held (%d in the view); want %d, %d", len(d.Changes), len(d.Held), c.held(dirA), changes, held)
		}
	}
	t.Run("when an event deletes the directory itself", func(t *testing.T) {
		c := begin(t)
		c.apply(dirEvent("dsync.deleted", dirA, acme, 250))
		if _, held := c.d.View().Hold(dirA); held || c.held(dirA) != 0 || c.d.View().HeldUser(c.people[0].id) {
			t.Error("nothing of it is left to wait for, but it is still held")
		}
		c.see(c.session(0), "ended")
	})
	t.Run("after a day", func(t *testing.T) {
		c := begin(t)
		c.now = c.now.Add(24*time.Hour - time.Second)
		see(t, c, c.read(c.without(300, 20)), 0, 40)
		c.now = c.now.Add(time.Second)
		see(t, c, c.read(c.without(400, 20)), 40, 0)
		c.see(c.session(0), "ended")
		if !c.d.View().MayOpen(c.session(25)) {
			t.Error("somebody is still held")
		}
	})
	t.Run("by approval, at the next reading that says so", func(t *testing.T) {
		c := begin(t)
		rev, err := c.d.Approve(ctx, dirA, "root@acme.test")
		if err != nil {
			t.Fatal(err)
		}
		c.follow(rev)
		if h, _ := c.d.View().Hold(dirA); h.By != "root@acme.test" || h.ApprovedUntil.IsZero() {
			t.Errorf("%+v", h)
		}
		if dirs := c.d.View().DirtyDirectories(); len(dirs) != 1 {
			t.Errorf("no reading is wanted: %v", dirs)
		}
		c.see(c.session(0), c.people[0].id+" active [Everyone] []")
		see(t, c, c.read(c.without(300, 20)), 40, 0)
		c.see(c.session(0), "ended")
	})
	t.Run("an approval is for those who were held", func(t *testing.T) {
		c := begin(t)
		if _, err := c.d.Approve(ctx, dirA, "root"); err != nil {
			t.Fatal(err)
		}
		c.catchUp()
		see(t, c, c.read(c.without(300, 38)), 40, 36)
		c.see(c.session(0), "ended")
		c.see(c.session(30), c.people[30].id+" active [Everyone] []")
		see(t, c, c.read(c.without(400, 38)), 0, 36)
	})
	t.Run("an approval expires", func(t *testing.T) {
		c := begin(t)
		if _, err := c.d.Extend(ctx, dirA, "root", c.now.Add(20*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.d.Approve(ctx, dirA, "root"); err != nil {
			t.Fatal(err)
		}
		c.catchUp()
		c.now = c.now.Add(25 * time.Hour)
		see(t, c, c.read(c.without(300, 20)), 0, 40)
	})
	t.Run("later, if it is extended, which takes an approval back", func(t *testing.T) {
		c := begin(t)
		if _, err := c.d.Approve(ctx, dirA, "root"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.d.Extend(ctx, dirA, "root", c.now.Add(72*time.Hour)); err != nil {
			t.Fatal(err)
		}
		c.catchUp()
		c.now = c.now.Add(48 * time.Hour)
		see(t, c, c.read(c.without(300, 20)), 0, 40)
		c.now = c.now.Add(25 * time.Hour)
		see(t, c, c.read(c.without(400, 20)), 40, 0)
	})
	t.Run("not for those that were missed later", func(t *testing.T) {
		c := begin(t)
		c.now = c.now.Add(23 * time.Hour)
		see(t, c, c.read(c.without(300, 38)), 0, 76)
		c.now = c.now.Add(2 * time.Hour)
		see(t, c, c.read(c.without(400, 38)), 0, 76)
	})
	t.Run("when events did what was held", func(t *testing.T) {
		c := begin(t)
		for i := range 20 {
			c.apply(user("deleted", c.people[i], 300+i))
		}
		see(t, c, c.read(c.without(500, 20)), 0, 0)
	})
	t.Run("nothing is held, nothing is to approve", func(t *testing.T) {
		c := newCrew(t, 2, 0)
		_, a := c.d.Approve(ctx, dirA, "root")
		_, b := c.d.Extend(ctx, dirA, "root", c.now.Add(time.Hour))
		if !errors.Is(a, directory.ErrNotFound) || !errors.Is(b, directory.ErrNotFound) {
			t.Errorf("%v, %v", a, b)
		}
		for _, until := range []time.Time{c.now, c.now.Add(31 * 24 * time.Hour)} {
			if _, err := c.d.Extend(ctx, dirA, "root", until); !errors.Is(err, directory.ErrInvalid) {
				t.Errorf("extended to %v: %v", until, err)
			}
		}
	})
}

func TestALargeHoldKnowsEveryUserItConcerns(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand users")
	}
	c := newCrew(t, 9_000, 0)
	c.read(c.without(200, 8_500))
	for _, i := range []int{0, 3_999, 4_000, 8_499} {
		if !c.d.View().HeldUser(c.people[i].id) {
			t.Errorf("user %d is not held", i)
		}
	}
	if c.d.View().HeldUser(c.people[8_500].id) {
		t.Error("a user that was seen is held")
	}
	if h, _ := c.d.View().Hold(dirA); h.Users != 8_500 || h.Removals != 17_000 || len(h.Listed) != 200 {
		t.Errorf("%d users, %d removals, %d listed", h.Users, h.Removals, len(h.Listed))
	}
	c.read(c.without(300, 3_000))
	if c.d.View().HeldUser(c.people[4_000].id) || !c.d.View().HeldUser(c.people[2_999].id) {
		t.Error("the hold did not shrink")
	}
	entries, _, err := c.st.List(context.Background(), directory.Prefix+"held/")
	if err != nil || len(entries) != 1 {
		t.Errorf("%d lists of held users are left, %v", len(entries), err)
	}
}
