package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// front is a way in which requests reach the apps.
type front struct {
	name string
	tool string // the program it needs; "": it is dev's own gateway
	door string // which of Envoy's two doors

	keepsCookies bool // this gateway cannot take our cookies from what the app sees
}

// fronts is the table that every test runs over.
var fronts = []front{
	{name: "dev"},
	{name: "traefik", tool: "traefik", keepsCookies: true},
	{name: "envoy-http", tool: "envoy", door: "http"},
	{name: "envoy-grpc", tool: "envoy", door: "grpc"},
}

// world is a running program with one front before it.
type world struct {
	*gate
	front   front
	scheme  string // of the apps' addresses
	port    int    // of the front
	gateway *process
	limit   time.Duration      // of streams; 15 minutes as shipped
	replace map[string]Address // upstreams of a test's own, by app id
	issuer  string             // of its OpenID provider; empty: it has none
	closers []func() error     // what else it runs, last one first to end
}

// everyFront runs a test before each front, in the world that tests share.
// Such a test must leave the world as it was.
func everyFront(t *testing.T, test func(t *testing.T, w *world)) {
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
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
	if w, ok := shared.worlds[f.name]; ok {
		return w
	}
	path := ""
	if f.tool != "" {
		path = tool(t, f.tool)
	}
	w, err := newWorld(f, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	shared.worlds[f.name] = w
	return w
}

// freshWorld is stopped when the test ends. adjust may change it before its
// gateway starts.
func freshWorld(t *testing.T, f front, adjust func(*world)) *world {
	t.Helper()
	path := ""
	if f.tool != "" {
		path = tool(t, f.tool)
	}
	w, err := newWorld(f, path, adjust)
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

func newWorld(f front, tool string, adjust func(*world)) (*world, error) {
	dir, err := os.MkdirTemp(shared.tmp, f.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	w := &world{front: f, scheme: "http", limit: 15 * time.Minute}
	var extra []int
	if f.tool != "" {
		if w.port, err = freePort(); err != nil {
			return nil, err
		}
		extra = append(extra, w.port)
	}
	if w.gate, err = startGate(dir, extra...); err != nil {
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
		errs = append(errs, w.gateway.terminate())
		w.gateway = nil
	}
	if w.gate != nil && w.gate.proc != nil {
		errs = append(errs, w.gate.proc.terminate())
		w.gate.proc = nil
	}
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}

// config fills the variables of the shipped templates from the ready file.
func (w *world) config() (GatewayConfig, error) {
	c := GatewayConfig{Listen: Address{Host: "127.0.0.1", Port: w.port}, StreamLimit: w.limit, Door: w.front.door}
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
		a := AppRoute{ID: id, Slug: strings.ReplaceAll(id, ".", "-"), Host: id + "." + w.Domain}
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

// runGateway renders the shipped templates into dir, has the gateway check them
// where it can, and starts it. It returns when the gateway listens.
func runGateway(f front, tool, dir string, c GatewayConfig) (*process, error) {
	var args []string
	switch f.tool {
	case "traefik":
		c.Dynamic = filepath.Join(dir, "dynamic.yaml")
		static := filepath.Join(dir, "traefik.yaml")
		for name, to := range map[string]string{"dynamic.yaml": c.Dynamic, "traefik.yaml": static} {
			if err := RenderTo(filepath.Join(shared.root, "deploy", "traefik", name+".tmpl"), to, c); err != nil {
				return nil, err
			}
		}
		args = []string{"--configfile=" + static}
	case "envoy":
		path := filepath.Join(dir, "envoy.yaml")
		if err := RenderTo(filepath.Join(shared.root, "deploy", "envoy", "envoy.yaml.tmpl"), path, c); err != nil {
			return nil, err
		}
		check, err := start(filepath.Join(dir, "check.log"), tool, "--mode", "validate", "-c", path)
		if err != nil {
			return nil, err
		}
		if err := check.awaitExit(); err != nil {
			return nil, fmt.Errorf("envoy refuses its configuration: %w\n%s", err, check.tail())
		}
		args = []string{"-c", path, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"}
	}
	p, err := start(filepath.Join(dir, f.name+".log"), tool, args...)
	if err != nil {
		return nil, err
	}
	if err := p.awaitListening(c.Listen.String()); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}
