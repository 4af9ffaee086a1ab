package gate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/sync/directory"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.key, a.cert = a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) issue(name string, usage x509.ExtKeyUsage) (certPEM, keyPEM string) {
	a.t.Helper()
	key, cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pemOf("CERTIFICATE", cert.Raw), pemOf("PRIVATE KEY", der)
}

func (a *authority) pem() string { return pemOf("CERTIFICATE", a.cert.Raw) }

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// client is the TLS of a gateway that shows a certificate of this authority, or
// none where it is nil.
func (a *authority) client(roots *authority) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(roots.cert)
	c := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if a != nil {
		cert, key := a.issue("gateway-1", x509.ExtKeyUsageClientAuth)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func TestGatewaysWithoutACertificateAreAnsweredAtNoDoor(t *testing.T) {
	ours, theirs, other := newAuthority(t, "ours"), newAuthority(t, "gateways"), newAuthority(t, "somebody")
	g, l := startGate(t, func(c *config.Config, file func(name, content string) string) {
		cert, key := ours.issue("authz.internal", x509.ExtKeyUsageServerAuth)
		c.Gateway.TLSCertFile, c.Gateway.TLSKeyFile, c.Gateway.ClientCA = file("cert", cert), file("certkey", key), file("ca", theirs.pem())
	})
	if _, err := g.Directory.PutOrganization(t.Context(), directory.Organization{ID: initech, Slug: "initech", Name: "Initech"}); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		shows    *authority
		answered bool
	}{"none": {nil, false}, "somebody's": {other, false}, "a gateway's": {theirs, true}} {
		t.Run(name, func(t *testing.T) {
			status, err := askHTTP(t, l, row.shows.client(ours))
			if (err == nil) != row.answered || row.answered && status != http.StatusForbidden {
				t.Errorf("HTTP: %d %v", status, err)
			}
			status, err = askGRPC(t, l, row.shows.client(ours))
			if (err == nil) != row.answered || row.answered && status != http.StatusForbidden {
				t.Errorf("gRPC: %d %v", status, err)
			}
		})
	}
	if resp, err := http.Get("http://" + l.Authz.Addr().String() + "/authz/forward-auth"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("without TLS: %s", resp.Status)
		}
	}
}

// askHTTP asks about a host that nobody owns: whoever is answered gets a 403.
func askHTTP(t *testing.T, l gate.Listeners, c *tls.Config) (int, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Authz.Addr().String()+"/authz/forward-auth", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"nobody.test"}, "X-Forwarded-Uri": {"/"}}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func askGRPC(t *testing.T, l gate.Listeners, c *tls.Config) (int, error) {
	t.Helper()
	conn, err := grpc.NewClient(l.GRPC.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/", Host: "nobody.test", Scheme: "https", Headers: map[string]string{},
		}},
	}})
	if err != nil {
		return 0, err
	}
	return int(out.GetDeniedResponse().GetStatus().GetCode()), nil
}
