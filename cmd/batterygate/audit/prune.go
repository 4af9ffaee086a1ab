package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

const (
	// pruneBatch entries go in one transaction: each is read and deleted, and
	// the store bounds both.
	pruneBatch = 100
	// pruneBytes is after how many bytes of entries a batch ends: all of them are
	// checked while the store waits.
	pruneBytes = 2 << 20
	// pruneBatches is how many batches one call makes: there is a next one.
	pruneBatches = 1000

	// day is how exact the age of entries is taken. Each pruning adds an entry,
	// which is itself pruned one day: without this the audit of a server on which
	// nothing happens would be of prunings.
	day = 24 * time.Hour
)

// ActionPrune is the action of the entry that a pruning leaves.
const ActionPrune = "audit.prune"

// itself is the actor of what the program does unasked.
func itself(id string) engine.Actor { return engine.Actor{Kind: "gate", ID: id, Roles: []string{}} }

// Prune deletes the oldest entries, those that are older than kept and the rest
// of a day, up to the first that is younger, and returns how many. The
// transaction that deletes also moves the anchor and adds an entry that says
// so. One call deletes a bounded number; what is left is the next one's. kept 0
// keeps everything.
//
// What Verify would complain of is never deleted, nor what comes after it: the
// error is ErrBroken then. Otherwise whoever changed an entry would only have to
// wait until the proof is thrown away.
func (l *Log) Prune(ctx context.Context, kept time.Duration) (uint64, error) {
	if kept <= 0 {
		return 0, nil
	}
	var all uint64
	for range pruneBatches {
		n, err := l.pruneSome(ctx, kept)
		all += n
		if err != nil {
			return all, fmt.Errorf("prune audit: %w", err)
		}
		if n == 0 {
			break
		}
	}
	return all, nil
}

// pruneSome is one transaction of Prune.
func (l *Log) pruneSome(ctx context.Context, kept time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var left Anchor
	var record Entry
	_, err := l.store.Update(ctx, func(tx store.Tx) error {
		left, record = Anchor{}, Entry{}
		h, old, err := l.ends(tx)
		if err != nil || h.Seq == 0 {
			return err
		}
		now := l.now().UTC()
		next, err := l.oldest(tx, old, h, now.Add(-kept).Truncate(day))
		if err != nil || next.Count == 0 {
			return err
		}
		next.At, next.Kept, next.Entry = now, kept.String(), h.Seq+1
		for seq := old.Seq + 1; seq <= next.Seq; seq++ {
			if err := tx.Delete(key(seq)); err != nil {
				return err
			}
		}
		value, err := l.sealAnchor(next)
		if err != nil {
			return err
		}
		if err := tx.Put(anchorKey, value); err != nil {
			return err
		}
		e := l.entry(Whole, Act{Actor: itself("retention"), Action: ActionPrune, Resource: engine.Resource{Type: "audit"}})
		e.Time, e.Prune = now, true
		e.outcome(Outcome{Result: Done, After: next})
		left = next
		record, err = l.link(tx, h, e)
		return err
	})
	if err != nil || left.Count == 0 {
		return 0, err
	}
	l.witness(ctx, record)
	l.log.InfoContext(ctx, "audit pruned", "up_to_seq", left.Seq, "hash", left.Hash, "count", left.Count, "before", left.Before, "kept", left.Kept)
	return left.Count, nil
}

// ends returns head and anchor where both can be believed.
func (l *Log) ends(tx store.Tx) (head, Anchor, error) {
	h, err := readHead(tx.Get)
	if err != nil {
		return head{}, Anchor{}, err
	}
	if !l.proven(h) {
		return head{}, Anchor{}, fmt.Errorf("%w: its head's MAC is not ours", ErrBroken)
	}
	a, err := l.readAnchor(tx.Get)
	if err != nil {
		return head{}, Anchor{}, err
	}
	if a.Entry != h.Pruned {
		return head{}, Anchor{}, fmt.Errorf("%w: %s", ErrBroken, misfit(a, h))
	}
	if a.Seq > 0 {
		e, err := l.sound(tx, a.Entry, "", false)
		if err != nil {
			return head{}, Anchor{}, err
		}
		if !e.records(a) {
			return head{}, Anchor{}, fmt.Errorf("%w: its anchor is not the one that entry %d records", ErrBroken, a.Entry)
		}
	}
	return h, a, nil
}

// oldest walks from the anchor over what is older than before, and returns the
// anchor that stands behind it; Count is 0 where there is nothing. The entry
// after is looked at too: what is left must hang on what goes.
func (l *Log) oldest(tx store.Tx, from Anchor, h head, before time.Time) (Anchor, error) {
	to := Anchor{V: version, Seq: from.Seq, Hash: from.Hash, Before: before}
	for size := 0; to.Seq < h.Seq; {
		e, err := l.sound(tx, to.Seq+1, to.Hash, true)
		if err != nil {
			return Anchor{}, err
		}
		size += e.size
		if !e.Time.Before(before) || to.Count == pruneBatch || size > pruneBytes && to.Count > 0 {
			return to, nil
		}
		to.Seq, to.Hash, to.Time, to.Count = e.Seq, e.Hash, e.Time, to.Count+1
	}
	if to.Hash != h.Hash {
		return Anchor{}, fmt.Errorf("%w: the head names another hash than the last entry has", ErrBroken)
	}
	return to, nil
}

// stored is an entry and the length that it has in the store.
type stored struct {
	Entry
	size int
}

// sound reads an entry of which Verify would have nothing to say.
func (l *Log) sound(tx store.Tx, seq uint64, prev string, known bool) (stored, error) {
	raw, err := tx.Get(key(seq))
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, fmt.Errorf("%w: entry %d is missing", ErrBroken, seq)
	}
	if err != nil {
		return stored{}, err
	}
	var e Entry
	if json.Unmarshal(raw, &e) != nil {
		return stored{}, fmt.Errorf("%w: entry %d is unreadable", ErrBroken, seq)
	}
	if wrong := l.wrong(e, raw, seq, prev, known); wrong != "" {
		return stored{}, fmt.Errorf("%w: entry %d: %s", ErrBroken, seq, wrong)
	}
	return stored{Entry: e, size: len(raw)}, nil
}

// misfit says how an anchor is not the head's.
func misfit(a Anchor, h head) string {
	switch {
	case a.Seq == 0:
		return fmt.Sprintf("entry %d records a pruning, but the anchor that it left is gone", h.Pruned)
	case a.Entry < h.Pruned:
		return fmt.Sprintf("its anchor is an older one (entry %d) than the last pruning left (entry %d)", a.Entry, h.Pruned)
	}
	return "its anchor is of a later time than its head"
}

// records reports whether the entry is that of the pruning which left a.
func (e *Entry) records(a Anchor) bool {
	words, err := a.words()
	return err == nil && e.Prune && e.Seq == a.Entry && string(e.After) == string(words)
}
