package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// meters are what a CatchUp measures.
type meters struct {
	meter      metric.Meter
	polls      metric.Int64Counter
	reconciles metric.Int64Counter
	duration   metric.Float64Histogram
	dead       metric.Int64Counter
	missed     metric.Int64Counter
	restarted  metric.Int64Counter
}

func newMeters(o *CatchUpOptions) (*meters, error) {
	m := &meters{meter: o.Meter}
	for _, c := range []struct {
		into                 *metric.Int64Counter
		name, unit, describe string
	}{
		{&m.polls, "battery.sync.polls", "{poll}", "Polls of WorkOS's Events API by outcome."},
		{&m.reconciles, "battery.sync.reconciles", "{reconcile}", "Reconciles of a directory by outcome."},
		{&m.dead, "battery.sync.dead_letters", "{event}", "Events that could not be read."},
		{&m.missed, "battery.sync.missed", "{event}", "Events that one way, webhook or Events API, did not bring in time and the other did, by the way that failed."},
		{&m.restarted, "battery.sync.restarts", "{restart}", "Times that the events cursor was given up, and everything was read anew."},
	} {
		var err error
		if *c.into, err = o.Meter.Int64Counter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.describe)); err != nil {
			return nil, fmt.Errorf("make counter %s: %w", c.name, err)
		}
	}
	var err error
	if m.duration, err = o.Meter.Float64Histogram("battery.sync.reconcile.duration",
		metric.WithDescription("Time that the reconcile of a directory took."), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 900, 3600)); err != nil {
		return nil, fmt.Errorf("make reconcile histogram: %w", err)
	}
	return m, nil
}

// observe makes the gauges, which ask when they are read.
func (m *meters) observe(behind func() time.Duration, held func() int, fresh func(tell func(id, organization string, f directory.Freshness))) error {
	if _, err := m.meter.Float64ObservableGauge("battery.sync.lag", metric.WithUnit("s"),
		metric.WithDescription("Age of what the Events API's poller knows: grows while WorkOS cannot be read."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(behind().Seconds())
			return nil
		})); err != nil {
		return fmt.Errorf("make lag gauge: %w", err)
	}
	if _, err := m.meter.Int64ObservableGauge("battery.sync.held", metric.WithUnit("{removal}"),
		metric.WithDescription("Removals that the mass-removal brake holds."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(held()))
			return nil
		})); err != nil {
		return fmt.Errorf("make held gauge: %w", err)
	}
	if _, err := m.meter.Int64ObservableGauge("battery.sync.stale",
		metric.WithDescription("1 where a directory's data is older than its bound (input.sync.stale), else 0."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			fresh(func(id, organization string, f directory.Freshness) {
				var stale int64
				if f.Stale {
					stale = 1
				}
				o.Observe(stale, metric.WithAttributes(attribute.String("directory", id), attribute.String("organization", organization)))
			})
			return nil
		})); err != nil {
		return fmt.Errorf("make stale gauge: %w", err)
	}
	return nil
}

// outcomeOf sorts errors for the metrics' label.
func outcomeOf(err error) string {
	var api *workosapi.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, ErrNotLinked):
		return "not_linked"
	case errors.Is(err, ErrInconsistent):
		return "inconsistent"
	case errors.Is(err, workosapi.ErrRateLimited):
		return "rate_limited"
	case errors.Is(err, workosapi.ErrUnavailable):
		return "unavailable"
	case errors.As(err, &api):
		return "refused"
	}
	return "failed" // the store, above all
}

func outcome(err error) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", outcomeOf(err))))
}

func (m *meters) poll(ctx context.Context, err error) {
	if ctx.Err() == nil {
		m.polls.Add(ctx, 1, outcome(err))
	}
}

func (m *meters) reconciled(ctx context.Context, err error, took time.Duration) {
	m.reconciles.Add(ctx, 1, outcome(err))
	m.duration.Record(ctx, took.Seconds(), outcome(err))
}

func (m *meters) restarts(ctx context.Context) { m.restarted.Add(ctx, 1) }

// missedOn counts and logs what one way did not bring.
func (m *meters) missedOn(log *slog.Logger) func(way string, n int) {
	return func(way string, n int) {
		m.missed.Add(context.Background(), int64(n), metric.WithAttributeSet(attribute.NewSet(attribute.String("way", way))))
		log.Warn("events were missed on one way and came by the other", "missed_on", way, "events", n)
	}
}
