package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"battery.app/gate/store"
)

// maxListed bounds each list of a Report.
const maxListed = 100

// maxEmpty is how many blocks without any entry are read in a row.
const maxEmpty = 10

// Report is what Verify found.
type Report struct {
	// Intact: no entry was changed, taken away or put in, as far as the store
	// and this process can tell. Open intents do not speak against it.
	Intact bool `json:"intact"`
	// Keyed: MACs were checked. Without, who can write the store could have
	// computed a chain of their own.
	Keyed       bool     `json:"keyed"`
	Entries     uint64   `json:"entries"` // that were found
	HeadSeq     uint64   `json:"head_seq"`
	HeadHash    string   `json:"head_hash"`           // compare it with what was logged outside the store
	FirstBroken uint64   `json:"first_broken_seq"`    // 0: none
	Faults      []string `json:"faults"`              // what is wrong, at most 100
	Missing     []uint64 `json:"missing_seqs"`        // at most 100
	Open        []Open   `json:"intents_without_end"` // at most 100; running, or the program died in them
}

// Open is an intent without an outcome.
type Open struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
}

// Verify reads the whole chain, a block at a time, and says what is wrong with
// it. Acts that go on meanwhile do not disturb it. Its error is the store's.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	w := walk{log: l, open: map[uint64]Open{}, Report: Report{Keyed: l.check != nil, Faults: []string{}, Missing: []uint64{}, Open: []Open{}}}
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	h, err := l.head(ctx)
	if errors.Is(err, ErrBroken) {
		w.fault(0, err.Error())
	} else if err != nil {
		return Report{}, fmt.Errorf("verify audit: %w", err)
	}
	w.HeadSeq, w.HeadHash, w.witness = h.Seq, h.Hash, last
	if !l.proven(h) {
		w.fault(h.Seq, "the head's MAC is not ours")
	}
	for at, empty := uint64(0), 0; at <= h.Seq; at += block {
		entries, err := l.block(ctx, at)
		if err != nil {
			return Report{}, fmt.Errorf("verify audit: %w", err)
		}
		w.block(entries, max(at, 1), min(at+block-1, h.Seq))
		// A forged head may name a number that could be counted to for ever.
		if empty++; len(entries) > 0 {
			empty = 0
		} else if empty == maxEmpty {
			w.fault(at, "and those before it are missing; what lies between here and the head was not read")
			break
		}
	}
	switch {
	case h.Seq > 0 && w.known && w.prev != h.Hash:
		w.fault(h.Seq, "the head names another hash than the last entry has")
	case last.Seq > h.Seq:
		w.fault(h.Seq+1, fmt.Sprintf("this process wrote up to entry %d, which is no longer there", last.Seq))
	}
	if err := w.beyond(ctx, h.Seq); err != nil {
		return Report{}, fmt.Errorf("verify audit: %w", err)
	}
	return w.done(), nil
}

// walk is a Verify on its way.
type walk struct {
	Report
	log     *Log
	prev    string // hash of the entry before
	known   bool   // prev is known: nothing is missing before
	open    map[uint64]Open
	witness head
	failed  bool
}

func (w *walk) fault(seq uint64, what string) {
	w.failed = true
	if seq > 0 && (w.FirstBroken == 0 || seq < w.FirstBroken) {
		w.FirstBroken = seq
	}
	if len(w.Faults) < maxListed {
		w.Faults = append(w.Faults, fmt.Sprintf("entry %d: %s", seq, what))
	}
}

// block checks the entries from first to last against what is stored of them.
func (w *walk) block(entries []store.Entry, first, last uint64) {
	bySeq := make(map[uint64]store.Entry, len(entries))
	for _, s := range entries {
		number := s.Key[len(Prefix):]
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(number) != digits || seq == 0 {
			w.fault(0, "the key "+strconv.Quote(s.Key)+" is none of ours")
			continue
		}
		bySeq[seq] = s
	}
	for seq := first; seq <= last; seq++ {
		s, ok := bySeq[seq]
		if !ok {
			w.fault(seq, "is missing")
			if len(w.Missing) < maxListed {
				w.Missing = append(w.Missing, seq)
			}
			w.known = false
			continue
		}
		w.Entries++
		w.entry(s, seq)
	}
}

func (w *walk) entry(s store.Entry, seq uint64) {
	e, _, ok := decoded(s)
	if !ok {
		w.fault(seq, "is unreadable")
		w.known = false
		return
	}
	sound := false
	switch sum, err := e.digest(); {
	case err != nil || sum != e.Hash:
		w.fault(seq, "its content is not what its hash says")
	case !sameBytes(e, s.Value):
		w.fault(seq, "its bytes are not those that were written")
	case e.V != version || e.Seq != seq:
		w.fault(seq, "its number or version is another's")
	case !w.log.authentic(entryMAC(e.Hash), e.MAC):
		w.fault(seq, "its MAC is not ours")
	case seq == 1 && e.Prev != "", w.known && e.Prev != w.prev:
		w.fault(seq, "it does not follow the entry before")
	case e.Unproven:
		w.fault(seq, "it was linked to a head that was not ours")
	case seq == w.witness.Seq && e.Hash != w.witness.Hash:
		w.fault(seq, "this process wrote another")
	default:
		sound = true
	}
	w.prev, w.known = e.Hash, true
	if sound {
		w.pair(e)
	}
}

// pair matches outcomes with their intents.
func (w *walk) pair(e Entry) {
	switch e.Kind {
	case Intent:
		w.open[e.Seq] = Open{Seq: e.Seq, Time: e.Time, Actor: e.Actor.Kind + ":" + e.Actor.ID, Action: e.Action}
	case Ended:
		if _, ok := w.open[e.Intent]; !ok && !w.failed {
			w.fault(e.Seq, "it is the outcome of no intent, or a second one")
		}
		delete(w.open, e.Intent)
	case Whole:
	default:
		w.fault(e.Seq, "it is of no kind")
	}
}

// beyond looks for entries after the head: those that were written since are
// below the head as it is then; others were put there.
func (w *walk) beyond(ctx context.Context, seq uint64) error {
	var extra []store.Entry
	k := key(seq)
	for i := len(Prefix); i < len(k); i++ {
		for digit := k[i] + 1; digit <= '9'; digit++ {
			found, _, err := w.log.store.List(ctx, k[:i]+string(digit))
			if err != nil {
				return err
			}
			extra = append(extra, found...)
		}
	}
	h, err := w.log.head(ctx)
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	for _, s := range extra {
		if at, err := strconv.ParseUint(s.Key[len(Prefix):], 10, 64); err != nil || at > h.Seq {
			w.fault(seq+1, "the key "+strconv.Quote(s.Key)+" lies behind the head")
		}
	}
	return nil
}

func (w *walk) done() Report {
	for _, o := range w.open {
		w.Open = append(w.Open, o)
	}
	slices.SortFunc(w.Open, func(a, b Open) int { return int(int64(a.Seq) - int64(b.Seq)) })
	w.Open = w.Open[:min(len(w.Open), maxListed)]
	w.Intact = !w.failed
	return w.Report
}

// sameBytes: an entry whose bytes differ but say the same was written by others.
func sameBytes(e Entry, stored []byte) bool {
	raw, err := canonical(e)
	return err == nil && bytes.Equal(raw, stored)
}
