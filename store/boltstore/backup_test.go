package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

func TestBackupIsAStoreAtItsRevision(t *testing.T) {
	s := tempStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ { // both keys always say the same
				_, err := s.Update(ctx, func(tx store.Tx) error {
					v := fmt.Append(nil, i)
					return errors.Join(tx.Put(fmt.Sprint("a/", w), v), tx.Put(fmt.Sprint("b/", w), v))
				})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	for put(t, s, "k", "v") < 100 {
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	var copied bytes.Buffer
	revision, err := s.Backup(&copied)
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := boltstore.Check(path); err != nil {
		t.Error(err)
	}
	c := open(t, path, boltstore.Options{})
	a, rev, err := c.List(t.Context(), "a/")
	if err != nil || rev != revision || rev < 100 {
		t.Fatalf("copy at revision %d, said %d: %v", rev, revision, err)
	}
	b, _, err := c.List(t.Context(), "b/")
	if err != nil || len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d and %d keys: %v", len(a), len(b), err)
	}
	for i := range a {
		if !bytes.Equal(a[i].Value, b[i].Value) {
			t.Errorf("%s=%s but %s=%s", a[i].Key, a[i].Value, b[i].Key, b[i].Value)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestBackupTellsThatItWasCutShort(t *testing.T) {
	s := tempStore(t)
	if _, err := s.Backup(brokenPipe{}); err == nil {
		t.Error("no error")
	}
	put(t, s, "k", "v") // the store goes on
	_ = s.Close()
	if _, err := s.Backup(&bytes.Buffer{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

func TestCheck(t *testing.T) {
	filled := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "battery.db")
		s := open(t, path, boltstore.Options{})
		for i := range 100 {
			put(t, s, fmt.Sprintf("k%03d", i), strings.Repeat("v", 500))
		}
		_ = s.Close()
		return path
	}
	meta, data := []byte("meta"), []byte("data")

	t.Run("passes what is whole", func(t *testing.T) {
		if err := boltstore.Check(filled(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("does not make what is absent", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "absent.db")
		if err := boltstore.Check(path); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	for name, damage := range map[string]func(*bolt.Tx) error{
		"a value without its revision": func(tx *bolt.Tx) error { return tx.Bucket(data).Put([]byte("k001"), []byte("v")) },
		"a revision of the future": func(tx *bolt.Tx) error {
			return tx.Bucket(data).Put([]byte("k001"), binary.BigEndian.AppendUint64(nil, 1000))
		},
		"no revision":    func(tx *bolt.Tx) error { return tx.Bucket(meta).Delete([]byte("revision")) },
		"a later format": func(tx *bolt.Tx) error { return tx.Bucket(meta).Put([]byte("format"), make([]byte, 8)) },
		"no data":        func(tx *bolt.Tx) error { return tx.DeleteBucket(data) },
	} {
		t.Run("finds "+name, func(t *testing.T) {
			path := filled(t)
			edit(t, path, damage)
			if err := boltstore.Check(path); err == nil {
				t.Error("found nothing")
			}
		})
	}
	t.Run("finds pages that were overwritten", func(t *testing.T) {
		path := filled(t)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page := os.Getpagesize()
		for i := 2 * page; i < len(raw); i++ { // all but the two meta pages
			raw[i] = 0xff
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltstore.Check(path); err == nil {
			t.Error("found nothing")
		}
	})
}
