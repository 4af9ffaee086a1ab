package directory

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxPasses bounds how often a reading is compared again because events changed
// something while it was merged.
const maxPasses = 3

// Compare says what ApplyReading would do, and changes nothing.
func (d *Directory) Compare(r Reading) Difference {
	out := Difference{Directory: r.Directory.ID}
	if r.check() != nil {
		return out
	}
	ctx, cancel := context.WithTimeout(context.Background(), dryRunLimit)
	defer cancel()
	dry := &application{d: d, ctx: ctx, at: d.readingMoment(r.Watermark), id: r.Directory.ID, dry: true}
	p := d.View().plan(&r)
	ruled, err := dry.brake(p)
	if err != nil { // then nothing may look as if it would not go
		ruled = ruling{held: p.removals}
	}
	_ = dry.run(ruled.now)
	_ = dry.run(p.facts)
	out.Changes, out.Pending, out.Held = dry.changes, dry.pending, changesOf(ruled.held)
	return out
}

// dryRunLimit bounds the reads of a comparison.
const dryRunLimit = 30 * time.Second

// ApplyReading merges a reading: what it saw is so as of its watermark, what is
// known here and was not seen is absent as of then, and whatever an event says
// of a later time wins, whenever it comes. What the brake holds, and what waits
// for a second reading, is in the result and not in force. It is idempotent, and
// may be interrupted anywhere and run again. Errors: ErrMalformed for a reading
// whose parts do not belong together, ErrOldReading, or the store's.
func (d *Directory) ApplyReading(ctx context.Context, r Reading) (Difference, error) {
	out := Difference{Directory: r.Directory.ID}
	if err := r.check(); err != nil {
		return out, err
	}
	a := &application{d: d, ctx: ctx, at: d.readingMoment(r.Watermark), id: r.Directory.ID}
	whole := linked(eventState(r.Directory.State))
	var ruled ruling
	var p *readingPlan
	err := a.passes(func(v *View) (err error) {
		p = v.plan(&r)
		if whole { // what takes access away goes first, and a hold goes after what it held
			ruled, err = a.remove(p)
		}
		if err == nil {
			err = a.run(p.facts)
		}
		return err
	})
	if err == nil {
		err = a.finish(r.started(), whole, func(read *readRecord) {
			if whole && a.confirmed(read) && len(ruled.held) == 0 {
				read.Objects = max(read.Objects, a.at.At)
				if p.edges {
					read.Edges = max(read.Edges, a.at.At)
				}
			}
		})
	}
	out.Changes, out.Pending, out.Held, out.Revision = a.changes, a.pending, changesOf(ruled.held), a.rev
	if err != nil {
		return out, fmt.Errorf("apply reading: %w", err)
	}
	return out, nil
}

// passes compares and merges until nothing is left to write: events go on
// arriving while a reading is merged.
func (a *application) passes(merge func(*View) error) error {
	for pass := 0; pass == 0 || a.wrote && pass < maxPasses; pass++ {
		a.pending, a.wrote = nil, false
		if err := a.begin(); err != nil {
			return err
		}
		if err := merge(a.d.View()); err != nil {
			return err
		}
	}
	return nil
}

// confirmed reports whether all that is known is as the reading says, so that
// an event from before it has nothing to add.
func (a *application) confirmed(read *readRecord) bool {
	return !a.wrote && !a.skipped && !a.behind && !read.Disturbed && len(a.pending) == 0
}

// begin starts a pass: from here on, an event from before the watermark leaves a
// trace. What came before must be in the View that the reading is compared with;
// where it is not in time, the reading is merged all the same, and another one
// is wanted.
func (a *application) begin() error {
	rev, err := a.d.inParts(a.ctx, 1, func(l *layer, _ int) error {
		if _, err := a.last(l); err != nil {
			return err
		}
		r, err := getRead(l, a.id)
		if err != nil {
			return err
		}
		r.V, r.Begun, r.Disturbed = version, a.at.At, false
		return put(l, readKey(a.id), r)
	}, nil)
	if err != nil {
		return err
	}
	a.rev = max(a.rev, rev)
	a.behind = !a.d.awaitView(a.ctx, rev)
	if a.behind {
		a.d.log.Warn("a reading is merged with what is known of earlier: the view is behind", "directory", a.id)
	}
	return nil
}

