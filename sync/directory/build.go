package directory

import (
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	"battery.app/gate/store"
)

// builder derives one View from another, entry by entry. Nothing it does can be
// seen before done, and the View it began with stays as it was.
type builder struct {
	d       *Directory
	touched bool

	organizations overlay[*organizationNode]
	slugs         overlay[string]
	connections   overlay[*linkedNode]
	directories   overlay[*linkedNode]
	users         overlay[*userNode]
	groups        overlay[*groupRecord]
	members       overlay[struct{}]
	identities    overlay[[]string]
	links         overlay[string]

	reads     overlay[*readRecord]
	braked    overlay[*holdRecord]
	shards    overlay[[]string]
	pauses    overlay[*pauseRecord]
	dirty     overlay[*dirtyRecord]
	counts    overlay[*countRecord]
	domains   overlay[*domainNode]
	rolesGone overlay[struct{}]

	lately   string // the directory that last was looked up, and its time
	latelyAt *atomic.Int64

	changing map[string]*organizationNode // our own copies, written at the end
}

func (d *Directory) build(v *View) *builder {
	return &builder{
		d: d, changing: map[string]*organizationNode{},
		organizations: overlay[*organizationNode]{tree: v.organizations},
		slugs:         overlay[string]{tree: v.slugs},
		connections:   overlay[*linkedNode]{tree: v.connections},
		directories:   overlay[*linkedNode]{tree: v.directories},
		users:         overlay[*userNode]{tree: v.users},
		groups:        overlay[*groupRecord]{tree: v.groups},
		members:       overlay[struct{}]{tree: v.members},
		identities:    overlay[[]string]{tree: v.identities},
		links:         overlay[string]{tree: v.links},

		reads:     overlay[*readRecord]{tree: v.reads},
		braked:    overlay[*holdRecord]{tree: v.braked},
		shards:    overlay[[]string]{tree: v.shards},
		pauses:    overlay[*pauseRecord]{tree: v.pauses},
		dirty:     overlay[*dirtyRecord]{tree: v.dirty},
		counts:    overlay[*countRecord]{tree: v.counts},
		domains:   overlay[*domainNode]{tree: v.domains},
		rolesGone: overlay[struct{}]{tree: v.rolesGone},
	}
}

func (b *builder) done() *View {
	for id, o := range b.changing {
		b.organizations.put(id, o)
	}
	return &View{
		organizations: b.organizations.commit(),
		slugs:         b.slugs.commit(),
		connections:   b.connections.commit(),
		directories:   b.directories.commit(),
		users:         b.users.commit(),
		groups:        b.groups.commit(),
		members:       b.members.commit(),
		identities:    b.identities.commit(),
		links:         b.links.commit(),

		reads:     b.reads.commit(),
		braked:    b.braked.commit(),
		shards:    b.shards.commit(),
		pauses:    b.pauses.commit(),
		dirty:     b.dirty.commit(),
		counts:    b.counts.commit(),
		domains:   b.domains.commit(),
		rolesGone: b.rolesGone.commit(),

		clocks: &b.d.clocks, store: b.d.store, configured: b.d.configured,
	}
}

// entry takes in one stored value. What cannot be read is logged, without its
// content, and stands for something that grants nothing.
func (b *builder) entry(e *store.Entry) {
	kind, id, ok := strings.Cut(strings.TrimPrefix(e.Key, Prefix), "/")
	if !ok {
		return
	}
	b.touched = true
	switch kind {
	case "organization":
		b.organization(id, readable[organizationRecord](b, e))
	case "connection":
		b.connection(id, readable[linkedRecord](b, e))
	case "directory":
		b.directory(id, readable[linkedRecord](b, e))
	case "user":
		b.user(id, readable[userRecord](b, e))
	case "group":
		b.group(id, readable[groupRecord](b, e))
	case "edge":
		user, group, _ := strings.Cut(id, "/")
		b.edge(user, group, readable[edgeRecord](b, e))
	case "mapping":
		b.mapping(id, readable[mappingRecord](b, e), e.Revision)
	case "slug":
		if r := readable[slugRecord](b, e); r.rec != nil {
			b.slugs.put(id, r.rec.OrganizationID)
		} else {
			b.slugs.del(id)
		}
	case "link":
		b.link(id, readable[linkRecord](b, e))
	default:
		b.sideEntry(kind, id, e)
	}
}

