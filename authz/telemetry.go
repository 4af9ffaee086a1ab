package authz

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry is what Checker measures: a span per decision, in the trace that
// the gateway began, a counter by door, app and result, and the latency.
type Telemetry struct {
	tracer    trace.Tracer
	decisions metric.Int64Counter
	duration  metric.Float64Histogram
}

// NewTelemetry makes the instruments. It fails only if the meter refuses a name.
func NewTelemetry(t trace.Tracer, m metric.Meter) (*Telemetry, error) {
	decisions, err := m.Int64Counter("battery.decisions",
		metric.WithDescription("Decisions by door, app and result."), metric.WithUnit("{decision}"))
	if err != nil {
		return nil, fmt.Errorf("make decision counter: %w", err)
	}
	duration, err := m.Float64Histogram("battery.decision.duration",
		metric.WithDescription("Time from a canonical request to its decision."), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5))
	if err != nil {
		return nil, fmt.Errorf("make decision histogram: %w", err)
	}
	return &Telemetry{tracer: t, decisions: decisions, duration: duration}, nil
}

func (t *Telemetry) start(ctx context.Context, rec *Record) (context.Context, trace.Span) {
	if t == nil {
		return ctx, nil
	}
	return t.tracer.Start(ctx, "authz.check", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("battery.door", rec.Door), attribute.String("battery.decision_id", rec.ID)))
}

func (t *Telemetry) end(ctx context.Context, span trace.Span, rec *Record) {
	if t == nil {
		return
	}
	app := ""
	if rec.App != nil {
		app = rec.App.ID
	}
	set := metric.WithAttributeSet(attribute.NewSet(
		attribute.String("door", rec.Door), attribute.String("app", app), attribute.String("result", rec.Result.String())))
	t.decisions.Add(ctx, 1, set)
	t.duration.Record(ctx, rec.Duration.Seconds(), set)
	if span.IsRecording() {
		code := ""
		if len(rec.Reasons) > 0 {
			code = rec.Reasons[0].Code
		}
		span.SetAttributes(
			attribute.String("battery.app_id", app),
			attribute.String("battery.result", rec.Result.String()),
			attribute.String("battery.reason", code),
			attribute.String("battery.policy_revision", rec.PolicyRevision),
			attribute.Int64("battery.data_revision", int64(rec.DataRevision)))
	}
	if rec.TraceID == "" && span.SpanContext().HasTraceID() && span.SpanContext().IsSampled() {
		rec.TraceID = span.SpanContext().TraceID().String()
	}
	span.End()
}
