package boltstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

// One webhook writes about this much.
var benchValue = []byte(strings.Repeat("v", 200))

func benchStore(b *testing.B) *boltstore.Store {
	return open(b, filepath.Join(b.TempDir(), "battery.db"), boltstore.Options{})
}

func benchUpdate(b *testing.B, s *boltstore.Store, n uint64) {
	key := fmt.Sprintf("directory/user/%016x", n*0x9e3779b97f4a7c15) // in no order, as ids come
	_, err := s.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, benchValue) })
	if err != nil {
		b.Error(err)
	}
}

// Durable updates, one writer after the other: the fsync's own time.
func BenchmarkUpdate(b *testing.B) {
	s := benchStore(b)
	n := uint64(0)
	for b.Loop() {
		n++
		benchUpdate(b, s, n)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// Durable updates by 64 writers at once, who share fsyncs.
func BenchmarkUpdateParallel64(b *testing.B) {
	s := benchStore(b)
	var (
		n  atomic.Int64
		wg sync.WaitGroup
	)
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				benchUpdate(b, s, uint64(i))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	put(b, s, "directory/user/1", string(benchValue))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(context.Background(), "directory/user/1"); err != nil {
			b.Fatal(err)
		}
	}
}
