package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"battery.app/gate/store"
)

func testLimits(t *testing.T, open Open) {
	s := fresh(t, open)
	ctx := context.Background()
	keys := func(n int, do func(key string) error) error {
		for i := range n {
			if err := do(fmt.Sprintf("many/%04d", i)); err != nil {
				return err
			}
		}
		return nil
	}
	value := func(n int) []byte { return make([]byte, n) }
	longest := strings.Repeat("k", store.MaxKey)

	for _, c := range []struct {
		name string
		fn   func(store.Tx) error
		want error
	}{
		{"the longest key", func(tx store.Tx) error { return tx.Put(longest, nil) }, nil},
		{"a key too long to write", func(tx store.Tx) error { return tx.Put(longest+"k", nil) }, store.ErrTooLarge},
		{"a key too long to read", func(tx store.Tx) error { _, err := tx.Get(longest + "k"); return err }, store.ErrTooLarge},
		{"a key too long to delete", func(tx store.Tx) error { return tx.Delete(longest + "k") }, store.ErrTooLarge},
		{"no key to write", func(tx store.Tx) error { return tx.Put("", nil) }, store.ErrInvalidKey},
		{"no key to read", func(tx store.Tx) error { _, err := tx.Get(""); return err }, store.ErrInvalidKey},
		{"no key to delete", func(tx store.Tx) error { return tx.Delete("") }, store.ErrInvalidKey},
		{"a NUL in a key", func(tx store.Tx) error { return tx.Put("a\x00b", nil) }, store.ErrInvalidKey},
		{"the largest value", func(tx store.Tx) error { return tx.Put("large", value(store.MaxValue)) }, nil},
		{"a value too large", func(tx store.Tx) error { return tx.Put("large", value(store.MaxValue+1)) }, store.ErrTooLarge},
		{"the largest transaction", func(tx store.Tx) error {
			return errors.Join(tx.Put("b1", value(store.MaxValue)), tx.Put("b2", value(store.MaxTxBytes-store.MaxValue-4)))
		}, nil},
		{"a transaction too large", func(tx store.Tx) error {
			return errors.Join(tx.Put("b1", value(store.MaxValue)), tx.Put("b2", value(store.MaxTxBytes-store.MaxValue-3)))
		}, store.ErrTooLarge},
		{"a large value written again in one transaction counts once", func(tx store.Tx) error {
			return errors.Join(tx.Put("b1", value(store.MaxValue)), tx.Put("b1", value(store.MaxValue)), tx.Put("b1", nil))
		}, nil},
		{"the most keys written", func(tx store.Tx) error {
			return keys(store.MaxTxOps, func(k string) error { return errors.Join(tx.Put(k, nil), tx.Put(k, nil)) })
		}, nil},
		{"too many keys written", func(tx store.Tx) error {
			return keys(store.MaxTxOps+1, func(k string) error { return tx.Put(k, nil) })
		}, store.ErrTooLarge},
		{"too many keys deleted", func(tx store.Tx) error { return keys(store.MaxTxOps+1, tx.Delete) }, store.ErrTooLarge},
		{"the most keys read and as many written", func(tx store.Tx) error {
			return keys(store.MaxTxOps, func(k string) error {
				if _, err := tx.Get(k); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				return tx.Put(k, nil)
			})
		}, nil},
		{"too many keys read", func(tx store.Tx) error {
			return keys(store.MaxTxOps+1, func(k string) error {
				if _, err := tx.Get(k); !errors.Is(err, store.ErrNotFound) {
					return err
				}
				return nil
			})
		}, store.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, before := list(t, s, "")
			rev, err := s.Update(ctx, c.fn)
			wantError(t, "Update", err, c.want)
			_, after := list(t, s, "")
			if c.want == nil {
				equal(t, "revision", rev, before+1)
			} else {
				equal(t, "revision after a refusal", after, before)
			}
		})
	}

	t.Run("a refusal that the function ignores still fails the update", func(t *testing.T) {
		_, before := list(t, s, "")
		_, err := s.Update(ctx, func(tx store.Tx) error {
			_ = tx.Put("large", value(store.MaxValue+1))
			return tx.Put("small", nil)
		})
		wantError(t, "Update", err, store.ErrTooLarge)
		_, after := list(t, s, "")
		equal(t, "revision", after, before)
	})

	t.Run("Get refuses the same keys", func(t *testing.T) {
		for key, want := range map[string]error{"": store.ErrInvalidKey, "a\x00b": store.ErrInvalidKey, longest + "k": store.ErrTooLarge} {
			_, err := s.Get(ctx, key)
			wantError(t, fmt.Sprintf("Get of %d bytes", len(key)), err, want)
		}
	})
}
