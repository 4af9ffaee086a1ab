// Package storetest is the contract of package store as tests: one suite that
// every backend passes, so that rooms written against one work on all.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, dir string) store.Store { … })
//	}
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"battery.app/gate/store"
)

// patience bounds what must happen soon, so that a backend that hangs fails
// its test instead of the whole run. Nothing is measured against it.
const patience = 30 * time.Second

// Open opens the store that is kept under dir, creating it if there is none.
// The suite closes what it opened, and opens the same dir again to see what
// survived.
type Open func(t *testing.T, dir string) store.Store

// Run runs the whole suite. Each test gets a store of its own.
func Run(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	for _, group := range []struct {
		name  string
		tests func(*testing.T, Open)
	}{
		{"map", testMap},
		{"update", testUpdate},
		{"limits", testLimits},
		{"watch", testWatch},
		{"life", testLife},
		{"model", testModel},
	} {
		t.Run(group.name, func(t *testing.T) { group.tests(t, open) })
	}
}

// tb is what the helpers need of *testing.T and of *rapid.T.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// fresh opens an empty store and closes it when the test ends.
func fresh(t *testing.T, open Open) store.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// put writes pairs of key and value in one Update.
func put(t tb, s store.Store, pairs ...string) uint64 {
	t.Helper()
	return update(t, s, func(tx store.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

func remove(t tb, s store.Store, keys ...string) uint64 {
	t.Helper()
	return update(t, s, func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func update(t tb, s store.Store, fn func(store.Tx) error) uint64 {
	t.Helper()
	rev, err := s.Update(context.Background(), fn)
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return rev
}

func list(t tb, s store.Store, prefix string) ([]store.Entry, uint64) {
	t.Helper()
	entries, rev, err := s.List(context.Background(), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	return entries, rev
}

// show makes entries readable and comparable: "key=value@revision".
func show(entries []store.Entry) string {
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		if e.Deleted {
			fmt.Fprintf(&b, "%s deleted@%d", e.Key, e.Revision)
		} else {
			fmt.Fprintf(&b, "%s=%s@%d", e.Key, e.Value, e.Revision)
		}
	}
	return b.String()
}

func wantEntries(t tb, what string, got []store.Entry, want string) {
	t.Helper()
	if s := show(got); s != want {
		t.Errorf("%s:\n got %s\nwant %s", what, s, want)
	}
}

func wantError(t tb, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func equal(t tb, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// errEnough ends a watch that has seen what it came for.
var errEnough = errors.New("enough")

// watchUntil collects changes after from up to revision to.
func watchUntil(t tb, ctx context.Context, s store.Store, prefix string, from, to uint64) []store.Change {
	t.Helper()
	if from >= to {
		return nil
	}
	var got []store.Change
	err := s.Watch(ctx, prefix, from, func(cs []store.Change) error {
		if len(cs) == 0 {
			return errors.New("a call without changes")
		}
		got = append(got, cs...)
		if got[len(got)-1].Revision >= to {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Watch(%q, %d) ended at %d changes: %v", prefix, from, len(got), err)
	}
	return got
}

// wantConsecutive checks that changes are revision after revision from from+1.
func wantConsecutive(t tb, changes []store.Change, from uint64) {
	t.Helper()
	for i, c := range changes {
		if want := from + 1 + uint64(i); c.Revision != want {
			t.Fatalf("change %d has revision %d, want %d", i, c.Revision, want)
		}
		for j, e := range c.Entries {
			if e.Revision != c.Revision {
				t.Errorf("change %d: entry %q has revision %d", c.Revision, e.Key, e.Revision)
			}
			if j > 0 && c.Entries[j-1].Key >= e.Key {
				t.Errorf("change %d: %q before %q", c.Revision, c.Entries[j-1].Key, e.Key)
			}
		}
	}
}
