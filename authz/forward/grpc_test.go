package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

type peerAttrs = authv3.AttributeContext_Peer

func withMetadata(ctx context.Context, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// TestTwoDoorsAgree asks Envoy's two doors the same things. Answer, canonical
// request and reason must be the same.
func TestTwoDoorsAgree(t *testing.T) {
	var rows []client
	for _, authority := range []string{"crm.acme.test", "CRM.acme.test.:443", "status.acme.test", "nobody.test", "a@crm.acme.test", "crm.acme.test:1"} {
		for _, uri := range []string{"/", "/deals?x=1&y=/../", "/a/../b", "//x", "/%61", "/caf%C3%A9", "/.battery/login?rd=x", "/.battery/x", "/admin"} {
			for _, headers := range [][]string{{}, {ada}, {bob, browser}, {browser, "Accept-Language: de", "X-Forwarded-For: 203.0.113.9, 10.0.0.1"}, {ada, "X_Forwarded_Uri: /"}, {"Accept: text/html"}, {fetch, "Accept-Language: de", "Accept-Language: en"}} {
				rows = append(rows, get(authority, uri, headers...))
			}
		}
	}
	for _, m := range []string{"POST", "HEAD", "OPTIONS", "PROPFIND", "FROB", "get"} {
		rows = append(rows, method(get("crm.acme.test", "/deals", ada), m))
	}
	overHTTP, overGRPC := newWorld(t), newWorld(t)
	for i, c := range rows {
		name := fmt.Sprintf("%d %s %s%s", i, c.method, c.authority, c.uri)
		a, b := extAuthz(t, overHTTP, c), extAuthzGRPC(t, overGRPC, c)
		askedA, askedB := *overHTTP.asked[0], *overGRPC.asked[0]
		ra, rb := overHTTP.one(t), overGRPC.one(t)
		if a.status != b.status || ra.Reasons[0] != rb.Reasons[0] || ra.Status != rb.Status {
			t.Errorf("%s: HTTP %d %v, gRPC %d %v", name, a.status, ra.Reasons, b.status, rb.Reasons)
		}
		askedA.Gateway, askedB.Gateway = "", ""
		askedA.Dialect.Name, askedB.Dialect.Name = "", ""
		if !reflect.DeepEqual(askedA, askedB) {
			t.Errorf("%s: HTTP asks %+v, gRPC %+v", name, askedA, askedB)
		}
		if !slices.Equal(headerNames(a), headerNames(b)) {
			t.Errorf("%s: headers %v and %v", name, headerNames(a), headerNames(b))
		}
		if !slices.Equal(a.removed(), b.removed()) {
			t.Errorf("%s: removed %v and %v", name, a.removed(), b.removed())
		}
	}
}

func headerNames(r result) []string {
	var names []string
	for name := range r.header {
		if name != "Cookie" && name != "X-Envoy-Auth-Headers-To-Remove" { // said in another place over gRPC
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestGRPC(t *testing.T) {
	ctx := context.Background()
	t.Run("raw headers are read like joined ones", func(t *testing.T) {
		w := newWorld(t)
		in := checkRequest(get("crm.acme.test", "/"))
		in.Attributes.Request.Http.Headers = nil
		in.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			{Key: "cookie", RawValue: []byte("a=\xff; __Host-battery_session=t-ada")}, {Key: "accept-language", RawValue: []byte("d\xffe")},
		}}
		res := w.check(t, ctx, in)
		if res.status != 200 || res.get("Cookie") != "a=!" {
			t.Fatalf("%d cookie %q", res.status, res.get("Cookie"))
		}
		if rec := w.one(t); rec.Headers["accept-language"] != "d!e" {
			t.Errorf("%q", rec.Headers)
		}
	})
	t.Run("cookies on several lines", func(t *testing.T) {
		raw := func(lines ...string) *authv3.AttributeContext_HttpRequest {
			var all []*corev3.HeaderValue
			for _, l := range lines {
				all = append(all, &corev3.HeaderValue{Key: "cookie", RawValue: []byte(l)})
			}
			return &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{Headers: all}}
		}
		joined := func(v string) *authv3.AttributeContext_HttpRequest {
			return &authv3.AttributeContext_HttpRequest{Headers: map[string]string{"cookie": v}}
		}
		const bobs = "__Host-battery_session=t-bob"
		for name, row := range map[string]struct {
			sent   *authv3.AttributeContext_HttpRequest
			status int
			cookie string // what the app gets
		}{
			"raw lines":                       {raw("a=1", oursValue, "b=2"), 200, "a=1; b=2"},
			"raw lines, the same twice":       {raw(oursValue, oursValue), 200, ""},
			"raw lines, another's":            {raw(oursValue, bobs), 401, ""},
			"joined by semicolons":            {joined("a=1; " + oursValue + "; b=2"), 200, "a=1; b=2"},
			"joined by commas, ours last":     {joined("a=1," + oursValue), 401, ""},
			"joined by commas, ours first":    {joined(oursValue + ",a=1"), 401, ""},
			"joined by commas, ours again":    {joined(oursValue + "," + oursValue), 401, ""},
			"joined by commas, another's":     {joined(oursValue + "; a=1, " + bobs), 200, "a=1"}, // planted in the value of a
			"joined by commas in one raw one": {raw("a=1," + oursValue), 401, ""},
			"joined by a line break":          {raw("a=1\n" + oursValue), 400, ""},
		} {
			w := newWorld(t)
			in := checkRequest(get("crm.acme.test", "/"))
			in.Attributes.Request.Http.Headers, in.Attributes.Request.Http.HeaderMap = row.sent.Headers, row.sent.HeaderMap
			res := w.check(t, ctx, in)
			if got := w.one(t); res.status != row.status || res.status == 200 && (res.get("Cookie") != row.cookie || got.Session.UserID != "prof_ada") {
				t.Errorf("%s: %d, cookie %q, session %+v", name, res.status, res.get("Cookie"), got.Session)
			}
		}
	})
	t.Run("two cookies in raw headers that differ are no session", func(t *testing.T) {
		w := newWorld(t)
		in := checkRequest(get("crm.acme.test", "/"))
		in.Attributes.Request.Http.Headers = nil
		in.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			{Key: "cookie", RawValue: []byte("__Host-battery_session=t-ada")}, {Key: "Cookie", RawValue: []byte("__Host-battery_session=t-bob")},
		}}
		if res := w.check(t, ctx, in); res.status != 401 {
			t.Fatalf("%d", res.status)
		}
	})
	malformed := map[string]func(*authv3.CheckRequest){
		"no attributes":      func(in *authv3.CheckRequest) { in.Attributes = nil },
		"no request":         func(in *authv3.CheckRequest) { in.Attributes.Request = nil },
		"a query of its own": func(in *authv3.CheckRequest) { in.Attributes.Request.Http.Query = "x=1" },
		"a fragment":         func(in *authv3.CheckRequest) { in.Attributes.Request.Http.Fragment = "x" },
		"headers in two forms": func(in *authv3.CheckRequest) {
			in.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "a", Value: "b"}}}
		},
		"a name that is none": func(in *authv3.CheckRequest) { in.Attributes.Request.Http.Headers["x-battery-roles "] = "admin" },
		"a value with a line break": func(in *authv3.CheckRequest) {
			in.Attributes.Request.Http.Headers["accept-language"] = "de\r\nx-battery-roles: admin"
		},
		"no host": func(in *authv3.CheckRequest) { in.Attributes.Request.Http.Host = "" },
	}
	for name, spoil := range malformed {
		t.Run("malformed: "+name, func(t *testing.T) {
			w := newWorld(t)
			in := checkRequest(get("crm.acme.test", "/", ada))
			spoil(in)
			if res := w.check(t, ctx, in); res.status != 400 {
				t.Fatalf("%d", res.status)
			}
			if rec := w.one(t); rec.Reasons[0].Code != authz.CodeMalformedRequest {
				t.Fatalf("%v", rec.Reasons)
			}
		})
	}
	t.Run("the query in the path is cut off it (CVE-2026-32811)", func(t *testing.T) {
		w := newWorld(t)
		if res := w.check(t, ctx, checkRequest(get("crm.acme.test", "/admin?x=1", ada))); res.status != 403 {
			t.Fatalf("%d", res.status)
		}
		if rec := w.one(t); rec.Path != "/admin" || rec.Reasons[0].Code != authz.CodeNoAllowedRole {
			t.Fatalf("%q %v", rec.Path, rec.Reasons)
		}
	})
	t.Run("the route's app must own the host (CVE-2023-33189)", func(t *testing.T) {
		for app, want := range map[string]int{"crm.acme": 200, "wiki.acme": 403} {
			w := newWorld(t)
			in := checkRequest(get("crm.acme.test", "/", ada))
			in.Attributes.ContextExtensions = map[string]string{"app": app}
			if res := w.check(t, ctx, in); res.status != want {
				t.Errorf("%s: %d, want %d", app, res.status, want)
			}
		}
	})
	t.Run("headers that are empty still overwrite", func(t *testing.T) {
		// Envoy leaves the client's header where the answer's is empty, unless it is
		// told to keep empty ones.
		w := newWorld(t)
		headers := w.check(t, ctx, checkRequest(get("status.acme.test", "/"))).grpc.GetOkResponse().GetHeaders()
		for _, h := range headers {
			if !h.GetKeepEmptyValue() || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Errorf("%v", h)
			}
		}
		if len(headers) != len(identityHeaders) {
			t.Errorf("%d headers, want %d", len(headers), len(identityHeaders))
		}
	})
	t.Run("our cookie does not reach the app", func(t *testing.T) {
		w := newWorld(t)
		res := w.check(t, ctx, checkRequest(get("crm.acme.test", "/", ada)))
		if res.get("Cookie") != "theme=dark" || slices.Contains(res.grpc.GetOkResponse().GetHeadersToRemove(), "cookie") {
			t.Errorf("cookie %q", res.get("Cookie"))
		}
		res = w.check(t, ctx, checkRequest(get("crm.acme.test", "/", "Cookie: __Host-battery_session=t-ada")))
		if _, ok := res.header["Cookie"]; ok || !slices.Contains(res.grpc.GetOkResponse().GetHeadersToRemove(), "cookie") {
			t.Errorf("cookie %q, removed %v", res.get("Cookie"), res.grpc.GetOkResponse().GetHeadersToRemove())
		}
	})
	t.Run("status codes and metadata", func(t *testing.T) {
		w := newWorld(t)
		for _, row := range []struct {
			ask  client
			code codes.Code
		}{
			{get("crm.acme.test", "/", ada), codes.OK}, {get("crm.acme.test", "/", bob), codes.PermissionDenied},
			{get("crm.acme.test", "/"), codes.Unauthenticated}, {get("crm.acme.test", "/", browser), codes.Unauthenticated},
			{method(get("crm.acme.test", "/"), "X"), codes.PermissionDenied},
		} {
			res := w.check(t, ctx, checkRequest(row.ask))
			rec := w.one(t)
			if got := codes.Code(res.grpc.GetStatus().GetCode()); got != row.code {
				t.Errorf("code %v, want %v", got, row.code)
			}
			if res.grpc.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue() != rec.ID {
				t.Error("metadata do not name the decision")
			}
		}
	})
	t.Run("an answer that is not UTF-8 can still be sent", func(t *testing.T) {
		w := newWorld(t)
		w.apps["crm.acme.test"].ID = "crm\xff"
		for _, c := range []client{get("crm.acme.test", "/", ada), get("crm.acme.test", "/", bob, browser), get("crm.acme.test", "/", bob), get("crm.acme.test", "/")} {
			w.check(t, ctx, checkRequest(c))
		}
	})
}

