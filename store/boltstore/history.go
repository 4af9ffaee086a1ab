package boltstore

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"

	"battery.app/gate/store"
)

const (
	defaultWatchable      = 65536
	defaultWatchableBytes = 64 << 20
	entryOverhead         = 96   // bytes that an entry takes beside its key and value, about
	maxDelivery           = 4096 // changes that one call of a watcher gets
)

// history is the last changes, for watchers. Revisions are consecutive, so
// changes[i] has revision base+1+i.
type history struct {
	maxCount, maxBytes int

	mu      sync.Mutex
	base    uint64 // the revision before the first change that is kept
	changes []store.Change
	bytes   int
	more    chan struct{} // closed, and replaced, when changes were added
}

func newHistory(revision uint64, maxCount, maxBytes int) *history {
	if maxCount <= 0 {
		maxCount = defaultWatchable
	}
	if maxBytes <= 0 {
		maxBytes = defaultWatchableBytes
	}
	return &history{maxCount: maxCount, maxBytes: maxBytes, base: revision, more: make(chan struct{})}
}

// publish adds committed changes, drops the oldest that are over the bounds,
// and wakes the watchers.
func (h *history) publish(changes []store.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, changes...)
	for _, c := range changes {
		h.bytes += changeSize(c)
	}
	drop := max(0, len(h.changes)-h.maxCount)
	for i, c := range h.changes {
		if i >= drop && h.bytes <= h.maxBytes {
			break
		}
		h.bytes -= changeSize(c)
		drop = max(drop, i+1)
	}
	clear(h.changes[:drop]) // the array lives on until it has grown full
	h.changes = h.changes[drop:]
	h.base += uint64(drop)
	close(h.more)
	h.more = make(chan struct{})
}

func changeSize(c store.Change) int {
	n := 0
	for _, e := range c.Entries {
		n += len(e.Key) + len(e.Value) + entryOverhead
	}
	return n
}

// after returns changes later than revision from, or a channel that is closed
// when there may be some.
func (h *history) after(from uint64) ([]store.Change, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from < h.base {
		return nil, nil, store.ErrCompacted
	}
	first := from - h.base
	if first >= uint64(len(h.changes)) {
		// A List between a commit and its publishing may even be ahead.
		return nil, h.more, nil
	}
	kept := h.changes[first:]
	return slices.Clone(kept[:min(len(kept), maxDelivery)]), nil, nil
}

// Watch implements store.Store. Changes made before this process opened the
// file are not kept: ErrCompacted.
func (s *Store) Watch(ctx context.Context, prefix string, from uint64, fn func([]store.Change) error) error {
	for {
		if err := s.usable(ctx); err != nil {
			return err
		}
		changes, more, err := s.history.after(from)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			select {
			case <-more:
			case <-ctx.Done():
			case <-s.ended:
			}
			continue
		}
		from = changes[len(changes)-1].Revision
		for i := range changes {
			changes[i].Entries = matching(changes[i].Entries, prefix)
		}
		if err := fn(changes); err != nil {
			return err
		}
	}
}

// matching copies the entries whose keys start with prefix out of a change.
func matching(entries []store.Entry, prefix string) []store.Entry {
	lo := sort.Search(len(entries), func(i int) bool { return entries[i].Key >= prefix })
	hi := lo
	for hi < len(entries) && strings.HasPrefix(entries[hi].Key, prefix) {
		hi++
	}
	if lo == hi {
		return nil
	}
	return slices.Clone(entries[lo:hi])
}
