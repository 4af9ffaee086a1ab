package decisionlog_test

import (
	"context"
	"path/filepath"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"battery.app/gate/authz/decisionlog"
)

func TestMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	l := open(t, filepath.Join(t.TempDir(), "d.db"), decisionlog.Options{Queue: 3, Meter: meter})
	read := func() map[string]int64 {
		var rm metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &rm); err != nil {
			t.Fatal(err)
		}
		values := map[string]int64{}
		for _, scope := range rm.ScopeMetrics {
			for _, m := range scope.Metrics {
				switch d := m.Data.(type) {
				case metricdata.Gauge[int64]:
					values[m.Name] = d.DataPoints[0].Value
				case metricdata.Sum[int64]:
					values[m.Name] = d.DataPoints[0].Value
				}
			}
		}
		return values
	}
	check := func(queue, stored, dropped int64) {
		t.Helper()
		v := read()
		if v["battery.decisionlog.queue"] != queue || v["battery.decisionlog.stored"] != stored || v["battery.decisionlog.dropped"] != dropped {
			t.Errorf("%v, want %d queued, %d stored, %d dropped", v, queue, stored, dropped)
		}
	}
	for range 5 {
		l.Record(allowed(day))
	}
	check(3, 0, 2)
	run(t, l)
	flush(t, l)
	check(0, 3, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v := read(); len(v) != 0 {
		t.Errorf("a closed log is still observed: %v", v)
	}
}
