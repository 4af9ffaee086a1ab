package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"battery.app/gate/store"
)

func testWatch(t *testing.T, open Open) {
	t.Run("every change is told once, in order, with what was deleted", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		put(t, s, "b", "1", "a", "1")
		put(t, s, "a", "2")
		last := update(t, s, func(tx store.Tx) error {
			return errors.Join(tx.Delete("a"), tx.Put("c", nil), tx.Delete("absent"))
		})
		got := watchUntil(t, testContext(t), s, "", r0, last)
		equal(t, "changes", len(got), 3)
		wantConsecutive(t, got, r0)
		wantEntries(t, "first", got[0].Entries, fmt.Sprintf("a=1@%d b=1@%d", r0+1, r0+1))
		wantEntries(t, "second", got[1].Entries, fmt.Sprintf("a=2@%d", r0+2))
		wantEntries(t, "third", got[2].Entries, fmt.Sprintf("a deleted@%d c=@%d", r0+3, r0+3))
	})

	t.Run("a change of other keys comes empty", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		put(t, s, "a/1", "x", "b/1", "y", "b0", "z")
		put(t, s, "c/1", "z")
		last := remove(t, s, "b/1")
		got := watchUntil(t, testContext(t), s, "b/", r0, last)
		equal(t, "changes", len(got), 3)
		wantConsecutive(t, got, r0)
		wantEntries(t, "first", got[0].Entries, fmt.Sprintf("b/1=y@%d", r0+1))
		wantEntries(t, "second", got[1].Entries, "")
		wantEntries(t, "third", got[2].Entries, fmt.Sprintf("b/1 deleted@%d", r0+3))
	})

	t.Run("an update that writes nothing is no change", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		remove(t, s, "absent")
		_, _ = s.Update(context.Background(), func(tx store.Tx) error { return errors.Join(tx.Put("k", nil), errOwn) })
		last := put(t, s, "k", "v")
		equal(t, "changes", len(watchUntil(t, testContext(t), s, "", r0, last)), 1)
	})

	t.Run("a waiting watch hears of the next change", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		heard := make(chan store.Change)
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			ended <- s.Watch(ctx, "", r0, func(cs []store.Change) error {
				for _, c := range cs {
					heard <- c
				}
				return nil
			})
		}()
		for i := range uint64(3) {
			put(t, s, "k", "v")
			equal(t, "revision", (<-heard).Revision, r0+1+i)
		}
		cancel()
		wantError(t, "Watch", <-ended, context.Canceled)
	})

	t.Run("a watch ends with the error of its function", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		put(t, s, "k", "v")
		err := s.Watch(testContext(t), "", r0, func([]store.Change) error { return errOwn })
		if err != errOwn { //nolint:errorlint // the very error is the promise
			t.Errorf("Watch = %v, want the error as it is", err)
		}
	})

	t.Run("a canceled context hears nothing", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		put(t, s, "k", "v")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := s.Watch(ctx, "", r0, func([]store.Change) error { t.Error("called"); return nil })
		wantError(t, "Watch", err, context.Canceled)
	})

	t.Run("changes that a watcher writes into are whole for the next", func(t *testing.T) {
		s := fresh(t, open)
		_, r0 := list(t, s, "")
		last := put(t, s, "a", "1", "b", "2")
		ctx := testContext(t)
		first := watchUntil(t, ctx, s, "", r0, last)
		first[0].Entries[0] = store.Entry{Key: "spoiled"}
		again := watchUntil(t, ctx, s, "", r0, last)
		wantEntries(t, "second watch", again[0].Entries, fmt.Sprintf("a=1@%d b=2@%d", last, last))
	})

	t.Run("watchers under concurrent writers all hear the same", func(t *testing.T) {
		testWatchers(t, fresh(t, open))
	})

	t.Run("List and then Watch misses and repeats nothing", func(t *testing.T) {
		testListThenWatch(t, fresh(t, open))
	})
}

const watchedWriters, watchedEach = 8, 40

// writeMany lets writers write own keys at once, deleting every fifth time.
func writeMany(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for w := range watchedWriters {
		wg.Go(func() {
			for i := range watchedEach {
				_, err := s.Update(context.Background(), func(tx store.Tx) error {
					key := fmt.Sprintf("w%d/%d", w%2, w)
					if i%5 == 4 {
						return tx.Delete(key)
					}
					return tx.Put(key, fmt.Append(nil, i))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func testWatchers(t *testing.T, s store.Store) {
	_, r0 := list(t, s, "")
	last := r0 + watchedWriters*watchedEach
	ctx := testContext(t)
	prefixes := []string{"", "w0/", "w1/", "none/"}
	got := make([][]store.Change, len(prefixes))
	var wg sync.WaitGroup
	for i, p := range prefixes {
		wg.Go(func() {
			err := s.Watch(ctx, p, r0, func(cs []store.Change) error {
				got[i] = append(got[i], cs...)
				if got[i][len(got[i])-1].Revision >= last {
					return errEnough
				}
				return nil
			})
			wantError(t, "Watch", err, errEnough)
		})
	}
	writeMany(t, s)
	wg.Wait()
	entries := 0
	for i, p := range prefixes {
		equal(t, "changes of prefix "+p, len(got[i]), watchedWriters*watchedEach)
		wantConsecutive(t, got[i], r0)
		n := 0
		for _, c := range got[i] {
			n += len(c.Entries)
		}
		if p == "" {
			equal(t, "entries in all", n, watchedWriters*watchedEach)
		} else {
			entries += n
		}
	}
	equal(t, "entries by prefix", entries, watchedWriters*watchedEach)
}

// testListThenWatch takes lists while others write, and replays what the watch
// tells after each on top of it: all must come out at the same end.
func testListThenWatch(t *testing.T, s store.Store) {
	_, r0 := list(t, s, "")
	last := r0 + watchedWriters*watchedEach
	type snapshot struct {
		entries  []store.Entry
		revision uint64
	}
	var taken []snapshot
	done := make(chan struct{})
	go func() {
		defer close(done)
		writeMany(t, s)
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		entries, revision := list(t, s, "")
		if n := len(taken); n > 0 && taken[n-1].revision > revision {
			t.Fatalf("List went back from %d to %d", taken[n-1].revision, revision)
		}
		if n := len(taken); n == 0 || revision >= taken[n-1].revision+watchedEach || revision == last {
			taken = append(taken, snapshot{entries, revision})
		}
	}
	want, revision := list(t, s, "")
	equal(t, "last revision", revision, last)
	for _, from := range taken {
		state := map[string]store.Entry{}
		for _, e := range from.entries {
			if e.Revision > from.revision {
				t.Errorf("List at %d holds %q of %d", from.revision, e.Key, e.Revision)
			}
			state[e.Key] = e
		}
		replay(state, watchUntil(t, testContext(t), s, "", from.revision, last))
		wantEntries(t, fmt.Sprintf("List at %d and the changes after it", from.revision), sorted(state), show(want))
	}
}
