package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/store/storetest"
)

func open(t testing.TB, path string, opt boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func tempStore(t testing.TB) *boltstore.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
}

func set(key, value string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.Put(key, []byte(value)) }
}

func put(t testing.TB, s *boltstore.Store, key, value string) uint64 {
	t.Helper()
	rev, err := s.Update(t.Context(), set(key, value))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		return open(t, filepath.Join(dir, "battery.db"), boltstore.Options{})
	})
}

func TestOpen(t *testing.T) {
	t.Run("makes the file and what is above it for its owner alone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		open(t, filepath.Join(dir, "battery.db"), boltstore.Options{})
		for path, want := range map[string]os.FileMode{
			filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, "battery.db"): 0o600,
		} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s has mode %o, want %o", path, got, want)
			}
		}
	})

	t.Run("warns of a file that others can read", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "battery.db")
		s := open(t, path, boltstore.Options{})
		_ = s.Close()
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		open(t, path, boltstore.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !strings.Contains(log.String(), "0600") {
			t.Errorf("log: %s", &log)
		}
	})

	t.Run("says so when another process holds the file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "battery.db")
		open(t, path, boltstore.Options{})
		_, err := boltstore.Open(path, boltstore.Options{})
		if err == nil || !strings.Contains(err.Error(), "another process holds the file") {
			t.Errorf("Open = %v", err)
		}
	})

	t.Run("refuses what is not its own", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "other.db")
		edit(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
		if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
			_ = s.Close()
			t.Error("opened another program's file")
		}
		if err := os.WriteFile(path, []byte("no bbolt file at all"), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
			_ = s.Close()
			t.Error("opened a text file")
		}
	})

	t.Run("refuses a later format and leaves the file alone", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "battery.db")
		_ = open(t, path, boltstore.Options{}).Close()
		edit(t, path, func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint64(nil, 2))
		})
		for range 2 {
			if _, err := boltstore.Open(path, boltstore.Options{}); err == nil || !strings.Contains(err.Error(), "format is 2") {
				t.Errorf("Open = %v", err)
			}
		}
	})
}

// edit changes a closed file behind the store's back.
func edit(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	watch := func(t *testing.T, s *boltstore.Store, from uint64) (revisions []uint64, err error) {
		_, now, err := s.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		err = s.Watch(t.Context(), "", from, func(cs []store.Change) error {
			for _, c := range cs {
				revisions = append(revisions, c.Revision)
			}
			if revisions[len(revisions)-1] == now {
				return enough
			}
			return nil
		})
		if errors.Is(err, enough) {
			err = nil
		}
		return revisions, err
	}

	t.Run("what was before the file was opened is compacted", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "battery.db")
		s := open(t, path, boltstore.Options{})
		put(t, s, "k", "1")
		last := put(t, s, "k", "2")
		_ = s.Close()
		s = open(t, path, boltstore.Options{})
		put(t, s, "k", "3")
		if _, err := watch(t, s, last-1); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("from before: %v", err)
		}
		if got, err := watch(t, s, last); err != nil || len(got) != 1 {
			t.Errorf("from the opening: %v, %v", got, err)
		}
	})

	t.Run("only so many changes are kept", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{Watchable: 3})
		var last uint64
		for range 10 {
			last = put(t, s, "k", "v")
		}
		if _, err := watch(t, s, last-4); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("four back: %v", err)
		}
		if got, err := watch(t, s, last-3); err != nil || fmt.Sprint(got) != fmt.Sprint([]uint64{last - 2, last - 1, last}) {
			t.Errorf("three back: %v, %v", got, err)
		}
	})

	t.Run("only so many bytes of changes are kept", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{WatchableBytes: 10_000})
		large := strings.Repeat("v", 4000)
		var last uint64
		for range 5 {
			last = put(t, s, "k", large)
		}
		if _, err := watch(t, s, last-3); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("three back: %v", err)
		}
		if got, err := watch(t, s, last-2); err != nil || len(got) != 2 {
			t.Errorf("two back: %v, %v", got, err)
		}
		last = put(t, s, "k", strings.Repeat("v", 20_000)) // alone over the bound
		if _, err := watch(t, s, last-1); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("over the bound: %v", err)
		}
		last = put(t, s, "k", "small")
		if got, err := watch(t, s, last-1); err != nil || len(got) != 1 {
			t.Errorf("after it: %v, %v", got, err)
		}
	})

	t.Run("a watcher that falls too far behind is told", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{Watchable: 3})
		put(t, s, "k", "v")
		err := s.Watch(t.Context(), "", 0, func([]store.Change) error {
			for range 5 {
				if _, err := s.Update(context.Background(), set("k", "v")); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("Watch = %v", err)
		}
	})
}

func TestListExceptIsListWithoutAPrefix(t *testing.T) {
	s := tempStore(t)
	for _, key := range []string{"a/x", "admin", "admin/audit", "admin/audit.x", "admin/audit/", "admin/audit/1", "admin/audit/2", "admin/audit/\xff\xff", "admin/audit0", "admin/token/1", "z/1"} {
		put(t, s, key, key)
	}
	for _, except := range []string{"admin/audit/", "a", "z/", "nothing/", ""} {
		all, at, err := s.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, e := range all {
			if except == "" || !strings.HasPrefix(e.Key, except) {
				want = append(want, e.Key)
			}
		}
		got, revision, err := s.ListExcept(t.Context(), except)
		if err != nil || revision != at || len(got) != len(want) {
			t.Fatalf("except %q: %d entries at %d, %v; want %q at %d", except, len(got), revision, err, want, at)
		}
		for i, e := range got {
			if e.Key != want[i] || string(e.Value) != want[i] || e.Revision == 0 {
				t.Errorf("except %q: %+v, want %s", except, e, want[i])
			}
		}
	}
}
