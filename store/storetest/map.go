package storetest

import (
	"context"
	"testing"

	"battery.app/gate/store"
)

func testMap(t *testing.T, open Open) {
	ctx := context.Background()

	t.Run("a new store is empty", func(t *testing.T) {
		s := fresh(t, open)
		_, err := s.Get(ctx, "a/b/c")
		wantError(t, "Get of an absent key", err, store.ErrNotFound)
		entries, _ := list(t, s, "")
		wantEntries(t, "List", entries, "")
	})

	t.Run("a value comes back with the revision that wrote it last", func(t *testing.T) {
		s := fresh(t, open)
		r1 := put(t, s, "a", "1", "b", "1")
		r2 := put(t, s, "b", "2")
		for key, want := range map[string]store.Entry{
			"a": {Key: "a", Value: []byte("1"), Revision: r1},
			"b": {Key: "b", Value: []byte("2"), Revision: r2},
		} {
			got, err := s.Get(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "Get", got, want)
		}
	})

	t.Run("an empty value is a value", func(t *testing.T) {
		s := fresh(t, open)
		update(t, s, func(tx store.Tx) error { return tx.Put("k", nil) })
		e, err := s.Get(ctx, "k")
		if err != nil || len(e.Value) != 0 {
			t.Errorf("Get = %q, %v", e.Value, err)
		}
		update(t, s, func(tx store.Tx) error {
			_, err := tx.Get("k")
			return err
		})
	})

	t.Run("values and keys may hold any bytes but NUL in keys", func(t *testing.T) {
		s := fresh(t, open)
		key, value := "k/\xff\xfe é", "\x00\x01\xff"
		put(t, s, key, value)
		e, err := s.Get(ctx, key)
		if err != nil || string(e.Value) != value || e.Key != key {
			t.Errorf("Get = %q, %v", e.Value, err)
		}
	})

	t.Run("a deleted key is absent", func(t *testing.T) {
		s := fresh(t, open)
		put(t, s, "k", "v")
		remove(t, s, "k")
		_, err := s.Get(ctx, "k")
		wantError(t, "Get", err, store.ErrNotFound)
		entries, _ := list(t, s, "")
		wantEntries(t, "List", entries, "")
	})

	t.Run("List gives the keys of a prefix in order, and nothing else", func(t *testing.T) {
		s := fresh(t, open)
		r := put(t, s, "b/2", "x", "b/10", "y", "a/1", "z", "b", "w", "b0", "v", "c", "u")
		entries, rev := list(t, s, "b/")
		equal(t, "revision", rev, r)
		wantEntries(t, "List(b/)", entries, show([]store.Entry{
			{Key: "b/10", Value: []byte("y"), Revision: r}, {Key: "b/2", Value: []byte("x"), Revision: r},
		}))
		all, _ := list(t, s, "")
		equal(t, "entries of the empty prefix", len(all), 6)
		none, rev := list(t, s, "b/2/")
		wantEntries(t, "List of a prefix without keys", none, "")
		equal(t, "its revision", rev, r)
	})

	t.Run("List ends with the last key, even for a prefix of 0xff", func(t *testing.T) {
		s := fresh(t, open)
		r := put(t, s, "\xff\xff", "1", "\xff", "2", "\xfe", "3")
		entries, _ := list(t, s, "\xff")
		wantEntries(t, "List", entries, show([]store.Entry{
			{Key: "\xff", Value: []byte("2"), Revision: r}, {Key: "\xff\xff", Value: []byte("1"), Revision: r},
		}))
	})

	t.Run("what was read stays as it was read", func(t *testing.T) {
		s := fresh(t, open)
		put(t, s, "k", "before")
		got, err := s.Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		listed, _ := list(t, s, "k")
		for range 20 { // long enough that a page is used again
			put(t, s, "k", "after!")
		}
		equal(t, "Get", string(got.Value), "before")
		equal(t, "List", string(listed[0].Value), "before")
	})

	t.Run("a canceled context reads nothing", func(t *testing.T) {
		s := fresh(t, open)
		put(t, s, "k", "v")
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		_, err := s.Get(canceled, "k")
		wantError(t, "Get", err, context.Canceled)
		_, _, err = s.List(canceled, "")
		wantError(t, "List", err, context.Canceled)
	})
}
