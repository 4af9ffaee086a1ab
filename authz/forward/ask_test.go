package forward_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"battery.app/gate/authz"
)

// client is what a browser or program sends to the app.
type client struct {
	method, scheme, authority, uri string
	header                         http.Header
}

// get is a GET of https://authority+uri with headers "Name: value".
func get(authority, uri string, headers ...string) client {
	c := client{method: "GET", scheme: "https", authority: authority, uri: uri, header: http.Header{}}
	return c.with(headers...)
}

func (c client) with(headers ...string) client {
	h := c.header.Clone()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		h[name] = append(h[name], strings.TrimPrefix(value, " "))
	}
	c.header = h
	return c
}

const (
	ada     = "Cookie: theme=dark; __Host-battery_session=t-ada"
	bob     = "Cookie: __Host-battery_session=t-bob"
	browser = "Sec-Fetch-Mode: navigate"
	fetch   = "Sec-Fetch-Mode: cors"
)

// result is an answer in the form that all doors share.
type result struct {
	status int
	header http.Header
	body   string
	grpc   *authv3.CheckResponse
}

func (r result) get(name string) string { return r.header.Get(name) }

// removed is what an allow tells Envoy to take from the request.
func (r result) removed() []string {
	if r.grpc != nil {
		return r.grpc.GetOkResponse().GetHeadersToRemove()
	}
	if list := r.get("X-Envoy-Auth-Headers-To-Remove"); list != "" {
		return strings.Split(list, ",")
	}
	return nil
}

type ask func(t testing.TB, w *world, c client) result

// doors are the ways to ask, each as its gateway asks.
func doors() map[string]ask {
	return map[string]ask{"forward-auth": forwardAuth, "auth-request": authRequest, "ext-authz": extAuthz, "ext-authz-grpc": extAuthzGRPC}
}

func forwardAuth(_ testing.TB, w *world, c client) result {
	r := question("GET", "/authz/forward-auth", "auth.internal", c.header)
	set(r, "X-Forwarded-Method", c.method)
	set(r, "X-Forwarded-Proto", c.scheme)
	set(r, "X-Forwarded-Host", c.authority)
	set(r, "X-Forwarded-Uri", c.uri)
	return w.send(r)
}

func authRequest(_ testing.TB, w *world, c client) result {
	r := question("GET", "/authz/auth-request", "auth.internal", c.header)
	set(r, "X-Original-Url", c.scheme+"://"+c.authority+c.uri)
	set(r, "X-Original-Method", c.method)
	return w.send(r)
}

// set overwrites, as gateways do, unless the test put the header there itself.
func set(r *http.Request, name, value string) {
	if _, ok := r.Header[name]; !ok {
		r.Header[name] = []string{value}
	}
}

func extAuthz(t testing.TB, w *world, c client) result {
	r := question(c.method, "/authz/ext-authz"+c.uri, c.authority, c.header)
	if r == nil { // net/http answers by itself
		w.Record(&authz.Record{})
		return result{status: 400, header: http.Header{}}
	}
	set(r, "X-Forwarded-Proto", c.scheme)
	return w.send(r)
}

func question(method, target, host string, h http.Header) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: method, URL: u, RequestURI: target, Host: host, Header: h.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: "10.1.2.3:4567"}
}

func (w *world) send(r *http.Request) result {
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return result{status: rec.Code, header: rec.Result().Header, body: rec.Body.String()}
}

func extAuthzGRPC(t testing.TB, w *world, c client) result {
	return w.check(t, context.Background(), checkRequest(c))
}

// checkRequest is what Envoy makes of a request without encode_raw_headers.
func checkRequest(c client) *authv3.CheckRequest {
	hr := &authv3.AttributeContext_HttpRequest{Method: c.method, Scheme: c.scheme, Host: c.authority, Path: c.uri, Headers: map[string]string{
		":method": c.method, ":path": c.uri, ":authority": c.authority, ":scheme": c.scheme,
	}}
	for name, values := range c.header {
		joint := ","
		if name == "Cookie" {
			joint = "; "
		}
		hr.Headers[strings.ToLower(name)] = strings.Join(values, joint)
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: hr}}}
}

// rawCheckRequest is what Envoy makes of it with encode_raw_headers, as shipped.
func rawCheckRequest(c client) *authv3.CheckRequest {
	in := checkRequest(c)
	hr := in.Attributes.Request.Http
	hr.HeaderMap = &corev3.HeaderMap{}
	add := func(name, value string) {
		hr.HeaderMap.Headers = append(hr.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	for name, value := range hr.Headers {
		if strings.HasPrefix(name, ":") {
			add(name, value)
		}
	}
	for name, values := range c.header {
		for _, v := range values {
			add(strings.ToLower(name), v)
		}
	}
	hr.Headers = nil
	return in
}

func (w *world) check(t testing.TB, ctx context.Context, in *authv3.CheckRequest) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(w.dial(t)).Check(ctx, in)
	if err != nil {
		t.Fatalf("a failed call may count as an allow: %v", err)
	}
	res := result{header: http.Header{}, grpc: out}
	headers := out.GetOkResponse().GetHeaders()
	res.status = 200
	if denied := out.GetDeniedResponse(); denied != nil {
		res.status, res.body, headers = int(denied.GetStatus().GetCode()), denied.GetBody(), denied.GetHeaders()
	} else if out.GetOkResponse() == nil || out.GetStatus().GetCode() != 0 {
		t.Fatalf("neither ok nor denied: %v", out)
	}
	if res.status == 200 && out.GetStatus().GetCode() != 0 || res.status != 200 && out.GetStatus().GetCode() == 0 {
		t.Fatalf("status code %d with HTTP %d", out.GetStatus().GetCode(), res.status)
	}
	for _, h := range headers {
		// As Envoy 1.40 does: of a denied response it drops what is to append,
		// and sends every one of those that are to overwrite.
		overwrite := h.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD && !h.GetAppend().GetValue()
		switch {
		case overwrite && res.status == 200:
			res.header.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
		case overwrite || res.status == 200:
			res.header.Add(h.GetHeader().GetKey(), h.GetHeader().GetValue())
		}
	}
	return res
}

func (w *world) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	if w.conn != nil {
		return w.conn
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := w.doors.GRPC()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.conn.Close()
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return w.conn
}

// identityHeaders are all headers that an allow must carry.
var identityHeaders = []string{"X-Battery-User-Id", "X-Battery-Org-Id", "X-Battery-User-Email", "X-Battery-Roles",
	"X-Battery-App-Id", "X-Battery-Decision-Id", "X-Battery-Groups", "X-Battery-Assertion", "X-Plan"}
