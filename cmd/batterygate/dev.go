package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/dev/apps"
	"battery.app/gate/cmd/batterygate/dev/gateway"
	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/cmd/batterygate/listen"
)

// devDomain is below localhost, which browsers resolve to loopback by
// themselves (RFC 6761 §6.3).
const devDomain = "battery.localhost"

type devFlags struct {
	gateway, workos string
	listen          config.Listen
	ports           []string
	dir, ready      string
	catchUp         bool
	eventsDelay     time.Duration
	policy          string
	policyBudget    time.Duration
	logLevel        string
}

func newDev() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a whole world on loopback: stand-in for WorkOS, gateway, apps, Battery Gate", Args: noArgs,
		Long: "Runs everything on loopback and needs nothing else: a stand-in that speaks WorkOS's API, two\n" +
			"organizations with users, groups and apps, a gateway that asks the forward-auth door, and the service.\n" +
			"Data lies in --dir and survives a restart; without it, in a temporary folder that is removed at the end.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.gateway, "gateway-addr", "127.0.0.1:8000", "where the gateway listens")
	fl.StringVar(&f.listen.Public, "public-addr", "127.0.0.1:8080", "where the public listener listens")
	fl.StringVar(&f.listen.Authz, "authz-addr", "127.0.0.1:8081", "where the HTTP doors listen")
	fl.StringVar(&f.listen.GRPC, "grpc-addr", "127.0.0.1:8082", "where the gRPC door listens")
	fl.StringVar(&f.listen.Admin, "admin-addr", "127.0.0.1:8083", "where the admin listener listens")
	fl.StringVar(&f.workos, "workos-addr", "127.0.0.1:8084", "where the WorkOS stand-in listens")
	fl.StringSliceVar(&f.ports, "gateway-port", nil, "more ports at which gateways of your own serve the apps")
	fl.StringVar(&f.dir, "dir", "", "folder for data; empty: a temporary one")
	fl.StringVar(&f.ready, "ready-file", "", "file to write, mode 0600, when everything is up: addresses and secrets as JSON")
	fl.BoolVar(&f.catchUp, "catch-up", true, "read the directory again from the stand-in; false leaves it to webhooks alone")
	fl.StringVar(&f.policy, "policy", "embedded", "the policy to try: embedded, or dir:PATH")
	fl.DurationVar(&f.policyBudget, "policy-budget", config.Default().Policy.Budget, "how long one evaluation may take before it denies")
	fl.DurationVar(&f.eventsDelay, "events-delay", 0, "hold new events back from the stand-in's Events API for so long, as WorkOS does for a few seconds")
	fl.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

// world is everything that dev runs.
type world struct {
	flags devFlags
	log   *slog.Logger
	home  *devHome
	cfg   *config.Config

	listeners gate.Listeners
	gatewayOn net.Listener
	workosOn  net.Listener
	gateway   http.Handler
	workos    *standin.Server
	upstreams map[string]string // app id → URL
	elsewhere string            // URL of what stands behind every app that was registered later
	appsOn    []appServer
	gate      *gate.Gate
	closers   []func()
}

type appServer struct {
	on   net.Listener
	http http.Handler
}

func runDev(cmd *cobra.Command, f devFlags) (err error) {
	gin.SetMode(gin.ReleaseMode)
	w := &world{flags: f, log: newLogger(cmd.ErrOrStderr(), f.logLevel), upstreams: map[string]string{}}
	defer func() {
		for i := len(w.closers) - 1; i >= 0; i-- {
			w.closers[i]()
		}
	}()
	for _, step := range []func(context.Context) error{w.openHome, w.bind, w.notReady, w.configure, w.openWorkOS, w.openGate, w.openGateway} {
		if err := step(cmd.Context()); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, w.gate.Close()) }()
	return w.run(cmd.Context(), cmd.OutOrStdout())
}

func (w *world) onClose(f func()) { w.closers = append(w.closers, f) }

