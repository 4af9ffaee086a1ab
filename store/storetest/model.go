package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/store"
)

// testModel runs random updates against a map that does the same: reads, lists
// and watches must say what the map says.
func testModel(t *testing.T, open Open) {
	s := fresh(t, open)
	ctx := testContext(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // each run has keys of its own, in one store: opening one is slow
		m := &model{s: s, root: fmt.Sprintf("run%d/", run), now: map[string]store.Entry{}}
		_, m.revision = list(rt, s, "")
		start := m.revision
		rt.Repeat(map[string]func(*rapid.T){
			"update": m.update,
			"fail":   m.fail,
			"get":    m.get,
			"list":   m.list,
		})
		m.list(rt)
		got := watchUntil(rt, ctx, s, m.root, start, m.revision)
		if len(got) != len(m.changes) {
			rt.Fatalf("%d changes, want %d", len(got), len(m.changes))
		}
		for i, want := range m.changes {
			if got[i].Revision != want.Revision || show(got[i].Entries) != show(want.Entries) {
				rt.Fatalf("change %d: %d %s\nwant %d %s", i, got[i].Revision, show(got[i].Entries), want.Revision, show(want.Entries))
			}
		}
		state := map[string]store.Entry{}
		replay(state, got)
		wantEntries(rt, "all changes replayed", sorted(state), show(sorted(m.now)))
	})
}

type model struct {
	s        store.Store
	root     string
	now      map[string]store.Entry
	revision uint64
	changes  []store.Change
}

func (m *model) key(rt *rapid.T) string {
	return m.root + rapid.SampledFrom([]string{"a", "a/1", "a/2", "b", "b/1", "c"}).Draw(rt, "key")
}

// do draws operations and does them in tx and in a copy of the model's map,
// comparing what both read.
func (m *model) do(rt *rapid.T, tx store.Tx) map[string]store.Entry {
	next := maps.Clone(m.now)
	for range rapid.IntRange(0, 6).Draw(rt, "operations") {
		key := m.key(rt)
		switch rapid.SampledFrom([]string{"put", "put", "delete", "get"}).Draw(rt, "operation") {
		case "put":
			v := rapid.StringMatching(`[a-z]{0,3}`).Draw(rt, "value")
			if err := tx.Put(key, []byte(v)); err != nil {
				rt.Fatal(err)
			}
			next[key] = store.Entry{Key: key, Value: []byte(v)} // revision 0: of this update
		case "delete":
			if err := tx.Delete(key); err != nil {
				rt.Fatal(err)
			}
			delete(next, key)
		case "get":
			v, err := tx.Get(key)
			compareGet(rt, key, v, err, next)
		}
	}
	return next
}

func (m *model) update(rt *rapid.T) {
	var next map[string]store.Entry
	rev := update(rt, m.s, func(tx store.Tx) error {
		next = m.do(rt, tx)
		return nil
	})
	change := store.Change{Revision: m.revision + 1}
	for _, key := range slices.Sorted(maps.Keys(union(m.now, next))) {
		e, there := next[key]
		switch {
		case !there:
			change.Entries = append(change.Entries, store.Entry{Key: key, Revision: change.Revision, Deleted: true})
		case e.Revision == 0:
			e.Revision = change.Revision
			next[key] = e
			change.Entries = append(change.Entries, e)
		}
	}
	if len(change.Entries) > 0 {
		m.revision++
		m.changes = append(m.changes, change)
	}
	m.now = next
	if rev != m.revision {
		rt.Fatalf("Update returned revision %d, want %d", rev, m.revision)
	}
}

func (m *model) fail(rt *rapid.T) {
	_, err := m.s.Update(context.Background(), func(tx store.Tx) error {
		m.do(rt, tx)
		return errOwn
	})
	wantError(rt, "Update", err, errOwn)
}

func (m *model) get(rt *rapid.T) {
	key := m.key(rt)
	e, err := m.s.Get(context.Background(), key)
	compareGet(rt, key, e.Value, err, m.now)
	if err == nil && e.Revision != m.now[key].Revision {
		rt.Fatalf("%s has revision %d, want %d", key, e.Revision, m.now[key].Revision)
	}
}

func (m *model) list(rt *rapid.T) {
	prefix := m.root + rapid.SampledFrom([]string{"", "a", "a/", "b/", "d"}).Draw(rt, "prefix")
	want := maps.Clone(m.now)
	maps.DeleteFunc(want, func(k string, _ store.Entry) bool { return !strings.HasPrefix(k, prefix) })
	got, rev := list(rt, m.s, prefix)
	if show(got) != show(sorted(want)) || rev != m.revision {
		rt.Fatalf("List(%s) = %s at %d\nwant %s at %d", prefix, show(got), rev, show(sorted(want)), m.revision)
	}
}

func compareGet(rt *rapid.T, key string, v []byte, err error, want map[string]store.Entry) {
	e, there := want[key]
	if there != (err == nil) || (err != nil && !errors.Is(err, store.ErrNotFound)) || string(v) != string(e.Value) {
		rt.Fatalf("Get(%s) = %q, %v; want %q, there: %t", key, v, err, e.Value, there)
	}
}

func union(a, b map[string]store.Entry) map[string]store.Entry {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// replay applies changes to a state.
func replay(state map[string]store.Entry, changes []store.Change) {
	for _, c := range changes {
		for _, e := range c.Entries {
			if e.Deleted {
				delete(state, e.Key)
			} else {
				state[e.Key] = e
			}
		}
	}
}

func sorted(state map[string]store.Entry) []store.Entry {
	entries := make([]store.Entry, 0, len(state))
	for _, k := range slices.Sorted(maps.Keys(state)) {
		entries = append(entries, state[k])
	}
	return entries
}
