package oidc

import (
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/time/rate"
)

// maxAnswer is how much of one answer is read: a key set or a discovery
// document has a few kilobytes.
const maxAnswer = 1 << 20

// guarded is the way to the provider. It goes to https alone, and to this machine
// only if the issuer is there, wherever the metadata points; it reads a bounded answer; and what it could not get is
// ErrUnavailable, so that callers can tell a provider in trouble from one that
// lies.
type guarded struct {
	base    http.RoundTripper
	address func(string) (*url.URL, error)
	// keys is set where only a key set is fetched: what is no success is a
	// failure to get it.
	keys bool
	// limit, if set, is how often a stranger may make us ask.
	limit *rate.Limiter
}

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := g.address(r.URL.String()); err != nil {
		return nil, fmt.Errorf("%w: address: %w", ErrUnavailable, err)
	}
	if g.limit != nil && !g.limit.Allow() {
		return nil, fmt.Errorf("%w: it was asked a moment ago", ErrUnavailable)
	}
	res, err := g.base.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if g.keys && res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("%w: its keys are answered with status %d", ErrUnavailable, res.StatusCode)
	}
	res.Body = http.MaxBytesReader(nil, res.Body, maxAnswer)
	return res, nil
}

// client follows no redirect: one would carry the code or a token elsewhere.
func (c Config) client(g guarded) *http.Client {
	g.base, g.address = c.Transport, c.address
	return &http.Client{
		Transport: g, Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
