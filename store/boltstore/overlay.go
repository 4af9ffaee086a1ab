package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"battery.app/gate/store"
)

// revisionSize is the length of the revision in front of every stored value.
const revisionSize = 8

var errTxEnded = errors.New("store: transaction used after its function returned")

// overlay is the Tx of one update function: reads go through to the bbolt
// transaction, writes stay here until the function has succeeded.
type overlay struct {
	data   *bolt.Bucket
	read   map[string]struct{} // keys read from data
	writes map[string][]byte   // room for the revision, then the value; nil: delete
	size   int                 // bytes of all keys and values in writes

	refused error // the first operation that was refused: it fails the update
	ended   bool
}

var _ store.Tx = (*overlay)(nil)

func newOverlay(data *bolt.Bucket) *overlay {
	return &overlay{data: data, read: map[string]struct{}{}, writes: map[string][]byte{}}
}

// Get implements store.Tx. The receiver owns the value.
func (o *overlay) Get(key string) ([]byte, error) {
	if err := o.check(key); err != nil {
		return nil, err
	}
	raw, own := o.writes[key]
	if !own {
		o.read[key] = struct{}{}
		if len(o.read) > store.MaxTxOps {
			return nil, o.refuse(fmt.Errorf("%w: more than %d keys read", store.ErrTooLarge, store.MaxTxOps))
		}
		raw = o.data.Get([]byte(key))
	}
	if raw == nil {
		return nil, store.ErrNotFound
	}
	if len(raw) < revisionSize {
		return nil, o.refuse(fmt.Errorf("store: the value of %q is damaged; restore a backup", key))
	}
	return bytes.Clone(raw[revisionSize:]), nil
}

// Put implements store.Tx. It copies value.
func (o *overlay) Put(key string, value []byte) error {
	if err := o.check(key); err != nil {
		return err
	}
	if len(value) > store.MaxValue {
		return o.refuse(fmt.Errorf("%w: value of %d bytes", store.ErrTooLarge, len(value)))
	}
	raw := make([]byte, revisionSize+len(value))
	copy(raw[revisionSize:], value)
	return o.write(key, raw)
}

// Delete implements store.Tx.
func (o *overlay) Delete(key string) error {
	if err := o.check(key); err != nil {
		return err
	}
	return o.write(key, nil)
}

func (o *overlay) write(key string, raw []byte) error {
	size := o.size + len(key) + valueSize(raw)
	if old, again := o.writes[key]; again {
		size -= len(key) + valueSize(old)
	} else if len(o.writes) == store.MaxTxOps {
		return o.refuse(fmt.Errorf("%w: more than %d keys written", store.ErrTooLarge, store.MaxTxOps))
	}
	if size > store.MaxTxBytes {
		return o.refuse(fmt.Errorf("%w: more than %d bytes written", store.ErrTooLarge, store.MaxTxBytes))
	}
	o.writes[key], o.size = raw, size
	return nil
}

func valueSize(raw []byte) int { return max(0, len(raw)-revisionSize) }

func (o *overlay) check(key string) error {
	if o.ended {
		return errTxEnded
	}
	if err := checkKey(key); err != nil {
		return o.refuse(err)
	}
	return nil
}

// refuse remembers that an operation did not happen: what is left of the
// update is not what its function meant, so none of it may be written.
func (o *overlay) refuse(err error) error {
	if o.refused == nil {
		o.refused = err
	}
	return err
}

// apply writes the overlay into the bbolt transaction and returns what
// changed, in key order. The values it returns are shared with bbolt until the
// commit; neither side writes into them.
func (o *overlay) apply(revision uint64) ([]store.Entry, error) {
	var entries []store.Entry
	for _, key := range slices.Sorted(maps.Keys(o.writes)) {
		raw, k := o.writes[key], []byte(key)
		e := store.Entry{Key: key, Revision: revision}
		switch {
		case raw != nil:
			binary.BigEndian.PutUint64(raw, revision)
			if err := o.data.Put(k, raw); err != nil {
				return nil, err
			}
			e.Value = raw[revisionSize:]
		case o.data.Get(k) == nil:
			continue // deleting what is not there changes nothing
		default:
			if err := o.data.Delete(k); err != nil {
				return nil, err
			}
			e.Deleted = true
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func checkKey(key string) error {
	switch {
	case key == "" || strings.IndexByte(key, 0) >= 0:
		return store.ErrInvalidKey
	case len(key) > store.MaxKey:
		return fmt.Errorf("%w: key of %d bytes", store.ErrTooLarge, len(key))
	}
	return nil
}
