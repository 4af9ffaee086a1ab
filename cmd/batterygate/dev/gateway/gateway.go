package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// Options say whom the gateway stands between. Auth, Public and Apps are required.
type Options struct {
	Auth   string // base URL of the listener with the doors
	Public string // base URL of the public listener

	// Apps finds the upstream (a base URL) of a host, in lower case and without
	// port or trailing dot.
	Apps func(host string) (upstream string, ok bool)

	Log *slog.Logger // nil logs nothing
}

type gateway struct {
	auth  *url.URL
	apps  func(string) (string, bool)
	log   *slog.Logger
	ask   http.RoundTripper
	front *httputil.ReverseProxy // to the public listener
	app   *httputil.ReverseProxy // to an app
}

// authTimeout is how long Traefik waits for the door.
const authTimeout = 30 * time.Second

// New makes the gateway. It starts nothing.
func New(opt Options) (http.Handler, error) {
	auth, err := baseURL(opt.Auth)
	if err != nil {
		return nil, fmt.Errorf("dev gateway: auth: %w", err)
	}
	public, err := baseURL(opt.Public)
	if err != nil {
		return nil, fmt.Errorf("dev gateway: public: %w", err)
	}
	if opt.Apps == nil {
		return nil, errors.New("dev gateway: no way to find apps")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	// Neither a proxy from the environment nor gzip of the transport's own: the
	// other side gets what the client sent.
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}
	g := &gateway{
		auth: auth.JoinPath("authz", "forward-auth"), apps: opt.Apps, log: opt.Log, ask: transport,
	}
	g.front = g.proxy(transport, func(*http.Request) route { return route{base: public} })
	g.app = g.proxy(transport, routeOf)
	return g, nil
}

// baseURL parses an http(s) URL that has no path, query or user.
func baseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is not the base of an http(s) URL", raw)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// route is where a request goes, and with which identity headers.
type route struct {
	base     *url.URL
	identity http.Header // the door's answer; nil where no door was asked
}

// proxy forwards along the route that to finds. Host, path and query reach the
// other side as they were decided upon; httputil would drop query parts that it
// cannot parse, and the app would see another request than the door did.
//
// Rewrite runs after httputil removed what the client's Connection header names.
// So the identity headers are set here: set earlier, a client could take them
// away from the app (Traefik GHSA-62c8-mh53-4cqv). Trailers do not pass, or they
// could carry those names once more.
func (g *gateway) proxy(transport http.RoundTripper, to func(*http.Request) route) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // streams flow as they come
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
		Rewrite: func(p *httputil.ProxyRequest) {
			way := to(p.In)
			p.Out.URL.Scheme, p.Out.URL.Host = way.base.Scheme, way.base.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			p.Out.Host = p.In.Host
			p.Out.Trailer = nil
			takeIdentity(p.Out.Header, way.identity)
			for name, value := range forwarded(p.In) {
				p.Out.Header.Set(name, value)
			}
			p.Out.Header.Set("X-Real-Ip", peer(p.In))
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			g.log.Warn("upstream does not answer", "err", err)
			http.Error(w, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
		},
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, ok := clean(r)
	if !ok {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	if strings.HasPrefix(r.URL.EscapedPath(), "/.battery/") {
		g.front.ServeHTTP(w, r)
		return
	}
	answer, err := g.decide(r)
	if err != nil {
		if r.Context().Err() == nil {
			g.log.Error("the door does not answer", "err", err)
		}
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		g.relay(w, answer)
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	_ = answer.Body.Close() // before the app's answer, which may take for ever
	upstream, ok := g.apps(appHost(r.Host))
	base, err := baseURL(upstream)
	if !ok || err != nil {
		http.NotFound(w, r)
		return
	}
	dropOurCookies(r.Header)
	g.app.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), routeKey{}, route{base, answer.Header})))
}

// decide asks the door. Its error, too, means no.
func (g *gateway) decide(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), authTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.auth.String(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header = r.Header.Clone()
	dropHopByHop(req.Header)
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "") // or net/http would add its own
	}
	for name, value := range forwarded(r) {
		req.Header.Set(name, value)
	}
	req.Header.Set("X-Forwarded-Method", r.Method)
	req.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
	res, err := g.ask.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	res.Body = cancelBody{res.Body, cancel}
	if res.StatusCode < 200 {
		res.Body.Close()
		return nil, fmt.Errorf("the door answered %d", res.StatusCode)
	}
	return res, nil
}

// cancelBody ends the request's context with its body.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// relay gives the client the door's refusal: status, headers, body. A relative
// Location is resolved against the door, as Traefik does.
func (g *gateway) relay(w http.ResponseWriter, answer *http.Response) {
	defer answer.Body.Close()
	dropHopByHop(answer.Header)
	if answer.Request == nil {
		answer.Request = &http.Request{URL: g.auth}
	}
	if to, err := answer.Location(); err == nil {
		answer.Header.Set("Location", to.String())
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

type routeKey struct{}

func routeOf(r *http.Request) route {
	if way, ok := r.Context().Value(routeKey{}).(route); ok {
		return way
	}
	return route{base: &url.URL{Scheme: "http"}} // no host: the transport refuses it
}

// appHost is the Host header as routing compares it: without port and trailing
// dot, in lower case. The door gets it raw and judges for itself.
func appHost(host string) string {
	name := (&url.URL{Host: host}).Hostname()
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// peer is the address of the one who connected.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
