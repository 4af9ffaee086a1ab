package decisionlog

import (
	"sync"
	"time"

	"battery.app/gate/authz"
)

// Why decisions are missing from the log.
const (
	ReasonQueueFull   = "queue_full"   // the writer could not keep up
	ReasonWriteFailed = "write_failed" // the database refused the row, or everything until the end
	ReasonCrash       = "crash"        // the process ended without draining its queue
)

// item is one thing for the writer, in sequence order: a record, or (rec nil)
// the gap seq..to.
type item struct {
	rec     *authz.Record
	seq, to uint64
	reason  string
	at      time.Time
}

type slot struct {
	rec *authz.Record
	seq uint64
}

// queue numbers decisions and holds them until the writer takes them. One
// mutex guards it: the critical section is a few stores, and it buys what
// separate atomics cannot, namely that numbers enter the ring in order and that
// the counters agree with each other at every instant.
type queue struct {
	mu    sync.Mutex
	ring  []slot
	head  int
	count int
	gaps  []item // drops the writer has not taken, in order

	seq     uint64 // last number given
	taken   uint64 // last number handed to the writer
	settled uint64 // every number up to it is committed, as a row or in a gap
	closed  bool

	decided, stored, dropped uint64
	inFlight                 uint64 // records taken and not settled

	changed chan struct{} // closed when settled moves; nil if nobody waits
}

func newQueue(size int, last uint64) *queue {
	return &queue{ring: make([]slot, size), seq: last, taken: last, settled: last}
}

// put numbers r and queues it, or counts it as dropped if the queue is full.
// It returns how many records wait. After close nothing can be kept any more:
// ok is false and r is only counted.
func (q *queue) put(r *authz.Record, now func() time.Time) (waiting int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.decided++
	if q.closed {
		q.dropped++
		return 0, false
	}
	q.seq++
	if q.count == len(q.ring) {
		q.dropped++
		if last := len(q.gaps) - 1; last >= 0 && q.gaps[last].to+1 == q.seq {
			q.gaps[last].to = q.seq
		} else {
			q.gaps = append(q.gaps, item{seq: q.seq, to: q.seq, reason: ReasonQueueFull, at: now()})
		}
		return q.count, true
	}
	at := q.head + q.count
	if at >= len(q.ring) {
		at -= len(q.ring)
	}
	q.ring[at] = slot{rec: r, seq: q.seq}
	q.count++
	return q.count, true
}

// take appends up to limit items to buf, in sequence order and without a hole,
// so that what one transaction commits always continues what the last one did.
func (q *queue) take(buf []item, limit int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; limit > 0; limit-- {
		switch {
		case q.count > 0 && q.ring[q.head].seq == q.taken+1:
			s := &q.ring[q.head]
			buf = append(buf, item{rec: s.rec, seq: s.seq, to: s.seq})
			s.rec = nil
			if q.head++; q.head == len(q.ring) {
				q.head = 0
			}
			q.count--
			q.inFlight++
			q.taken++
		case len(q.gaps) > 0:
			buf = append(buf, q.gaps[0])
			q.taken = q.gaps[0].to
			if q.gaps = q.gaps[1:]; len(q.gaps) == 0 {
				q.gaps = nil
			}
		default:
			return buf
		}
	}
	return buf
}

// settle says that everything up to number to is committed: stored records as
// rows, failed records in gaps.
func (q *queue) settle(to, stored, failed uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settled = to
	q.stored += stored
	q.dropped += failed
	q.inFlight -= stored + failed
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// abandon gives up everything that is not settled. It returns the gap that
// says so and how many records, dropped before or not, lie in it.
func (q *queue) abandon(now time.Time) (gap item, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	gap = item{seq: q.settled + 1, to: q.seq, reason: ReasonWriteFailed, at: now}
	if gap.to < gap.seq {
		return gap, 0
	}
	q.dropped += uint64(q.count) + q.inFlight
	q.count, q.head, q.inFlight, q.gaps = 0, 0, 0, nil
	clear(q.ring)
	q.taken = q.seq
	return gap, gap.to - gap.seq + 1
}

// close refuses all later records.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// last is the number given most recently.
func (q *queue) last() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seq
}

// waiting is how many records are queued.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// reached reports whether everything up to number to is settled; if not, the
// channel closes when there is news.
func (q *queue) reached(to uint64) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.settled >= to {
		return true, nil
	}
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return false, q.changed
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Decided: q.decided, Stored: q.stored, Dropped: q.dropped, Queued: uint64(q.count) + q.inFlight}
}