// stored is a value as it was found: rec is nil if it is absent or broken.
type stored[T any] struct {
	rec    *T
	broken bool
}

func readable[T value](b *builder, e *store.Entry) stored[T] {
	if e.Deleted {
		return stored[T]{}
	}
	rec, err := decode[T](e.Value)
	if err != nil {
		b.d.log.Error("a stored value cannot be read and grants nothing", "key", e.Key, "revision", e.Revision, "error", err)
		return stored[T]{broken: true}
	}
	return stored[T]{rec: &rec}
}

// unreadable is the record of a broken value: deleted, so that what stands on
// it ends.
func unreadable() register { return register{V: version, Deleted: &tombstone{}} }

// change returns our own copy of an organization's node.
func (b *builder) change(id string) *organizationNode {
	if o, ok := b.changing[id]; ok {
		return o
	}
	o := &organizationNode{id: id}
	if old, ok := b.organizations.get(id); ok {
		*o = *old
	} else {
		b.bump(o)
	}
	b.changing[id] = o
	return o
}

// bump makes every joined user of an organization out of date. It costs one
// number; the joins are made again one by one, when they are asked for.
func (b *builder) bump(o *organizationNode) {
	b.d.epochs++
	o.epoch = b.d.epochs
}

func (b *builder) organization(id string, r stored[organizationRecord]) {
	o := b.change(id)
	if o.rec = r.rec; r.broken {
		o.rec = &organizationRecord{register: unreadable()}
	}
}

func (b *builder) connection(id string, r stored[linkedRecord]) {
	b.linked(&b.connections, id, r, func(o *organizationNode) *[]*linkedNode { return &o.connections })
}

func (b *builder) directory(id string, r stored[linkedRecord]) {
	b.linked(&b.directories, id, r, func(o *organizationNode) *[]*linkedNode { return &o.directories })
}

// linked replaces a connection or directory, by id and in its organization.
func (b *builder) linked(by *overlay[*linkedNode], id string, r stored[linkedRecord], in func(*organizationNode) *[]*linkedNode) {
	if old, ok := by.get(id); ok && old.rec.OrganizationID != "" {
		list := in(b.change(old.rec.OrganizationID))
		*list = slices.DeleteFunc(slices.Clone(*list), func(n *linkedNode) bool { return n.id == id })
	}
	if r.rec == nil && !r.broken {
		by.del(id)
		return
	}
	n := &linkedNode{id: id}
	if r.rec != nil {
		n.rec = *r.rec
	}
	by.put(id, n)
	if org := n.rec.OrganizationID; org != "" {
		list := in(b.change(org))
		at, _ := slices.BinarySearchFunc(*list, id, func(n *linkedNode, id string) int { return strings.Compare(n.id, id) })
		*list = slices.Insert(slices.Clone(*list), at, n)
	}
}

func (b *builder) user(id string, r stored[userRecord]) {
	old, ok := b.users.get(id)
	n := &userNode{id: id, rec: r.rec}
	if ok {
		n.groups = old.groups
		if old.rec != nil {
			b.index(id, old.rec, false)
		}
	}
	if r.rec != nil {
		b.index(id, r.rec, true)
		b.happened(r.rec.DirectoryID, r.rec.Stamp)
	}
	if n.rec == nil && len(n.groups) == 0 {
		b.users.del(id)
		return
	}
	b.users.put(id, n)
}

// index adds a user to what it is found by, or removes it. The deleted stay
// findable: their sessions must be known as theirs.
func (b *builder) index(id string, r *userRecord, add bool) {
	if !r.Seen && r.Deleted == nil {
		return
	}
	b.identify(r.OrganizationID, kindIdp, r.IdpID, id, add)
	b.identify(r.OrganizationID, kindEmail, strings.ToLower(r.Email), id, add)
	if key := memberKey(r.DirectoryID, memberUser, id); add {
		b.members.put(key, struct{}{})
	} else {
		b.members.del(key)
	}
}

