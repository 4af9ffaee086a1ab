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
	Pruned      *Anchor  `json:"pruned"`  // null: nothing was; the chain goes on from it
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

// verifyAgain is how often Verify begins anew when entries are pruned meanwhile.
const verifyAgain = 20

// Verify reads the whole chain, a block at a time, and says what is wrong with
// it. Acts and prunings that go on meanwhile do not disturb it. Its error is the
// store's, or ErrBusy.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	for range verifyAgain {
		before, err := l.anchorBytes(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("verify audit: %w", err)
		}
		r, err := l.verify(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("verify audit: %w", err)
		}
		// Entries that are missing may have been pruned since.
		after, err := l.anchorBytes(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("verify audit: %w", err)
		}
		if r.Intact || before == after {
			return r, nil
		}
	}
	return Report{}, ErrBusy
}

// anchorBytes is the anchor as it is stored; empty: there is none.
func (l *Log) anchorBytes(ctx context.Context) (string, error) {
	raw, err := l.get(ctx)(anchorKey)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(raw), err
}

func (l *Log) verify(ctx context.Context) (Report, error) {
	w := walk{log: l, open: map[uint64]Open{}, Report: Report{Keyed: l.check != nil, Faults: []string{}, Missing: []uint64{}, Open: []Open{}}}
	l.mu.Lock()
	w.witness = l.last
	l.mu.Unlock()
	h, err := w.begin(ctx)
	if err != nil {
		return Report{}, err
	}
	for at, empty := w.from.Seq+1, 0; at <= h.Seq; at += block - at%block {
		entries, err := l.block(ctx, at)
		if err != nil {
			return Report{}, err
		}
		w.block(entries, at, min(at-at%block+block-1, h.Seq))
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
	case w.witness.Seq > h.Seq:
		w.fault(h.Seq+1, fmt.Sprintf("this process knows of entry %d, which is no longer there", w.witness.Seq))
	}
	if err := w.outside(ctx, h.Seq); err != nil {
		return Report{}, err
	}
	return w.done(), nil
}

// begin reads head and anchor, and takes up the chain where it begins.
func (w *walk) begin(ctx context.Context) (head, error) {
	h, err := w.log.head(ctx)
	if errors.Is(err, ErrBroken) {
		w.fault(0, err.Error())
	} else if err != nil {
		return head{}, err
	}
	if w.HeadSeq, w.HeadHash = h.Seq, h.Hash; !w.log.proven(h) {
		w.fault(h.Seq, "the head's MAC is not ours")
	}
	a, err := w.log.readAnchor(w.log.get(ctx))
	switch {
	case errors.Is(err, ErrBroken):
		w.fault(a.Seq+1, err.Error())
		if a.Seq <= h.Seq { // what is behind it can still be told
			w.from = a
		}
	case err != nil:
		return head{}, err
	case a.Seq > 0:
		w.from, w.Pruned = a, &a
		w.prev, w.known = a.Hash, true
	}
	if err == nil && a.Entry != h.Pruned {
		w.fault(min(a.Seq, h.Seq)+1, misfit(a, h))
	}
	return h, nil
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
	from    Anchor // where the chain begins
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
	wrong := w.log.wrong(e, s.Value, seq, w.prev, w.known)
	switch {
	case wrong != "":
	case seq == w.witness.Seq && e.Hash != w.witness.Hash:
		wrong = "this process knows another"
	case seq == w.from.Entry && !e.records(w.from):
		wrong = "it does not record the anchor"
	}
	w.prev, w.known = e.Hash, true
	if wrong != "" {
		w.fault(seq, wrong)
		return
	}
	w.pair(e)
}

// wrong says what is not right with an entry as it is stored under the number
// seq, after one whose hash is prev, where that is known.
func (l *Log) wrong(e Entry, raw []byte, seq uint64, prev string, known bool) string {
	switch sum, err := e.digest(); {
	case err != nil || sum != e.Hash:
		return "its content is not what its hash says"
	case !sameBytes(e, raw):
		return "its bytes are not those that were written"
	case e.V != version || e.Seq != seq:
		return "its number or version is another's"
	case !l.authentic(entryMAC(e.Hash), e.MAC):
		return "its MAC is not ours"
	case seq == 1 && e.Prev != "", known && e.Prev != prev:
		return "it does not follow the entry before"
	case e.Unproven:
		return "it was linked to a head that was not ours"
	case e.Lost:
		return "the audit began anew here: all that was recorded before was deleted"
	}
	return ""
}

// pair matches outcomes with their intents.
func (w *walk) pair(e Entry) {
	switch e.Kind {
	case Intent:
		w.open[e.Seq] = Open{Seq: e.Seq, Time: e.Time, Actor: e.Actor.Kind + ":" + e.Actor.ID, Action: e.Action}
	case Ended:
		// Its intent may have been pruned: an act can take place on both sides.
		if _, ok := w.open[e.Intent]; !ok && !w.failed && e.Intent > w.from.Seq {
			w.fault(e.Seq, "it is the outcome of no intent, or a second one")
		}
		delete(w.open, e.Intent)
	case Whole:
	default:
		w.fault(e.Seq, "it is of no kind")
	}
}

// outside looks for entries after the head and before the anchor. Those that
// were written since are below the head as it is then; others were put there.
func (w *walk) outside(ctx context.Context, seq uint64) error {
	after, err := w.list(ctx, key(seq), func(digit, at byte) bool { return digit > at })
	if err != nil {
		return err
	}
	h, err := w.log.head(ctx)
	if err != nil && !errors.Is(err, ErrBroken) {
		return err
	}
	for _, s := range after {
		if at, err := strconv.ParseUint(s.Key[len(Prefix):], 10, 64); err != nil || at > h.Seq {
			w.fault(seq+1, "the key "+strconv.Quote(s.Key)+" lies behind the head")
		}
	}
	before, err := w.list(ctx, key(w.from.Seq+1), func(digit, at byte) bool { return digit < at })
	for _, s := range before {
		w.fault(w.from.Seq+1, "the key "+strconv.Quote(s.Key)+" lies before the anchor, where nothing was left")
	}
	return err
}

// list returns the entries whose keys differ from k first in a digit that lies
// on the wanted side of k's.
func (w *walk) list(ctx context.Context, k string, wanted func(digit, at byte) bool) (all []store.Entry, err error) {
	for i := len(Prefix); i < len(k); i++ {
		for digit := byte('0'); digit <= '9'; digit++ {
			if !wanted(digit, k[i]) {
				continue
			}
			found, _, err := w.log.store.List(ctx, k[:i]+string(digit))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
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
