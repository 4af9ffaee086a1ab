package forward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	a.key, a.cert, _ = a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

func (a *authority) sign(t testing.TB, tmpl *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}
}

func (a *authority) leaf(t testing.TB, name string, usage x509.ExtKeyUsage, notAfter time.Time) tls.Certificate {
	_, _, c := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotAfter: notAfter})
	return c
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// TestGatewaysWithCertificates serves both kinds of doors over mutual TLS and
// asks them with good, bad and no certificates: the same must hold at both.
func TestGatewaysWithCertificates(t *testing.T) {
	servers, gateways, others := newAuthority(t, "servers"), newAuthority(t, "gateways"), newAuthority(t, "others")
	base := &tls.Config{Certificates: []tls.Certificate{servers.leaf(t, "gate.test", x509.ExtKeyUsageServerAuth, time.Time{})}, MinVersion: tls.VersionTLS12}
	strict, err := forward.ClientTLS(base, gateways.pem)
	if err != nil {
		t.Fatal(err)
	}
	if base.ClientCAs != nil || base.ClientAuth != tls.NoClientCert {
		t.Fatal("the configuration given was changed")
	}
	// A listener that asks for certificates but does not insist on good ones: then
	// the doors still do.
	lax := strict.Clone()
	lax.ClientAuth = tls.RequestClientCert

	good := gateways.leaf(t, "edge.gateways.test", x509.ExtKeyUsageClientAuth, time.Time{})
	for name, row := range map[string]struct {
		cert *tls.Certificate
		ok   bool
	}{
		"good":                   {&good, true},
		"none":                   {nil, false},
		"of another authority":   {ptr(others.leaf(t, "edge.gateways.test", x509.ExtKeyUsageClientAuth, time.Time{})), false},
		"self-signed":            {selfSigned(t), false},
		"expired":                {ptr(gateways.leaf(t, "old.gateways.test", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))), false},
		"a server's":             {ptr(gateways.leaf(t, "gate.test", x509.ExtKeyUsageServerAuth, time.Time{})), false},
		"of the server's issuer": {ptr(servers.leaf(t, "gate.test", x509.ExtKeyUsageClientAuth, time.Time{})), false},
	} {
		for listener, cfg := range map[string]*tls.Config{"strict": strict, "lax": lax} {
			for transport, ask := range map[string]func(testing.TB, *world, *tls.Config, *tls.Config) (int, error){"http": askTLS, "grpc": askTLSGRPC} {
				t.Run(transport+"/"+listener+"/"+name, func(t *testing.T) {
					w := newWorld(t, func(o *forward.Options) { o.ClientCertificate = true })
					client := &tls.Config{RootCAs: servers.pool(), ServerName: "gate.test", MinVersion: tls.VersionTLS12}
					if row.cert != nil {
						client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return row.cert, nil }
					}
					status, err := ask(t, w, cfg, client)
					if row.ok && listener == "strict" {
						rec := w.one(t)
						if err != nil || status != 200 || rec.Gateway != "edge.gateways.test" {
							t.Errorf("%d %v, gateway %q", status, err, rec.Gateway)
						}
						return
					}
					if status == 200 {
						t.Error("let in")
					}
					if err == nil {
						if rec := w.one(t); rec.Reasons[0].Code != authz.CodeUntrustedPeer || rec.Host != "" {
							t.Errorf("%+v", rec)
						}
					}
				})
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

func selfSigned(t testing.TB) *tls.Certificate {
	var nobody authority
	_, _, c := nobody.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "edge.gateways.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return &c
}

func askTLS(t testing.TB, w *world, server, client *tls.Config) (int, error) {
	srv := httptest.NewUnstartedServer(w.http)
	srv.TLS = server.Clone()
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	defer srv.Close()
	tr := &http.Transport{TLSClientConfig: client}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequest("GET", srv.URL+"/authz/ext-authz/", nil)
	req.Host = "status.acme.test"
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

func askTLSGRPC(t testing.TB, w *world, server, client *tls.Config) (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := w.doors.GRPC(grpc.Creds(credentials.NewTLS(server.Clone())))
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(client)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(conn).Check(ctx, checkRequest(get("status.acme.test", "/")))
	if err != nil {
		return 0, err
	}
	if out.GetOkResponse() != nil {
		return 200, nil
	}
	return int(out.GetDeniedResponse().GetStatus().GetCode()), nil
}

func TestClientTLS(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	leaf := ca.leaf(t, "edge", x509.ExtKeyUsageClientAuth, time.Time{})
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, bundle := range map[string][]byte{
		"nothing":            nil,
		"text":               []byte("ca.pem"),
		"a broken one":       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw[:40]}),
		"a key":              append(append([]byte{}, ca.pem...), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...),
		"a gateway's own":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		"one good, one leaf": append(append([]byte{}, ca.pem...), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})...),
	} {
		if cfg, err := forward.ClientTLS(nil, bundle); err == nil || cfg != nil {
			t.Errorf("%s is taken for a bundle of authorities", name)
		}
	}
	cfg, err := forward.ClientTLS(nil, append(append([]byte("# two\n"), ca.pem...), other.pem...))
	if err != nil || cfg.ClientAuth != tls.RequireAndVerifyClientCert || cfg.MinVersion != tls.VersionTLS12 {
		t.Fatalf("%+v %v", cfg, err)
	}
	for _, a := range []*authority{ca, other} {
		c := a.leaf(t, "edge", x509.ExtKeyUsageClientAuth, time.Time{})
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: cfg.ClientCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", a.cert.Subject.CommonName, err)
		}
	}
}

// TestWhatIsAskedForMustAllHold: network, secret and certificate are one rule.
func TestWhatIsAskedForMustAllHold(t *testing.T) {
	verified := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{URIs: []*url.URL{{Scheme: "spiffe", Host: "mesh.test", Path: "/edge"}}}}}}
	for _, network := range []bool{true, false} {
		for _, secret := range []string{"", "wrong", "s3cret", "s3cret,s3cret"} {
			for _, state := range []*tls.ConnectionState{nil, verified} {
				w := newWorld(t, func(o *forward.Options) { o.SharedSecret, o.ClientCertificate = "s3cret", true })
				r := question("GET", "/authz/ext-authz/", "status.acme.test", http.Header{})
				if r.TLS = state; secret != "" {
					r.Header[forward.SecretHeader] = []string{secret}
				}
				if !network {
					r.RemoteAddr = "192.0.2.1:9"
				}
				want := 403
				if network && secret == "s3cret" && state != nil {
					want = 200
				}
				res := w.send(r)
				if rec := w.one(t); res.status != want || want == 200 && rec.Gateway != "spiffe://mesh.test/edge" {
					t.Errorf("network %v, secret %q, certificate %v: %d, gateway %q", network, secret, state != nil, res.status, rec.Gateway)
				}
			}
		}
	}
	for _, s := range []string{"two words", "a,b", "ä", "x\n", strings.Repeat("x", 8) + "\x00"} {
		o := newWorld(t).options
		o.SharedSecret = s
		if _, err := forward.New(o); err == nil || strings.Contains(fmt.Sprint(err), s) {
			t.Errorf("secret %q: %v", s, err)
		}
	}
}