// awaitView waits a little until the View has a revision.
func (d *Directory) awaitView(ctx context.Context, rev uint64) bool {
	for end := time.Now().Add(d.viewWait); d.seen.Load() < rev; {
		if !time.Now().Before(end) || ctx.Err() != nil {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// remove makes the removals that the brake lets happen.
func (a *application) remove(p *readingPlan) (ruling, error) {
	r, err := a.brake(p)
	if err == nil {
		err = a.run(r.now)
	}
	if err == nil {
		err = a.keepHold(r)
	}
	return r, err
}

func (d *Directory) readingMoment(watermark time.Time) moment {
	return moment{stamp: stamp{At: watermark.UnixMilli()}, received: d.now().UnixMilli()}
}

// application is one reading on its way into the store.
type application struct {
	d   *Directory
	ctx context.Context // lives for one call
	at  moment
	id  string // of the directory, or worldDirty
	dry bool   // look, and write nothing

	changes []Change
	pending []Change
	wrote   bool // in this pass
	skipped bool // something could not be merged
	behind  bool // in this pass, the View was
	rev     uint64
}

func changesOf(facts []fact) []Change {
	var out []Change
	for _, f := range facts {
		out = append(out, f.change)
	}
	return out
}

// run merges facts, as many in a transaction as it holds.
func (a *application) run(facts []fact) error {
	if len(facts) == 0 {
		return nil
	}
	did := make([]verdict, len(facts))
	skipped := make([]error, len(facts))
	step := func(l *layer, i int) error {
		last, err := a.last(l)
		if err == nil {
			did[i], err = facts[i].merge(&writer{tx: l, at: a.at, source: SourceReconcile}, last)
		}
		if skipped[i] = nil; errors.Is(err, ErrMalformed) || errors.Is(err, ErrCorrupt) {
			l.drop()
			did[i], skipped[i], err = verdict{}, err, nil
		}
		return err
	}
	if a.dry {
		for i := range facts { // each on a layer of its own, that is thrown away
			if err := step(a.dryLayer(), i); err != nil {
				return err
			}
		}
	} else if rev, err := a.d.inParts(a.ctx, len(facts), step, nil); err != nil {
		return err
	} else {
		a.rev = max(a.rev, rev)
	}
	for i, v := range did {
		a.note(facts[i].change, v, skipped[i])
	}
	return nil
}

func (a *application) note(c Change, v verdict, skipped error) {
	if skipped != nil {
		a.skipped = true
		a.d.log.Error("a fact of a reading could not be merged", "directory", a.id, "kind", c.Kind,
			"id", c.ID+c.UserID+c.GroupID, "error", skipped)
		return
	}
	a.wrote = a.wrote || v.write
	c.Op = v.op
	switch {
	case v.pending:
		a.pending = append(a.pending, c)
	case v.op != "":
		a.changes = append(a.changes, c)
	}
	if v.op == opUndelete && !v.pending && !a.dry {
		a.d.log.Warn("two readings saw what was deleted; it is back", "directory", a.id, "kind", c.Kind, "id", c.ID+c.UserID+c.GroupID)
	}
}

// last is the watermark of the last complete reading, as it is in this
// transaction. A later one than ours ends this one.
func (a *application) last(l *layer) (int64, error) {
	r, err := getRead(l, a.id)
	if err == nil && max(r.Last, r.Begun) > a.at.At {
		err = ErrOldReading
	}
	return r.Last, err
}

func (a *application) dryLayer() *layer {
	l := newLayer(reader{a.ctx, a.d.store})
	l.unbounded = true
	return l
}

// brake asks the brake. Removals that a newer event outweighs do not count.
func (a *application) brake(p *readingPlan) (ruling, error) {
	l := a.dryLayer()
	if _, err := a.last(l); err != nil {
		return ruling{}, err
	}
	old, err := getHold(l, a.id)
	if err != nil {
		return ruling{}, err
	}
	removals := p.removals
	if old != nil || p.brakes(removals, nil) {
		look := &application{d: a.d, ctx: a.ctx, at: a.at, id: a.id, dry: true}
		removals = nil
		for _, f := range p.removals {
			before := len(look.changes)
			if err := look.run([]fact{f}); err != nil {
				return ruling{}, err
			}
			if len(look.changes) > before {
				removals = append(removals, f)
			} else if f.change.Kind == kindEdge {
				p.keeps[f.change.GroupID]++
			}
		}
	}
	return a.d.View().rule(p, old, removals, a.at.At, a.at.received), nil
}

// keepHold writes what is held, or that nothing is any more. The hold itself is
// written last, so that it never names users that are not there.
func (a *application) keepHold(r ruling) error {
	old, err := getHold(reader{a.ctx, a.d.store}, a.id)
	if err != nil {
		return err
	}
	shards := 0
	if r.hold != nil {
		shards = r.hold.Shards
		a.d.log.Warn("removals of a reading are held", "directory", a.id, "removals", r.hold.Count,
			"users", r.hold.Users, "until", instant(r.hold.Until))
	}
	stale := 0
	if old != nil {
		stale = max(0, old.Shards-shards)
	}
	if r.hold == nil && old == nil {
		return nil
	}
	steps := shards + 1 + stale
	rev, err := a.d.inParts(a.ctx, steps, func(l *layer, i int) error {
		switch {
		case i < shards:
			ids := r.ids[i*heldPerShard : min(len(r.ids), (i+1)*heldPerShard)]
			return put(l, heldKey(a.id, i), heldRecord{version, ids})
		case i > shards:
			return l.Delete(heldKey(a.id, i-1))
		case r.hold == nil:
			return l.Delete(holdKey(a.id))
		}
		return a.putHold(l, *r.hold, old)
	}, nil)
	a.rev = max(a.rev, rev)
	return err
}

// putHold writes a hold. What an operator said of it since it was looked at
// stays.
func (a *application) putHold(l *layer, next holdRecord, old *holdRecord) error {
	now, err := getHold(l, a.id)
	if err != nil {
		return err
	}
	if now != nil && old != nil && next.Since == now.Since && (now.Approved != old.Approved || now.Until != old.Until) {
		next.Approved, next.Until, next.By = now.Approved, now.Until, now.By
	}
	return put(l, holdKey(a.id), next)
}

// finish ends a reading: what it told is known of, and, if it is whole, the mark
// that asked for it goes.
func (a *application) finish(started int64, whole bool, note func(*readRecord)) error {
	rev, err := a.d.inParts(a.ctx, 1, func(l *layer, _ int) error {
		if _, err := a.last(l); err != nil {
			return err
		}
		r, err := getRead(l, a.id)
		if err != nil {
			return err
		}
		old := r
		if whole {
			r.Last = max(r.Last, a.at.At)
		}
		if note(&r); r != old {
			r.V = version
			if err := put(l, readKey(a.id), r); err != nil {
				return err
			}
		}
		if !whole || a.behind {
			return nil
		}
		return (&writer{tx: l}).clean(a.id, started)
	}, nil)
	a.rev = max(a.rev, rev)
	return err
}
