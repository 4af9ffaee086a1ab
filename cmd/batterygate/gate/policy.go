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
	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/policies"
	"battery.app/gate/store"
)

// Policy reads and compiles the policy that guards apps. A policy at fault is an
// error that says where and why.
func Policy(cfg *config.Config, log *slog.Logger, now func() time.Time) (*engine.Policy, error) {
	o, err := policyOptions(cfg, log, now)
	if err != nil {
		return nil, err
	}
	from, err := fs.Sub(policies.FS, "authz")
	if dir, ok := strings.CutPrefix(cfg.Policy.Source, "dir:"); ok {
		from, err = os.DirFS(dir), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open shipped policy: %w", err)
	}
	src, err := engine.ReadFS(from)
	if err != nil {
		return nil, fmt.Errorf("policy.source %s: %w", cfg.Policy.Source, err)
	}
	policy, err := engine.Compile(src, o)
	if err != nil {
		return nil, fmt.Errorf("policy.source %s: %w", cfg.Policy.Source, err)
	}
	return policy, nil
}

// adminBudget is what one question to the admin policy may take at least. It is
// asked by people and scripts, not for each request, and they need it most when
// the machine is too busy for policy.budget.
const adminBudget = 2 * time.Second

// AdminPolicies is the service that guards the admin API: with the policy that
// ships until another version is pushed to st and activated.
func AdminPolicies(cfg *config.Config, st store.Store, log *slog.Logger, now func() time.Time) (*adminpolicy.Service, error) {
	o, err := policyOptions(cfg, log, now)
	if err != nil {
		return nil, err
	}
	o.Budget = max(o.Budget, adminBudget)
	o.Settings = map[string]any{
		"operators_organization": cfg.Operators.Organization,
		"it_admin_roles":         append([]string{}, cfg.ITAdmins.Roles...),
		"grantable_roles":        append([]string{}, cfg.ITAdmins.GrantableRoles...),
	}
	from, err := fs.Sub(policies.FS, "admin")
	if err != nil {
		return nil, fmt.Errorf("open admin policy: %w", err)
	}
	src, err := engine.ReadFS(from)
	if err != nil {
		return nil, fmt.Errorf("admin policy: %w", err)
	}
	return adminpolicy.New(adminpolicy.Options{Store: st, Shipped: src, Engine: o, Now: now, Log: log})
}

func policyOptions(cfg *config.Config, log *slog.Logger, now func() time.Time) (engine.Options, error) {
	schemas, err := fs.Sub(policies.FS, "schemas")
	if err != nil {
		return engine.Options{}, fmt.Errorf("open schemas: %w", err)
	}
	return engine.Options{
		Budget: cfg.Policy.Budget, Settings: cfg.Policy.Settings, Headers: cfg.Policy.Headers, RequestHeaders: cfg.Policy.RequestHeaders,
		IdentityPrefix: cfg.Identity.HeaderPrefix, Schemas: schemas, Log: log, Now: now,
	}, nil
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
