package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"battery.app/gate/store"
)

func testLife(t *testing.T, open Open) {
	ctx := context.Background()

	t.Run("what was written is there after a restart, with its revisions", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, "a", "1", "b", "1", "c", "1")
		put(t, s, "b", "2")
		last := remove(t, s, "c")
		before, _ := list(t, s, "")
		closeStore(t, s)

		s = open(t, dir)
		defer closeStore(t, s)
		after, revision := list(t, s, "")
		equal(t, "revision", revision, last)
		wantEntries(t, "entries", after, show(before))
		equal(t, "the next revision", put(t, s, "d", "1"), last+1)
	})

	t.Run("after a restart a watch goes on from the current revision", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		put(t, s, "a", "1")
		last := put(t, s, "a", "2")
		closeStore(t, s)

		s = open(t, dir)
		defer closeStore(t, s)
		next := put(t, s, "a", "3")
		got := watchUntil(t, testContext(t), s, "", last, next)
		equal(t, "changes", len(got), 1)
		wantEntries(t, "change", got[0].Entries, fmt.Sprintf("a=3@%d", next))
	})

	t.Run("a watch from the past tells all of it or says that it cannot", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		_, r0 := list(t, s, "")
		for range 3 {
			put(t, s, "a", "1")
		}
		closeStore(t, s)

		s = open(t, dir)
		defer closeStore(t, s)
		last := put(t, s, "a", "2")
		var got []store.Change
		err := s.Watch(testContext(t), "", r0, func(cs []store.Change) error {
			if got = append(got, cs...); got[len(got)-1].Revision >= last {
				return errEnough
			}
			return nil
		})
		wantConsecutive(t, got, r0)
		if !errors.Is(err, errEnough) && (!errors.Is(err, store.ErrCompacted) || len(got) > 0) {
			t.Errorf("Watch told %d changes, then: %v", len(got), err)
		}
	})

	t.Run("a closed store answers nothing", func(t *testing.T) {
		s := open(t, t.TempDir())
		put(t, s, "k", "v")
		closeStore(t, s)
		_, err := s.Get(ctx, "k")
		wantError(t, "Get", err, store.ErrClosed)
		_, _, err = s.List(ctx, "")
		wantError(t, "List", err, store.ErrClosed)
		_, err = s.Update(ctx, func(tx store.Tx) error { t.Error("called"); return nil })
		wantError(t, "Update", err, store.ErrClosed)
		err = s.Watch(ctx, "", 0, func([]store.Change) error { t.Error("called"); return nil })
		wantError(t, "Watch", err, store.ErrClosed)
		closeStore(t, s) // a second time
	})

	t.Run("closing ends waiting watches", func(t *testing.T) {
		s := open(t, t.TempDir())
		_, r0 := list(t, s, "")
		put(t, s, "k", "v")
		heard, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- s.Watch(ctx, "", r0, func([]store.Change) error { close(heard); return nil })
		}()
		<-heard
		closeStore(t, s)
		wantError(t, "Watch", <-ended, store.ErrClosed)
	})

	t.Run("of updates under way when it closes, those that succeeded are there", func(t *testing.T) {
		testCloseUnderLoad(t, open)
	})
}

// testCloseUnderLoad closes while writers write: each update must either
// succeed and be there after a restart, or end with ErrClosed and not be there.
func testCloseUnderLoad(t *testing.T, open Open) {
	const writers = 16
	dir := t.TempDir()
	s := open(t, dir)
	var (
		wg      sync.WaitGroup
		started sync.WaitGroup
		last    [writers]string
	)
	started.Add(writers)
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprint(i)
				_, err := s.Update(context.Background(), func(tx store.Tx) error {
					return tx.Put(fmt.Sprintf("w/%02d", w), []byte(value))
				})
				if i == 0 {
					started.Done()
				}
				if err != nil {
					wantError(t, "Update", err, store.ErrClosed)
					return
				}
				last[w] = value
			}
		})
	}
	started.Wait()
	closeStore(t, s)
	wg.Wait()

	s = open(t, dir)
	defer closeStore(t, s)
	entries, _ := list(t, s, "w/")
	if len(entries) != writers {
		t.Fatalf("%d keys, want %d", len(entries), writers)
	}
	for w, e := range entries {
		equal(t, "last value of "+e.Key, string(e.Value), last[w])
	}
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
