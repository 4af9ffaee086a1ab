package feed

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"battery.app/gate/sync/directory"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

func (w *Webhooks) measure() (err error) {
	if w.count, err = w.o.Meter.Int64Counter("battery.webhooks",
		metric.WithDescription("Webhook deliveries by event type and outcome."), metric.WithUnit("{delivery}")); err != nil {
		return fmt.Errorf("make webhook counter: %w", err)
	}
	if w.enforced, err = w.o.Meter.Float64Histogram("battery.webhook.enforced",
		metric.WithDescription("Time from a webhook's arrival to the snapshot that enforces it."), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)); err != nil {
		return fmt.Errorf("make webhook histogram: %w", err)
	}
	return nil
}

// record counts and logs a delivery. The type label takes only names that we
// know: whoever can post could otherwise make time series without end.
func (w *Webhooks) record(ctx context.Context, ev *directory.Event, a answer, received time.Time) {
	label := ev.Type
	if label != "" && !w.types[label] {
		label = "other"
	}
	w.count.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("type", label), attribute.String("outcome", a.outcome))))
	level := slog.LevelInfo
	switch {
	case a.status == http.StatusOK && a.outcome != directory.OutcomeIgnored:
		w.enforced.Record(ctx, w.o.Now().Sub(received).Seconds())
	case a.status == http.StatusOK:
		level = slog.LevelDebug
	case a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	default:
		level = slog.LevelWarn
	}
	args := []any{"outcome", a.outcome, "status", a.status, "type", label, "event_id", ev.ID}
	if a.err != nil {
		args = append(args, "error", a.err)
	}
	w.o.Log.Log(ctx, level, "webhook", args...)
}
