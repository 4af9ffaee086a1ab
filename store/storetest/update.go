package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"battery.app/gate/store"
)

var errOwn = errors.New("the function's own error")

func testUpdate(t *testing.T, open Open) {
	t.Run("revisions count up by one", func(t *testing.T) {
		s := fresh(t, open)
		_, start := list(t, s, "")
		for i := uint64(1); i <= 5; i++ {
			equal(t, "revision", put(t, s, "k", "same value"), start+i)
		}
	})

	t.Run("an update that writes nothing returns the current revision", func(t *testing.T) {
		s := fresh(t, open)
		put(t, s, "k", "v")
		r := put(t, s, "k", "v")
		equal(t, "of a read", update(t, s, func(tx store.Tx) error { _, err := tx.Get("k"); return err }), r)
		equal(t, "of nothing", update(t, s, func(store.Tx) error { return nil }), r)
		equal(t, "of deleting an absent key", remove(t, s, "absent"), r)
		_, now := list(t, s, "")
		equal(t, "revision afterwards", now, r)
	})

	t.Run("a function sees its own writes on top of what is there", func(t *testing.T) {
		s := fresh(t, open)
		put(t, s, "old", "1", "gone", "1")
		update(t, s, func(tx store.Tx) error {
			get := func(key, want string) {
				v, err := tx.Get(key)
				if want == "" {
					wantError(t, "Get "+key, err, store.ErrNotFound)
				} else if err != nil || string(v) != want {
					t.Errorf("Get(%s) = %q, %v; want %q", key, v, err, want)
				}
			}
			get("old", "1")
			get("new", "")
			err := errors.Join(tx.Put("old", []byte("2")), tx.Put("new", []byte("3")), tx.Delete("gone"))
			get("old", "2")
			get("new", "3")
			get("gone", "")
			err = errors.Join(err, tx.Delete("new"), tx.Put("gone", []byte("back")))
			get("new", "")
			get("gone", "back")
			return err
		})
		entries, r := list(t, s, "")
		wantEntries(t, "afterwards", entries, fmt.Sprintf("gone=back@%d old=2@%d", r, r))
	})

	t.Run("writing and deleting a new key in one update writes nothing", func(t *testing.T) {
		s := fresh(t, open)
		r := put(t, s, "k", "v")
		equal(t, "revision", update(t, s, func(tx store.Tx) error {
			return errors.Join(tx.Put("x", []byte("1")), tx.Delete("x"))
		}), r)
	})

	t.Run("the value belongs to the caller again when Put returns", func(t *testing.T) {
		s := fresh(t, open)
		update(t, s, func(tx store.Tx) error {
			v := []byte("right")
			err := tx.Put("k", v)
			copy(v, "wrong")
			return err
		})
		entries, r := list(t, s, "k")
		wantEntries(t, "List", entries, fmt.Sprintf("k=right@%d", r))
	})

	t.Run("a function that fails writes nothing and its error comes back", func(t *testing.T) {
		s := fresh(t, open)
		r := put(t, s, "k", "v")
		_, err := s.Update(context.Background(), func(tx store.Tx) error {
			return errors.Join(tx.Put("k", []byte("changed")), tx.Put("new", nil), errOwn)
		})
		wantError(t, "Update", err, errOwn)
		_, err = s.Update(context.Background(), func(store.Tx) error { return errOwn })
		if err != errOwn { //nolint:errorlint // the very error is the promise
			t.Errorf("Update = %v, want the error as it is", err)
		}
		entries, now := list(t, s, "")
		wantEntries(t, "afterwards", entries, fmt.Sprintf("k=v@%d", r))
		equal(t, "revision", now, r)
	})

	t.Run("a function that panics writes nothing and its update fails", func(t *testing.T) {
		s := fresh(t, open)
		r := put(t, s, "k", "v")
		_, err := s.Update(context.Background(), func(tx store.Tx) error {
			_ = tx.Put("k", []byte("changed"))
			panic("of the function")
		})
		if err == nil {
			t.Error("Update succeeded")
		}
		entries, _ := list(t, s, "")
		wantEntries(t, "afterwards", entries, fmt.Sprintf("k=v@%d", r))
		equal(t, "the next revision", put(t, s, "k", "next"), r+1)
	})

	t.Run("a canceled context updates nothing", func(t *testing.T) {
		s := fresh(t, open)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := s.Update(ctx, func(tx store.Tx) error { return tx.Put("k", nil) })
		wantError(t, "Update", err, context.Canceled)
		entries, _ := list(t, s, "")
		wantEntries(t, "afterwards", entries, "")
	})

	t.Run("a transaction is of no use after its function", func(t *testing.T) {
		s := fresh(t, open)
		var kept store.Tx
		put(t, s, "k", "v")
		update(t, s, func(tx store.Tx) error { kept = tx; return nil })
		if _, err := kept.Get("k"); err == nil {
			t.Error("Get succeeded")
		}
		if err := kept.Put("k", []byte("late")); err == nil {
			t.Error("Put succeeded")
		}
		if err := kept.Delete("k"); err == nil {
			t.Error("Delete succeeded")
		}
	})

	t.Run("concurrent updates happen one after the other", func(t *testing.T) {
		testConcurrent(t, fresh(t, open))
	})
}

// testConcurrent lets writers count in one shared key, among others that fail
// in every way, and checks that nothing was lost and every revision is used.
func testConcurrent(t *testing.T, s store.Store) {
	const writers, each = 16, 25
	_, start := list(t, s, "")
	var (
		wg        sync.WaitGroup
		mu        sync.Mutex
		revisions = map[uint64]int{} // revision → the count it wrote
	)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var wrote int
				rev, err := s.Update(context.Background(), func(tx store.Tx) error {
					v, err := tx.Get("count")
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					n, _ := strconv.Atoi(string(v))
					wrote = n + 1
					return errors.Join(tx.Put("count", []byte(strconv.Itoa(wrote))), tx.Put(fmt.Sprintf("own/%02d", w), fmt.Append(nil, i)))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
				mu.Lock()
				revisions[rev] = wrote
				mu.Unlock()
				failing(t, s, i)
			}
		})
	}
	wg.Wait()
	for n := 1; n <= writers*each; n++ {
		if got := revisions[start+uint64(n)]; got != n {
			t.Fatalf("revision %d wrote count %d, want %d", start+uint64(n), got, n)
		}
	}
	e, err := s.Get(context.Background(), "count")
	if err != nil || string(e.Value) != strconv.Itoa(writers*each) {
		t.Errorf("count = %s, %v", e.Value, err)
	}
	own, _ := list(t, s, "own/")
	equal(t, "own keys", len(own), writers)
}

// failing is an update that writes into the shared key and then fails.
func failing(t *testing.T, s store.Store, i int) {
	_, err := s.Update(context.Background(), func(tx store.Tx) error {
		if err := tx.Put("count", []byte("-1000")); err != nil {
			return err
		}
		switch i % 3 {
		case 0:
			return errOwn
		case 1:
			panic(errOwn)
		}
		return tx.Put("big", make([]byte, store.MaxValue+1))
	})
	if err == nil {
		t.Error("an update that fails succeeded")
	}
}
