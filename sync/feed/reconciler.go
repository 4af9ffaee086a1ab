package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
	"golang.org/x/time/rate"
)

// What a reconcile of one directory says beside WorkOS's and the store's errors.
var (
	// ErrNoDirectory: neither WorkOS nor this program knows the directory.
	ErrNoDirectory = errors.New("no such directory")
	// ErrNotLinked: WorkOS does not sync the directory now, so what it lists of
	// it says nothing about its users.
	ErrNotLinked = errors.New("the directory is not linked")
	// ErrInconsistent: WorkOS's answers do not fit together. Nothing is changed.
	ErrInconsistent = errors.New("the answers of WorkOS do not fit together")
)

const (
	// otherReads limits what has no limit of its own per directory, to a part of
	// the 6,000 requests a minute that an API key has: people sign in through the
	// same key.
	otherReads = rate.Limit(50)
	// readers is how many requests of one directory are under way at once, so
	// that the rate limit, not the latency, says how long a read takes.
	readers = 4
)

// reconciler compares what is known with what WorkOS holds.
type reconciler struct {
	o     *CatchUpOptions
	m     *meters
	board board
	other *rate.Limiter // of calls beside /directory_users
	slots chan struct{} // directories read at once
	asked chan struct{} // a full reconcile is wanted now

	mu       sync.Mutex
	locks    map[string]chan struct{} // by directory; "" is what is above them
	nextFull time.Time
}

func newReconciler(o *CatchUpOptions, m *meters) *reconciler {
	return &reconciler{
		o: o, m: m, other: rate.NewLimiter(otherReads, int(otherReads)),
		slots: make(chan struct{}, o.Parallel), asked: make(chan struct{}, 1), locks: map[string]chan struct{}{},
	}
}

// askAll makes the loop reconcile everything as soon as it can.
func (r *reconciler) askAll() {
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

func (r *reconciler) progress() []Progress { return r.board.all() }

func (r *reconciler) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nextFull
}

// lock waits for the turn of a directory; two reads of one directory at once
// would share its rate limit and could apply the older last.
func (r *reconciler) lock(ctx context.Context, dir string) (unlock func(), err error) {
	r.mu.Lock()
	l := r.locks[dir]
	if l == nil {
		l = make(chan struct{}, 1)
		r.locks[dir] = l
	}
	r.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin puts a reconcile on the board and waits for its turn.
func (r *reconciler) begin(ctx context.Context, dir string, dry bool) (t *tracker, end func(), err error) {
	t = &tracker{now: r.o.Now, p: Progress{Directory: dir, DryRun: dry, Phase: phaseWaiting, Started: r.o.Now()}}
	r.board.add(t)
	unlock, err := r.lock(ctx, dir)
	if err != nil {
		r.board.remove(t)
		return nil, nil, err
	}
	return t, func() { unlock(); r.board.remove(t) }, nil
}

// reconcile reads one directory, or all if only is empty. What is above the
// directories is always read first: it says which there are.
func (r *reconciler) reconcile(ctx context.Context, only string, dry bool) ([]directory.Difference, error) {
	w, err := r.world(ctx, dry)
	if err != nil {
		r.aborted(ctx, only, dry, err)
		return nil, err
	}
	var out []directory.Difference
	if only == "" || w.gone[only] {
		out = append(out, w.diff)
	}
	var dirs []workosapi.Directory
	for _, d := range w.directories {
		if only == "" || only == d.ID {
			dirs = append(dirs, d)
		}
	}
	if only != "" && len(dirs) == 0 && !w.gone[only] {
		return nil, fmt.Errorf("%w: %.80q", ErrNoDirectory, only)
	}
	diffs, errs := r.directories(ctx, dirs, dry)
	for i, d := range dirs {
		switch {
		case errs[i] == nil:
			out = append(out, diffs[i])
		case errors.Is(errs[i], ErrNotLinked) && only == "":
			errs[i] = nil // it is noted, and it is no failure of what was asked for
		default:
			errs[i] = fmt.Errorf("directory %s: %w", d.ID, errs[i])
		}
	}
	return out, errors.Join(errs...)
}

// directories reconciles several, Parallel at once, and says how each went. One
// that cannot be read does not stop the others.
func (r *reconciler) directories(ctx context.Context, dirs []workosapi.Directory, dry bool) ([]directory.Difference, []error) {
	diffs, errs := make([]directory.Difference, len(dirs)), make([]error, len(dirs))
	var wg sync.WaitGroup
	for i, d := range dirs {
		wg.Go(func() { diffs[i], errs[i] = r.directory(ctx, d, dry) })
	}
	wg.Wait()
	return diffs, errs
}

// directory reconciles one, in its turn and when a slot is free: reads all of
// it, confirms what is missing, and only then changes anything.
func (r *reconciler) directory(ctx context.Context, d workosapi.Directory, dry bool) (diff directory.Difference, err error) {
	t, end, err := r.begin(ctx, d.ID, dry)
	if err != nil {
		return diff, err
	}
	defer end()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return diff, ctx.Err()
	}
	started := t.start()
	defer func() { r.ended(ctx, d.ID, dry, started, err) }()
	rd := &reader{r: r, t: t, d: d}
	reading, err := rd.read(t.watch(ctx), started)
	if err != nil {
		return diff, err
	}
	t.phase(phaseApply)
	if dry {
		return r.o.Directory.Compare(reading), nil
	}
	diff, err = r.o.Directory.ApplyReading(ctx, reading)
	if errors.Is(err, directory.ErrOldReading) {
		return diff, nil // another replica read it later, and was faster
	} else if err != nil {
		return diff, err
	}
	r.o.publishedWithin(ctx, diff.Revision)
	return diff, nil
}

// ended notes how a directory's reconcile went; a dry run leaves no trace. It
// counts as of its beginning: what happened since may have been missed.
func (r *reconciler) ended(ctx context.Context, dir string, dry bool, started time.Time, err error) {
	took := r.o.Now().Sub(started)
	r.m.reconciled(ctx, err, took)
	if ctx.Err() != nil {
		return // it was told to stop; that says nothing about the directory
	}
	if err != nil {
		r.o.Log.WarnContext(ctx, "a directory could not be reconciled, and stays as it is", "directory", dir, "dry_run", dry, "took", took, "error", err)
	} else {
		r.o.Log.InfoContext(ctx, "directory reconciled", "directory", dir, "dry_run", dry, "took", took)
	}
	if dry {
		return
	}
	if err := r.o.Directory.NoteReconcile(ctx, dir, started, err); err != nil {
		r.o.Log.WarnContext(ctx, "a reconcile could not be noted", "directory", dir, "error", err)
	}
}

// aborted notes for every directory concerned that nothing could be read.
func (r *reconciler) aborted(ctx context.Context, only string, dry bool, err error) {
	if dry || ctx.Err() != nil {
		return
	}
	now, view := r.o.Now(), r.o.Directory.View()
	for _, org := range view.Organizations() {
		for _, d := range view.Directories(org.ID) {
			if only != "" && d.ID != only {
				continue
			}
			if err := r.o.Directory.NoteReconcile(ctx, d.ID, now, err); err != nil {
				r.o.Log.WarnContext(ctx, "a reconcile could not be noted", "directory", d.ID, "error", err)
			}
		}
	}
}
