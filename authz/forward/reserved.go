package forward

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"

	"battery.app/gate/authz"
)

// maxBody is the longest body that a door answers with, in bytes. Traefik turns
// an answer above its maxResponseBodySize into a 401.
const maxBody = 8<<10 - 1

// handled is what one of our own endpoints answered.
type handled struct {
	status int
	header http.Header
	body   string
}

// reserved takes the requests below /.battery/ of an app's host out of the
// policy's hands: login, session and logout are answered by Endpoints, all else
// is refused. The shipped gateway configs send these to the public listener
// instead; what comes here is the gateway that does not.
//
// nginx can relay neither the redirect nor the cookie of such an answer, so that
// asking would only burn a ticket: its door refuses them all.
func (d *Doors) reserved(ctx context.Context, q *question, req *authz.Request) *handled {
	if !reservedPath(req.Path) {
		return nil
	}
	req.Answered = &authz.Answered{Status: http.StatusForbidden, Code: authz.CodeReservedPath}
	switch req.Path {
	case "/.battery/login", "/.battery/session", "/.battery/logout":
	default:
		// However it is spelled, it is refused as reserved.
		req.Ambiguous = false
		return nil
	}
	if q.door.dialect.NoRedirect || !d.ownsHost(req) {
		return nil
	}
	hand := d.serveEndpoint(ctx, q, req)
	if hand == nil {
		return nil
	}
	req.Answered.Status = hand.status
	return hand
}

// ownsHost reports whether the host is an app's. Endpoints must not be asked for
// a host that nobody owns; that Checker will say so comes too late.
func (d *Doors) ownsHost(req *authz.Request) bool {
	app, ok := d.opt.Apps(req.Host)
	return ok && app.HasAuthority(req.Host, req.Port) && (req.AppID == "" || req.AppID == app.ID)
}

// reservedPath reports whether the first segment of a path is ".battery" in any
// reading: letters in either case, escaped however often, behind extra slashes
// or backslashes, with parameters.
func reservedPath(path string) bool {
	for range 4 {
		p := strings.TrimLeft(path, `/\`)
		if end := strings.IndexAny(p, `/\;`); end >= 0 {
			p = p[:end]
		}
		if strings.EqualFold(p, ".battery") {
			return true
		}
		if !strings.Contains(path, "%") {
			return false
		}
		path = authz.DecodePath(path)
	}
	return false
}

// serveEndpoint asks Endpoints and keeps its answer if it is a 3xx or 4xx of
// bearable size. A nil answer, a panic included, is a refusal.
func (d *Doors) serveEndpoint(ctx context.Context, q *question, req *authz.Request) (hand *handled) {
	defer func() {
		if p := recover(); p != nil {
			d.opt.Log.ErrorContext(ctx, "panic in an endpoint; refused", "path", req.Path,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			hand = nil
		}
	}()
	r, err := rebuild(ctx, q, req)
	if err != nil {
		d.opt.Log.WarnContext(ctx, "request for an endpoint cannot be rebuilt; refused", "path", req.Path)
		return nil
	}
	w := &capture{header: http.Header{}}
	d.opt.Endpoints.ServeHTTP(w, r)
	if w.status < 300 || w.status >= 500 || w.tooLong {
		d.opt.Log.WarnContext(ctx, "an endpoint's answer cannot pass a door; refused", "path", req.Path, "status", w.status, "too_long", w.tooLong)
		return nil
	}
	return &handled{status: w.status, header: relayable(w.header, r.URL), body: w.body.String()}
}

// rebuild makes the request that the client sent to the app's host, as far as
// the endpoints may see it.
func rebuild(ctx context.Context, q *question, req *authz.Request) (*http.Request, error) {
	target := targetURL(req)
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("parse canonical URL: %w", err)
	}
	r := (&http.Request{
		Method: req.Method, URL: u, Host: req.Authority(), RequestURI: u.RequestURI(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody,
	}).WithContext(ctx)
	for _, name := range []string{"Cookie", "Origin", "Referer", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User"} {
		if v := q.header[name]; len(v) > 0 {
			r.Header[name] = append([]string(nil), v...)
		}
	}
	if req.ClientIP.IsValid() {
		r.RemoteAddr = netip.AddrPortFrom(req.ClientIP, 0).String()
	}
	return r, nil
}

// targetURL is the absolute URL that the client asked for.
func targetURL(req *authz.Request) string {
	s := req.Scheme + "://" + req.Authority() + req.Path
	if req.Query != "" {
		s += "?" + req.Query
	}
	return s
}

// relayable copies an endpoint's headers without those that belong to a
// connection or its body and without values that would break a line, and makes a Location absolute: Traefik resolves a
// relative one against the gate's own address.
func relayable(h http.Header, base *url.URL) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		switch name {
		case "Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Content-Length", "Date":
			continue
		}
		for _, v := range values {
			if !strings.ContainsAny(v, "\r\n\x00") {
				out.Add(name, v)
			}
		}
	}
	if loc := out.Get("Location"); loc != "" {
		if u, err := base.Parse(loc); err == nil {
			out.Set("Location", u.String())
		}
	}
	return out
}

// capture is a response that is kept instead of sent.
type capture struct {
	header  http.Header
	status  int
	body    bytes.Buffer
	tooLong bool
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(code int) {
	if c.status == 0 && code >= 200 {
		c.status = code
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.body.Len()+len(p) > maxBody {
		c.tooLong = true
		return len(p), nil
	}
	return c.body.Write(p)
}
