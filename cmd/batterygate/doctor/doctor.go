package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/cmd/batterygate/probe"
)

// API asks the admin API; *client.Client does.
type API interface {
	Do(ctx context.Context, method, path string, query url.Values, in, out any) error
}

// Options say what to examine. URL and API are required.
type Options struct {
	URL     *url.URL // of the app, at the gateway: scheme and host count
	API     API
	Gateway string      // one of Gateways; empty: guess
	Prefix  string      // of the identity headers; empty: X-Battery-
	NoEcho  bool        // the app's answers are no echo, whatever they look like
	Resolve string      // address ("host" or "host:port") to dial in the place of the URL's
	TLS     *tls.Config // for https
	Timeout time.Duration
}

// probeTTL is longer than all requests together may take.
const probeTTL = "10m"

// ErrNotAnApp: no app owns the host.
var ErrNotAnApp = errors.New("no app that this token may see owns the host")

// ErrTooSlow: the probe ended before the examination did.
var ErrTooSlow = errors.New("the gateway answers too slowly to be examined")

// doctor is one examination.
type doctor struct {
	Options
	addr  string // to dial
	app   authz.App
	probe probe.Probe
	token string

	h2      *http.Transport
	noHTTP2 error // why there is nobody to speak it with; nil: not known, or there is

	done   map[string]*exchange
	order  []string
	report *Report
}

// Run examines a gateway. An error says that it could not.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	d := &doctor{Options: o, done: map[string]*exchange{}}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	if d.app, err = d.findApp(ctx); err != nil {
		return nil, err
	}
	made := struct {
		*probe.Probe
		Token string `json:"token"`
	}{Probe: &d.probe}
	if err := d.API.Do(ctx, http.MethodPost, "probes", nil, map[string]string{"app_id": d.app.ID, "ttl": probeTTL}, &made); err != nil {
		return nil, fmt.Errorf("make a probe: %w", err)
	}
	d.token, d.h2 = made.Token, d.http2()
	defer d.h2.CloseIdleConnections()
	defer func() {
		// Also where the examination was interrupted: the token may have leaked.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if failed := d.API.Do(ending, http.MethodDelete, "probes/"+d.probe.ID, nil, nil, nil); failed != nil && err == nil {
			err = fmt.Errorf("end the probe, which ends by itself at %s: %w", d.probe.ExpiresAt.Format(time.TimeOnly), failed)
		}
	}()
	if err := d.sendAll(ctx); err != nil {
		return nil, err
	}
	if err := d.readSeen(ctx); err != nil {
		return nil, err
	}
	d.judge()
	return d.report, nil
}

func (d *doctor) prepare() error {
	if d.Prefix == "" {
		d.Prefix = "X-Battery-"
	}
	if d.Timeout == 0 {
		d.Timeout = 15 * time.Second
	}
	if d.Gateway != "" && !slices.Contains(Gateways(), d.Gateway) {
		return fmt.Errorf("gateway %q is none of %s", d.Gateway, strings.Join(Gateways(), ", "))
	}
	host, port := d.URL.Hostname(), d.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[d.URL.Scheme]
	}
	if port == "" || host == "" {
		return fmt.Errorf("%q is not the http(s) URL of an app", d.URL)
	}
	if h := strings.ToLower(host); h == "localhost" || strings.HasSuffix(h, ".localhost") {
		host = "127.0.0.1" // as browsers resolve it (RFC 6761 §6.3); the system's resolver may not
	}
	d.addr = net.JoinHostPort(host, port)
	if d.Resolve != "" {
		d.addr = d.Resolve
		if _, _, err := net.SplitHostPort(d.Resolve); err != nil {
			d.addr = net.JoinHostPort(strings.Trim(d.Resolve, "[]"), port)
		}
	}
	return nil
}

// findApp finds the app that owns the host of the URL.
func (d *doctor) findApp(ctx context.Context) (authz.App, error) {
	host := strings.ToLower(strings.TrimSuffix(d.URL.Hostname(), "."))
	q := url.Values{"limit": {"500"}}
	for {
		var page struct {
			Data       []authz.App `json:"data"`
			NextCursor *string     `json:"next_cursor"`
		}
		if err := d.API.Do(ctx, http.MethodGet, "apps", q, nil, &page); err != nil {
			return authz.App{}, fmt.Errorf("list apps: %w", err)
		}
		for _, app := range page.Data {
			for _, h := range app.Hosts {
				if name, _, _ := strings.Cut(h, ":"); name == host {
					return app, nil
				}
			}
		}
		if page.NextCursor == nil || *page.NextCursor == "" {
			return authz.App{}, fmt.Errorf("%w: %s", ErrNotAnApp, host)
		}
		q.Set("cursor", *page.NextCursor)
	}
}

// sendAll sends the corpus, one request after the other: a gateway is examined,
// not loaded. That the first cannot be sent means that nothing can.
func (d *doctor) sendAll(ctx context.Context) error {
	began, life := time.Now(), d.probe.ExpiresAt.Sub(d.probe.CreatedAt)
	all := d.corpus()
	for i, c := range all {
		x := d.send(ctx, c)
		if ctx.Err() != nil {
			return fmt.Errorf("examine: %w", ctx.Err())
		}
		if i == 0 && x.Error != "" {
			return fmt.Errorf("the gateway at %s cannot be reached: %s", d.addr, x.Error)
		}
		// Without its probe a request is nobody's: that it is refused then says
		// nothing about the gateway.
		if time.Since(began) >= life {
			return fmt.Errorf("%w: the probe's %v were over after %d of %d requests; find out why, or set a shorter --timeout", ErrTooSlow, life, i+1, len(all))
		}
		d.done[c.id] = x
		d.order = append(d.order, c.id)
	}
	return nil
}

// readSeen asks what arrived at the doors.
func (d *doctor) readSeen(ctx context.Context) error {
	var seen struct {
		Observations []probe.Observation `json:"observations"`
	}
	if err := d.API.Do(ctx, http.MethodGet, "probes/"+d.probe.ID, nil, nil, &seen); err != nil {
		return fmt.Errorf("read what arrived: %w", err)
	}
	for _, o := range seen.Observations {
		if x := d.done[o.Mark]; x != nil {
			x.Door = append(x.Door, o)
		}
	}
	return nil
}
