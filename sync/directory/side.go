package directory

import (
	"slices"
	"strings"
	"sync/atomic"

	"battery.app/gate/store"
)

// sideEntry takes in what is not an object or a mapping: how current things are,
// what is held and paused, and what WorkOS tells beside the directory.
func (b *builder) sideEntry(kind, id string, e *store.Entry) {
	switch kind {
	case "read":
		replace(&b.reads, id, readable[readRecord](b, e).rec)
	case "hold":
		replace(&b.braked, id, readable[holdRecord](b, e).rec)
	case "held":
		if r := readable[heldRecord](b, e); r.rec != nil {
			b.shards.put(e.Key, r.rec.Users)
		} else {
			b.shards.del(e.Key)
		}
	case "pause":
		b.pause(id, readable[pauseRecord](b, e))
	case "dirty":
		r := readable[dirtyRecord](b, e)
		if replace(&b.dirty, id, r.rec); r.rec != nil {
			b.d.wake()
		}
	case "cursor":
		if r := readable[cursorRecord](b, e); r.rec != nil {
			advance(&b.d.clocks.polled, r.rec.Head)
		}
	case "unknown":
		replace(&b.counts, id, readable[countRecord](b, e).rec)
	case "domain":
		b.domain(id, readable[domainRecord](b, e))
	case "role":
		b.role(id, readable[roleRecord](b, e))
	case "pairing":
		b.pair(id, readable[pairingRecord](b, e))
	case "rolesource":
		b.source(id, readable[sourceRecord](b, e), e.Revision)
	}
}

func replace[T any](o *overlay[*T], id string, rec *T) {
	if rec == nil {
		o.del(id)
	} else {
		o.put(id, rec)
	}
}

// wake tells whoever reads directories that a reading is wanted.
func (d *Directory) wake() {
	select {
	case d.soiled <- struct{}{}:
	default: // a token is there already
	}
}

// happened notes the time of a directory's latest event. Readings are none.
func (b *builder) happened(dir string, s stamp) {
	if s.ID == "" {
		return
	}
	if dir != b.lately || b.latelyAt == nil {
		at, ok := b.d.clocks.events.Load(dir)
		if !ok {
			at, _ = b.d.clocks.events.LoadOrStore(dir, &atomic.Int64{})
		}
		b.lately, b.latelyAt = dir, at.(*atomic.Int64)
	}
	advance(b.latelyAt, s.At)
}

// pause switches a directory. One that cannot be read is on.
func (b *builder) pause(id string, r stored[pauseRecord]) {
	if r.broken {
		r.rec = &pauseRecord{Paused: true}
	}
	replace(&b.pauses, id, r.rec)
	if n, ok := b.directories.get(id); ok && n.rec.OrganizationID != "" {
		b.bump(b.change(n.rec.OrganizationID))
	}
}

func (b *builder) domain(id string, r stored[domainRecord]) {
	if old, ok := b.domains.get(id); ok {
		o := b.change(old.rec.OrganizationID)
		o.domains = slices.DeleteFunc(slices.Clone(o.domains), func(n *domainNode) bool { return n.id == id })
	}
	if r.rec == nil {
		b.domains.del(id)
		return
	}
	n := &domainNode{id: id, rec: *r.rec}
	b.domains.put(id, n)
	o := b.change(n.rec.OrganizationID)
	at, _ := slices.BinarySearchFunc(o.domains, id, func(n *domainNode, id string) int { return strings.Compare(n.id, id) })
	o.domains = slices.Insert(slices.Clone(o.domains), at, n)
}

// role keeps the slugs that WorkOS deleted. An unreadable one counts as deleted.
func (b *builder) role(id string, r stored[roleRecord]) {
	if gone := r.broken || r.rec != nil && !r.rec.Present; gone {
		b.rolesGone.put(id, struct{}{})
	} else {
		b.rolesGone.del(id)
	}
	org, _, _ := strings.Cut(id, "/")
	if org != everywhere {
		b.bump(b.change(org))
		return
	}
	// A role of the whole environment. It is rare, so it may cost something.
	for _, org := range b.known() {
		b.bump(b.change(org))
	}
}

// known are the ids of all organizations, those of this change too.
func (b *builder) known() []string {
	var out []string
	b.organizations.begin().Root().Walk(func(id []byte, _ *organizationNode) bool {
		out = append(out, string(id))
		return false
	})
	return out
}

func (b *builder) source(org string, r stored[sourceRecord], revision uint64) {
	o := b.change(org)
	b.bump(o)
	switch {
	case r.rec != nil:
		o.source = &sourceNode{*r.rec, revision}
	case r.broken:
		o.source = &sourceNode{version: revision} // neither, and so nothing
	default:
		o.source = nil
	}
}
