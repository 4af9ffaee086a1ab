package directory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"battery.app/gate/store"
)

// clocks is what every View shares and what moves without the store: how far
// the feed is. All of it is atomic, so that asking costs nothing.
type clocks struct {
	now       func() time.Time
	bound     int64 // ms that data may be old; 0: no bound
	readBound int64 // ms that a directory's last reading may be old; 0: no bound
	polled    atomic.Int64
	events    sync.Map // directory id → *atomic.Int64: the latest event's time
}

// advance moves an atomic time forward, never back.
func advance(to *atomic.Int64, ms int64) {
	for {
		old := to.Load()
		if ms <= old || to.CompareAndSwap(old, ms) {
			return
		}
	}
}

// old reports whether a time is longer ago than a bound allows.
func (c *clocks) old(ms, bound int64) bool { return bound > 0 && c.now().UnixMilli()-ms > bound }

// NotePoll notes that at at the Events API had been read to its end. It is kept
// for this process alone; ApplyPage with a Head also writes it down.
func (d *Directory) NotePoll(at time.Time) { advance(&d.clocks.polled, at.UnixMilli()) }

// NoteReconcile notes how a reconcile of a directory ended; with an empty id,
// one of the list of organizations. failure is kept as text, at most 300 bytes
// of it: it must hold no secret.
func (d *Directory) NoteReconcile(ctx context.Context, dir string, at time.Time, failure error) error {
	if dir == "" {
		dir = worldDirty
	}
	if !validID(dir) {
		return fmt.Errorf("%w: directory id", ErrInvalid)
	}
	_, err := d.store.Update(ctx, func(tx store.Tx) error {
		r, err := getRead(tx, dir)
		if err != nil {
			return err
		}
		if r.V = version; failure != nil {
			r.Failed, r.Error = at.UnixMilli(), clip(failure.Error(), 300)
		} else {
			r.At, r.Failed, r.Error = max(r.At, at.UnixMilli()), 0, ""
		}
		return put(tx, readKey(dir), r)
	})
	if err != nil {
		return fmt.Errorf("note reconcile: %w", err)
	}
	return nil
}

// Freshness is how current a directory is. A time is zero if there was none.
type Freshness struct {
	LastEvent          time.Time `json:"last_event,omitzero"`     // created_at of the latest event that changed it
	LastPoll           time.Time `json:"last_poll,omitzero"`      // when the Events API was last read to its end
	LastReconcile      time.Time `json:"last_reconcile,omitzero"` // when the last reconcile that ended well began
	LastReconcileError string    `json:"last_reconcile_error,omitempty"`
	Held               int       `json:"held"` // removals
	HeldSince          time.Time `json:"held_since,omitzero"`
	HeldUntil          time.Time `json:"held_until,omitzero"`
	Paused             bool      `json:"paused"`
	Dirty              bool      `json:"dirty"`
	Stale              bool      `json:"stale"`
}

// Freshness is how current a directory is; with an empty id, the list of
// organizations, connections and directories.
func (v *View) Freshness(dir string) Freshness {
	f := Freshness{LastPoll: instant(v.clocks.polled.Load()), Paused: v.paused(dir)}
	if dir == "" {
		dir = worldDirty
	}
	if at, ok := v.clocks.events.Load(dir); ok {
		f.LastEvent = instant(at.(*atomic.Int64).Load())
	}
	read := v.readOf(dir)
	f.LastReconcile, f.LastReconcileError = instant(read.At), read.Error
	if h, ok := v.braking(dir); ok {
		f.Held, f.HeldSince, f.HeldUntil = h.Count, instant(h.Since), instant(h.Until)
	}
	_, f.Dirty = v.dirty.Get([]byte(dir))
	f.Stale = v.clocks.old(v.clocks.polled.Load(), v.clocks.bound) || v.clocks.old(read.At, v.clocks.readBound)
	return f
}

func (v *View) readOf(dir string) readRecord {
	if r, ok := v.reads.Get([]byte(dir)); ok {
		return *r
	}
	return readRecord{}
}

// Stale reports whether an organization's data is older than its bound: the
// Events API has not been read to its end for Options.Staleness, or one of the
// organization's linked directories was not reconciled for
// Options.ReconcileStaleness. Where a bound is zero, it never is. Time alone
// makes the answer change, so it is asked at every decision: it does not
// allocate, and a View that is kept answers for now.
func (v *View) Stale(org string) bool {
	c := v.clocks
	if c.old(c.polled.Load(), c.bound) {
		return true
	}
	if c.readBound <= 0 {
		return false
	}
	o, ok := v.organizations.Get([]byte(org))
	if !ok {
		return false
	}
	for _, n := range o.directories {
		if !n.rec.live() {
			continue
		}
		r, ok := v.reads.Get([]byte(n.id))
		if !ok || c.old(r.At, c.readBound) {
			return true
		}
	}
	return false
}

// pauseRecord is an operator's switch on a directory.
type pauseRecord struct {
	V      int    `json:"v"`
	Paused bool   `json:"paused"`
	By     string `json:"by,omitempty"`
	At     int64  `json:"at"`
}

func (r pauseRecord) known() bool { return r.V == version }

// Pause stops a directory from granting anything, until it is called with false:
// its users keep their sessions and have no groups and no roles. Events and
// readings are applied all the while, so that what it grants afterwards is right
// at once. ErrNotFound: no such directory.
func (d *Directory) Pause(ctx context.Context, dir, by string, paused bool) (uint64, error) {
	if !validID(dir) || len(by) > maxGroupName {
		return 0, fmt.Errorf("%w: directory id or author", ErrInvalid)
	}
	rec := pauseRecord{V: version, Paused: paused, By: by, At: d.now().UnixMilli()}
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		r, err := get[linkedRecord](tx, directoryKey(dir))
		if err != nil {
			return err
		}
		if !r.known() || r.deleted() {
			return fmt.Errorf("%w: directory", ErrNotFound)
		}
		return put(tx, pauseKey(dir), rec)
	})
	if err != nil {
		return 0, fmt.Errorf("pause directory: %w", err)
	}
	return rev, nil
}

// Paused says who paused a directory and when, if it is paused. A switch that
// cannot be read is on.
func (v *View) Paused(dir string) (by string, at time.Time, paused bool) {
	r, ok := v.pauses.Get([]byte(dir))
	if !ok || !r.Paused {
		return "", time.Time{}, false
	}
	return r.By, instant(r.At), true
}

func (v *View) paused(dir string) bool {
	r, ok := v.pauses.Get([]byte(dir))
	return ok && r.Paused
}
