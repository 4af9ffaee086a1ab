package standin

import "slices"

// ordered is a set of ids in their order, which is that of age: ids are ULIDs.
type ordered []string

// add and remove find the place by halves; a new id mostly belongs at the end.
func (o *ordered) add(id string) {
	if n := len(*o); n == 0 || (*o)[n-1] < id {
		*o = append(*o, id)
		return
	}
	if i, found := slices.BinarySearch(*o, id); !found {
		*o = slices.Insert(*o, i, id)
	}
}

func (o *ordered) remove(id string) {
	if i, found := slices.BinarySearch(*o, id); found {
		*o = slices.Delete(*o, i, i+1)
	}
}

// index finds the ids of the objects that have something in common.
type index map[string]*ordered

func (x index) add(key, id string) {
	if x[key] == nil {
		x[key] = &ordered{}
	}
	x[key].add(id)
}

func (x index) remove(key, id string) {
	ids := x[key]
	if ids == nil {
		return
	}
	if ids.remove(id); len(*ids) == 0 {
		delete(x, key)
	}
}

// of lists the ids under a key. The caller must not keep it past a change.
func (x index) of(key string) ordered {
	if ids := x[key]; ids != nil {
		return *ids
	}
	return nil
}

// table holds objects by id, and their ids in order.
type table[T any] struct {
	byID map[string]T
	ids  ordered
}

func newTable[T any]() table[T] { return table[T]{byID: map[string]T{}} }

// put stores an object, and returns the one that it replaces.
func (t *table[T]) put(id string, v T) (before T, replaced bool) {
	if before, replaced = t.byID[id]; !replaced {
		t.ids.add(id)
	}
	t.byID[id] = v
	return before, replaced
}

// drop removes an object, and returns it.
func (t *table[T]) drop(id string) (was T, known bool) {
	if was, known = t.byID[id]; known {
		delete(t.byID, id)
		t.ids.remove(id)
	}
	return was, known
}

// all lists the objects by age.
func (t *table[T]) all() []T { return t.some(t.ids) }

// some lists the objects that have these ids, in the order of the ids.
func (t *table[T]) some(ids ordered) []T {
	out := make([]T, 0, len(ids))
	for _, id := range ids {
		if v, ok := t.byID[id]; ok {
			out = append(out, v)
		}
	}
	return out
}
