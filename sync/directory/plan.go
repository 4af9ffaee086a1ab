package directory

import (
	"slices"
)

// fact is one thing that a reading says and that is not as it is known here.
type fact struct {
	change Change
	merge  func(w *writer, last int64) (verdict, error)
}

// readingPlan is a reading compared with a View: what is to be merged. Whatever
// agrees is not in it, so that a reading of a directory that is in order costs
// one look at memory and one write.
type readingPlan struct {
	directory string
	facts     []fact
	removals  []fact // what the reading did not see
	edges     bool   // the members of every group were read

	// For the brake: live users and memberships before; members by group before,
	// and after if all removals happen; groups with a role mapping; of what was
	// not seen, the members of groups and the groups of users.
	live     int
	members  map[string]int
	keeps    map[string]int
	mapped   map[string]bool
	left     map[string][]string
	groupsOf map[string][]string
}

// plan compares a reading with what v knows.
func (v *View) plan(r *Reading) *readingPlan {
	p := &readingPlan{directory: r.Directory.ID, members: map[string]int{}, keeps: map[string]int{}, mapped: map[string]bool{},
		left: map[string][]string{}, groupsOf: map[string][]string{}}
	c := &comparison{v: v, r: r, p: p, at: r.Watermark.UnixMilli(),
		users: map[string]bool{}, groups: map[string]bool{}, covered: map[string]bool{}, edges: make(map[Edge]bool, len(r.Edges))}
	c.index()
	dir := r.directory()
	if n, ok := v.directories.Get([]byte(dir.ID)); !ok || !n.rec.alive() || n.rec.OrganizationID != dir.OrganizationID ||
		n.rec.Name != dir.Name || n.rec.Type != dir.Type || n.rec.State != dir.State {
		p.facts = append(p.facts, fact{Change{Kind: kindDirectory, ID: dir.ID, Name: dir.Name}, func(w *writer, last int64) (verdict, error) {
			return w.linkedSeen(directoryKey(dir.ID), dir, last)
		}})
	}
	if !linked(dir.State) {
		return p // what a directory shows that is not linked proves nothing about its people
	}
	c.groupFacts()
	c.userFacts()
	c.edgeFacts()
	return p
}

// comparison is a plan in the making.
type comparison struct {
	v  *View
	r  *Reading
	p  *readingPlan
	at int64 // watermark

	users, groups map[string]bool // seen
	covered       map[string]bool // groups whose members were read
	edges         map[Edge]bool   // seen
}

func (c *comparison) index() {
	for i := range c.r.Groups {
		c.groups[c.r.Groups[i].ID] = true
	}
	of := c.r.MembersOf
	if of == nil {
		of = slices.Collect(func(yield func(string) bool) {
			for id := range c.groups {
				if !yield(id) {
					return
				}
			}
		})
	}
	for _, id := range of {
		c.covered[id] = c.groups[id]
	}
	c.p.edges = len(c.covered) == len(c.groups)
	for i := range c.r.Users {
		c.users[c.r.Users[i].ID] = true
	}
	// The lists are read one after the other: who appears in a later one exists.
	for _, e := range c.r.Edges {
		c.users[e.UserID] = true
		if c.covered[e.GroupID] {
			c.edges[e] = true
		}
	}
}

func (c *comparison) groupFacts() {
	for i := range c.r.Groups {
		p := c.r.group(&c.r.Groups[i])
		rec, ok := c.v.groups.Get([]byte(p.ID))
		if ok && (rec.alive() && p.same(rec) || rec.deleted() && rec.Deleted.Stamp.At >= c.at) {
			continue
		}
		c.p.facts = append(c.p.facts, fact{Change{Kind: kindGroup, GroupID: p.ID, Name: p.Name},
			func(w *writer, last int64) (verdict, error) { return w.groupSeen(p, last) }})
	}
	c.v.walk(c.r.Directory.ID, memberGroup, "", func(id string) bool {
		if rec, ok := c.v.groups.Get([]byte(id)); ok && !c.groups[id] && rec.alive() && rec.made() < c.at {
			c.p.removals = append(c.p.removals, fact{Change{Kind: kindGroup, Op: opRemove, GroupID: id, Name: rec.Name},
				func(w *writer, _ int64) (verdict, error) { return w.groupUnseen(id) }})
		}
		return true
	})
}

func (c *comparison) userFacts() {
	for i := range c.r.Users {
		p := c.r.user(&c.r.Users[i])
		n, ok := c.v.users.Get([]byte(p.ID))
		if ok && n.rec != nil && (n.rec.alive() && p.same(n.rec) || n.rec.deleted() && n.rec.Deleted.Stamp.At >= c.at) {
			continue
		}
		c.p.facts = append(c.p.facts, fact{Change{Kind: kindUser, UserID: p.ID, Name: p.Email},
			func(w *writer, last int64) (verdict, error) { return w.userSeen(p, last) }})
	}
	c.v.walk(c.r.Directory.ID, memberUser, "", func(id string) bool {
		n, _ := c.v.users.Get([]byte(id))
		if n == nil || n.rec == nil || !n.rec.alive() {
			return true
		}
		c.p.live++
		if !c.users[id] && n.rec.made() < c.at {
			c.p.removals = append(c.p.removals, fact{Change{Kind: kindUser, Op: opRemove, UserID: id, Name: n.rec.Email},
				func(w *writer, _ int64) (verdict, error) { return w.userUnseen(id) }})
		}
		c.edgesOf(n)
		return true
	})
}

// edgesOf compares a user's live memberships.
func (c *comparison) edgesOf(n *userNode) {
	for _, g := range n.groups {
		rec, ok := c.v.groups.Get([]byte(g))
		if !ok || !rec.alive() || rec.DirectoryID != c.r.Directory.ID {
			continue
		}
		c.p.live++
		e := Edge{n.id, g}
		stays := c.users[n.id] && (c.edges[e] || !c.covered[g] && c.groups[g])
		c.p.mapped[g] = c.p.members[g] > 0 && c.p.mapped[g] || c.v.mapped(c.r.Directory.OrganizationID, g)
		c.p.members[g]++
		if stays {
			c.p.keeps[g]++
		}
		if !c.groups[g] {
			c.p.left[g] = append(c.p.left[g], n.id)
		}
		if !c.users[n.id] {
			c.p.groupsOf[n.id] = append(c.p.groupsOf[n.id], g)
		}
		if c.covered[g] && !c.edges[e] {
			c.p.removals = append(c.p.removals, fact{Change{Kind: kindEdge, Op: opRemove, UserID: n.id, GroupID: g, Name: rec.Name},
				func(w *writer, _ int64) (verdict, error) { return w.edgeUnseen(e) }})
		}
	}
}

// edgeFacts are the memberships that were seen and are not known. A membership
// of someone who is deleted waits until the user is back.
func (c *comparison) edgeFacts() {
	for e := range c.edges {
		n, ok := c.v.users.Get([]byte(e.UserID))
		if ok {
			if _, known := slices.BinarySearch(n.groups, e.GroupID); known {
				continue
			}
			if n.rec != nil && n.rec.deleted() {
				continue
			}
		}
		c.p.keeps[e.GroupID]++
		c.p.facts = append(c.p.facts, fact{Change{Kind: kindEdge, UserID: e.UserID, GroupID: e.GroupID},
			func(w *writer, last int64) (verdict, error) { return w.edgeSeen(e, last) }})
	}
}

// mapped reports whether a group's members get roles of it.
func (v *View) mapped(org, group string) bool {
	o, ok := v.organizations.Get([]byte(org))
	return ok && o.mappings != nil && len(o.mappings.roles[group]) > 0
}
