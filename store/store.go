// Package store is the small contract behind which everything that must
// survive a restart is kept: directory registers, role mappings, apps,
// sessions, tokens. One process keeps it in bbolt (store/boltstore); several
// replicas will share it through etcd. Both pass store/storetest, and both
// enforce the limits of the stricter one, so that what works on a laptop works
// in a cluster.
//
// Keys read room/kind/id, for example "directory/user/directory_user_01…".
// Values are versioned JSON that their room owns; the store never looks inside.
//
// The one thing the store promises beyond a map is order: every committed
// Update has a revision, revisions count up by one, and Watch tells every
// change once, in that order. All that answers requests is built from Watch,
// so a replica that did not take the write sees what the one that did sees.
package store

import (
	"context"
	"errors"
)

// The limits that every backend enforces. They are etcd's defaults (1.5 MiB a
// request, 128 operations a transaction) with room for its own framing.
const (
	MaxKey     = 1 << 10    // bytes of a key
	MaxValue   = 1 << 20    // bytes of a value
	MaxTxBytes = 1400 << 10 // bytes of all keys and values one Update writes
	MaxTxOps   = 128        // distinct keys one Update reads, and distinct keys it writes
)

var (
	// ErrNotFound: the key has no value.
	ErrNotFound = errors.New("store: key not found")
	// ErrTooLarge: a key, a value or a transaction is over the limits above.
	ErrTooLarge = errors.New("store: over the size limit")
	// ErrInvalidKey: the key is empty or holds a NUL byte.
	ErrInvalidKey = errors.New("store: invalid key")
	// ErrCompacted: Watch was asked for changes that are no longer kept, or the
	// watcher fell too far behind. List again and watch from its revision.
	ErrCompacted = errors.New("store: revision compacted")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Entry is one key with its value and the revision that last wrote it.
// The receiver owns Value and may keep it, but must not write into it.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Deleted  bool // only in a Change
}

// Change is what one Update wrote, in key order, with its revision.
type Change struct {
	Revision uint64
	Entries  []Entry
}

// Tx is what an Update's function sees: a consistent view with its own writes
// on top. Get returns ErrNotFound for an absent key. It is valid only inside
// the function.
type Tx interface {
	Get(key string) ([]byte, error)
	Put(key string, value []byte) error
	Delete(key string) error
}

// Store is the contract. Implementations are safe for concurrent use.
type Store interface {
	// Get returns the entry of key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// List returns every entry whose key starts with prefix, in key order,
	// and the revision of the store at that moment.
	List(ctx context.Context, prefix string) ([]Entry, uint64, error)

	// Update runs fn and commits what it wrote, atomically and durably: when
	// Update returns nil the change survives a crash. It returns the revision
	// of the commit, or the current revision if fn wrote nothing. If fn
	// returns an error, nothing is written and that error is returned as it
	// is. fn may run more than once and must have no effect but through Tx.
	// A canceled context stops a waiting Update; one already committing ends.
	Update(ctx context.Context, fn func(Tx) error) (uint64, error)

	// Watch calls fn with every change after revision from whose keys start
	// with prefix: each once, in order, as many at a time as are there. A
	// change none of whose keys match comes with no entries, so a watcher
	// always learns how far it has seen. Watch returns when ctx ends (its
	// error), when fn returns an error (that error), when the store closes
	// (ErrClosed) or when changes after from are no longer kept (ErrCompacted).
	Watch(ctx context.Context, prefix string, from uint64, fn func([]Change) error) error

	// Close releases the store. Updates and watches end with ErrClosed.
	Close() error
}
