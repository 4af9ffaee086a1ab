package boltstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	bolt "go.etcd.io/bbolt"

	"battery.app/gate/store"
)

// What one bbolt transaction takes at most, so that its memory and the time
// that others wait for it stay bounded. What is over waits for the next one.
const (
	maxBatch      = 1024
	maxBatchBytes = 8 << 20
)

// errAborted is what is left for a batch whose leader's goroutine ended in the
// middle of it (runtime.Goexit in an update function).
var errAborted = errors.New("store: update aborted")

// request is one Update on its way through the queue.
type request struct {
	ctx  context.Context
	fn   func(store.Tx) error
	done chan struct{} // closed when revision and err are final

	revision uint64
	err      error
}

// Update implements store.Store. fn may run on another goroutine, that of the
// update which leads the commit. A panic of fn is an error of its Update, and
// so is an operation of Tx that was refused, even if fn returns nil.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := s.enqueue(r); err != nil {
		return 0, err
	}
	select {
	case s.writer <- struct{}{}:
		s.lead(r)
	case <-r.done:
	case <-ctx.Done():
		if s.withdraw(r) {
			return 0, ctx.Err()
		}
	}
	<-r.done
	return r.revision, r.err
}

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return s.over
	}
	s.queue = append(s.queue, r)
	return nil
}

// withdraw takes r out of the queue. It reports false if a leader has it.
func (s *Store) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, r)
	if i < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return true
}

// next takes the first waiting request, or returns nil.
func (s *Store) next() *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	r := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return r
}

// lead commits what waits until r is among it. Whoever still waits then gets
// the write lock next, so nobody leads for longer than its own request takes.
func (s *Store) lead(r *request) {
	defer func() { <-s.writer }()
	for {
		select {
		case <-r.done:
			return
		default:
			s.commitWaiting()
		}
	}
}

// batch is what goes into one bbolt transaction.
type batch struct {
	requests []*request // those that wait for the commit
	changes  []store.Change
	revision uint64 // after the changes
}

// commitWaiting commits one batch and answers everyone in it.
func (s *Store) commitWaiting() {
	b := &batch{revision: s.revision}
	err := errAborted
	defer func() {
		if p := recover(); p != nil { // bbolt panics where it finds its file damaged
			err = s.broken(fmt.Errorf("panic: %v", p))
			s.log.Error("panic in a commit", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		for _, r := range b.requests {
			if err != nil {
				r.revision, r.err = 0, err
			}
			close(r.done)
		}
	}()
	err = s.commitBatch(b)
	if err == nil && len(b.changes) > 0 {
		s.revision = b.revision
		s.history.publish(b.changes)
	}
}

func (s *Store) commitBatch(b *batch) error {
	tx, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin commit: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // says ErrTxClosed after a commit

	if err := s.gather(tx.Bucket(dataBucket), b); err != nil {
		return fmt.Errorf("write batch: %w", err)
	}
	if len(b.changes) == 0 {
		return nil
	}
	if err := putNumber(tx.Bucket(metaBucket), revisionKey, b.revision); err != nil {
		return fmt.Errorf("write revision: %w", err)
	}
	if err := s.commit(tx); err != nil {
		return s.failedCommit(err)
	}
	return nil
}

// gather runs what waits, in turn, each on its own overlay over what those
// before it wrote. One that fails leaves no trace, but it too is answered only
// after the commit: why it failed may be something that it read of the others.
func (s *Store) gather(data *bolt.Bucket, b *batch) error {
	size, yielded := 0, false
	for size < maxBatchBytes && len(b.requests) < maxBatch {
		r := s.next()
		if r == nil && !yielded {
			// Those whom the last commit answered may be about to come again:
			// let them, or two halves of the writers take turns, each waiting
			// for the other's fsync.
			yielded = true
			runtime.Gosched()
			continue
		}
		if r == nil {
			return nil
		}
		b.requests = append(b.requests, r) // first, so that it is answered whatever happens
		o, err := s.run(r, data)
		if err != nil {
			r.err = err
			continue
		}
		entries, err := o.apply(b.revision + 1)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			b.revision++
			b.changes = append(b.changes, store.Change{Revision: b.revision, Entries: entries})
		}
		r.revision = b.revision
		size += o.size
	}
	return nil
}

// run calls the update function of r.
func (s *Store) run(r *request, data *bolt.Bucket) (_ *overlay, err error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	o := newOverlay(data)
	defer func() {
		o.ended = true
		if p := recover(); p != nil {
			s.log.Error("panic in an update function; nothing of it is written",
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("store: update function panicked: %v", p)
		}
	}()
	if err := r.fn(o); err != nil {
		return nil, err
	}
	return o, o.refused
}

// failedCommit says whether the store can go on after a commit failed. If the
// file still shows the state before it (a full disk, mostly), it can. If it
// shows the new state, then that was written and only its fsync failed:
// nobody knows what a crash would leave, and the store ends.
func (s *Store) failedCommit(cause error) error {
	var kept uint64
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		kept, err = number(tx.Bucket(metaBucket), revisionKey)
		return err
	})
	if err != nil || kept != s.revision {
		return s.broken(errors.Join(cause, err))
	}
	s.log.Error("commit failed; nothing of it is written", "error", cause)
	return fmt.Errorf("commit: %w", cause)
}

// broken ends the store for good: reads, updates and watches fail, so that no
// one takes what may not be on disk for true. A restart reads the file anew.
func (s *Store) broken(cause error) error {
	err := fmt.Errorf("store: the file can no longer be trusted, restart to read it anew: %w", cause)
	s.log.Error("the store ends: it does not know what is on disk", "error", cause)
	s.end(err)
	return err
}
