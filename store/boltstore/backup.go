package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// Backup writes a consistent copy of the whole file to w while the store goes
// on, and returns the revision that the copy holds. The copy is itself a store
// file. A copy cut short by an error must be thrown away.
func (s *Store) Backup(w io.Writer) (revision uint64, err error) {
	err = s.view(context.Background(), func(tx *bolt.Tx) error {
		if revision, err = number(tx.Bucket(metaBucket), revisionKey); err != nil {
			return err
		}
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("back up store: %w", err)
	}
	return revision, nil
}

// maxFaults is how many faults Check tells; a damaged file can have millions.
const maxFaults = 20

// Check reads the whole file at path, which no process may hold, and returns
// what is wrong with it: pages, order of keys, values and revisions.
func Check(path string) (err error) {
	o := boltOptions()
	o.ReadOnly = true
	db, err := bolt.Open(path, 0o600, o)
	if err != nil {
		return openError(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bolt.Tx) error {
		// Our own walk goes first: where pages make no sense bbolt panics, and
		// its check does so on a goroutine where nobody can catch it.
		if err := checkContent(tx); err != nil {
			return err
		}
		var faults []error
		for f := range tx.Check() { // to its end: it goes on reading tx
			if len(faults) < maxFaults {
				faults = append(faults, f)
			}
		}
		return errors.Join(faults...)
	})
	if err != nil {
		return fmt.Errorf("check store %s: %w", path, err)
	}
	return nil
}

// checkContent walks over every page in use and looks at every value.
func checkContent(tx *bolt.Tx) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page number may point out of the file
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pages are damaged: %v", p)
		}
	}()
	meta, data := tx.Bucket(metaBucket), tx.Bucket(dataBucket)
	if meta == nil || data == nil {
		return errors.New("the file is not a store")
	}
	v, err := number(meta, formatKey)
	if err != nil {
		return err
	}
	if v != format {
		return fmt.Errorf("format is %d, this version reads %d", v, format)
	}
	revision, err := number(meta, revisionKey)
	if err != nil {
		return err
	}
	return data.ForEach(func(k, raw []byte) error {
		e, err := entry(string(k), raw)
		if err == nil && e.Revision > revision {
			err = fmt.Errorf("%q has revision %d, the store %d", e.Key, e.Revision, revision)
		}
		return err
	})
}

// makeDirs makes dir, mode 0700, with what is missing above it. It returns the
// directories that got a new entry.
func makeDirs(dir string) (changed []string, err error) {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		changed = append(changed, filepath.Dir(d))
	}
	return changed, os.MkdirAll(dir, 0o700)
}

// syncDirs makes new directory entries durable. bbolt syncs its file but not
// the name of it: after a crash, a new file could be gone with all its commits.
func syncDirs(dirs []string) error {
	if runtime.GOOS == "windows" { // where directories cannot be synced
		return nil
	}
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync directory: %w", err)
		}
	}
	return nil
}
