package forward_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// saying is a world whose policy always allows, with these headers.
type saying struct {
	*world
	headers map[string]string
}

func (s *saying) Current() authz.Snapshot { return s }

func (s *saying) Evaluate(context.Context, *authz.Input) (authz.Verdict, error) {
	return authz.Verdict{Allow: true, Headers: s.headers}, nil
}

func (s *saying) Check(ctx context.Context, req *authz.Request) *authz.Decision {
	c := &authz.Checker{Snapshots: s, Sessions: s, Recorder: s, Log: s.options.Log, Now: s.options.Now}
	return c.Check(ctx, req)
}

func TestPolicyHeaders(t *testing.T) {
	for name, row := range map[string]struct {
		said map[string]string
		want string
	}{
		"as it is":                {map[string]string{"X-Plan": "Gold plan, 100%"}, "Gold plan, 100%"},
		"in another case":         {map[string]string{"x-plan": "gold"}, "gold"},
		"absent is empty":         {nil, ""},
		"line breaks are escaped": {map[string]string{"X-Plan": "a\r\nX-Battery-Roles: b"}, "a%0D%0AX-Battery-Roles:%20b"},
		"beyond ASCII is escaped": {map[string]string{"X-Plan": "ä"}, "%C3%A4"},
		"too long is empty":       {map[string]string{"X-Plan": strings.Repeat("x", 4000)}, ""},
		"undeclared is nothing":   {map[string]string{"X-Other": "x", "Set-Cookie": "a=b", "Location": "/"}, ""},
	} {
		for door, do := range doors() {
			t.Run(door+"/"+name, func(t *testing.T) {
				var s *saying
				w := newWorld(t, func(o *forward.Options) { s = &saying{headers: row.said}; o.Checker = s })
				s.world = w
				res := do(t, w, get("crm.acme.test", "/", ada))
				if v, ok := res.header["X-Plan"]; res.status != 200 || !ok || v[0] != row.want {
					t.Errorf("%d %q, want %q", res.status, v, row.want)
				}
				for _, n := range []string{"X-Other", "Set-Cookie", "Location"} {
					if _, ok := res.header[n]; ok {
						t.Errorf("%s is there", n)
					}
				}
				if res.get("X-Battery-Roles") != "" {
					t.Errorf("roles %q", res.get("X-Battery-Roles"))
				}
			})
		}
	}
}

func TestUnusableAssertion(t *testing.T) {
	for _, token := range []string{"", "a b", "a\r\nX-Battery-Roles: admin", strings.Repeat("x", 4000)} {
		for door, do := range doors() {
			w := newWorld(t, func(o *forward.Options) { o.Signer = fixed(token) })
			if res := do(t, w, get("crm.acme.test", "/", ada)); res.status != 403 || res.get("X-Battery-User-Id") != "" {
				t.Errorf("%s: %d with a token of %d bytes", door, res.status, len(token))
			}
		}
	}
}

type fixed string

func (f fixed) Assertion(*authz.Decision, string) (string, error) { return string(f), nil }

func TestGatewayName(t *testing.T) {
	named := &x509.Certificate{Subject: pkix.Name{CommonName: "edge"}}
	dns := &x509.Certificate{Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"gw1.edge.test"}}
	for name, row := range map[string]struct {
		state *tls.ConnectionState
		want  string
	}{
		"address without a certificate": {nil, "10.1.2.3"},
		"a certificate nobody verified": {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{named}}, "10.1.2.3"},
		"common name":                   {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{named}}}, "edge"},
		"DNS name first":                {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{dns}}}, "gw1.edge.test"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := question("GET", "/authz/ext-authz/", "status.acme.test", http.Header{})
			r.TLS = row.state
			w.send(r)
			if rec := w.one(t); rec.Gateway != row.want {
				t.Errorf("gateway %q, want %q", rec.Gateway, row.want)
			}
		})
	}
}
