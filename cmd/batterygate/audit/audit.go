// Package audit is the record of every act of administration: who did what to
// what, from where, and what came of it. It answers to two questions, after the
// fact: "who changed this?", and "can I believe the answer?"
//
// Entries form a chain in the store: each names the SHA-256 of the one before,
// and a head record names the last. An act has an intent, stored before it is
// done, and an outcome, stored after; an intent without an outcome is an act in
// which the program died, and is shown as such. Where a key is given that is
// not in the store, entries and head carry a MAC under it, so that who holds
// only the store cannot write a chain of their own. What such a holder can do
// is put back an older copy of all of it: against that, every entry's number
// and hash is also logged, outside the store, and a running process remembers
// the last entry it wrote.
//
// In the store: admin/audit/{number, 20 digits} and admin/audit/head. An
// entry's bytes are canonical JSON (members sorted, no white space, nothing
// escaped that need not be); its hash is over the same JSON without "hash" and
// "mac", so that a script can check a chain.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

var (
	// ErrBroken: the chain in the store is not one that can be continued: its
	// head is unreadable, or is not its end. Nothing was written. Verify says
	// more; a backup of the store holds what was there.
	ErrBroken = errors.New("audit chain is broken")
	// ErrBusy: entries were pruned all the while; ask again.
	ErrBusy = errors.New("audit is being pruned")
	// ErrEnded: the act has its outcome already.
	ErrEnded = errors.New("act has its outcome already")
	// ErrBadCursor: the cursor is not one that List gave.
	ErrBadCursor = errors.New("not a cursor of the audit")
)

// The results of an act.
const (
	Done    = "done"    // it happened
	Refused = "refused" // it was not allowed, and did not happen
	Failed  = "failed"  // it was allowed but did not come to a good end; Status and Detail say how
)

// patience bounds how long one entry waits for the store: who asks for an act
// must be told at some time that it cannot be recorded.
const patience = 10 * time.Second

// Act is what somebody asks for. Request is anything that JSON can hold;
// secrets are the caller's to leave out.
type Act struct {
	Actor    engine.Actor
	Action   string // of the admin policy: "apps.create"
	Resource engine.Resource
	Request  any
	RemoteIP string
}

// Outcome is what came of it. Before and After are what was acted upon; nil
// where there was nothing, or is nothing any more.
type Outcome struct {
	Result        string // Done, Refused or Failed
	Status        int    // of the HTTP answer; 0: there was none
	Detail        string
	Before, After any
}

// Options of a Log. Store is required.
type Options struct {
	Store store.Store
	// MAC is keyed by a key that is not in the store, for this purpose alone.
	// nil: the chain is of plain SHA-256, which shows slips and not forgers.
	MAC func(data []byte) []byte
	// Check says whether mac is one that MAC makes or once made of data, in
	// constant time: with keys that rotate, under any that is still kept.
	// nil: what MAC makes now is the only one.
	Check func(data, mac []byte) bool
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default(). It is the witness outside the store
}

// Log appends to the chain and reads it. Several, in several processes, may
// append to one store. It is safe for concurrent use.
type Log struct {
	store store.Store
	mac   func([]byte) []byte
	check func(data, mac []byte) bool
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	opened bool
	last   head // the latest that this process wrote, or found when it began
}

// New returns the Log of a store. It starts nothing.
func New(o Options) *Log {
	l := &Log{store: o.Store, mac: o.MAC, check: o.Check, now: o.Now, log: o.Log}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	if l.check == nil && l.mac != nil {
		l.check = func(data, mac []byte) bool { return equal(l.mac(data), mac) }
	}
	return l
}

// Pending is an act that was announced and has no outcome yet.
type Pending struct {
	log   *Log
	act   Act
	seq   uint64
	ended atomic.Bool
}

// Seq is the number of the intent's entry.
func (p *Pending) Seq() uint64 { return p.seq }

// Begin stores what is about to be done. When it returns an error the act must
// not happen: it would leave no trace.
func (l *Log) Begin(ctx context.Context, a Act) (*Pending, error) {
	e, err := l.append(ctx, l.entry(Intent, a))
	if err != nil {
		return nil, fmt.Errorf("record intent: %w", err)
	}
	return &Pending{log: l, act: a, seq: e.Seq}, nil
}

