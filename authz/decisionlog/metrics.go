package decisionlog

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// observe publishes the counters. They are read when somebody looks, so a
// decision costs nothing more for being measured.
func observe(m metric.Meter, stats func() Stats) (unregister func() error, err error) {
	queue, err := m.Int64ObservableGauge("battery.decisionlog.queue",
		metric.WithDescription("Decisions waiting to be written."), metric.WithUnit("{decision}"))
	if err != nil {
		return nil, fmt.Errorf("make queue gauge: %w", err)
	}
	stored, err := m.Int64ObservableCounter("battery.decisionlog.stored",
		metric.WithDescription("Decisions written."), metric.WithUnit("{decision}"))
	if err != nil {
		return nil, fmt.Errorf("make stored counter: %w", err)
	}
	dropped, err := m.Int64ObservableCounter("battery.decisionlog.dropped",
		metric.WithDescription("Decisions lost, each in a gap row."), metric.WithUnit("{decision}"))
	if err != nil {
		return nil, fmt.Errorf("make dropped counter: %w", err)
	}
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := stats()
		o.ObserveInt64(queue, int64(s.Queued))
		o.ObserveInt64(stored, int64(s.Stored))
		o.ObserveInt64(dropped, int64(s.Dropped))
		return nil
	}, queue, stored, dropped)
	if err != nil {
		return nil, fmt.Errorf("observe decision log: %w", err)
	}
	return reg.Unregister, nil
}
