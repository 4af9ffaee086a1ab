package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// PollerStatus is how the Events API's poller is getting on. What never was is
// left out.
type PollerStatus struct {
	LastPoll    time.Time     `json:"last_poll,omitzero"`    // when all events were last read to their end
	LastAttempt time.Time     `json:"last_attempt,omitzero"` // when it was last tried
	LastError   string        `json:"last_error"`            // of the last attempt; empty if it went well
	Failures    int           `json:"failures"`              // attempts in a row that failed
	NextAttempt time.Time     `json:"next_attempt,omitzero"`
	Cursor      string        `json:"cursor"`             // id of the last event read
	CursorAt    time.Time     `json:"cursor_at,omitzero"` // its created_at
	From        time.Time     `json:"from,omitzero"`      // where reading starts while there is no cursor
	Lag         time.Duration `json:"lag_ns"`             // how old what the poller knows is
	Events      int64         `json:"events"`             // read by this process
	DeadLetters int64         `json:"dead_letters"`       // of them
}

// poller reads the Events API with a cursor of its own.
type poller struct {
	o     *CatchUpOptions
	m     *meters
	match *matcher
	lost  func() // events may be lost: asks for a full reconcile
	begun chan struct{}
	nudge chan struct{}

	mu     sync.Mutex
	st     PollerStatus
	wakes  wakes
	known  time.Time // up to when events are known, by our clock
	narrow bool      // the retired types are no longer asked for
}

func newPoller(o *CatchUpOptions, m *meters, lost func()) *poller {
	now := o.Now()
	return &poller{
		o: o, m: m, lost: lost, begun: make(chan struct{}), nudge: make(chan struct{}, 1),
		wakes: newWakes(o.WakeAfter), known: now, match: newMatcher(now, o.MatchWithin, m.missedOn(o.Log)),
	}
}

func (p *poller) wake() {
	p.mu.Lock()
	p.wakes.add(p.o.Now())
	p.mu.Unlock()
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

func (p *poller) status() PollerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.st
	s.Lag = max(0, p.o.Now().Sub(p.known))
	return s
}

// behind is how old what the poller knows is.
func (p *poller) behind() time.Duration { return p.status().Lag }

// run begins, then polls until ctx ends.
func (p *poller) run(ctx context.Context) error {
	began := false
	for ctx.Err() == nil {
		now := p.o.Now()
		p.mu.Lock()
		p.st.LastAttempt = now
		p.wakes.polled(now)
		p.mu.Unlock()
		var err error
		if !began {
			err = p.begin(ctx)
			if began = err == nil; began {
				close(p.begun)
			}
		}
		if began {
			err = p.poll(ctx)
		}
		if ctx.Err() == nil {
			p.wait(ctx, p.note(ctx, err))
		}
	}
	return ctx.Err()
}

