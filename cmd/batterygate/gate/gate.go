// Package gate puts the rooms together into the running program: it opens what
// must be opened, hands each room what it needs, and runs them until told to
// stop. It is the only place that knows them all; 'serve' and 'dev' both run
// what it makes.
//
//	Open   opens and wires; binds nothing (listeners are given), starts nothing
//	Run    starts everything and returns when all of it has ended
//	Close  releases what Open opened, last opened first
package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/authz/decisionlog"
	"battery.app/gate/authz/engine"
	"battery.app/gate/authz/machines"
	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/listen"
	"battery.app/gate/cmd/batterygate/probe"
	"battery.app/gate/cmd/batterygate/telemetry"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
	"battery.app/gate/sync/workosapi"
)

// grace is how long requests under way may take to finish when the program
// stops.
const grace = 10 * time.Second

// publishing is how long a write waits for its revision to be in force before
// it is reported as not yet.
const publishing = 5 * time.Second

// Listeners are the four sockets, bound.
type Listeners struct{ Public, Authz, GRPC, Admin net.Listener }

// Bind opens the four sockets, or none.
func Bind(l config.Listen) (Listeners, error) {
	var out Listeners
	for _, x := range []struct {
		name, addr string
		into       *net.Listener
	}{{"public", l.Public, &out.Public}, {"authz", l.Authz, &out.Authz}, {"grpc", l.GRPC, &out.GRPC}, {"admin", l.Admin, &out.Admin}} {
		bound, err := net.Listen("tcp", x.addr)
		if err != nil {
			out.Close()
			return Listeners{}, fmt.Errorf("listen.%s: %w", x.name, err)
		}
		*x.into = bound
	}
	return out, nil
}

