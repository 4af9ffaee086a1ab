package forward

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"battery.app/gate/authz"
)

// checkServer is the gRPC door (envoy.service.auth.v3.Authorization).
type checkServer struct {
	authv3.UnimplementedAuthorizationServer
	doors *Doors
	door  *door
}

var _ authv3.AuthorizationServer = (*checkServer)(nil)

// call is one question at the gRPC door.
type call struct {
	caller caller
	meta   http.Header // what the door reads of the call's metadata
	in     checkMessage
}

// answer never returns an error but where a probe asks for one: Envoy may be set
// to let a request pass when the call fails (failure_mode_allow).
func (s *checkServer) answer(ctx context.Context, c *call) (out *authv3.CheckResponse, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.doors.opt.Log.ErrorContext(ctx, "panic while answering a gateway; denied", "panic", fmt.Sprint(p))
			out, err = checkResponse(bareRefusal(nil)), nil
		}
	}()
	h, readable := checkHeaders(c.in.req)
	a := s.doors.ask(ctx, &question{
		door: s.door, header: h, trace: c.meta, caller: c.caller,
		contract: func(req *authz.Request) *authz.Fault {
			if c.in.fault != nil {
				return c.in.fault
			}
			fault := s.doors.readCheck(c.in.req, req)
			if !readable && fault == nil {
				fault = malformed("The request's headers cannot be read in one way.")
			}
			return fault
		},
	})
	if a.silent {
		return nil, status.Error(codes.Unavailable, "a probe asked for no answer")
	}
	if a.allows() && len(a.identity) == len(s.doors.identity.lower) {
		return s.doors.okResponse(a), nil
	}
	return checkResponse(a), nil
}

// callerOfCall judges the peer of the connection, as the HTTP doors do. The
// secret is metadata of the call, where the app's client cannot write.
func (d *Doors) callerOfCall(ctx context.Context, meta http.Header) caller {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return caller{name: "unknown"}
	}
	var state *tls.ConnectionState
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		state = &info.State
	}
	return d.callerOf(p.Addr.String(), state, meta[SecretHeader])
}

// metadataOf picks what the door reads of a call's metadata.
func metadataOf(ctx context.Context) http.Header {
	out := http.Header{}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, name := range []string{SecretHeader, "Traceparent", "Tracestate"} {
		if v := md.Get(name); len(v) > 0 {
			out[name] = v
		}
	}
	return out
}

// readCheck reads the CheckRequest. The path carries the query; the fields query
// and fragment are always empty (attribute_context.proto), so that a caller who
// fills them means another request than the one that will be forwarded.
func (d *Doors) readCheck(in *authv3.CheckRequest, req *authz.Request) *authz.Fault {
	attrs := in.GetAttributes()
	hr := attrs.GetRequest().GetHttp()
	req.AppID = attrs.GetContextExtensions()["app"]
	scheme := hr.GetScheme()
	if scheme == "" {
		scheme = d.schemeOf(hr.GetHost())
	}
	fault := fillCanonical(req, hr.GetMethod(), scheme, hr.GetHost(), hr.GetPath())
	if fault == nil && (hr.GetQuery() != "" || hr.GetFragment() != "") {
		fault = malformed("The query must be part of the path.")
	}
	if fault == nil {
		fault = asSent(hr)
	}
	// Envoy's own view of its peer is one hop nearer than X-Forwarded-For, which
	// the client writes where Envoy does not append to it.
	if a, ok := parseHop(attrs.GetSource().GetAddress().GetSocketAddress().GetAddress()); ok {
		req.ClientIP = a
	}
	return fault
}

// asSent compares what a CheckRequest says twice: method, path and host are fields
// and pseudo-headers. Fields are strings, in which Envoy writes "!" for bytes that
// are not UTF-8, while the app gets the bytes, and some apps drop them: "/adm!in"
// is "/admin" there. Only raw pseudo-headers (encode_raw_headers) hold the bytes;
// without them nobody knows what a path with "!" is.
func asSent(hr *authv3.AttributeContext_HttpRequest) *authz.Fault {
	fields := map[string]string{":method": hr.GetMethod(), ":path": hr.GetPath(), ":authority": hr.GetHost()}
	for name, field := range fields {
		if v, ok := hr.GetHeaders()[name]; ok && v != field {
			return malformed("The question's pseudo-headers name another request than its fields.")
		}
	}
	raw := false
	for _, h := range hr.GetHeaderMap().GetHeaders() {
		if field, ok := fields[h.GetKey()]; ok {
			if headerBytes(h) != field {
				return malformed("The question's pseudo-headers name another request than its fields.")
			}
			raw = raw || h.GetKey() == ":path"
		}
	}
	if path, _, _ := strings.Cut(hr.GetPath(), "?"); !raw && strings.IndexByte(path, '!') >= 0 {
		return &authz.Fault{Code: authz.CodeAmbiguousPath,
			Message: "The path holds a \"!\", which Envoy also writes for bytes that it does not send unless it is set up with encode_raw_headers."}
	}
	return nil
}

// headerBytes is the value of a header of the raw form.
func headerBytes(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// checkHeaders turns the headers of a CheckRequest into the form that all doors
// read. It reports false if they are there in both forms or hold a name that is
// none: Envoy does neither.
func checkHeaders(in *authv3.CheckRequest) (http.Header, bool) {
	hr := in.GetAttributes().GetRequest().GetHttp()
	h := make(http.Header, len(hr.GetHeaders()))
	ok := true
	add := func(name, value string) {
		if strings.HasPrefix(name, ":") {
			return // Envoy's pseudo-headers; they have fields of their own
		}
		if !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			ok = false
			return
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		h[name] = append(h[name], value)
	}
	for name, value := range hr.GetHeaders() {
		add(name, value)
	}
	raw := hr.GetHeaderMap().GetHeaders()
	if len(raw) > 0 && len(h) > 0 {
		return h, false
	}
	for _, v := range raw {
		add(v.GetKey(), headerBytes(v))
	}
	return h, ok
}

// token is RFC 9110 §5.6.2.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !plain(c) && !strings.ContainsRune("!#$%&'*+.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// okResponse lets the request pass with its identity headers, which replace what
// the client sent under these names, and without what is ours alone.
func (d *Doors) okResponse(a answer) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: a.remove}
	for i, name := range d.identity.lower {
		ok.Headers = append(ok.Headers, replaceHeader(name, a.identity[i]))
	}
	if a.cookie != "" {
		ok.Headers = append(ok.Headers, replaceHeader("cookie", a.cookie))
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadataFor(a),
	}
}

// checkResponse is every answer but an allow.
func checkResponse(a answer) *authv3.CheckResponse {
	if a.status < 300 || a.status > 499 {
		a.status = http.StatusForbidden
	}
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.status)},
		Body:   strings.ToValidUTF8(a.body, "\uFFFD"),
	}
	for name, values := range a.header {
		for _, v := range values {
			// Also several Set-Cookie: Envoy sends every header of a denied
			// response that is to overwrite, and drops those that are to append.
			denied.Headers = append(denied.Headers, replaceHeader(strings.ToLower(name), v))
		}
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(grpcCode(a))},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: metadataFor(a),
	}
}

// replaceHeader overwrites a header. A string that is not UTF-8 would make the
// whole answer unsendable, and a failed call may count as an allow.
func replaceHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:         &corev3.HeaderValue{Key: name, Value: strings.ToValidUTF8(value, "!")},
		AppendAction:   corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		KeepEmptyValue: true,
	}
}