// bind opens every socket first: the addresses are part of the configuration
// of everything else. All of them must be on loopback.
func (w *world) bind(context.Context) (err error) {
	for _, a := range []string{w.flags.gateway, w.flags.workos, w.flags.listen.Public, w.flags.listen.Authz, w.flags.listen.GRPC, w.flags.listen.Admin} {
		host, _, err := net.SplitHostPort(a)
		if err != nil || !config.Loopback(host) {
			return usageError{fmt.Errorf("address %q is not a loopback address with a port: dev holds secrets that everybody knows", a)}
		}
	}
	if w.gatewayOn, err = w.listen(w.flags.gateway); err != nil {
		return err
	}
	if w.workosOn, err = w.listen(w.flags.workos); err != nil {
		return err
	}
	for _, app := range devApps() {
		if w.upstreams[app.ID], err = w.openApp(app.ID); err != nil {
			return err
		}
	}
	if w.elsewhere, err = w.openApp("elsewhere"); err != nil {
		return err
	}
	w.listeners, err = gate.Bind(w.flags.listen)
	if err == nil {
		w.onClose(w.listeners.Close)
	}
	return err
}

// openApp makes an app that echoes what it received, and returns its URL.
func (w *world) openApp(id string) (string, error) {
	l, err := w.listen("127.0.0.1:0")
	if err != nil {
		return "", err
	}
	w.appsOn = append(w.appsOn, appServer{on: l, http: apps.Handler(id)})
	return "http://" + l.Addr().String(), nil
}

func (w *world) listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	w.onClose(func() { _ = l.Close() })
	return l, nil
}

func (w *world) openHome(context.Context) (err error) {
	w.home, err = openDevHome(w.flags.dir)
	if err != nil {
		return err
	}
	w.onClose(w.home.close)
	return nil
}

func (w *world) configure(context.Context) (err error) {
	w.cfg, err = w.home.config(w.flags, w.listeners, w.gatewayOn.Addr(), "http://"+w.workosOn.Addr().String())
	return err
}

func (w *world) openWorkOS(context.Context) (err error) {
	w.workos, err = standin.New(standin.Options{
		APIKey: w.home.APIKey, ClientID: w.home.ClientID, WebhookURL: w.cfg.PublicURL + "/webhooks/workos", WebhookSecret: w.home.WebhookSecret,
		State: w.home.path("workos.json"), World: standin.DefaultWorld(),
		EventsDelay: w.flags.eventsDelay, Now: time.Now, Log: w.log,
	})
	return err
}

func (w *world) openGate(ctx context.Context) (err error) {
	w.gate, err = gate.Open(ctx, w.cfg, gate.Options{Listeners: w.listeners, Version: version, Log: w.log, Now: time.Now})
	return err
}

func (w *world) openGateway(context.Context) (err error) {
	hosts := map[string]string{}
	for _, app := range devApps() {
		for _, h := range app.Hosts {
			hosts[h] = w.upstreams[app.ID]
		}
	}
	w.gateway, err = gateway.New(gateway.Options{
		Auth: "http://" + w.listeners.Authz.Addr().String(), Public: w.cfg.PublicURL, Log: w.log,
		// The door was asked before: what it let through is an app's host, if
		// not one of the demo's then one that somebody registered.
		Apps: func(host string) (string, bool) { return cmp.Or(hosts[host], w.elsewhere), true },
	})
	return err
}

// run starts everything, lays the world where there is none yet, says that it
// is ready, and stays until ctx ends.
func (w *world) run(ctx context.Context, out io.Writer) error {
	g, ctx := errgroup.WithContext(ctx)
	serve := func(h http.Handler, on net.Listener) {
		g.Go(func() error { return listen.Serve(ctx, listen.Server(h, w.log), on, time.Second) })
	}
	g.Go(func() error { return w.gate.Run(ctx) })
	g.Go(func() error { return w.workos.Run(ctx) })
	serve(w.workos.Handler(), w.workosOn)
	for _, a := range w.appsOn {
		serve(a.http, a.on)
	}
	serve(w.gateway, w.gatewayOn)
	g.Go(func() error {
		if err := w.lay(ctx); err != nil {
			return fmt.Errorf("lay the demo's world: %w", err)
		}
		return w.ready(ctx, out)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