// Close closes those that are open.
func (l Listeners) Close() {
	for _, x := range []net.Listener{l.Public, l.Authz, l.GRPC, l.Admin} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// Options of Open, all required.
type Options struct {
	Listeners Listeners
	Version   string
	Log       *slog.Logger
	Now       func() time.Time
}

// Gate is the wired program.
type Gate struct {
	cfg *config.Config
	Options

	telemetry *telemetry.Providers
	store     *boltstore.Store
	decisions *decisionlog.Log
	policy    *engine.Policy
	admin     *adminpolicy.Service
	audit     *audit.Log
	engine    *engine.Engine
	published atomic.Int64 // unix nanoseconds of the last publish
	facts     *facts
	loaded    uint64 // the revision that facts go on from

	Directory *directory.Directory
	Tokens    *api.Tokens
	Apps      *apps.Registry
	catchUp   *feed.CatchUp // nil: turned off
	services  *api.ServiceTokens
	machines  *machines.Verifier
	probes    *probe.Room
	keys      *keys.Ring
	sessions  *sso.Sessions
	sso       *sso.Service
	workos    *workosapi.Client
	pins      *pins
	public    *gin.Engine // of the public listener

	servers []server
	grpc    *grpc.Server
	closers []func() error
}

type server struct {
	http *http.Server
	on   net.Listener
}

// Open wires everything for cfg. On failure it releases what it opened,
// listeners included.
func Open(ctx context.Context, cfg *config.Config, o Options) (_ *Gate, err error) {
	g := &Gate{cfg: cfg, Options: o, engine: engine.New()}
	g.onClose(func() error { o.Listeners.Close(); return nil })
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	for _, step := range []func(context.Context) error{
		g.openTelemetry, g.openPolicy, g.openStore, g.openFacts, g.openSignIn, g.openDoors, g.openPublic, g.openAdmin, g.openSocket,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	// Everything that answers is wired; now it may know the world.
	if g.loaded, err = g.facts.load(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

// onClose registers a closer beside the opening it belongs to.
func (g *Gate) onClose(f func() error) { g.closers = append(g.closers, f) }

// Close releases everything, last opened first. Run must have returned.
func (g *Gate) Close() error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	g.closers = nil
	return errors.Join(errs...)
}

func (g *Gate) openTelemetry(ctx context.Context) (err error) {
	g.telemetry, err = telemetry.New(ctx, telemetry.Options{
		Endpoint: g.cfg.OTLP.Endpoint, Insecure: g.cfg.OTLP.Insecure, Ratio: g.cfg.OTLP.Sample, Version: g.Version,
	})
	if err != nil {
		return err
	}
	g.onClose(func() error {
		stop, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		// A collector that is gone must not make stopping a failure.
		if err := g.telemetry.Close(stop); err != nil {
			g.Log.Warn("telemetry was not flushed", "error", err)
		}
		return nil
	})
	return g.watchSnapshot()
}

func (g *Gate) openPolicy(context.Context) (err error) {
	g.policy, err = Policy(g.cfg, g.Log, g.Now)
	return err
}

func (g *Gate) openStore(context.Context) (err error) {
	g.store, err = boltstore.Open(strings.TrimPrefix(g.cfg.Store, "bolt:"), boltstore.Options{Log: g.Log})
	if err != nil {
		return err
	}
	g.onClose(g.store.Close)
	g.decisions, err = decisionlog.Open(g.cfg.Decisions, decisionlog.Options{
		Retention: g.cfg.Retention.Decisions, Now: g.Now, Logger: g.Log, Meter: g.telemetry.Meter,
	})
	if err != nil {
		return err
	}
	g.onClose(g.decisions.Close)
	return nil
}

// openFacts makes the rooms that keep a view of the store, and the loop that
// moves them.
func (g *Gate) openFacts(ctx context.Context) (err error) {
	g.Directory = directory.New(g.store, g.directoryOptions())
	g.Apps, err = apps.New(g.store, apps.Options{
		Configured: g.cfg.Registered(), Scheme: g.cfg.AppScheme(), Ports: g.cfg.Gateway.Ports, Domain: g.cfg.Domain,
		Reserved: []string{g.cfg.URL().Hostname()}, SlugOwner: g.slugOwner, OwnerGone: func(org string) bool { return g.Directory.View().OrganizationGone(org) }, Log: g.Log,
	})
	if err != nil {
		return fmt.Errorf("configured apps: %w", err)
	}
	if g.keys, err = keys.Load(g.cfg.Session.KeysDir); err != nil {
		return fmt.Errorf("session.keys_dir: %w", err)
	}
	if err := g.openAudit(ctx); err != nil {
		return err
	}
	if g.admin, err = AdminPolicies(g.cfg, g.store, g.Log, g.Now); err != nil {
		return err
	}
	g.sessions, err = sso.NewSessions(sso.SessionsOptions{
		Store: g.store, Keys: g.keys, Absolute: g.cfg.Session.Absolute, Idle: g.cfg.Session.Idle, MaxAge: (*authz.App).MaxAge,
		Published: g.Published, Ended: (&links{g}).Ended, Now: g.Now, Log: g.Log,
	})
	if err != nil {
		return err
	}
	g.pins = newPins(g)
	if err := g.openMachines(); err != nil {
		return err
	}
	// The directory comes first: the apps ask it whose a slug is.
	g.facts = &facts{store: g.store, rooms: []room{g.Directory, g.Apps, slugs{g.Apps}, g.sessions, g.services, g.probes, g.pins, g.admin}, publish: g.publish, log: g.Log}
	return nil
}

// directoryOptions: without catching up there is nothing that could say how
// old the data is, so nothing counts as stale.
func (g *Gate) directoryOptions() directory.Options {
	o := directory.Options{Log: g.Log, Now: g.Now, Operators: g.cfg.Operators.Organization}
	if g.cfg.Sync.CatchUp {
		o.Staleness = g.cfg.Sync.Staleness
	}
	o.Connections = map[string]string{}
	for _, p := range g.cfg.OIDC {
		o.Connections[p.Organization] = p.ID
	}
	return o
}

// slugOwner is the organization that bears a slug now. One that bore it before
// bears it no more, and nobody else may: such a slug is owned by none.
func (g *Gate) slugOwner(slug string) (string, bool) {
	owner, current, ok := g.Directory.View().SlugOwner(slug)
	if !current {
		owner = ""
	}
	return owner, ok
}

// publish makes the rooms' present views the snapshot that requests use.
func (g *Gate) publish(revision uint64) {
	g.engine.Publish(g.policy, g.Apps.View(), g.Directory.View(), revision)
	g.published.Store(g.Now().UnixNano())
}

// Published returns when decisions are made from revision or a later one. It
// gives up after five seconds.
func (g *Gate) Published(ctx context.Context, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishing)
	defer cancel()
	if err := g.engine.Wait(ctx, revision); err != nil {
		return fmt.Errorf("wait for revision %d to be in force: %w", revision, err)
	}
	return nil
}

// Run serves until ctx ends or something fails. The rooms outlive the
// listeners, so that a request under way still finds them.
func (g *Gate) Run(ctx context.Context) error {
	back, stopRooms := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRooms()
	front, stopServers := context.WithCancel(ctx)
	defer stopServers()

	var rooms errgroup.Group
	keep := func(name string, run func(context.Context) error) {
		rooms.Go(func() error {
			defer stopServers() // without one of its rooms the program must not go on answering
			switch err := run(back); {
			case back.Err() != nil:
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", name, err)
			}
			return fmt.Errorf("%s ended by itself", name)
		})
	}
	keep("facts", func(ctx context.Context) error { return g.facts.run(ctx, g.loaded) })
	keep("decision log", g.decisions.Run)
	keep("sessions", g.sessions.Run)
	keep("pins", g.pins.run)
	keep("collector", g.collect)
	keep("signing keys", g.rotateKeys)
	keep("service tokens", g.services.Run)
	keep("probes", g.collectProbes)
	keep("tokens", g.Tokens.Run)
	if len(g.cfg.Machines.Issuers) > 0 { // with none its Run has nothing to do and ends
		keep("issuers' keys", g.machines.Run)
	}
	if g.catchUp != nil {
		keep("catch-up", g.catchUp.Run)
	}

	servers, front := errgroup.WithContext(front)
	for _, s := range g.servers {
		servers.Go(func() error { return listen.Serve(front, s.http, s.on, grace) })
	}
	servers.Go(func() error { return g.serveGRPC(front) })
	g.Log.InfoContext(ctx, "serving", "version", g.Version, "public", g.Listeners.Public.Addr().String(), "authz", g.Listeners.Authz.Addr().String(),
		"grpc", g.Listeners.GRPC.Addr().String(), "admin", g.Listeners.Admin.Addr().String(), "policy_revision", g.policy.Revision(), "data_revision", g.loaded)
	err := servers.Wait()
	stopRooms()
	return errors.Join(err, rooms.Wait())
}

func (g *Gate) serveGRPC(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- g.grpc.Serve(g.Listeners.GRPC) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", g.Listeners.GRPC.Addr(), err)
	case <-ctx.Done():
	}
	late := time.AfterFunc(grace, g.grpc.Stop)
	defer late.Stop()
	g.grpc.GracefulStop()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

var (
	_ authz.Snapshots = (*engine.Engine)(nil)
	_ authz.Recorder  = (*decisionlog.Log)(nil)
	_ room            = (*directory.Directory)(nil)
	_ room            = (*sso.Sessions)(nil)
	_ store.Store     = (*boltstore.Store)(nil)
)
