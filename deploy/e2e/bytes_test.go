package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestBytesOverHTTP2 sends targets over HTTP/2 that HTTP/1 parsers refuse: bytes
// that are not UTF-8. Envoy asks about another target than it forwards unless it is
// told not to (encode_raw_headers). Fronts that do not speak HTTP/2 without TLS
// have nothing to prove here.
func TestBytesOverHTTP2(t *testing.T) {
	everyFront(t, func(t *testing.T, w *world) {
		hc := unencryptedHTTP2()
		if _, got, err := rawTarget(hc, w, "/plain"); err != nil || got == nil || got.Path != "/plain" {
			if strings.HasPrefix(w.front.name, "envoy") {
				t.Fatalf("an ordinary request over HTTP/2: %+v %v", got, err)
			}
			return
		}
		for _, target := range []string{"/adm\xffin", "/a\xc3", "/\xc0\xae\xc0\xae/a", "/a?x=\xff", "/a\xff?x=!", "/\xfcber"} {
			status, got, err := rawTarget(hc, w, target)
			switch {
			case err != nil: // reset by the front
			case status == http.StatusOK && got != nil:
				t.Errorf("%q reached the app as %q ? %q", target, got.Path, got.Query)
			case status >= 500:
				t.Errorf("%q: %d", target, status)
			}
		}
		if status, got, err := rawTarget(hc, w, "/a!b?x=!"); err != nil || status != http.StatusOK || got == nil || got.Path != "/a!b" || got.Query != "x=!" {
			t.Errorf("a mark that is one: %d %+v %v", status, got, err)
		}
	})
}

// unencryptedHTTP2 is loopback for HTTP/2 with prior knowledge.
func unencryptedHTTP2() *http.Client {
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	hc := loopback()
	hc.Transport = &http.Transport{
		Protocols: only,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	return hc
}

// rawTarget asks the public app for a target as it is, and tells what the app got.
func rawTarget(hc *http.Client, w *world, target string) (int, *echo, error) {
	base, err := url.Parse(w.url("status.acme", "/"))
	if err != nil {
		return 0, nil, err
	}
	base.Opaque = target
	resp, err := hc.Do(&http.Request{Method: http.MethodGet, URL: base, Host: base.Host, Header: http.Header{"User-Agent": {"e2e"}}})
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	got := new(echo)
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, got) != nil {
		got = nil
	}
	return resp.StatusCode, got, nil
}
