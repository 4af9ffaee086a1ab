package audit

import (
	"context"
	"fmt"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// ActionBegin is the action of the first entry of an audit that was opened.
const ActionBegin = "audit.begin"

// Open is called once, before the program does anything that the audit should
// tell of. It begins the audit of a new store with an entry, so that an audit
// without any is not one on which nothing happened; and it remembers the last
// entry, so that whatever is taken away from now on is found by this process.
//
// used says that the store is not new. Where the audit of such a store is empty,
// all of it was deleted: its new first entry says so for good, and Verify does.
//
// A broken audit is no error: Verify says what is wrong with it. Errors are the
// store's.
func (l *Log) Open(ctx context.Context, used bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h, err := l.begin(ctx, used)
	if err != nil {
		return fmt.Errorf("open audit: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = true
	if h.Seq > l.last.Seq && l.proven(h) {
		l.last = h
	}
	return nil
}

// begin returns the head, after it has made one where nothing is. It is zero
// for a chain that is broken.
func (l *Log) begin(ctx context.Context, used bool) (head, error) {
	h, err := l.head(ctx)
	if err != nil || h.Seq > 0 {
		return h, l.unlessBroken(ctx, err)
	}
	left, _, err := l.store.List(ctx, Prefix)
	if err != nil {
		return head{}, err
	}
	e := l.entry(Whole, Act{Actor: itself("start"), Action: ActionBegin, Resource: engine.Resource{Type: "audit"}})
	e.outcome(Outcome{Result: Done})
	e.Time, e.Lost = l.now().UTC(), used
	if used {
		e.Detail = "The audit was empty, but this store had been in use: what was recorded before was deleted."
		l.log.ErrorContext(ctx, "the audit was deleted: it is empty, but this store had been in use; compare with the log of earlier runs")
	}
	var done Entry
	_, err = l.store.Update(ctx, func(tx store.Tx) error {
		done = Entry{}
		if h, err = readHead(tx.Get); err != nil || h.Seq > 0 {
			return err // another replica was first
		}
		if len(left) > 0 {
			return fmt.Errorf("%w: its head is gone, but there is %s", ErrBroken, left[0].Key)
		}
		done, err = l.link(tx, head{}, e)
		h = head{V: version, Seq: done.Seq, Hash: done.Hash}
		return err
	})
	if err != nil {
		return head{}, l.unlessBroken(ctx, err)
	}
	if done.Seq > 0 {
		l.witness(ctx, done)
		return head{}, nil // witnessed
	}
	return h, nil
}
