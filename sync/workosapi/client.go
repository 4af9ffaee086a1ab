package workosapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/workos/workos-go/v4/pkg/sso"
	"golang.org/x/time/rate"
)

// DefaultEndpoint is the API of WorkOS itself.
const DefaultEndpoint = "https://api.workos.com"

// Options of a Client. APIKey and ClientID are required.
type Options struct {
	APIKey   string
	ClientID string
	// Endpoint is the API's base URL, https outside loopback. Default: DefaultEndpoint.
	Endpoint string
	// HTTPClient gives the base transport and the time limit of a whole call,
	// retries included. Default: a pool of its own and one minute.
	HTTPClient *http.Client
	// DirectoryUsersRate is how many requests a second may read the users of
	// one directory. WorkOS allows 4. Default: 3. Negative: no pacing.
	DirectoryUsersRate float64
	// Log takes retries at debug level. Default: nothing is logged.
	Log *slog.Logger
}

// Client calls WorkOS. It is safe for concurrent use.
type Client struct {
	endpoint string
	apiKey   string
	clientID string
	http     *http.Client

	// A pointer, because the SDK's client holds a sync.Once; never the SDK's
	// package-level one, which is shared mutable state.
	sso *sso.Client
}

// New makes a Client; it sends nothing. It fails, matching ErrInvalid, if an
// option is missing or the endpoint would send the API key in the clear.
func New(o Options) (*Client, error) {
	if o.APIKey == "" || o.ClientID == "" {
		return nil, fmt.Errorf("%w: the API key and the client id are required", ErrInvalid)
	}
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	endpoint, err := checkEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DirectoryUsersRate == 0 {
		o.DirectoryUsersRate = 3
	}
	base, timeout := http.RoundTripper(nil), time.Minute
	if o.HTTPClient != nil {
		base = o.HTTPClient.Transport
		if o.HTTPClient.Timeout > 0 {
			timeout = o.HTTPClient.Timeout
		}
	}
	if base == nil {
		base = newBase()
	}
	hc := &http.Client{
		Transport: &transport{
			base: base, secret: o.APIKey, log: o.Log, sleep: sleep,
			limit: rate.Limit(o.DirectoryUsersRate), paces: make(map[string]*rate.Limiter),
		},
		Timeout: timeout,
	}
	return &Client{
		endpoint: endpoint, apiKey: o.APIKey, clientID: o.ClientID, http: hc,
		sso: &sso.Client{APIKey: o.APIKey, ClientID: o.ClientID, Endpoint: endpoint, HTTPClient: hc},
	}, nil
}

// checkEndpoint returns the base without a trailing slash, which the SDK's
// organizations client would double.
func checkEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: the WorkOS endpoint is not a plain URL", ErrInvalid)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return "", fmt.Errorf("%w: the WorkOS endpoint %s must be https: the API key travels to it", ErrInvalid, u.Host)
	}
	return strings.TrimRight(s, "/"), nil
}

// raw makes the writing calls that the SDK makes wrongly. in is sent as JSON, or
// nothing if it is nil; out is filled from the answer, all of it, as get does. A
// nil out is for calls that answer with nothing: whatever they say is not read.
func (c *Client) raw(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		var encoded bytes.Buffer
		enc := json.NewEncoder(&encoded)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			return fmt.Errorf("%w: encode the request: %w", ErrInvalid, err)
		}
		body = &encoded
	}
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, body)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrInvalid, "the request has no usable URL")
	}
	req.Header.Set("Authorization", "Bearer "+c.apiKey)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}