// End stores what came of the act, whatever became of ctx meanwhile: a caller
// that hangs up must not get rid of the record. On an error the intent stays
// without an outcome, and Verify shows it. A second End is ErrEnded.
func (p *Pending) End(ctx context.Context, o Outcome) error {
	if p.ended.Swap(true) {
		return ErrEnded
	}
	e := p.log.entry(Ended, Act{Actor: p.act.Actor, Action: p.act.Action, Resource: p.act.Resource, RemoteIP: p.act.RemoteIP})
	e.Intent = p.seq
	e.outcome(o)
	if _, err := p.log.append(context.WithoutCancel(ctx), e); err != nil {
		return fmt.Errorf("record outcome of %d: %w", p.seq, err)
	}
	return nil
}

// Record stores an act and its outcome as one entry: a refusal, or an act that
// the same transaction does.
func (l *Log) Record(ctx context.Context, a Act, o Outcome) error {
	e := l.entry(Whole, a)
	e.outcome(o)
	if _, err := l.append(context.WithoutCancel(ctx), e); err != nil {
		return fmt.Errorf("record act: %w", err)
	}
	return nil
}

// append links e to the head and makes it the head, in one transaction.
func (l *Log) append(ctx context.Context, e Entry) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e.Time = l.now().UTC()
	var done Entry
	_, err := l.store.Update(ctx, func(tx store.Tx) error {
		h, err := readHead(tx.Get)
		if err != nil {
			return err
		}
		if h.Seq == 0 {
			if err := l.mayBegin(tx); err != nil {
				return err
			}
		}
		done, err = l.link(tx, h, e)
		return err
	})
	if err != nil {
		l.log.ErrorContext(ctx, "audit entry could not be stored", "kind", e.Kind, "action", e.Action, "actor", e.Actor.Kind+":"+e.Actor.ID, "error", err)
		return Entry{}, err
	}
	l.witness(ctx, done)
	return done, nil
}

// mayBegin refuses to begin a chain where there was one: its head is gone.
func (l *Log) mayBegin(tx store.Tx) error {
	l.mu.Lock()
	had := l.opened || l.last.Seq > 0
	l.mu.Unlock()
	a, err := l.readAnchor(tx.Get)
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	if had || err != nil || a.Seq > 0 {
		return fmt.Errorf("%w: its head is gone", ErrBroken)
	}
	return nil
}

// link makes e the entry after the head, and the head.
func (l *Log) link(tx store.Tx, h head, e Entry) (Entry, error) {
	e.Seq, e.Prev = h.Seq+1, h.Hash
	// A head that somebody else set must not become ours by being built upon;
	// but refusing here would let a key that was thrown away too early lock
	// every operator out.
	e.Unproven = !l.proven(h)
	if _, err := tx.Get(key(e.Seq)); err == nil {
		return Entry{}, fmt.Errorf("%w: entry %d is there already", ErrBroken, e.Seq)
	} else if !errors.Is(err, store.ErrNotFound) {
		return Entry{}, err
	}
	value, err := l.seal(&e)
	if err != nil {
		return Entry{}, err
	}
	if err := tx.Put(key(e.Seq), value); err != nil {
		return Entry{}, err
	}
	if e.Prune {
		h.Pruned = e.Seq
	}
	return e, l.writeHead(tx, head{V: version, Seq: e.Seq, Hash: e.Hash, Pruned: h.Pruned})
}

// unlessBroken logs that the chain is broken, which keeps nothing from starting.
func (l *Log) unlessBroken(ctx context.Context, err error) error {
	if !errors.Is(err, ErrBroken) {
		return err
	}
	l.log.ErrorContext(ctx, "the audit cannot be continued: nothing that must be recorded will be done; see `batterygate audit verify`", "error", err)
	return nil
}

// witness tells of an entry outside the store.
func (l *Log) witness(ctx context.Context, e Entry) {
	l.mu.Lock()
	if e.Seq > l.last.Seq {
		l.last = head{Seq: e.Seq, Hash: e.Hash}
	}
	l.mu.Unlock()
	l.log.InfoContext(ctx, "audit", "seq", e.Seq, "hash", e.Hash, "kind", e.Kind, "intent", e.Intent, "action", e.Action,
		"actor", e.Actor.Kind+":"+e.Actor.ID, "resource", e.Resource.Type+":"+e.Resource.ID, "organization_id", e.Resource.OrganizationID,
		"result", e.Result, "status", e.Status, "remote_ip", e.RemoteIP)
}
