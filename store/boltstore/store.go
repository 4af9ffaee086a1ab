// Package boltstore keeps the store contract in one bbolt file, for the usual
// case of one Battery Gate process with nothing to run beside it.
//
// Reads are bbolt read transactions. Writes are group commits: whoever gets
// the write lock runs everything that waits in one bbolt transaction, with one
// fsync for all (update.go), so that many webhooks at once cost little more
// than one. Changes go to watchers from memory, in order, once they are on
// disk (history.go). bbolt locks its file to one process, so what happened
// before this process opened it is never watchable: List first, then Watch.
//
// In the file, bucket "data" holds key → revision (8 bytes, big endian) and
// value; bucket "meta" holds the format's version and the store's revision.
package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"battery.app/gate/store"
)

const (
	format      = 1
	lockTimeout = time.Second // how long Open waits for another process to let go of the file
	ctxEvery    = 1024        // entries that List reads between two looks at its context

	// initialMap is address space, not memory. While the file fits, it grows
	// without a new mapping, which would have to wait for every reader: a slow
	// Backup must not stop the writers.
	initialMap = 1 << 30
)

// Options may be left zero.
type Options struct {
	Log            *slog.Logger // nil: silent
	Watchable      int          // changes kept for watchers; 0: 65,536
	WatchableBytes int          // and at most so many bytes of them; 0: 64 MiB
}

// Store is a store.Store over one bbolt file. Make it with Open.
type Store struct {
	db      *bolt.DB
	log     *slog.Logger
	history *history
	commit  func(*bolt.Tx) error // (*bolt.Tx).Commit; tests let it fail

	writer   chan struct{} // the write lock: a channel, so that waiting for it can be given up
	revision uint64        // of the last commit; guarded by writer

	mu    sync.Mutex
	queue []*request    // updates waiting for a leader
	over  error         // why the store takes no more calls; nil while it does
	ended chan struct{} // closed when over is set

	closing  sync.Once
	closeErr error
}

var _ store.Store = (*Store)(nil)

// Open opens the bbolt file at path. It creates the file with mode 0600 and
// missing directories above it with mode 0700. If another process holds the
// file it gives up after a second, with an error that says so.
func Open(path string, opt Options) (*Store, error) {
	log := opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	made, err := makeDirs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return nil, openError(path, err)
	}
	revision, err := prepare(db)
	if err == nil {
		err = syncDirs(append(made, filepath.Dir(path)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		log.Warn("the store's file is open to other users of this machine; it should have mode 0600",
			"path", path, "mode", info.Mode().Perm().String())
	}
	return &Store{
		db: db, log: log, revision: revision,
		history: newHistory(revision, opt.Watchable, opt.WatchableBytes),
		commit:  (*bolt.Tx).Commit,
		writer:  make(chan struct{}, 1),
		ended:   make(chan struct{}),
	}, nil
}

// boltOptions are etcd's: the free list is not written, which would rewrite
// all of it at every commit, but found by a scan at Open (0.2 s for a million
// entries), and kept as a map, whose cost does not grow with fragmentation and
// which bbolt means to make its only one.
func boltOptions() *bolt.Options {
	o := &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType}
	if strconv.IntSize == 64 && runtime.GOOS != "windows" { // Windows would make the file that large
		o.InitialMmapSize = initialMap
	}
	return o
}

func openError(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("open store %s: another process holds the file; stop it, or let one of the two use another file: %w", path, err)
	}
	return fmt.Errorf("open store %s: %w", path, err)
}

var (
	dataBucket  = []byte("data")
	metaBucket  = []byte("meta")
	formatKey   = []byte("format")
	revisionKey = []byte("revision")
)

