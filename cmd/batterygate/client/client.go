// Package client talks to the admin API on behalf of the command line: one
// base URL, one bearer token, and errors that say what to do next.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer caps an answer's body.
const maxAnswer = 64 << 20

// Client is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client for the admin listener at base, such as
// http://127.0.0.1:8083.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("admin URL %q is not an http(s) URL; set --admin-url or BATTERY_ADMIN_URL", base)
	}
	if token == "" {
		return nil, errors.New("no token: set --token-file or BATTERY_TOKEN; 'batterygate token create' makes one")
	}
	return &Client{base: u, token: token, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// WithTimeout is the same client with another limit for one call.
func (c *Client) WithTimeout(d time.Duration) *Client {
	return &Client{base: c.base, token: c.token, http: &http.Client{Timeout: d}}
}

// Error is an RFC 9457 problem that the server answered.
type Error struct {
	Status int     `json:"status"`
	Title  string  `json:"title"`
	Detail string  `json:"detail"`
	Errors []Fault `json:"errors"`
}

// Fault is one of the things that are wrong with what was sent: a field of it,
// or a place in a policy.
type Fault struct {
	Field   string `json:"field"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// String is one line, which begins with the place.
func (f Fault) String() string {
	switch {
	case f.File != "":
		return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Code, f.Message)
	case f.Field != "":
		return f.Field + " " + f.Message
	}
	return f.Code + " " + f.Message
}

// Blob is a body that is not JSON.
type Blob struct {
	Type string // its media type
	Data []byte
}

// Error is the detail, with each fault on a line of its own.
func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	text = fmt.Sprintf("the server answered %d: %s", e.Status, text)
	for _, f := range e.Errors {
		text += "\n  " + f.String()
	}
	return text
}

// Do sends in (nil: nothing; a Blob: as it is; else as JSON) to an /api/v1 path
// and decodes the answer into out (nil: dropped).
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	sent, isBlob := in.(Blob)
	if in != nil && !isBlob {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		sent = Blob{"application/json", raw}
	}
	u := *c.base
	u.Path += "/api/v1/" + path
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(sent.Data))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", sent.Type)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s (is batterygate running there?): %w", c.base, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		e := &Error{}
		if json.Unmarshal(raw, e) != nil || e.Status == 0 {
			e = &Error{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}
