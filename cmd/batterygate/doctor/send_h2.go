package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// errNoHTTP2: the gateway did not answer in HTTP/2.
var errNoHTTP2 = errors.New("the gateway does not speak HTTP/2 at this address")

// http2 speaks HTTP/2 alone: over TLS as agreed there, without TLS with prior
// knowledge, as load balancers speak it. net/http writes what it is given, bytes
// that are not text included, and each cookie into a field of its own.
func (d *doctor) http2() *http.Transport {
	only := new(http.Protocols)
	only.SetHTTP2(d.URL.Scheme == "https")
	only.SetUnencryptedHTTP2(d.URL.Scheme != "https")
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.TLS != nil {
		cfg = d.TLS.Clone()
	}
	cfg.ServerName = d.URL.Hostname()
	return &http.Transport{
		Protocols: only, TLSClientConfig: cfg, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.addr)
		},
	}
}

func (d *doctor) exchangeHTTP2(ctx context.Context, r request, x *exchange) error {
	if d.noHTTP2 != nil {
		return fmt.Errorf("not sent: %w", d.noHTTP2)
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	res, err := d.h2.RoundTrip(d.requestHTTP2(r).WithContext(ctx))
	if err == nil {
		defer res.Body.Close()
		if res.ProtoMajor == 2 {
			return d.read(res, x)
		}
	}
	if r.id == "h2-plain" {
		d.noHTTP2 = errNoHTTP2
		if err != nil {
			d.noHTTP2 = fmt.Errorf("%w (%w)", errNoHTTP2, err)
		}
		return d.noHTTP2
	}
	return err
}

// requestHTTP2 is what wire is for HTTP/1.1.
func (d *doctor) requestHTTP2(r request) *http.Request {
	req := &http.Request{
		Method: r.method, Host: r.host, Header: http.Header{"User-Agent": {"batterygate-doctor"}},
		URL: &url.URL{Scheme: d.URL.Scheme, Host: d.URL.Host, Opaque: r.target}, // as it stands here
	}
	add := func(h http.Header, line string) {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	for _, line := range r.headers {
		add(req.Header, line)
	}
	if cookies := d.cookiesOf(r); len(cookies) > 0 {
		req.Header["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	if r.body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(r.body)), -1
	}
	for _, line := range r.trailers {
		if req.Trailer == nil {
			req.Trailer = http.Header{}
		}
		add(req.Trailer, line)
	}
	return req
}