// prepare lays the buckets in a new file, refuses a file that is not ours or
// from a later version, and returns the revision.
func prepare(db *bolt.DB) (revision uint64, err error) {
	err = db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			return lay(tx)
		}
		if v, err := number(meta, formatKey); err != nil || v != format {
			return fmt.Errorf("format is %d, this version reads %d (%w)", v, format, errors.Join(err, bolterrors.ErrVersionMismatch))
		}
		if tx.Bucket(dataBucket) == nil {
			return errors.New("the file has no data bucket: it is damaged; restore a backup")
		}
		revision, err = number(meta, revisionKey)
		return err
	})
	return revision, err
}

func lay(tx *bolt.Tx) error {
	if name, _ := tx.Cursor().First(); name != nil {
		return errors.New("the bbolt file belongs to another program")
	}
	if _, err := tx.CreateBucket(dataBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	if err := putNumber(meta, formatKey, format); err != nil {
		return err
	}
	return putNumber(meta, revisionKey, 0)
}

func number(b *bolt.Bucket, key []byte) (uint64, error) {
	v := b.Get(key)
	if len(v) != 8 {
		return 0, fmt.Errorf("%s: %d bytes instead of 8", key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func putNumber(b *bolt.Bucket, key []byte, n uint64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, n))
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := checkKey(key); err != nil {
		return store.Entry{}, err
	}
	var e store.Entry
	err := s.view(ctx, func(tx *bolt.Tx) error {
		raw := tx.Bucket(dataBucket).Get([]byte(key))
		if raw == nil {
			return store.ErrNotFound
		}
		var err error
		e, err = entry(key, raw)
		return err
	})
	return e, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, uint64, error) {
	return s.list(ctx, prefix, "")
}

// ListExcept is List of everything but the keys that start with a prefix: these
// are not read, so that what only grows (the audit) costs who needs the rest
// nothing.
func (s *Store) ListExcept(ctx context.Context, except string) ([]store.Entry, uint64, error) {
	return s.list(ctx, "", except)
}

func (s *Store) list(ctx context.Context, prefix, except string) ([]store.Entry, uint64, error) {
	var (
		entries  []store.Entry
		revision uint64
	)
	err := s.view(ctx, func(tx *bolt.Tx) (err error) {
		if revision, err = number(tx.Bucket(metaBucket), revisionKey); err != nil {
			return err
		}
		c, p := tx.Bucket(dataBucket).Cursor(), []byte(prefix)
		for k, raw := c.Seek(p); k != nil && bytes.HasPrefix(k, p); k, raw = c.Next() {
			if except != "" && bytes.HasPrefix(k, []byte(except)) {
				if k, raw = c.Seek(after(except)); k == nil {
					break
				}
			}
			if len(entries)%ctxEvery == 0 {
				if err := s.usable(ctx); err != nil {
					return err
				}
			}
			e, err := entry(string(k), raw)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return entries, revision, nil
}

// after is where the keys end that start with a prefix, which is text: its last
// byte is never the greatest.
func after(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// view runs fn in a read transaction, unless ctx or the store is at its end.
func (s *Store) view(ctx context.Context, fn func(*bolt.Tx) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	err := s.db.View(fn)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) { // Close came between
		return store.ErrClosed
	}
	return err
}

// entry takes a stored value apart. It copies: raw is bbolt's own memory.
func entry(key string, raw []byte) (store.Entry, error) {
	if len(raw) < revisionSize {
		return store.Entry{}, fmt.Errorf("store: the value of %q is damaged; restore a backup", key)
	}
	return store.Entry{
		Key:      key,
		Value:    bytes.Clone(raw[revisionSize:]),
		Revision: binary.BigEndian.Uint64(raw),
	}, nil
}

// Close implements store.Store. It lets a commit under way end, and may be
// called more than once.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.end(store.ErrClosed)
		s.writer <- struct{}{} // for good: no leader after this one
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("close store: %w", err)
		}
	})
	return s.closeErr
}

// end makes err the answer to every waiting and every later call.
func (s *Store) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil {
		close(s.ended)
	}
	s.over = err
	for _, r := range s.queue {
		r.err = err
		close(r.done)
	}
	s.queue = nil
}

// usable returns why a call must not go on, if so.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
