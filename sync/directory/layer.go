package directory

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"battery.app/gate/store"
)

// What one transaction may hold, with room for what ends it: a cursor, a mark.
const (
	reserve    = 6
	layerKeys  = store.MaxTxOps - reserve
	layerBytes = store.MaxTxBytes - 64<<10
)

// errFull: the step does not fit this transaction any more. It is tried again in
// the next one.
var errFull = errors.New("transaction is full")

// layer is a transaction in steps. A step that fails leaves nothing behind, so
// one event that cannot be applied does not take the page with it; a step that
// does not fit is left for the next transaction. Nothing reaches the store's
// transaction before flush.
type layer struct {
	under   getter
	read    map[string][]byte // nil: absent
	written map[string][]byte // nil: deleted
	bytes   int

	step      map[string][]byte
	unbounded bool // while the reserve is used
}

var _ store.Tx = (*layer)(nil)

func newLayer(under getter) *layer {
	return &layer{under: under, read: map[string][]byte{}, written: map[string][]byte{}, step: map[string][]byte{}}
}

// Get implements store.Tx.
func (l *layer) Get(key string) ([]byte, error) {
	for _, m := range []map[string][]byte{l.step, l.written, l.read} {
		if val, ok := m[key]; ok {
			if val == nil {
				return nil, store.ErrNotFound
			}
			return val, nil
		}
	}
	if len(l.read) >= layerKeys && !l.unbounded {
		return nil, errFull
	}
	val, err := l.under.Get(key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	l.read[key] = val // nil if there is none
	return val, err
}

// Put implements store.Tx.
func (l *layer) Put(key string, value []byte) error { l.step[key] = value; return nil }

// Delete implements store.Tx.
func (l *layer) Delete(key string) error { l.step[key] = nil; return nil }

// keep ends a step. If it does not fit, it is as if it had not been: errFull.
func (l *layer) keep() error {
	keys, bytes := len(l.written), l.bytes
	for key, val := range l.step {
		old, again := l.written[key]
		if !again {
			keys, bytes = keys+1, bytes+len(key)
		}
		bytes += len(val) - len(old)
	}
	if (keys > layerKeys || bytes > layerBytes) && !l.unbounded {
		l.drop()
		return errFull
	}
	maps.Copy(l.written, l.step)
	l.bytes = bytes
	l.drop()
	return nil
}

// drop forgets the step in progress.
func (l *layer) drop() { clear(l.step) }

// flush writes everything that was kept, in key order.
func (l *layer) flush(tx store.Tx) error {
	for _, key := range slices.Sorted(maps.Keys(l.written)) {
		var err error
		if val := l.written[key]; val == nil {
			err = tx.Delete(key)
		} else {
			err = tx.Put(key, val)
		}
		if err != nil {
			return fmt.Errorf("write directory: %w", err)
		}
	}
	return nil
}