func TestTrace(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	const parent = "Traceparent: 00-" + id + "-b7ad6b7169203331-01"
	for door, do := range doors() {
		w := newWorld(t)
		do(t, w, get("crm.acme.test", "/", parent))
		if rec := w.one(t); rec.TraceID != id {
			t.Errorf("%s: trace %q", door, rec.TraceID)
		}
		do(t, w, get("crm.acme.test", "/", parent, strings.Replace(parent, "0af", "0bf", 1)))
		if rec := w.one(t); rec.TraceID != "" {
			t.Errorf("%s: two parents give %q", door, rec.TraceID)
		}
	}
	t.Run("gRPC metadata before headers", func(t *testing.T) {
		w := newWorld(t)
		ctx := withMetadata(context.Background(), "traceparent", "00-"+id+"-b7ad6b7169203331-01")
		w.check(t, ctx, checkRequest(get("crm.acme.test", "/", strings.Replace(parent, "0af", "0bf", 1))))
		if rec := w.one(t); rec.TraceID != id {
			t.Errorf("trace %q", rec.TraceID)
		}
	})
}

// raw asks with the bytes of a message as they are.
func (w *world) raw(t *testing.T, message []byte) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out := new(authv3.CheckResponse)
	if err := w.dial(t).Invoke(ctx, "/envoy.service.auth.v3.Authorization/Check", message, out, grpc.ForceCodec(asIs{})); err != nil {
		t.Fatalf("a failed call may count as an allow: %v", err)
	}
	return result{status: int(out.GetDeniedResponse().GetStatus().GetCode()), grpc: out}
}

