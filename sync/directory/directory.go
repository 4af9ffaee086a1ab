package directory

import (
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"battery.app/gate/store"
)

// Prefix is where all keys of this room begin. Watch it and feed Apply.
const Prefix = "directory/"

// What the writing calls refuse. None of the messages repeats input.
var (
	// ErrMalformed: an event lacks what its type requires, or its parts disagree
	// with each other or with what is known. Nothing was written.
	ErrMalformed = errors.New("malformed event")
	// ErrInvalid: an operator's input is not acceptable.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the organization or user is unknown or deleted.
	ErrNotFound = errors.New("not found")
	// ErrSlugTaken: the slug belongs, or once belonged, to another organization.
	ErrSlugTaken = errors.New("slug is taken")
	// ErrChanged: what was to be replaced is not what is there any more.
	ErrChanged = errors.New("changed in between")
	// ErrSlugFixed: the organization has another slug, and keeps it.
	ErrSlugFixed = errors.New("an organization keeps its slug")
	// ErrPinned: the profile is linked to another user that is not deleted.
	ErrPinned = errors.New("profile is linked to another user")
	// ErrCorrupt: a stored value cannot be read, so nothing may be built on it.
	ErrCorrupt = errors.New("stored value cannot be read")
)

// Options configure a Directory. The zero value works.
type Options struct {
	Log *slog.Logger     // nil: slog.Default()
	Now func() time.Time // nil: time.Now

	// Operators is the organization that runs this program. Only its groups may
	// map to roles that begin with "battery:". Empty: nobody's.
	Operators string

	// Connections are those that an operator configured beside WorkOS's (OpenID
	// providers), as organization id → connection id. Each counts as a live one of
	// its organization.
	Connections map[string]string

	// Staleness is how old data may be before input.sync.stale says so: counted
	// from when the Events API was last read to its end. Set it only where
	// something calls ApplyPage or NotePoll. Zero: nothing counts as stale.
	Staleness time.Duration

	// ReconcileStaleness bounds in the same way, directory by directory, when a
	// reconcile last ended well. Zero: no such bound.
	ReconcileStaleness time.Duration

	// ViewWait is how long ApplyReading waits until the View holds what the
	// store held when it began. Zero: two seconds; below zero: not at all.
	ViewWait time.Duration
}

// Directory writes the registers and keeps the View of them. Writing is safe
// for concurrent use and on any replica; Load and Apply are for one goroutine.
type Directory struct {
	store     store.Store
	log       *slog.Logger
	now       func() time.Time
	operators string

	epochs uint64 // last epoch given to an organization; only Load and Apply touch it
	view   atomic.Pointer[View]
	clocks clocks
	soiled chan struct{} // holds one token while a reading is wanted

	configured map[string]string // organization → connection that is not WorkOS's

	viewWait time.Duration
	seen     atomic.Uint64 // revision that the View has
}

// New returns a Directory over st with an empty View. It starts nothing: feed
// it with Load and Apply.
func New(st store.Store, o Options) *Directory {
	d := &Directory{store: st, log: o.Log, now: o.Now, operators: o.Operators, configured: maps.Clone(o.Connections), soiled: make(chan struct{}, 1)}
	if d.log == nil {
		d.log = slog.Default()
	}
	if d.viewWait = o.ViewWait; d.viewWait == 0 {
		d.viewWait = 2 * time.Second
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.clocks.now = d.now
	d.clocks.bound, d.clocks.readBound = o.Staleness.Milliseconds(), o.ReconcileStaleness.Milliseconds()
	d.view.Store(emptyView(d))
	return d
}

// View is the current state: immutable, never nil, cheap to take. An
// organization that is not in it grants nothing.
func (d *Directory) View() *View { return d.view.Load() }

// Load replaces the View by one built from entries, the whole of List(Prefix).
func (d *Directory) Load(entries []store.Entry) {
	b := d.build(emptyView(d))
	seen := uint64(0)
	for i := range entries {
		b.entry(&entries[i])
		seen = max(seen, entries[i].Revision)
	}
	d.view.Store(b.done())
	d.seen.Store(seen)
}

// Apply derives the next View from a change. It costs what the change costs,
// not what the directory holds.
func (d *Directory) Apply(ch store.Change) {
	b := d.build(d.view.Load())
	for i := range ch.Entries {
		if e := ch.Entries[i]; strings.HasPrefix(e.Key, Prefix) {
			if e.Revision == 0 {
				e.Revision = ch.Revision
			}
			b.entry(&e)
		}
	}
	if b.touched {
		d.view.Store(b.done())
	}
	d.seen.Store(ch.Revision)
}

// rolesReserved is the beginning of the roles that govern this program itself.
const rolesReserved = "battery:"

// mayHold reports whether an organization's groups may map to role.
func mayHold(operators, organization, role string) bool {
	return !strings.HasPrefix(role, rolesReserved) || (operators != "" && operators == organization)
}
