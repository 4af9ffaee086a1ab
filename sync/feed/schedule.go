package feed

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"battery.app/gate/sync/workosapi"
)

// backoffFactor: a reconcile costs more than a poll, and waits longer.
const backoffFactor = 5

// turn is when a directory may be reconciled again, and how often it failed.
type turn struct {
	at       time.Time
	failures int
}

// schedule is the state of the reconcile loop; only run touches it.
type schedule struct {
	r        *reconciler
	full     time.Time       // the next full reconcile
	failures int             // full ones in a row of which nothing could be read
	turns    map[string]turn // by directory
	again    map[string]bool // directories that could not be read
	world    turn
}

// run reconciles everything at once, then hourly, when asked, and single
// directories when they are dirty, until ctx ends.
func (r *reconciler) run(ctx context.Context) error {
	s := &schedule{r: r, turns: map[string]turn{}, again: map[string]bool{}}
	for ctx.Err() == nil {
		now := r.o.Now()
		if !s.full.After(now) {
			s.runFull(ctx)
		} else {
			s.runDirty(ctx, now)
		}
		s.wait(ctx)
	}
	return ctx.Err()
}

// runFull reconciles all. If what is above the directories cannot be read, it
// is tried again as a whole; a directory that cannot is tried again alone.
func (s *schedule) runFull(ctx context.Context) {
	w, err := s.r.world(ctx, false)
	wait := s.r.o.ReconcileEvery
	if err == nil {
		s.failures = 0
		wait += time.Duration((rand.Float64() - 0.5) / 5 * float64(wait)) //nolint:gosec // jitter, not a secret
		clear(s.again)
		s.note(w.directories, s.readAll(ctx, w.directories))
	} else {
		s.failures++
		s.r.aborted(ctx, "", false, err)
		wait = min(wait, s.backoff(s.failures, err))
		if ctx.Err() == nil {
			s.r.o.Log.WarnContext(ctx, "the directories cannot be reconciled, and stay as they are",
				"error", err, "failures", s.failures, "again_in", wait)
		}
	}
	s.full = s.r.o.Now().Add(wait)
	s.r.mu.Lock()
	s.r.nextFull = s.full
	s.r.mu.Unlock()
}

func (s *schedule) readAll(ctx context.Context, dirs []workosapi.Directory) []error {
	_, errs := s.r.directories(ctx, dirs, false)
	return errs
}

// note keeps how directories went. One that is not linked waits for the next
// full reconcile.
func (s *schedule) note(dirs []workosapi.Directory, errs []error) {
	for i, d := range dirs {
		failed := errs[i] != nil && !errors.Is(errs[i], ErrNotLinked)
		s.turns[d.ID] = s.after(s.turns[d.ID], errs[i])
		if failed {
			s.again[d.ID] = true
		} else {
			delete(s.again, d.ID)
		}
	}
}

// backoff is the wait after the n-th failure in a row. What is not an outage
// will hardly be better soon.
func (s *schedule) backoff(n int, err error) time.Duration {
	most := backoffFactor * s.r.o.MaxBackoff
	if !errors.Is(err, workosapi.ErrUnavailable) && !errors.Is(err, workosapi.ErrRateLimited) {
		most = max(most, s.r.o.ReconcileEvery)
	}
	return backoff(n, backoffFactor*s.r.o.FirstBackoff, most, err)
}

// wanted are the directories that are dirty or could not be read, with the time
// when their turn comes.
func (s *schedule) wanted() map[string]time.Time {
	out := map[string]time.Time{}
	for _, id := range s.r.o.Directory.View().DirtyDirectories() {
		out[id] = s.turns[id].at
	}
	for id := range s.again {
		out[id] = s.turns[id].at
	}
	return out
}

// runDirty reconciles what asks for it and whose turn it is. While full
// reconciles fail, it waits for those: what fails is WorkOS.
func (s *schedule) runDirty(ctx context.Context, now time.Time) {
	if s.failures > 0 {
		return
	}
	due := map[string]bool{}
	for id, at := range s.wanted() {
		due[id] = !at.After(now)
	}
	maps.DeleteFunc(due, func(_ string, is bool) bool { return !is })
	lists := s.r.o.Directory.View().DirtyOrganizations() && !s.world.at.After(now)
	if len(due) == 0 && !lists {
		return
	}
	before := s.r.o.Directory.View()
	w, err := s.r.world(ctx, false)
	s.world = s.after(s.world, err)
	var dirs []workosapi.Directory
	for _, d := range w.directories {
		_, known := before.Directory(d.ID) // what was told of a new one may be lost
		if err == nil && (due[d.ID] || !known && s.turns[d.ID].at.IsZero()) {
			dirs = append(dirs, d)
			delete(due, d.ID)
		}
	}
	for id := range due { // not to be read now, or gone
		s.turns[id] = s.after(s.turns[id], err)
		if err == nil {
			delete(s.again, id)
		}
	}
	s.note(dirs, s.readAll(ctx, dirs))
}

// after is when a turn comes again, by how it went.
func (s *schedule) after(t turn, err error) turn {
	wait := s.r.o.DirtyEvery
	if err == nil {
		t.failures = 0
	} else {
		t.failures++
		wait = max(wait, s.backoff(t.failures, err))
	}
	t.at = s.r.o.Now().Add(wait)
	return t
}

// wait waits for the next full reconcile, a demand for one, or a directory
// whose turn has come.
func (s *schedule) wait(ctx context.Context) {
	now := s.r.o.Now()
	until := s.full
	if s.failures == 0 {
		for _, at := range s.wanted() {
			if at.Before(until) {
				until = at
			}
		}
		if s.r.o.Directory.View().DirtyOrganizations() && s.world.at.Before(until) {
			until = s.world.at
		}
	}
	t := time.NewTimer(max(time.Millisecond, until.Sub(now)))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-s.r.o.Directory.Dirty():
	case <-s.r.asked:
		s.full = time.Time{}
	}
}
