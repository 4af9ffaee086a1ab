package audit_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"battery.app/gate/store"
)

var errCrash = errors.New("the machine stopped")

// memory is a store that holds a transaction to the limits, and stops before
// one is written when it is told to.
type memory struct {
	mu    sync.Mutex
	data  map[string][]byte
	crash bool
	lists int // how often List was asked
}

func newMemory() *memory { return &memory{data: map[string][]byte{}} }

func (m *memory) Get(_ context.Context, key string) (store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.data[key]
	if !ok {
		return store.Entry{}, store.ErrNotFound
	}
	return store.Entry{Key: key, Value: v}, nil
}

func (m *memory) List(_ context.Context, prefix string) (out []store.Entry, _ uint64, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	for _, k := range slices.Sorted(maps.Keys(m.data)) {
		if strings.HasPrefix(k, prefix) {
			out = append(out, store.Entry{Key: k, Value: m.data[k]})
		}
	}
	return out, 0, nil
}

func (m *memory) Update(_ context.Context, fn func(store.Tx) error) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var tx *memoryTx
	for range 2 { // it may run more than once
		tx = &memoryTx{next: maps.Clone(m.data), read: map[string]bool{}, written: map[string]bool{}}
		if err := fn(tx); err != nil {
			return 0, err
		}
	}
	if len(tx.read) > store.MaxTxOps || len(tx.written) > store.MaxTxOps {
		return 0, store.ErrTooLarge
	}
	if m.crash {
		return 0, errCrash
	}
	m.data = tx.next
	return 0, nil
}

func (m *memory) Watch(context.Context, string, uint64, func([]store.Change) error) error {
	return store.ErrClosed
}
func (m *memory) Close() error { return nil }

type memoryTx struct {
	next          map[string][]byte
	read, written map[string]bool
}

func (t *memoryTx) Get(key string) ([]byte, error) {
	t.read[key] = true
	v, ok := t.next[key]
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (t *memoryTx) Put(key string, value []byte) error {
	t.written[key], t.next[key] = true, bytes.Clone(value)
	return nil
}

func (t *memoryTx) Delete(key string) error {
	t.written[key] = true
	delete(t.next, key)
	return nil
}
