// Package telemetry is the only place that knows the OpenTelemetry SDK. Rooms
// measure through its API; here the providers behind it are made: metrics on
// /metrics for Prometheus always, metrics and traces over OTLP when an endpoint
// is configured.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const scope = "battery.app/gate"

// Options say where telemetry goes.
type Options struct {
	Endpoint string  // OTLP over gRPC, host:port; empty: no export
	Insecure bool    // plain text to the endpoint
	Ratio    float64 // of decisions that start a trace of their own; a gateway's sampled trace is always followed
	Version  string
}

// Providers are what the rooms are given.
type Providers struct {
	Tracer     trace.Tracer
	Meter      metric.Meter
	Propagator propagation.TextMapPropagator
	Metrics    http.Handler // serves /metrics

	closers []func(context.Context) error
}

// New makes the providers. Exporters connect in the background, so an
// unreachable collector delays nothing.
func New(ctx context.Context, o Options) (*Providers, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("make prometheus exporter: %w", err)
	}
	res := resource.NewSchemaless(attribute.String("service.name", "batterygate"), attribute.String("service.version", o.Version))
	p := &Providers{
		Propagator: propagation.TraceContext{},
		Metrics:    promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Tracer:     noop.NewTracerProvider().Tracer(scope),
	}
	opts := []sdkmetric.Option{sdkmetric.WithReader(reader), sdkmetric.WithResource(res)}
	if o.Endpoint != "" {
		push, err := p.export(ctx, o, res)
		if err != nil {
			return nil, errors.Join(err, p.Close(ctx))
		}
		opts = append(opts, push)
	}
	mp := sdkmetric.NewMeterProvider(opts...)
	p.closers = append(p.closers, mp.Shutdown)
	p.Meter = mp.Meter(scope)
	return p, nil
}

// export sets up OTLP: the tracer at once, the metric reader for New to add.
func (p *Providers) export(ctx context.Context, o Options, res *resource.Resource) (sdkmetric.Option, error) {
	mo := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(o.Endpoint)}
	to := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(o.Endpoint)}
	if o.Insecure {
		mo, to = append(mo, otlpmetricgrpc.WithInsecure()), append(to, otlptracegrpc.WithInsecure())
	}
	spans, err := otlptracegrpc.New(ctx, to...)
	if err != nil {
		return nil, fmt.Errorf("make OTLP trace exporter: %w", err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(res),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))))
	p.closers = append(p.closers, tp.Shutdown)
	p.Tracer = tp.Tracer(scope)
	metrics, err := otlpmetricgrpc.New(ctx, mo...)
	if err != nil {
		return nil, fmt.Errorf("make OTLP metric exporter: %w", err)
	}
	return sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)), nil
}

// Close flushes and stops the exporters, last made first.
func (p *Providers) Close(ctx context.Context) error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i](ctx))
	}
	return errors.Join(errs...)
}
