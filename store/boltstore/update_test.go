package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

// queue starts an update while the write lock is held, and returns once it
// waits in the queue, so that the order is known.
func queue(t *testing.T, s *boltstore.Store, ctx context.Context, fn func(store.Tx) error) *result {
	t.Helper()
	r, before := &result{done: make(chan struct{})}, s.Waiting()
	go func() {
		defer close(r.done)
		r.revision, r.err = s.Update(ctx, fn)
	}()
	for s.Waiting() == before {
		runtime.Gosched()
	}
	return r
}

type result struct {
	done     chan struct{}
	revision uint64
	err      error
}

func (r *result) wait() (uint64, error) {
	<-r.done
	return r.revision, r.err
}

func TestGroupCommit(t *testing.T) {
	t.Run("what waits is one transaction, in order, each with its revision", func(t *testing.T) {
		s := tempStore(t)
		commits := 0
		s.SetCommit(func(tx *bolt.Tx) error { commits++; return tx.Commit() })
		release := s.Hold()
		var waiting []*result
		for i := range 50 {
			waiting = append(waiting, queue(t, s, t.Context(), func(tx store.Tx) error {
				v, err := tx.Get("k")
				if (i > 0) != (err == nil) || len(v) != i {
					t.Errorf("update %d sees %q, %v", i, v, err)
				}
				return tx.Put("k", []byte(strings.Repeat("x", i+1)))
			}))
		}
		release()
		for i, r := range waiting {
			if rev, err := r.wait(); err != nil || rev != uint64(i+1) {
				t.Errorf("update %d: revision %d, %v", i, rev, err)
			}
		}
		if commits != 1 {
			t.Errorf("%d commits for what waited together", commits)
		}
	})

	t.Run("one that fails takes nobody with it", func(t *testing.T) {
		s := tempStore(t)
		errOwn := errors.New("own")
		spoil := func(then func(store.Tx) error) func(store.Tx) error {
			return func(tx store.Tx) error {
				return errors.Join(tx.Put("k", []byte("spoiled")), tx.Delete("a"), then(tx))
			}
		}
		release := s.Hold()
		good := []*result{queue(t, s, t.Context(), set("a", "1"))}
		failed := queue(t, s, t.Context(), spoil(func(store.Tx) error { return errOwn }))
		good = append(good, queue(t, s, t.Context(), set("b", "2")))
		panicked := queue(t, s, t.Context(), spoil(func(store.Tx) error { panic("own") }))
		large := queue(t, s, t.Context(), spoil(func(tx store.Tx) error { return tx.Put("l", make([]byte, store.MaxValue+1)) }))
		ctx, cancel := context.WithCancel(t.Context())
		canceled := queue(t, s, ctx, set("k", "spoiled"))
		cancel()
		if _, err := canceled.wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled while waiting: %v", err)
		}
		nothing := queue(t, s, t.Context(), func(store.Tx) error { return nil })
		good = append(good, queue(t, s, t.Context(), set("c", "3")))
		release()
		if _, err := failed.wait(); !errors.Is(err, errOwn) {
			t.Errorf("failing: %v", err)
		}
		if _, err := panicked.wait(); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("panicking: %v", err)
		}
		if _, err := large.wait(); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("over the limit: %v", err)
		}
		if rev, err := nothing.wait(); rev != 2 || err != nil {
			t.Errorf("writing nothing: %d, %v", rev, err)
		}
		for i, r := range good {
			if rev, err := r.wait(); err != nil || rev != uint64(i+1) {
				t.Errorf("good update %d: %d, %v", i, rev, err)
			}
		}
		wantKeys(t, s, "a=1 b=2 c=3")
	})

	t.Run("more than one transaction may hold waits for the next", func(t *testing.T) {
		s := tempStore(t)
		commits := 0
		s.SetCommit(func(tx *bolt.Tx) error { commits++; return tx.Commit() })
		release := s.Hold()
		var waiting []*result
		for i := range 20 {
			waiting = append(waiting, queue(t, s, t.Context(), set(fmt.Sprintf("k%02d", i), strings.Repeat("v", store.MaxValue))))
		}
		release()
		for _, r := range waiting {
			if _, err := r.wait(); err != nil {
				t.Error(err)
			}
		}
		if commits < 2 || commits > 4 {
			t.Errorf("%d commits for 20 MiB", commits)
		}
	})

	t.Run("a function that ends its goroutine stops nobody after it", func(t *testing.T) {
		s := tempStore(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = s.Update(context.Background(), func(tx store.Tx) error {
				_ = tx.Put("k", []byte("spoiled"))
				runtime.Goexit()
				return nil
			})
		})
		wg.Wait()
		put(t, s, "k", "good")
		wantKeys(t, s, "k=good")
	})

	t.Run("closing ends what waits", func(t *testing.T) {
		s := tempStore(t)
		release := s.Hold()
		waiting := queue(t, s, t.Context(), set("k", "v"))
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		if _, err := waiting.wait(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Update = %v", err)
		}
		release()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func wantKeys(t *testing.T, s *boltstore.Store, want string) {
	t.Helper()
	entries, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Key+"="+string(e.Value))
	}
	if g := strings.Join(got, " "); g != want {
		t.Errorf("store holds %q, want %q", g, want)
	}
}

func TestFailingCommit(t *testing.T) {
	t.Run("everyone in the batch is told, and a later update succeeds", func(t *testing.T) {
		s := tempStore(t)
		put(t, s, "k", "before")
		s.SetMaxSize(1) // the file cannot grow
		release := s.Hold()
		var waiting []*result
		for i := range 3 {
			waiting = append(waiting, queue(t, s, t.Context(), set(fmt.Sprint("k", i), strings.Repeat("v", 100_000))))
		}
		release()
		for i, r := range waiting {
			if rev, err := r.wait(); err == nil || rev != 0 {
				t.Errorf("update %d: %d, %v", i, rev, err)
			}
		}
		wantKeys(t, s, "k=before")
		s.SetMaxSize(0) // there is room again
		if rev := put(t, s, "k", "after"); rev != 2 {
			t.Errorf("next revision %d, want 2", rev)
		}
		wantKeys(t, s, "k=after")
	})

	t.Run("when nobody knows what is on disk the store ends, and a restart reads it anew", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "battery.db")
		s := open(t, path, boltstore.Options{})
		rev := put(t, s, "k", "before")
		errSync := errors.New("fsync: input/output error")
		s.SetCommit(func(tx *bolt.Tx) error { return errors.Join(tx.Commit(), errSync) })

		watched := make(chan error, 1)
		go func() {
			watched <- s.Watch(context.Background(), "", rev, func(cs []store.Change) error {
				return fmt.Errorf("told of revision %d", cs[0].Revision)
			})
		}()
		if _, err := s.Update(t.Context(), set("k", "after")); !errors.Is(err, errSync) {
			t.Errorf("Update = %v", err)
		}
		if err := <-watched; !errors.Is(err, errSync) {
			t.Errorf("Watch = %v", err)
		}
		if _, err := s.Update(t.Context(), set("k", "later")); !errors.Is(err, errSync) {
			t.Errorf("later Update = %v", err)
		}
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, errSync) {
			t.Errorf("later Get = %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := boltstore.Check(path); err != nil {
			t.Error(err)
		}
		put(t, open(t, path, boltstore.Options{}), "k", "restarted")
	})
}
