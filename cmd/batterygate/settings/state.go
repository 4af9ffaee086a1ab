package settings

import (
	"sync"
	"time"

	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sync/directory"
)

// connectionView and directoryView are what the page says of each.
type connectionView struct {
	Name, Type string
	State      status
	Hold       *holdView
}

type domainView struct {
	Name  string
	State status
}

type directoryView struct {
	Name, Type    string
	State         status
	Fresh         status
	Paused        bool
	People        string
	Groups        string
	Changed       moment // the latest change that came of itself
	Asked         moment // when it was last asked what changed
	Compared      moment // when it was last read in full
	CompareFailed bool
	Hold          *holdView
}

func (p *Pages) connections(v *visitor) []connectionView {
	var out []connectionView
	for _, c := range v.view.Connections(v.org.ID) {
		out = append(out, connectionView{Name: words.Shown(c.Name), Type: typeName(c.Type), State: connectionState(c.State), Hold: p.hold(v, c.ID)})
	}
	return out
}

func domains(v *visitor) []domainView {
	var out []domainView
	known := map[string]bool{}
	for _, d := range v.view.Domains(v.org.ID) {
		known[d.Domain] = true
		out = append(out, domainView{words.Shown(d.Domain), domainState(d.State)})
	}
	for _, d := range v.org.Domains {
		if !known[d] {
			out = append(out, domainView{words.Shown(d), status{"Registered", ""}})
		}
	}
	return out
}

func (p *Pages) directories(v *visitor) []directoryView {
	var out []directoryView
	now := p.Now()
	for _, d := range v.view.Directories(v.org.ID) {
		f := v.view.Freshness(d.ID)
		out = append(out, directoryView{
			Name: words.Shown(d.Name), Type: typeName(d.Type), State: directoryState(d.State, d.Linked), Fresh: freshness(f, d.Linked), Paused: f.Paused,
			People: p.counts.people(v.view, d.ID, now), Groups: words.Many(len(v.view.Groups(d.ID)), "group", "groups"),
			Changed: momentOf(f.LastEvent, now), Asked: momentOf(f.LastPoll, now), Compared: momentOf(f.LastReconcile, now),
			CompareFailed: f.LastReconcileError != "", Hold: p.hold(v, d.ID),
		})
	}
	return out
}

func freshness(f directory.Freshness, linked bool) status {
	switch {
	case !linked:
		return status{"Not kept up to date, because it is not connected", "warn"}
	case f.Stale:
		return status{"Out of date: changes in your directory may be missing here. Access goes by what was known last", "bad"}
	}
	return status{"Up to date", "good"}
}

// holdView is what the brake on mass removals holds, in words.
type holdView struct {
	Whole    string // what is missing as a whole: "directory", "connection" or "organization"; empty: parts of it
	Removals string
	People   string
	Since    moment
	Until    moment
	Approved bool
	Listed   []string
	More     string // how many are not listed
}

// maxHeldShown is how many held removals are named.
const maxHeldShown = 10

func (p *Pages) hold(v *visitor, id string) *holdView {
	h, ok := v.view.Hold(id)
	if !ok {
		return nil
	}
	now := p.Now()
	out := &holdView{Removals: words.Many(h.Removals, "entry", "entries"), People: words.Many(h.Users, "person", "people"),
		Since: momentOf(h.Since, now), Until: momentOf(h.Until, now), Approved: now.Before(h.ApprovedUntil)}
	for i, c := range h.Listed {
		switch c.Kind {
		case "directory", "connection", "organization":
			out.Whole = c.Kind
			return out
		}
		if i < maxHeldShown {
			out.Listed = append(out.Listed, heldWords(v, c))
		}
	}
	if n := h.Removals - len(out.Listed); n > 0 {
		out.More = words.Count(n)
	}
	return out
}

// heldWords says what one held removal would take away.
func heldWords(v *visitor, c directory.Change) string {
	who := c.UserID
	if u, ok := v.view.UserByID(c.UserID); ok && u.OrganizationID == v.org.ID {
		if who = u.Email; who == "" {
			who = u.Username
		}
	}
	group := c.Name
	if g, ok := v.view.GroupByID(c.GroupID); ok && g.OrganizationID == v.org.ID {
		group = g.Name
	}
	switch c.Kind {
	case "user":
		return "the person " + words.Quoted(who)
	case "group":
		return "the group " + words.Quoted(group)
	}
	return words.Quoted(who) + " as a member of " + words.Quoted(group)
}

// counts remember how many people large directories have, because counting them
// takes a while and the page may be reloaded. The zero value is ready.
type counts struct {
	mu    sync.Mutex
	known map[string]counted
}

type counted struct {
	all, off int
	at       time.Time
}

const (
	countAtOnce = 2000             // people of which none are remembered: counting is quick
	countFor    = 30 * time.Second // how long the others are
	countUpTo   = 20_000           // people counted at most: each costs a few microseconds
)

// people says how many people a directory has.
func (c *counts) people(view *directory.View, dir string, now time.Time) string {
	c.mu.Lock()
	n, ok := c.known[dir]
	c.mu.Unlock()
	if age := now.Sub(n.at); !ok || age < 0 || age > countFor {
		n = countPeople(view, dir, now)
		c.keep(dir, n)
	}
	switch {
	case n.all >= countUpTo:
		return "at least " + words.Many(countUpTo, "person", "people")
	case n.off > 0:
		return words.Many(n.all, "person", "people") + ", " + words.Count(n.off) + " of them not active"
	}
	return words.Many(n.all, "person", "people")
}

func (c *counts) keep(dir string, n counted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, dir)
	if n.all <= countAtOnce {
		return
	}
	if c.known == nil || len(c.known) > 10_000 {
		c.known = map[string]counted{}
	}
	c.known[dir] = n
}

func countPeople(view *directory.View, dir string, now time.Time) counted {
	out := counted{at: now}
	for after := ""; out.all < countUpTo; {
		part := view.UsersAfter(dir, after, 1000)
		for _, u := range part {
			if out.all++; u.State != "active" {
				out.off++
			}
		}
		if len(part) < 1000 {
			break
		}
		after = part[len(part)-1].ID
	}
	return out
}