// begin fixes where reading starts if there is no cursor yet: a Window before
// WorkOS's present time. It is asked for before the first reconcile reads
// anything, so that the two leave no gap.
func (p *poller) begin(ctx context.Context) error {
	cur, err := p.o.Directory.Cursor(ctx)
	switch {
	case errors.Is(err, directory.ErrCorrupt):
		return p.restart(ctx, "the cursor cannot be read", cur)
	case err != nil:
		return err
	case cur.After == "":
		return p.startAt(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.Cursor, p.st.CursorAt = cur.After, cur.At
	if !cur.Moved.IsZero() && cur.Moved.Before(p.known) {
		p.known = cur.Moved
	}
	return nil
}

func (p *poller) startAt(ctx context.Context) error {
	now, err := p.o.serverNow(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.st.From = now.Add(-p.o.Window)
	if p.st.From.Before(p.known) {
		p.known = p.st.From
	}
	p.mu.Unlock()
	return nil
}

// note keeps how a poll went and says how long to wait for the next one.
func (p *poller) note(ctx context.Context, err error) time.Duration {
	p.m.poll(ctx, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.o.PollEvery
	if err == nil {
		p.st.Failures, p.st.LastError = 0, ""
	} else {
		p.st.Failures++
		p.st.LastError = err.Error()
		wait = backoff(p.st.Failures, p.o.FirstBackoff, p.o.MaxBackoff, err)
		p.o.Log.WarnContext(ctx, "the events of WorkOS could not be read; nothing changes until they can",
			"error", err, "failures", p.st.Failures, "again_in", wait)
	}
	p.st.NextAttempt = p.o.Now().Add(wait)
	return wait
}

// backoff is the wait after the n-th failure in a row: doubling from first to
// most, half of it by chance, so that replicas do not come back together; and
// not less than WorkOS asked for, up to a minute: a Retry-After of a day, from
// WorkOS or from whatever stands between, must not stop the feed for a day.
func backoff(n int, first, most time.Duration, err error) time.Duration {
	d := first << min(n-1, 16)
	if d <= 0 || d > most {
		d = most
	}
	d = d/2 + rand.N(d/2+1) //nolint:gosec // jitter, not a secret
	return max(d, min(workosapi.RetryAfter(err), maxRetryAfter))
}

// maxRetryAfter bounds what WorkOS may ask for. One request a minute strains
// nobody.
const maxRetryAfter = time.Minute

// wait waits, but after a success only until a webhook's poll is due. A failure
// is waited out: webhooks must not turn a rate limit into a storm.
func (p *poller) wait(ctx context.Context, d time.Duration) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	early := time.NewTimer(d)
	defer early.Stop()
	for {
		p.mu.Lock()
		due, failed := p.wakes.next(), p.st.Failures > 0
		p.mu.Unlock()
		if !failed && !due.IsZero() {
			early.Reset(max(0, due.Sub(p.o.Now())))
		}
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-early.C:
			return
		case <-p.nudge:
		}
	}
}

// poll reads pages until nothing comes after.
func (p *poller) poll(ctx context.Context) error {
	for {
		more, err := p.step(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// step reads one page and applies it with the cursor behind it. more is true if
// another one should be read at once.
func (p *poller) step(ctx context.Context) (more bool, err error) {
	began := p.o.Now()
	cur, err := p.o.Directory.Cursor(ctx)
	if err != nil {
		return false, err
	}
	page, err := p.o.WorkOS.ListEvents(ctx, p.query(cur))
	switch {
	case errors.Is(err, workosapi.ErrCursorRejected):
		return true, p.restart(ctx, "WorkOS does not know the cursor", cur)
	case err != nil && p.narrowed(err):
		return true, nil
	case err != nil:
		return false, err
	case cur.After != "" && p.tooOld(cur, page.ServerTime):
		return true, p.restart(ctx, "the cursor is too old", cur)
	}
	if err := p.apply(ctx, cur, page, began); errors.Is(err, directory.ErrCursorMoved) {
		return true, nil // another replica was faster: go on behind its page
	} else if err != nil {
		return false, err
	}
	if !page.More {
		p.reachedEnd(began, page.ServerTime)
	}
	return page.More, nil
}

func (p *poller) query(cur directory.Cursor) workosapi.EventQuery {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := workosapi.EventQuery{After: cur.After}
	if cur.After == "" {
		q.RangeStart = p.st.From
	}
	for _, t := range directory.EventTypes() {
		if !p.narrow || !retired[t] {
			q.Types = append(q.Types, t)
		}
	}
	return q
}

// retired are types that WorkOS has taken out of its list (June 2026) and may
// refuse to be asked for. As long as it does not, they are asked for: an older
// environment may still send them.
var retired = map[string]bool{"dsync.deactivated": true}

// narrowed stops asking for the retired types, once, if WorkOS refuses the list.
func (p *poller) narrowed(err error) bool {
	var api *workosapi.APIError
	if !errors.As(err, &api) || (api.Status != 400 && api.Status != 422) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.narrow
	p.narrow = true
	return first
}

// tooOld: so much time has passed that events behind the cursor may be gone. A
// backdated event alone does not make it so.
func (p *poller) tooOld(cur directory.Cursor, server time.Time) bool {
	last := cur.At
	if cur.Moved.After(last) {
		last = cur.Moved
	}
	return !server.IsZero() && !last.IsZero() && server.Sub(last) > p.o.MaxLag
}

// restart gives the cursor up: reading begins anew a Window before WorkOS's
// present time, and a full reconcile heals what was before it. The start is
// fixed before that reconcile reads anything.
func (p *poller) restart(ctx context.Context, why string, cur directory.Cursor) error {
	if err := p.startAt(ctx); err != nil {
		return err
	}
	if err := p.o.Directory.ResetCursor(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.st.Cursor, p.st.CursorAt = "", time.Time{}
	p.mu.Unlock()
	p.o.Log.WarnContext(ctx, "events may be lost; all directories will be read anew", "why", why, "cursor_at", cur.At)
	p.m.restarts(ctx)
	p.lost()
	return nil
}

// reachedEnd notes that nothing came after the last page, as of when it was
// asked for. While there is no cursor, the start moves on, so that it does not
// grow older than what WorkOS keeps.
func (p *poller) reachedEnd(began, server time.Time) {
	p.match.head(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.LastPoll, p.known = began, began
	if from := server.Add(-p.o.Window); !server.IsZero() && p.st.Cursor == "" && from.After(p.st.From) {
		p.st.From = from
	}
}
