package directory

import iradix "github.com/hashicorp/go-immutable-radix/v2"

// overlay is a tree with changes on top, begun with the first change.
type overlay[T any] struct {
	tree *iradix.Tree[T]
	txn  *iradix.Txn[T]
}

func (o *overlay[T]) get(key string) (T, bool) {
	if o.txn != nil {
		return o.txn.Get([]byte(key))
	}
	return o.tree.Get([]byte(key))
}

func (o *overlay[T]) begin() *iradix.Txn[T] {
	if o.txn == nil {
		o.txn = o.tree.Txn()
	}
	return o.txn
}

func (o *overlay[T]) put(key string, v T) { o.begin().Insert([]byte(key), v) }

func (o *overlay[T]) del(key string) {
	if _, ok := o.get(key); ok {
		o.begin().Delete([]byte(key))
	}
}

func (o *overlay[T]) commit() *iradix.Tree[T] {
	if o.txn == nil {
		return o.tree
	}
	return o.txn.Commit()
}