// asIs is a codec that sends bytes.
type asIs struct{}

func (asIs) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (asIs) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }
func (asIs) Name() string                       { return "proto" }

// What cannot be read is answered, with a denial and a record: an Envoy with
// failure_mode_allow lets a request pass whose question fails as a call.
func TestWhatCannotBeReadOverGRPCIsAnswered(t *testing.T) {
	good, err := proto.Marshal(checkRequest(get("crm.acme.test", "/deals", ada)))
	if err != nil {
		t.Fatal(err)
	}
	padded := func(size int) []byte { // with a field that nobody knows
		out := protowire.AppendTag(slices.Clone(good), 1000, protowire.BytesType)
		return protowire.AppendBytes(out, make([]byte, size))
	}
	for name, message := range map[string][]byte{
		"text that is not UTF-8": bytes.Replace(good, []byte("crm.acme.test"), []byte("crm.\xffcme.test"), 1),
		"half a question":        good[:len(good)-1],
		"no protobuf":            []byte("\xff\xff\xff\xff"),
		"a wrong wire type":      protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7),
		"too deep":               deep(20000),
		"3 MiB":                  padded(3 << 20),
		"40 MiB":                 padded(40 << 20),
		"nothing":                {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if res := w.raw(t, message); res.status != 400 || res.grpc.GetStatus().GetCode() != int32(codes.PermissionDenied) {
				t.Fatalf("%v", res.grpc)
			}
			if rec := w.one(t); rec.Reasons[0].Code != authz.CodeMalformedRequest || rec.Host != "" || rec.Path != "" {
				t.Fatalf("%+v", rec)
			}
		})
	}
	t.Run("as long as is read", func(t *testing.T) {
		w := newWorld(t)
		if res := w.raw(t, padded(2<<20-len(good)-100)); res.status != 0 || res.grpc.GetOkResponse() == nil {
			t.Fatalf("%v", res.grpc)
		}
		w.one(t)
	})
	t.Run("a call without a question", func(t *testing.T) {
		w := newWorld(t)
		stream, err := w.dial(t).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/envoy.service.auth.v3.Authorization/Check")
		if err != nil {
			t.Fatal(err)
		}
		out := new(authv3.CheckResponse)
		if err := errors.Join(stream.CloseSend(), stream.RecvMsg(out)); err != nil || out.GetDeniedResponse() == nil {
			t.Fatalf("%v %v", out, err)
		}
		w.one(t)
	})
}

