package gate

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/policies"
)

// Policies reads and compiles the policy that guards apps and the one that
// guards the admin API. A policy at fault is an error that says where and why.
func Policies(cfg *config.Config, log *slog.Logger, now func() time.Time) (*engine.Policy, *engine.AdminPolicy, error) {
	schemas, err := fs.Sub(policies.FS, "schemas")
	if err != nil {
		return nil, nil, fmt.Errorf("open schemas: %w", err)
	}
	appFS, adminFS, err := sources(cfg)
	if err != nil {
		return nil, nil, err
	}
	o := engine.Options{
		Budget: cfg.Policy.Budget, Settings: cfg.Policy.Settings, Headers: cfg.Policy.Headers, RequestHeaders: cfg.Policy.RequestHeaders,
		IdentityPrefix: cfg.Identity.HeaderPrefix, Schemas: schemas, Log: log, Now: now,
	}
	src, err := engine.ReadFS(appFS)
	if err != nil {
		return nil, nil, fmt.Errorf("policy.source %s: %w", cfg.Policy.Source, err)
	}
	policy, err := engine.Compile(src, o)
	if err != nil {
		return nil, nil, fmt.Errorf("policy.source %s: %w", cfg.Policy.Source, err)
	}
	if src, err = engine.ReadFS(adminFS); err != nil {
		return nil, nil, fmt.Errorf("admin policy: %w", err)
	}
	o.Settings = map[string]any{"operators_organization": cfg.Operators.Organization}
	admin, err := engine.CompileAdmin(src, o)
	if err != nil {
		return nil, nil, fmt.Errorf("admin policy: %w", err)
	}
	return policy, admin, nil
}

// sources are the folder of the apps' policy, which is the operator's to
// choose, and that of the admin policy, which is not.
func sources(cfg *config.Config) (app, admin fs.FS, err error) {
	if admin, err = fs.Sub(policies.FS, "admin"); err != nil {
		return nil, nil, fmt.Errorf("open admin policy: %w", err)
	}
	if dir, ok := strings.CutPrefix(cfg.Policy.Source, "dir:"); ok {
		return os.DirFS(dir), admin, nil
	}
	if app, err = fs.Sub(policies.FS, "authz"); err != nil {
		return nil, nil, fmt.Errorf("open shipped policy: %w", err)
	}
	return app, admin, nil
}

// watchSnapshot measures how old the facts are that decisions are made from.
func (g *Gate) watchSnapshot() error {
	age, err := g.telemetry.Meter.Float64ObservableGauge("battery.snapshot.age",
		metric.WithDescription("Time since the snapshot that decisions are made from was published."), metric.WithUnit("s"))
	if err != nil {
		return fmt.Errorf("make snapshot gauge: %w", err)
	}
	revision, err := g.telemetry.Meter.Int64ObservableGauge("battery.snapshot.revision",
		metric.WithDescription("Data revision of that snapshot."))
	if err != nil {
		return fmt.Errorf("make snapshot gauge: %w", err)
	}
	_, err = g.telemetry.Meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if snap := g.engine.Current(); snap != nil {
			o.ObserveFloat64(age, float64(g.Now().UnixNano()-g.published.Load())/1e9)
			o.ObserveInt64(revision, int64(snap.DataRevision()))
		}
		return nil
	}, age, revision)
	if err != nil {
		return fmt.Errorf("watch snapshot: %w", err)
	}
	return nil
}
