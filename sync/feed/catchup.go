package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/sync/errgroup"
)

// CatchUpOptions configure a CatchUp. WorkOS and Directory are required; what
// is zero has the default that is named.
type CatchUpOptions struct {
	WorkOS    *workosapi.Client
	Directory *directory.Directory
	// Published returns when decisions are made from a snapshot that carries the
	// store revision. nil: nothing waits for it, and a dry run compares with what
	// was published last.
	Published func(ctx context.Context, revision uint64) error

	PollEvery time.Duration   // between two polls of the Events API: 10 s
	WakeAfter []time.Duration // further polls after a webhook: 2 s, 6 s, 20 s
	// Window is how far before the first start events are read: 15 min. It must
	// be longer than WorkOS holds events back.
	Window time.Duration
	// MaxLag is the age of a cursor that is no longer trusted: 25 days, because
	// WorkOS promises events for 30.
	MaxLag time.Duration

	ReconcileEvery time.Duration // between two full reconciles, ± 10 %: 1 h
	// DirtyEvery is the least time between two reconciles of one directory that
	// asks for them: 1 min.
	DirtyEvery time.Duration
	Parallel   int // directories that are read at once: 4

	// FirstBackoff and MaxBackoff bound the wait after a failure: 1 s and 1 min
	// for polls, five times as long for reconciles. A Retry-After is kept to, up to a
	// minute.
	FirstBackoff, MaxBackoff time.Duration
	// MatchWithin is how long an event may be known from one way alone, webhook
	// or Events API, before it counts as missed on the other: 10 min.
	MatchWithin time.Duration

	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default()
	Meter metric.Meter     // nil: nothing is measured
}

func (o *CatchUpOptions) complete() error {
	if o.WorkOS == nil || o.Directory == nil {
		return errors.New("catch-up: WorkOS and a directory are required")
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.PollEvery, 10 * time.Second}, {&o.Window, 15 * time.Minute}, {&o.MaxLag, 25 * 24 * time.Hour},
		{&o.ReconcileEvery, time.Hour}, {&o.DirtyEvery, time.Minute},
		{&o.FirstBackoff, time.Second}, {&o.MaxBackoff, time.Minute}, {&o.MatchWithin, 10 * time.Minute},
	} {
		if *d.v < 0 {
			return errors.New("catch-up: a duration is negative")
		}
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if o.WakeAfter == nil {
		o.WakeAfter = []time.Duration{2 * time.Second, 6 * time.Second, 20 * time.Second}
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	return nil
}

// CatchUp makes true what webhooks promise: it reads every event in order
// through the Events API, and compares what is known with what WorkOS holds.
type CatchUp struct {
	o          CatchUpOptions
	poller     *poller
	reconciler *reconciler
}

// NewCatchUp checks the options and makes the instruments. It starts nothing.
func NewCatchUp(o CatchUpOptions) (*CatchUp, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	c := &CatchUp{o: o}
	m, err := newMeters(&c.o)
	if err != nil {
		return nil, err
	}
	c.reconciler = newReconciler(&c.o, m)
	c.poller = newPoller(&c.o, m, c.reconciler.askAll)
	if err := m.observe(c.poller.behind, c.held, c.fresh); err != nil {
		return nil, err
	}
	return c, nil
}

// Run polls and reconciles until ctx ends, and returns its error. The first
// reconcile begins when the start of the first events window is fixed, so that
// what happens while it reads is not missed.
func (c *CatchUp) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.poller.run(ctx) })
	g.Go(func() error {
		select {
		case <-c.poller.begun:
		case <-ctx.Done():
			return ctx.Err()
		}
		return c.reconciler.run(ctx)
	})
	return g.Wait()
}

// Wake makes further polls after WakeAfter: something happened, and the Events
// API will soon show it. It never blocks.
func (c *CatchUp) Wake() { c.poller.wake() }

// Delivered tells of an event that came by webhook: Options.Delivered of the
// webhook endpoint. It wakes the poller, and lets missed deliveries be counted.
// The poller's cursor stays where it is: WorkOS holds events back in the Events
// API, and those between would be skipped. It never blocks.
func (c *CatchUp) Delivered(ev directory.Event) {
	c.poller.match.webhook(ev.ID, ev.CreatedAt, c.o.Now())
	c.poller.wake()
}

// Reconcile reads a directory, or all with the organizations above them if dir
// is empty, from WorkOS and returns what differed; if dry, nothing is changed.
// It waits its turn while the directory is being reconciled. What could be read
// is applied and returned, even if the error tells that something could not.
func (c *CatchUp) Reconcile(ctx context.Context, dir string, dry bool) ([]directory.Difference, error) {
	diffs, err := c.reconciler.reconcile(ctx, dir, dry)
	if err != nil {
		return diffs, fmt.Errorf("reconcile: %w", err)
	}
	return diffs, nil
}

// Status is how the feed is getting on.
type Status struct {
	Poller      PollerStatus      `json:"poller"`
	Reconciling []Progress        `json:"reconciling"` // what is being read now
	NextFull    time.Time         `json:"next_reconcile,omitzero"`
	Directories []DirectoryStatus `json:"directories"`
}

// DirectoryStatus is one directory and how current it is.
type DirectoryStatus struct {
	directory.Info
	Freshness directory.Freshness `json:"freshness"`
}

// Status returns the present state. It is cheap enough to ask every second.
func (c *CatchUp) Status() Status {
	s := Status{Poller: c.poller.status(), Reconciling: c.reconciler.progress(), NextFull: c.reconciler.next()}
	s.Directories = DirectoriesOf(c.o.Directory.View())
	return s
}

// DirectoriesOf is every directory of a view with how current it is.
func DirectoriesOf(view *directory.View) []DirectoryStatus {
	out := []DirectoryStatus{}
	for _, org := range view.Organizations() {
		for _, d := range view.Directories(org.ID) {
			out = append(out, DirectoryStatus{d, view.Freshness(d.ID)})
		}
	}
	return out
}

// held is how many removals the brake holds, over all directories.
func (c *CatchUp) held() int {
	n := 0
	c.fresh(func(_, _ string, f directory.Freshness) { n += f.Held })
	return n
}

// fresh tells how current each directory is.
func (c *CatchUp) fresh(tell func(id, organization string, f directory.Freshness)) {
	view := c.o.Directory.View()
	for _, org := range view.Organizations() {
		for _, d := range view.Directories(org.ID) {
			tell(d.ID, org.ID, view.Freshness(d.ID))
		}
	}
}

// publishedWithin waits until decisions see a revision, at most publishWait.
// Not seeing it in time is no failure of what was written.
func (o *CatchUpOptions) publishedWithin(ctx context.Context, revision uint64) {
	if o.Published == nil || revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	if err := o.Published(ctx, revision); err != nil && ctx.Err() == nil {
		o.Log.WarnContext(ctx, "a reconciled revision is not published", "revision", revision, "error", err)
	}
}

// serverNow is WorkOS's clock. One that is far ahead of ours is not believed,
// as an event's stamp is not: facts dated ahead would win over all that follow.
func (o *CatchUpOptions) serverNow(ctx context.Context) (time.Time, error) {
	t, err := o.WorkOS.ServerTime(ctx)
	if err != nil {
		return t, err
	}
	if now := o.Now(); t.After(now.Add(maxAhead)) {
		return now, nil
	}
	return t, nil
}

// maxAhead is how far WorkOS's clock may be ahead of ours.
const maxAhead = 5 * time.Minute
