package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// front is a way in which requests reach the apps.
type front struct {
	name string
	tool string // the program it needs; "": it is dev's own gateway
	door string // which of Envoy's two doors

	// What this gateway cannot do; docs/gateways has a page on each.
	losesBodies  bool // hand on the body of a refusal
	endsNoStream bool // end an answer that has lasted too long
	endsNoSocket bool // end a websocket that has lasted too long
	dropsEmpty   bool // set a header to nothing: the app does not see it at all
	dropsStrange bool // pass on header names that are no words; the door does not see them
}

// fronts is the table that every test runs over.
var fronts = []front{
	{name: "dev"},
	{name: "traefik", tool: "traefik", endsNoSocket: true},
	{name: "envoy-http", tool: "envoy", door: "http"},
	{name: "envoy-grpc", tool: "envoy", door: "grpc"},
	{name: "nginx", tool: "nginx", losesBodies: true, endsNoStream: true, endsNoSocket: true, dropsEmpty: true},
	{name: "caddy", tool: "caddy", dropsEmpty: true, dropsStrange: true},
	{name: "haproxy", tool: "haproxy", endsNoStream: true, endsNoSocket: true},
}

// world is a running program with one front before it.
type world struct {
	*gate
	front   front
	scheme  string // of the apps' addresses
	port    int    // of the front
	gateway *program.Program
	limit   time.Duration       // of streams; 15 minutes as shipped
	replace map[string]Address  // upstreams of a test's own, by app id
	edit    func(string) string // of the gateway's configuration; nil: it is as shipped
	issuer  string              // of its OpenID provider; empty: it has none
	closers []func() error      // what else it runs, last one first to end
}

// everyFront runs a test before each front, in the world that tests share.
// Such a test must leave the world as it was.
func everyFront(t *testing.T, test func(t *testing.T, w *world)) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := sharedWorld(t, f)
			test(t, w)
			count(t, f)
		})
	}
}

// everyFreshFront runs a test before each front, each in a world of its own.
func everyFreshFront(t *testing.T, test func(t *testing.T, w *world)) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, freshWorld(t, f, nil))
			count(t, f)
		})
	}
}

func count(t *testing.T, f front) {
	if !t.Failed() && !t.Skipped() {
		shared.mu.Lock()
		shared.ran[f.name]++
		shared.mu.Unlock()
	}
}

func sharedWorld(t *testing.T, f front) *world {
	t.Helper()
	path := ""
	if f.tool != "" {
		path = tool(t, f.tool)
	}
	shared.mu.Lock()
	start := shared.worlds[f.name]
	if start == nil {
		start = sync.OnceValues(func() (*world, error) { return newWorld(f, path, nil) })
		shared.worlds[f.name] = start
	}
	shared.mu.Unlock()
	w, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// freshWorld is stopped when the test ends. adjust may change it before its
// gateway starts; flags are more of `batterygate dev`.
func freshWorld(t *testing.T, f front, adjust func(*world), flags ...string) *world {
	t.Helper()
	path := ""
	if f.tool != "" {
		path = tool(t, f.tool)
	}
	w, err := newWorld(f, path, adjust, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func newWorld(f front, tool string, adjust func(*world), flags ...string) (*world, error) {
	dir, err := os.MkdirTemp(shared.tmp, f.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	w := &world{front: f, scheme: "http", limit: 15 * time.Minute}
	var extra []int
	if f.tool != "" {
		if w.port, err = program.FreePort(); err != nil {
			return nil, err
		}
		extra = append(extra, w.port)
	}
	if w.gate, err = startGate(dir, flags, extra...); err != nil {
		return nil, err
	}
	if adjust != nil {
		adjust(w)
	}
	if f.tool == "" {
		u, err := url.Parse(w.GatewayURL)
		if err != nil {
			return nil, fmt.Errorf("gateway_url: %w", err)
		}
		w.port, err = strconv.Atoi(u.Port())
		return w, err
	}
	c, err := w.config()
	if err == nil {
		w.gateway, err = runGateway(f, tool, dir, c)
	}
	if err == nil {
		err = awaitRoutes(c)
	}
	if err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// stop ends what the world started, and tells what did not end well.
func (w *world) stop() error {
	var errs []error
	if w.gateway != nil {
		errs = append(errs, w.gateway.Terminate())
		w.gateway = nil
	}
	if w.gate != nil && w.gate.proc != nil {
		errs = append(errs, w.gate.proc.Terminate())
		w.gate.proc = nil
	}
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}

// config is the set-up that the ready file describes.
func (w *world) config() (GatewayConfig, error) {
	c := GatewayConfig{Listen: Address{Host: "127.0.0.1", Port: w.port}, Limit: w.limit, Door: w.front.door, Rewrite: true, Edit: w.edit}
	for to, base := range map[*Address]string{&c.Public: w.PublicURL, &c.Authz: w.AuthzURL} {
		u, err := url.Parse(base)
		if err != nil {
			return c, fmt.Errorf("ready file: %w", err)
		}
		if *to, err = ParseAddress(u.Host); err != nil {
			return c, err
		}
		to.Host = "127.0.0.1" // a name below localhost may mean nothing to a gateway
	}
	var err error
	if c.GRPC, err = ParseAddress(w.GRPCAddr); err != nil {
		return c, err
	}
	for id, base := range w.Apps {
		a := AppRoute{ID: id, Host: id + "." + w.Domain}
		if own, ok := w.replace[id]; ok {
			a.Upstream = own
		} else if a.Upstream, err = ParseAddress(strings.TrimPrefix(base, "http://")); err != nil {
			return c, err
		}
		c.Apps = append(c.Apps, a)
	}
	if len(c.Apps) == 0 {
		return c, errors.New("the ready file names no apps")
	}
	sort.Slice(c.Apps, func(i, j int) bool { return c.Apps[i].ID < c.Apps[j].ID })
	return c, nil
}