func (b *builder) identify(org string, kind byte, val, id string, add bool) {
	if val == "" {
		return
	}
	key := org + "\x00" + string(kind) + val
	ids, _ := b.identities.get(key)
	at, found := slices.BinarySearch(ids, id)
	switch {
	case add && !found:
		b.identities.put(key, slices.Insert(slices.Clone(ids), at, id))
	case !add && found && len(ids) == 1:
		b.identities.del(key)
	case !add && found:
		b.identities.put(key, slices.Delete(slices.Clone(ids), at, at+1))
	}
}

func (b *builder) group(id string, r stored[groupRecord]) {
	old, ok := b.groups.get(id)
	if ok {
		b.members.del(memberKey(old.DirectoryID, memberGroup, id))
	}
	if r.rec == nil {
		b.groups.del(id)
	} else {
		b.groups.put(id, r.rec)
		b.happened(r.rec.DirectoryID, r.rec.Stamp)
		b.members.put(memberKey(r.rec.DirectoryID, memberGroup, id), struct{}{})
	}
	// A group's register changes with every membership event that carries it.
	// Only what a join reads of it makes the organization's joins out of date.
	switch {
	case ok && r.rec != nil && old.alive() == r.rec.alive() && old.Name == r.rec.Name &&
		old.DirectoryID == r.rec.DirectoryID && old.OrganizationID == r.rec.OrganizationID:
	case ok:
		b.bump(b.change(old.OrganizationID))
		fallthrough
	default:
		if r.rec != nil {
			b.bump(b.change(r.rec.OrganizationID))
		}
	}
}

func (b *builder) edge(user, group string, r stored[edgeRecord]) {
	n := &userNode{id: user}
	if old, ok := b.users.get(user); ok {
		n.rec, n.groups = old.rec, old.groups
	}
	at, found := slices.BinarySearch(n.groups, group)
	switch present := r.rec != nil && r.rec.Present; {
	case present == found:
		return
	case present:
		// Millions of edges name few groups: keep one copy of each id.
		n.groups = slices.Insert(slices.Clone(n.groups), at, unique.Make(group).Value())
	default:
		n.groups = slices.Delete(slices.Clone(n.groups), at, at+1)
	}
	if n.rec == nil && len(n.groups) == 0 {
		b.users.del(user)
		return
	}
	b.users.put(user, n)
}

func (b *builder) mapping(org string, r stored[mappingRecord], revision uint64) {
	o := b.change(org)
	b.bump(o)
	if r.rec == nil {
		o.mappings = nil
		return
	}
	m := &mappingNode{rec: *r.rec, roles: map[string][]string{}, version: revision}
	for i := range m.rec.Mappings {
		e := &m.rec.Mappings[i]
		for _, role := range e.Roles {
			if id := e.group(); id != "" && mayHold(b.d.operators, org, role) {
				m.roles[id] = append(m.roles[id], role)
			}
		}
	}
	for id, roles := range m.roles {
		slices.Sort(roles)
		m.roles[id] = slices.Compact(roles)
	}
	o.mappings = m
}

func (b *builder) link(id string, r stored[linkRecord]) {
	org, profile, _ := strings.Cut(id, "/")
	key := org + "\x00" + profile
	switch {
	case r.rec != nil:
		b.links.put(key, r.rec.UserID)
	case r.broken:
		b.links.put(key, "") // pinned to nobody, rather than linked anew
	default:
		b.links.del(key)
	}
}

// The kinds of member of a directory.
const (
	memberUser  = 'u'
	memberGroup = 'g'
)

func memberKey(dir string, kind byte, id string) string { return dir + "\x00" + string(kind) + id }

// attributes decodes custom_attributes; never nil.
func attributes(raw json.RawMessage) map[string]any {
	out := map[string]any{}
	if len(raw) > 0 && json.Unmarshal(raw, &out) != nil || out == nil {
		return map[string]any{}
	}
	return out
}
