package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	grace      = 10 * time.Second       // how long Run, once stopped, keeps trying a database that fails
	retryFirst = 100 * time.Millisecond // backoff after a failed write, doubled up to
	retryMost  = 5 * time.Second
	sweepEvery = time.Minute // between two looks for rows past their retention
	sweepAgain = 10 * time.Millisecond
)

// Run writes what Record queued, until ctx ends; then it drains the queue and
// returns nil. A database that fails is tried again and again, with backoff:
// meanwhile the queue fills, and what does not fit is counted in a gap. If it
// still fails 10 seconds after ctx ended, what is queued is given up and Run
// returns an error that says how much.
func (l *Log) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	if err := l.enter(cancel, done); err != nil {
		return fmt.Errorf("run decision log: %w", err)
	}
	defer func() {
		l.mu.Lock()
		l.cancel, l.done = nil, nil
		l.mu.Unlock()
		close(done)
	}()

	trying, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, giveUp) })()

	l.loop(ctx, trying)
	return l.finish(trying)
}

func (l *Log) enter(cancel context.CancelFunc, done chan struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return ErrClosed
	case l.cancel != nil:
		return errors.New("already running")
	}
	l.cancel, l.done = cancel, done
	return nil
}

// loop returns when ctx has ended.
func (l *Log) loop(ctx, trying context.Context) {
	tick := time.NewTicker(l.o.Every)
	defer tick.Stop()
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	if l.o.Retention == 0 {
		sweep.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.hurry:
		case <-sweep.C:
			sweep.Reset(l.sweep())
			continue
		}
		if err := l.drain(trying); err != nil {
			return // only when told to give up, which is after ctx ended
		}
	}
}

// sweep deletes one batch of what is past its retention and returns how long
// to wait for the next.
func (l *Log) sweep() time.Duration {
	more, err := l.w.expire(context.Background(), l.o.Now().Add(-l.o.Retention))
	switch {
	case err != nil:
		l.o.Logger.Warn("decision log cannot delete old decisions; trying again", "error", err)
		return sweepEvery
	case more:
		return sweepAgain
	}
	return sweepEvery
}

// drain writes everything that was queued when it began, and goes on while
// whole batches wait. It fails only when trying ended before the database
// worked again; then what it had taken is still unsettled.
func (l *Log) drain(trying context.Context) error {
	target := l.q.last()
	for {
		clear(l.batch) // what is written need not live until the next batch
		l.batch = l.q.take(l.batch[:0], l.o.Batch)
		items := l.batch
		if len(items) == 0 {
			return nil
		}
		if err := l.keep(trying, items); err != nil {
			return err
		}
		if items[len(items)-1].to >= target && l.q.waiting() < l.o.Batch {
			return nil
		}
	}
}

// keep commits items, retrying until it works or trying ends.
func (l *Log) keep(trying context.Context, items []item) error {
	wait := retryFirst
	for {
		left, err := l.attempt(items)
		if err == nil {
			l.recovered()
			return nil
		}
		l.failed(err)
		items = left
		timer := time.NewTimer(wait)
		select {
		case <-trying.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		wait = min(2*wait, retryMost)
	}
}

// failed and recovered say once for each episode that the database does not
// take rows, and that it does again.
func (l *Log) failed(err error) {
	if l.failing.IsZero() {
		l.failing = l.o.Now()
		l.o.Logger.Error("decision log cannot write; trying again, decisions wait in the queue", "error", err)
	}
}

func (l *Log) recovered() {
	if !l.failing.IsZero() {
		l.o.Logger.Info("decision log writes again", "after", l.o.Now().Sub(l.failing))
		l.failing = time.Time{}
	}
}

// attempt commits items in one transaction. If the database refuses it for
// what is in a row, each item gets its own, and a refused row becomes a gap:
// one bad row must neither stop the log nor take its neighbours along. On an
// error it returns the items that are not committed.
func (l *Log) attempt(items []item) ([]item, error) {
	ctx := context.Background() // a started batch ends, whatever else does
	err := l.w.write(ctx, items)
	if err == nil {
		l.settle(items, 0)
		return nil, nil
	}
	if !l.d.rowFault(err) {
		return items, err
	}
	for i := range items {
		err := l.w.write(ctx, items[i:i+1])
		failed := uint64(0)
		if err != nil && items[i].rec != nil && l.d.rowFault(err) {
			l.o.Logger.Error("decision log refused a decision; it is in a gap", "decision_id", items[i].rec.ID, "error", err)
			bad := items[i]
			items[i] = item{seq: bad.seq, to: bad.to, reason: ReasonWriteFailed, at: l.o.Now()}
			if err = l.w.write(ctx, items[i:i+1]); err != nil {
				items[i] = bad
			}
			failed = 1
		}
		if err != nil {
			return items[i:], err
		}
		l.settle(items[i:i+1], failed)
	}
	return nil, nil
}

// settle tells the log if decisions went missing, and the queue: once for each
// stretch of drops, not once for each gap.
func (l *Log) settle(items []item, failed uint64) {
	var stored, missed uint64
	for i := range items {
		if items[i].rec != nil {
			stored++
		} else if items[i].reason == ReasonQueueFull {
			missed += items[i].to - items[i].seq + 1
		}
	}
	if missed > 0 && !l.missing { // before Flush returns: who waited for the rows finds the line too
		l.o.Logger.Error("decision log could not keep up; decisions were dropped and are in gaps", "dropped", missed)
	}
	l.missing = missed > 0
	l.q.settle(items[len(items)-1].to, stored, failed)
}

// finish drains for the last time. What cannot be written while trying lasts
// becomes one gap; if that cannot be written either, the run does not end
// cleanly and the next start says so.
func (l *Log) finish(trying context.Context) error {
	err := l.drain(trying)
	if err == nil {
		return nil
	}
	gap, lost := l.q.abandon(l.o.Now())
	if gapErr := l.w.write(context.Background(), []item{gap}); gapErr == nil {
		l.q.settle(gap.to, 0, 0)
	}
	return fmt.Errorf("decision log gave up %d decisions: %w", lost, err)
}
