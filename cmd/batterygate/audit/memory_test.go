package audit_test

import (
	"bytes"
	"context"
	"errors"
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
	for k, v := range m.data {
		if strings.HasPrefix(k, prefix) {
			out = append(out, store.Entry{Key: k, Value: v})
		}
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, 0, nil
}

func (m *memory) Update(_ context.Context, fn func(store.Tx) error) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var tx *memoryTx
	for range 2 { // it may run more than once
		tx = &memoryTx{data: m.data, read: map[string]bool{}, written: map[string][]byte{}}
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
	for k, v := range tx.written {
		if v == nil {
			delete(m.data, k)
		} else {
			m.data[k] = v
		}
	}
	return 0, nil
}

func (m *memory) Watch(context.Context, string, uint64, func([]store.Change) error) error {
	return store.ErrClosed
}
func (m *memory) Close() error { return nil }

type memoryTx struct {
	data    map[string][]byte
	read    map[string]bool
	written map[string][]byte // nil: deleted
}

func (t *memoryTx) Get(key string) ([]byte, error) {
	t.read[key] = true
	v, ok := t.written[key]
	if !ok {
		v = t.data[key]
	}
	if v == nil {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (t *memoryTx) Put(key string, value []byte) error {
	t.written[key] = bytes.Clone(value)
	return nil
}

func (t *memoryTx) Delete(key string) error {
	t.written[key] = nil
	return nil
}
