package forward_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

func TestMetadata(t *testing.T) {
	for name, row := range map[string]struct {
		ask  client
		tune func(*world)
		want map[string]any
	}{
		"allow": {ask: get("crm.acme.test", "/", ada), want: map[string]any{
			"result": "allow", "reasons": []any{"role"}, "app_id": "crm.acme", "organization_id": "org_acme", "user_id": "prof_ada"}},
		"public": {ask: get("status.acme.test", "/"), want: map[string]any{
			"result": "allow", "reasons": []any{"public"}, "app_id": "status.acme", "organization_id": "org_acme"}},
		"deny": {ask: get("crm.acme.test", "/", bob), want: map[string]any{
			"result": "deny", "reasons": []any{"no_allowed_role"}, "app_id": "crm.acme", "organization_id": "org_acme", "user_id": "prof_bob"}},
		"challenge": {ask: get("crm.acme.test", "/", browser), want: map[string]any{
			"result": "challenge", "reasons": []any{"no_session"}, "app_id": "crm.acme", "organization_id": "org_acme"}},
		"no app":    {ask: get("nobody.test", "/", ada), want: map[string]any{"result": "deny", "reasons": []any{"unknown_host"}}},
		"malformed": {ask: method(get("crm.acme.test", "/"), "X"), want: map[string]any{"result": "deny", "reasons": []any{"malformed_request"}, "app_id": "crm.acme", "organization_id": "org_acme"}},
		"every reason": {ask: get("notes.acme.test", "/%61dmin", ada), want: map[string]any{
			"result": "deny", "reasons": []any{"ambiguous_path", "no_allowed_role"}, "app_id": "notes.acme", "organization_id": "org_acme", "user_id": "prof_ada"}},
		"allowed by policy, refused at the door": {ask: get("crm.acme.test", "/", ada), tune: func(w *world) { w.signErr = errors.New("no key") }, want: map[string]any{
			"result": "deny", "reasons": []any{"role"}, "app_id": "crm.acme", "organization_id": "org_acme", "user_id": "prof_ada"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if row.tune != nil {
				row.tune(w)
			}
			res := extAuthzGRPC(t, w, row.ask)
			row.want["decision_id"] = w.one(t).ID
			if got := res.grpc.GetDynamicMetadata().AsMap(); !reflect.DeepEqual(got, row.want) {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// TestGRPCClients: Envoy answers a gRPC client with HTTP status 200, our
// grpc-status and the body as grpc-message; so the body must be one sentence, and
// there must be no redirect.
func TestGRPCClients(t *testing.T) {
	const grpcType = "Content-Type: application/grpc"
	call := func(host, uri string, headers ...string) client { return post(get(host, uri, headers...)) }
	for name, row := range map[string]struct {
		ask          client
		status       int
		code, reason string
	}{
		"nobody signed in":  {call("crm.acme.test", "/acme.Deals/List", grpcType), 401, "16", authz.CodeNoSession},
		"a bad token":       {call("api.acme.test", "/acme.Deals/List", grpcType+"+proto", "Authorization: Bearer x"), 401, "16", authz.CodeTokenInvalid},
		"denied":            {call("crm.acme.test", "/acme.Deals/List", grpcType+"; charset=utf-8", bob), 403, "7", authz.CodeNoAllowedRole},
		"malformed":         {method(call("crm.acme.test", "/acme.Deals/List", grpcType, ada), "FROB"), 400, "7", authz.CodeMalformedRequest},
		"two readings":      {call("crm.acme.test", "/acme.Deals/../List", grpcType, ada), 403, "7", authz.CodeAmbiguousPath},
		"even a navigation": {method(call("crm.acme.test", "/", grpcType, browser, "Accept: text/html"), "GET"), 403, "16", authz.CodeNoSession},
		"an endpoint":       {call("crm.acme.test", "/.battery/login", grpcType), 403, "7", authz.CodeReservedPath},
	} {
		for _, door := range []string{forward.DoorExtAuthz, forward.DoorGRPC} {
			t.Run(door+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				res := doors()[door](t, w, row.ask)
				rec := w.one(t)
				if res.status != row.status || res.get("Grpc-Status") != row.code || rec.Reasons[0].Code != row.reason {
					t.Errorf("%d, grpc-status %s, %v", res.status, res.get("Grpc-Status"), rec.Reasons)
				}
				if res.get("Location") != "" || res.get("Set-Cookie") != "" || strings.ContainsAny(res.body, "{\n") || !strings.Contains(res.body, rec.ID) || !strings.Contains(res.body, row.reason) {
					t.Errorf("%v %q", res.header, res.body)
				}
				if door == forward.DoorGRPC {
					if got, want := codes.Code(res.grpc.GetStatus().GetCode()).String(), map[string]string{"16": "Unauthenticated", "7": "PermissionDenied"}[row.code]; row.status == 401 && got != want || got == "OK" {
						t.Errorf("check status %s", got)
					}
				}
			})
		}
	}
	t.Run("others are answered as ever", func(t *testing.T) {
		for _, h := range []string{"Content-Type: application/grpc-web", "Content-Type: application/grpcx", "Content-Type: application/grpc+proto,text/html", "Content-Type: application/json", "Accept: application/grpc"} {
			for door, do := range doors() {
				w := newWorld(t)
				if res := do(t, w, call("crm.acme.test", "/", h)); res.get("Grpc-Status") != "" || res.get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %s: %v", door, h, res.header)
				}
			}
		}
		for _, door := range []string{forward.DoorForwardAuth, forward.DoorAuthRequest} {
			w := newWorld(t)
			if res := doors()[door](t, w, call("crm.acme.test", "/", grpcType)); res.status != 401 || res.get("Grpc-Status") != "" {
				t.Errorf("%s knows no gRPC client: %d %v", door, res.status, res.header)
			}
		}
		w := newWorld(t)
		if res := doors()[forward.DoorExtAuthz](t, w, call("crm.acme.test", "/", grpcType, ada)); res.status != 200 || res.get("Grpc-Status") != "" {
			t.Errorf("an allow: %d %v", res.status, res.header)
		}
	})
}

// TestHeadersInOurName: what looks like ours and is not written by us does not
// reach the app, where the gateway can take it away.
func TestHeadersInOurName(t *testing.T) {
	for _, door := range []string{forward.DoorExtAuthz, forward.DoorGRPC} {
		w := newWorld(t, func(o *forward.Options) { o.Prefix = "X-Gate-" })
		res := doors()[door](t, w, get("crm.acme.test", "/", ada, "X-Battery-Roles: admin", "X-Gate-Admin: 1", "X-Gate-Roles: admin", "X-Gatekeeper: 1", "X-Plan: gold"))
		want := []string{"x-battery-gateway-secret", "x-battery-roles", "x-battery-route-app", "x-gate-admin"}
		if got := slices.Sorted(slices.Values(res.removed())); res.status != 200 || !slices.Equal(got, want) {
			t.Errorf("%s: %d %v", door, res.status, got)
		}
		// What is written is not removed too.
		for _, name := range res.removed() {
			if res.get(name) != "" {
				t.Errorf("%s: %s is written and removed", door, name)
			}
		}
	}
	w := newWorld(t)
	if res := doors()[forward.DoorForwardAuth](t, w, get("crm.acme.test", "/", ada, "X-Battery-Admin: 1")); res.status != 200 || res.removed() != nil {
		t.Errorf("%d %v", res.status, res.removed())
	}
	// nginx takes away what its configuration names, and could let this one pass.
	for _, h := range []string{"X-Battery-Admin: 1", "X-Battery-Reason: role"} {
		w = newWorld(t)
		if res := doors()[forward.DoorAuthRequest](t, w, get("crm.acme.test", "/", ada, h)); res.status != 403 || w.one(t).Reasons[0].Code != authz.CodeMalformedRequest {
			t.Errorf("%s: %d", h, res.status)
		}
	}
	w = newWorld(t)
	if res := doors()[forward.DoorAuthRequest](t, w, get("crm.acme.test", "/", ada, "X-Battery-Roles: admin")); res.status != 200 || res.get("X-Battery-Roles") != "editor,member" {
		t.Errorf("one that is overwritten: %d %q", res.status, res.get("X-Battery-Roles"))
	}
}

// TestRawHeaders: with encode_raw_headers Envoy sends every line as it came, so
// that doubles are seen as such.
func TestRawHeaders(t *testing.T) {
	raw := func(uri string, lines ...string) result {
		w := newWorld(t)
		in := checkRequest(get("crm.acme.test", uri))
		in.Attributes.Request.Http.Headers = nil
		list := []*corev3.HeaderValue{{Key: ":path", RawValue: []byte(uri)}, {Key: ":authority", RawValue: []byte("crm.acme.test")}}
		for _, l := range append(lines, "cookie: __Host-battery_session=t-ada") {
			name, value, _ := strings.Cut(l, ": ")
			list = append(list, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
		in.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: list}
		return w.check(t, context.Background(), in)
	}
	for name, row := range map[string]struct {
		lines []string
		want  int
	}{
		"ordinary":           {[]string{"accept: a", "accept: b", "x-forwarded-for: 1.2.3.4"}, 200},
		"an identity double": {[]string{"x-battery-roles: a", "x-battery-roles: b"}, 400},
		"doubles that join":  {[]string{"sec-fetch-mode: navigate", "Sec-Fetch-Mode: cors"}, 400},
		"an alias":           {[]string{"x_battery_roles: a"}, 400},
		"a space":            {[]string{"x-battery-roles : a"}, 400},
		"a line break":       {[]string{"accept-language: a\r\nx: y"}, 400},
		"a NUL":              {[]string{"accept-language: a\x00"}, 400},
		"a method override":  {[]string{"x-http-method-override: DELETE"}, 400},
	} {
		if res := raw("/", row.lines...); res.status != row.want {
			t.Errorf("%s: %d", name, res.status)
		}
	}
}

// TestPathsThatEnvoyRewrites: fields of a CheckRequest are UTF-8, so that Envoy
// 1.40 writes "!" for each byte of a path that is not (HTTP/2 clients can send
// some), and forwards the byte.
func TestPathsThatEnvoyRewrites(t *testing.T) {
	pseudo := func(in *authv3.CheckRequest, name, value string) *authv3.CheckRequest {
		for _, h := range in.Attributes.Request.Http.HeaderMap.Headers {
			if h.Key == name {
				h.RawValue = []byte(value)
			}
		}
		return in
	}
	for _, host := range []string{"crm.acme.test", "notes.acme.test"} {
		ask := func(uri string) *authv3.CheckRequest { return checkRequest(get(host, uri, ada)) }
		raw := func(uri string) *authv3.CheckRequest { return rawCheckRequest(get(host, uri, ada)) }
		other := ask("/")
		other.Attributes.Request.Http.Headers[":path"] = "/other"
		elsewhere := ask("/")
		elsewhere.Attributes.Request.Http.Headers[":authority"] = "status.acme.test"
		for name, row := range map[string]struct {
			in     *authv3.CheckRequest
			status int
			code   string
		}{
			"a mark that may be a byte": {ask("/adm!in"), 403, authz.CodeAmbiguousPath},
			"the byte itself":           {pseudo(raw("/adm!in"), ":path", "/adm\xffin"), 400, authz.CodeMalformedRequest},
			"the byte, in the query":    {pseudo(raw("/a?x=!"), ":path", "/a?x=\xff"), 400, authz.CodeMalformedRequest},
			"a mark that is one":        {pseudo(raw("/adm!in"), ":path", "/adm!in"), 200, authz.CodeRole},
			"a mark in the query alone": {ask("/a?x=!"), 200, authz.CodeRole},
			"another path":              {other, 400, authz.CodeMalformedRequest},
			"another host":              {elsewhere, 400, authz.CodeMalformedRequest},
			"another method, raw":       {pseudo(raw("/"), ":method", "DELETE"), 400, authz.CodeMalformedRequest},
			"another host, raw":         {pseudo(raw("/"), ":authority", "status.acme.test"), 400, authz.CodeMalformedRequest},
		} {
			w := newWorld(t)
			res := w.check(t, context.Background(), row.in)
			if rec := w.one(t); res.status != row.status || rec.Reasons[0].Code != row.code {
				t.Errorf("%s, %s: %d %v", host, name, res.status, rec.Reasons)
			}
		}
	}
	in := rawCheckRequest(get("crm.acme.test", "/adm!in", ada))
	in.Attributes.Request.Http.HeaderMap.Headers = slices.DeleteFunc(in.Attributes.Request.Http.HeaderMap.Headers, func(h *corev3.HeaderValue) bool { return h.Key == ":path" })
	w := newWorld(t)
	if res := w.check(t, context.Background(), in); res.status != 403 {
		t.Errorf("raw headers without the path: %d", res.status)
	}
}
