package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/cmd/batterygate/probe"
)

// maxAnswer caps what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// request is one of the corpus. Its header lines go out as they stand here:
// net/http would tidy up what is to be tried.
type request struct {
	id        string
	method    string // empty: GET
	target    string // empty: a path of its own
	host      string // empty: the URL's
	headers   []string
	cookies   []string
	body      string
	trailers  []string // over HTTP/2 alone
	mark      string   // empty: id
	anonymous bool     // without the probe's token
	http2     bool
}

// exchange is a request and the three views of it.
type exchange struct {
	ID     string              `json:"id"`
	Method string              `json:"method"`
	Target string              `json:"target"`
	Sent   []string            `json:"sent,omitempty"` // header lines beside Host, Cookie and what every request has
	Status int                 `json:"status"`         // of the answer; 0: there was none
	Error  string              `json:"error,omitempty"`
	Door   []probe.Observation `json:"door,omitempty"` // what arrived at the door
	App    *echo               `json:"app,omitempty"`  // what arrived at the app

	header http.Header
	body   string
}

// echo is what an app says that it received. dev's apps answer so, and whatever
// an operator deploys for an examination should.
type echo struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Query   string              `json:"query"`
	Headers map[string][]string `json:"headers"`
}

func (d *doctor) send(ctx context.Context, r request) *exchange {
	if r.method == "" {
		r.method = http.MethodGet
	}
	if r.target == "" {
		r.target = home + r.id
	}
	if r.host == "" {
		r.host = d.URL.Host
	}
	if r.mark == "" {
		r.mark = r.id
	}
	x := &exchange{ID: r.id, Method: r.method, Target: r.target, Sent: r.headers}
	if len(x.Target) > 200 {
		x.Target = x.Target[:200] + "…"
	}
	exchange := d.exchange
	if r.http2 {
		exchange = d.exchangeHTTP2
	}
	if err := exchange(ctx, r, x); err != nil {
		x.Error = err.Error()
	}
	return x
}

// cookiesOf are a request's cookies, the probe's the last of them.
func (d *doctor) cookiesOf(r request) []string {
	if r.anonymous {
		return r.cookies
	}
	return append(slices.Clone(r.cookies), probeCookie+"="+d.token+"."+r.mark)
}

// wire is the request as it goes out.
func (d *doctor) wire(r request) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("%s %s HTTP/1.1", r.method, r.target)
	line("Host: %s", r.host)
	line("User-Agent: batterygate-doctor")
	if cookies := d.cookiesOf(r); len(cookies) > 0 {
		line("Cookie: %s", strings.Join(cookies, "; "))
	}
	closes, measures := true, r.body != ""
	for _, h := range r.headers {
		line("%s", h)
		lower := strings.ToLower(h)
		closes = closes && !strings.HasPrefix(lower, "connection:")
		measures = measures && !strings.HasPrefix(lower, "content-length:") && !strings.HasPrefix(lower, "transfer-encoding:")
	}
	if closes {
		line("Connection: close")
	}
	if measures {
		line("Content-Length: %d", len(r.body))
	}
	b.WriteString("\r\n" + r.body)
	return b.String()
}

func (d *doctor) exchange(ctx context.Context, r request, x *exchange) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if d.URL.Scheme == "https" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if d.TLS != nil {
			cfg = d.TLS.Clone()
		}
		cfg.ServerName, cfg.NextProtos = d.URL.Hostname(), []string{"http/1.1"}
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
				err = fmt.Errorf("%w; if it is yours, name it with --ca", err)
			}
			return err
		}
		conn = secured
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, d.wire(r)); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.method})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return d.read(res, x)
}

// read notes an answer, and what its body says of the request.
func (d *doctor) read(res *http.Response, x *exchange) error {
	x.Status, x.header = res.StatusCode, res.Header
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	x.body = string(raw)
	if !d.NoEcho && res.StatusCode < 300 {
		x.App = readEcho(raw)
	}
	return err
}

// readEcho returns nil where an answer is no echo.
func readEcho(raw []byte) *echo {
	var e echo
	if json.Unmarshal(raw, &e) != nil || e.Method == "" || !strings.HasPrefix(e.Path, "/") || e.Headers == nil {
		return nil
	}
	return &e
}

// values are a header's values in the echo, whatever the case of its name.
func (e *echo) values(name string) []string {
	var out []string
	for n, v := range e.Headers {
		if strings.EqualFold(n, name) {
			out = append(out, v...)
		}
	}
	return out
}

// one is the header's value, joined if it arrived in several lines.
func (e *echo) one(name string) string { return strings.Join(e.values(name), ", ") }