// Beyond the hard cap there is no answer, but a record.
func TestAQuestionThatNobodyHoldsIsOnRecord(t *testing.T) {
	w := newWorld(t)
	err := w.dial(t).Invoke(t.Context(), "/envoy.service.auth.v3.Authorization/Check", make([]byte, 65<<20), new(authv3.CheckResponse), grpc.ForceCodec(asIs{}))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error %v", err)
	}
	// The caller knows of the failure before the door has told the Checker.
	deadline := time.Now().Add(10 * time.Second)
	for w.count() == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if rec := w.one(t); rec.Reasons[0].Code != authz.CodeMalformedRequest {
		t.Errorf("%v", rec.Reasons)
	}
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.records)
}

// deep is a CheckRequest whose metadata lies in so many lists.
func deep(n int) []byte {
	wrap := func(in []byte, field protowire.Number) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), in)
	}
	var value []byte
	for range n {
		value = wrap(wrap(value, 1), 6) // Value.list_value of ListValue.values
		if len(value) > 150<<10 {
			break
		}
	}
	entry := wrap(wrap(value, 2), 1)  // Struct.fields[""]
	filter := wrap(wrap(entry, 2), 1) // Metadata.filter_metadata[""]
	return wrap(wrap(filter, 11), 1)  // AttributeContext.metadata_context
}

// A peer that is not trusted is answered before its message is read: nobody else
// can make the door hold long questions.
func TestAnUntrustedPeersQuestionIsNotRead(t *testing.T) {
	w := newWorld(t, func(o *forward.Options) { o.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	stream, err := w.dial(t).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/envoy.service.auth.v3.Authorization/Check")
	if err != nil {
		t.Fatal(err)
	}
	out := new(authv3.CheckResponse) // nothing was sent yet
	if err := stream.RecvMsg(out); err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 403 {
		t.Fatalf("%v %v", out, err)
	}
	if rec := w.one(t); rec.Reasons[0].Code != authz.CodeUntrustedPeer {
		t.Fatalf("%v", rec.Reasons)
	}
	if res := w.raw(t, make([]byte, 10<<20)); res.status != 403 {
		t.Fatalf("10 MiB: %v", res.grpc)
	}
}
