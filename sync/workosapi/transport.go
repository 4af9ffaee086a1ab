package workosapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of one call. A call that needs a longer wait fails instead: who asked
// can ask again, and WorkOS being slow must not pile requests up here.
const (
	attempts       = 4
	firstBackoff   = 200 * time.Millisecond
	longestWait    = 20 * time.Second
	perAttempt     = 15 * time.Second
	maxAnswerBytes = 32 << 20
	maxErrorBytes  = 64 << 10
)

// transport is what the SDK lacks (it retries nothing, and its answer hides
// the headers): it retries what may be retried, waits as told, keeps under the
// limit of /directory_users (4 requests a second for each directory), and
// turns every answer outside 2xx into an *APIError before the SDK sees it.
// The last is not what http.RoundTripper is meant for; it is the one way to
// keep the SDK's error strings, which can hold tokens, out of the program.
type transport struct {
	base   http.RoundTripper
	secret string
	log    *slog.Logger
	sleep  func(context.Context, time.Duration) error
	limit  rate.Limit

	mu    sync.Mutex
	paces map[string]*rate.Limiter // by directory id
}

// paceKey carries the directory whose limit a call counts against.
type paceKey struct{}

func paced(ctx context.Context, directory string) context.Context {
	return context.WithValue(ctx, paceKey{}, directory)
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		if err := t.turn(req.Context()); err != nil {
			return nil, closeBody(req, err)
		}
		res, err := t.once(req)
		if err == nil {
			return res, nil
		}
		wait, again := t.again(req, err, backoff)
		if !again || attempt == attempts {
			return nil, err
		}
		t.log.DebugContext(req.Context(), "WorkOS call failed; trying again",
			"method", req.Method, "path", req.URL.Path, "attempt", attempt, "wait", wait)
		if t.sleep(req.Context(), wait) != nil {
			return nil, err
		}
		backoff *= 2
	}
}

// turn waits until a request may be sent. Another attempt counts like the first.
func (t *transport) turn(ctx context.Context) error {
	if dir, ok := ctx.Value(paceKey{}).(string); ok && t.limit > 0 {
		return t.pace(dir).Wait(ctx)
	}
	return nil
}

// once sends the request and reads an error answer to its end.
func (t *transport) once(req *http.Request) (*http.Response, error) {
	if f := observer(req.Context()).Request; f != nil {
		f()
	}
	res, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		res.Body = capped{io.LimitReader(res.Body, maxAnswerBytes), res.Body}
		return res, nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes))
	e := readError(res, body, t.secret)
	e.RetryAfter = retryAfter(res.Header)
	return nil, e
}

// again says whether and after how long the request may be sent once more.
// Only idempotent methods are: a POST to /sso/token spends the code, and a
// POST to /organizations makes another one.
func (t *transport) again(req *http.Request, err error, backoff time.Duration) (time.Duration, bool) {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
	default:
		return 0, false
	}
	if (req.Body != nil && req.Body != http.NoBody) || req.Context().Err() != nil {
		return 0, false
	}
	// Full jitter, so that several callers do not come back at once.
	wait := backoff/2 + rand.N(backoff/2+1) //nolint:gosec // jitter, not a secret
	var api *APIError
	if !errors.As(err, &api) {
		return wait, true // the network
	}
	switch api.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	if api.RetryAfter > wait {
		wait = api.RetryAfter
	}
	return wait, wait <= longestWait
}

func (t *transport) pace(directory string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.paces[directory]
	if l == nil {
		if len(t.paces) >= 10_000 {
			clear(t.paces)
		}
		l = rate.NewLimiter(t.limit, 1)
		t.paces[directory] = l
	}
	return l
}

// retryAfter reads the header as RFC 9110 §10.2.3 has it: seconds or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<20 {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}

type capped struct {
	io.Reader
	io.Closer
}

func closeBody(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close() // the transport owns it, and nothing was sent
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newBase is the connection pool to WorkOS: its own, so that nothing else in
// the program can exhaust it.
func newBase() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   16,
		MaxConnsPerHost:       64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: perAttempt,
	}
}
