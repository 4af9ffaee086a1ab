package forward_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"battery.app/gate/authz"
)

func sha256Base64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// FuzzDoors: no question gets a 200 unless the Checker was asked exactly that
// question, in canonical form, once, and allowed it.
func FuzzDoors(f *testing.F) {
	f.Add("GET", "https", "status.acme.test", "/", "X-Forwarded-For", "1.2.3.4")
	f.Add("GET", "https", "crm.acme.test:443", "/a%20b?x=%2e", "Cookie", "__Host-battery_session=t-ada")
	f.Add("GET", "wss", "CRM.acme.test.", "/%2e%2e/", "X_Forwarded_Uri", "/")
	f.Add("POST", "http", "[2001:db8::1]", "//x", "X-Forwarded-Uri", "/y")
	f.Add("get", "https", "a@status.acme.test", "/.battery/login", "X-Http-Method-Override", "GET")
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, method, scheme, authority, uri, name, value string) {
		c := client{method: method, scheme: scheme, authority: authority, uri: uri, header: http.Header{}}
		if name != "" {
			c.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
		}
		for door, do := range map[string]ask{"forward-auth": forwardAuth, "auth-request": authRequest, "ext-authz": extAuthz} {
			w.records, w.asked, w.answers = nil, nil, nil
			res := do(t, w, c)
			if len(w.records) != 1 {
				t.Fatalf("%s: %d records", door, len(w.records))
			}
			if res.status < 200 || res.status > 499 || res.status > 200 && res.status < 300 {
				t.Fatalf("%s: status %d", door, res.status)
			}
			if res.status == 200 {
				checkAllowed(t, w, c, door)
			}
		}
	})
}

// checkAllowed compares the request that was allowed with the one that was sent,
// by rules simpler than the doors' own.
func checkAllowed(t *testing.T, w *world, c client, door string) {
	t.Helper()
	if len(w.asked) != 1 || w.answers[0].Result() != authz.Allow {
		t.Fatalf("%s: 200 without an allow", door)
	}
	req := w.asked[0]
	uri := req.Path
	if req.Query != "" || strings.HasSuffix(c.uri, "?") && !strings.Contains(req.Path, "?") {
		uri += "?" + req.Query
	}
	sent := c.uri
	if v := c.header["X-Forwarded-Uri"]; door == "forward-auth" && v != nil {
		sent = v[0]
	}
	if door == "auth-request" {
		sent = uri // the URL comes in one piece there
		if full := c.scheme + "://" + c.authority + c.uri; c.header["X-Original-Url"] == nil && !strings.HasSuffix(full, uri) {
			t.Fatalf("%s: %q allowed, %q sent", door, uri, full)
		}
	}
	if uri != sent {
		t.Fatalf("%s: %q allowed, %q sent", door, uri, sent)
	}
	if req.Fault != nil || req.Ambiguous || req.Answered != nil || req.Method != strings.ToUpper(req.Method) || req.Host != strings.ToLower(req.Host) ||
		req.Scheme != "http" && req.Scheme != "https" || !strings.HasPrefix(req.Path, "/") || strings.Contains(req.Path, "//") || strings.Contains(req.Path, "/../") {
		t.Fatalf("%s: allowed what is not canonical: %+v", door, req)
	}
}

// TestCanonicalIsStable: what was made canonical stays as it is.
func TestCanonicalIsStable(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		c := client{
			method:    rapid.SampledFrom([]string{"GET", "POST", "PROPFIND"}).Draw(rt, "method"),
			scheme:    rapid.SampledFrom([]string{"http", "https", "ws", "wss"}).Draw(rt, "scheme"),
			authority: rapid.StringMatching(`([A-Za-z0-9_-]{1,8}\.){0,3}[a-zA-Z]{1,5}\.?(:[1-9][0-9]{0,4})?|\[[0-9A-F:]{2,9}\](:80)?`).Draw(rt, "authority"),
			uri:       rapid.StringMatching(`(/[a-z.%0-9A-F;]{0,6}){1,4}(\?[ -~]{0,9})?`).Draw(rt, "uri"),
			header:    http.Header{},
		}
		first := canonical(w, c)
		if first.Fault != nil {
			return
		}
		c.scheme, c.authority, c.uri = first.Scheme, first.Authority(), first.Path
		if first.Query != "" {
			c.uri += "?" + first.Query
		}
		again := canonical(w, c)
		if again.Fault != nil || first.Method != again.Method || first.Scheme != again.Scheme || first.Authority() != again.Authority() ||
			first.Path != again.Path || first.Query != again.Query || first.Ambiguous != again.Ambiguous {
			rt.Fatalf("%+v became %+v", first, again)
		}
	})
}

func canonical(w *world, c client) *authz.Request {
	w.asked, w.records = nil, nil
	forwardAuth(nil, w, c)
	return w.asked[0]
}

// service catches the Authorization service, so that it can be called without a
// network between: coverage then depends on the input alone.
type service struct{ authv3.AuthorizationServer }

func (s *service) RegisterService(_ *grpc.ServiceDesc, impl any) {
	s.AuthorizationServer = impl.(authv3.AuthorizationServer)
}

// FuzzCheck: whatever a CheckRequest holds, the call does not fail, its answer
// can be sent, and nothing gets through that was not allowed.
func FuzzCheck(f *testing.F) {
	f.Add("/", "status.acme.test", "cookie", "__Host-battery_session=t-ada", "")
	f.Add("/a#b", "crm.acme.test", ":path", "/", "crm.acme")
	f.Add("/.battery/login", "crm.acme.test", "x_forwarded_uri", "/", "wiki.acme")
	w := newWorld(f)
	var s service
	w.doors.Register(&s)
	gateway := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	f.Fuzz(func(t *testing.T, path, host, name, value, app string) {
		c := get(host, path)
		in := checkRequest(c)
		in.Attributes.Request.Http.Headers[name] = value
		in.Attributes.ContextExtensions = map[string]string{"app": app}
		w.records, w.asked, w.answers = nil, nil, nil
		out, err := s.Check(peer.NewContext(t.Context(), &peer.Peer{Addr: gateway}), in)
		if err != nil || len(w.records) != 1 {
			t.Fatalf("%v, %d records", err, len(w.records))
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatalf("the answer cannot be sent: %v", err)
		}
		if out.GetStatus().GetCode() == 0 || out.GetOkResponse() != nil {
			checkAllowed(t, w, c, "ext-authz-grpc")
		}
	})
}
