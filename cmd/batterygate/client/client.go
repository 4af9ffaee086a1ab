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
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("admin URL %q is not an http(s) URL; set --admin-url or BATTERY_ADMIN_URL", base)
	}
	if token == "" {
		return nil, errors.New("no token: set --token-file or BATTERY_TOKEN; 'batterygate token create' makes one")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token holds white space or characters that no token has; it is one word that begins with bgt_")
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

	foreign bool // it is not an answer of the admin API
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
	switch {
	case e.foreign:
		text += ", and not as the admin API does; is the admin URL that of the admin listener?"
	case e.Status == http.StatusUnauthorized:
		text += " ('batterygate token create' on the server's host makes a token.)"
	}
	for _, f := range e.Errors {
		text += "\n  " + f.String()
	}
	return text
}

// Do sends in (nil: nothing; a Blob: as it is; else as JSON) to an /api/v1 path,
// whose parts are escaped already, and decodes the answer into out (nil: dropped).
// Numbers of no type stay as the server wrote them; an answer without a body
// leaves out as it is.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	_, err := c.do(ctx, method, path, query, "", in, out)
	return err
}

// do is Do that asks with If-Match, unless that is empty, and returns the ETag of
// the answer.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, ifMatch string, in, out any) (etag string, err error) {
	sent, isBlob := in.(Blob)
	if in != nil && !isBlob {
		raw, err := json.Marshal(in)
		if err != nil {
			return "", fmt.Errorf("encode request: %w", err)
		}
		sent = Blob{"application/json", raw}
	}
	u, err := url.Parse(c.base.String() + "/api/v1/" + path)
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(sent.Data))
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if ifMatch != "" {
		req.Header.Set("If-Match", ifMatch)
	}
	if in != nil {
		req.Header.Set("Content-Type", sent.Type)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s (is batterygate running there?): %w", c.base, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		e := &Error{}
		if json.Unmarshal(raw, e) != nil || e.Status == 0 {
			e = &Error{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode), foreign: true}
		}
		return "", e
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return resp.Header.Get("ETag"), nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(out); err != nil {
		return "", fmt.Errorf("decode answer: %w", err)
	}
	return resp.Header.Get("ETag"), nil
}
