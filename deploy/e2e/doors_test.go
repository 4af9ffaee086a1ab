package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// doorName is what the doors' certificate is for. Traefik reaches them by the
// name that it expects, so that theirs is for localhost too.
const doorName = "doors.internal"

// doors is `batterygate serve` whose doors speak TLS, answer only who shows a
// certificate, and expect each route to name its app.
type doors struct {
	*gate
	addrs          map[string]string
	ours, gateways *authority // who signed the doors' certificate, and the gateways'
	ports          chan int   // at which the gateways serve the apps
}

// A gateway whose doors speak TLS asks the right ones, with its certificate, and
// is answered; where one of the two is not who it should be, nothing passes.
func TestDoorsOverTLS(t *testing.T) {
	d := newDoors(t)
	stranger := newAuthority(t, "stranger")
	right := DoorTLS{CA: d.ours.file, Name: doorName}
	right.Cert, right.Key = d.gateways.issue(t, "gateway-1")
	foreign := right
	foreign.Cert, foreign.Key = stranger.issue(t, "gateway-1")
	impostors, namesakes := map[string]string{}, map[string]string{}
	for _, l := range []string{"authz", "grpc"} {
		impostors[l] = d.relay(t, l, stranger, doorName, "localhost")
		namesakes[l] = d.relay(t, l, d.ours, "other.internal")
	}
	d.answersThrough(t, impostors["authz"])
	d.answersThrough(t, namesakes["authz"])

	gateways(t, func(t *testing.T, f front) {
		rows := []doorRow{
			{"as set up", d.addrs, right, false, true},
			{"no certificate", d.addrs, DoorTLS{CA: right.CA, Name: right.Name}, false, false},
			{"a certificate of another authority", d.addrs, foreign, false, false},
			{"a door of another authority", impostors, right, false, false},
			{"a door of another name", namesakes, right, false, false},
			{"a route of another app", d.addrs, right, true, false},
		}
		if f.door == "http" {
			rows = rows[:5] // Envoy over HTTP cannot say which app a route is of
		}
		t.Run("at once", func(t *testing.T) {
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					t.Parallel()
					d.try(t, f, row)
				})
			}
		})
	})
}

// doorRow is a gateway before the doors.
type doorRow struct {
	name   string
	doors  map[string]string // in the place of the real ones, by listener
	secure DoorTLS
	swap   bool // each route names the other app
	passes bool
}

// try runs a gateway before the doors, and sends it requests for an app that is
// open to everybody and for one that is not.
func (d *doors) try(t *testing.T, f front, row doorRow) {
	secure, passes := row.secure, row.passes
	app := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(echo{Method: r.Method, Host: r.Host, Path: r.URL.Path, Headers: r.Header})
	})
	c := GatewayConfig{
		Listen: Address{"127.0.0.1", <-d.ports}, Public: address(t, d.addrs["public"]), Authz: address(t, row.doors["authz"]), GRPC: address(t, row.doors["grpc"]),
		Limit: 15 * time.Minute, Door: f.door, Rewrite: true, BindRoutes: f.door == "" || f.door == "grpc", Doors: &secure,
	}
	if f.tool == "traefik" {
		c.Authz.Host, secure.Name = "localhost", "localhost"
	}
	hosts := map[string]string{"crm.acme": "crm.acme." + d.Domain, "status.acme": "status.acme." + d.Domain}
	if row.swap {
		hosts["crm.acme"], hosts["status.acme"] = hosts["status.acme"], hosts["crm.acme"]
	}
	for _, id := range []string{"crm.acme", "status.acme"} {
		c.Apps = append(c.Apps, AppRoute{ID: id, Host: hosts[id], Upstream: app.Address})
	}
	startGateway(t, f, c)
	if err := awaitRoutes(c); err != nil {
		t.Fatal(err)
	}
	p := &person{w: &world{gate: d.gate, scheme: "http", port: c.Listen.Port}, hc: loopback()}
	for range 2 { // over a new connection to the door, and over an open one
		open, closed := p.fetch(t, "status.acme", "/page"), p.fetch(t, "crm.acme", "/page")
		e, reached := open.reached()
		if reached != passes || !passes && open.Status < 400 || passes && e.Headers.Get("X-Battery-App-Id") != "status.acme" {
			t.Errorf("the open app: status %d, body %.300s; want it to pass: %t", open.Status, open.Body, passes)
		}
		if passes && closed.Status != http.StatusUnauthorized || closed.Status < 400 {
			t.Errorf("the closed app: status %d, body %.300s", closed.Status, closed.Body)
		}
	}
	if n := app.hits.Load(); !passes && n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	dir := t.TempDir()
	workos := freshWorld(t, fronts[0], nil) // for its WorkOS
	d := &doors{gate: &gate{dir: dir}, addrs: map[string]string{}, ours: newAuthority(t, "ours"), gateways: newAuthority(t, "gateways")}
	for _, l := range []string{"public", "authz", "grpc", "admin"} {
		d.addrs[l] = deadAddress(t).String()
	}
	d.Domain, d.AdminURL = "battery.localhost", "http://"+d.addrs["admin"]
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) string {
		cmd := exec.Command(shared.binary, args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		return strings.TrimSpace(string(out))
	}
	store := "bolt:" + filepath.Join(dir, "b.db")
	run("keys", "create", "--dir", filepath.Join(dir, "keys"))
	d.AdminToken = run("token", "create", "--store", store, "--name", "e2e", "--scope", "operator")
	cert, key := d.ours.issue(t, doorName, "localhost")
	d.ports = make(chan int, 6*len(fronts))
	var ports []string
	for range cap(d.ports) {
		port := deadAddress(t).Port
		d.ports <- port
		ports = append(ports, strconv.Itoa(port))
	}
	settings, err := json.Marshal(map[string]any{ // which is YAML
		"public_url": "http://localhost", "domain": d.Domain, "listen": d.addrs,
		"gateway": map[string]any{"trusted": []string{"127.0.0.0/8"}, "tls_cert_file": cert, "tls_key_file": key, "client_ca": d.gateways.file, "ports": ports,
			"bound_routes": []string{"forward-auth", "auth-request", "ext-authz-grpc"}},
		"workos": map[string]any{"api_key_file": file("api-key", workos.WorkOSAPIKey), "client_id": workos.WorkOSClientID, "endpoint": workos.WorkOSURL,
			"webhook_secrets_files": []string{file("webhook", workos.WebhookSecret)}},
		"sync": map[string]any{"catch_up": false}, "session": map[string]any{"keys_dir": filepath.Join(dir, "keys")},
		"store": store, "decisions": "sqlite:" + filepath.Join(dir, "d.db"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.proc, err = program.Start(nil, filepath.Join(dir, "gate.log"), shared.binary, "serve", "--config", file("batterygate.yaml", string(settings))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.proc.Terminate(); err != nil {
			t.Error(err)
		}
	})
	if err := d.proc.AwaitListening(d.addrs["admin"]); err != nil {
		t.Fatal(err)
	}
	var org struct{ ID string }
	d.admin(t, http.MethodPost, "organizations", map[string]any{"name": "Acme behind TLS", "slug": "acme", "domains": []string{"acme.example"}}, &org)
	for name, open := range map[string]bool{"crm": false, "status": true} {
		d.admin(t, http.MethodPost, "apps", map[string]any{"id": name + ".acme", "organization_id": org.ID, "hosts": []string{name + ".acme." + d.Domain},
			"allowed_roles": []string{}, "public": open}, &struct{}{})
	}
	return d
}

// relay is a machine in the middle: it takes connections with a certificate that
// from signed for those names, and hands what it is told to a real door, as a
// gateway with a certificate. Whoever asks it is answered as by the door.
func (d *doors) relay(t *testing.T, to string, from *authority, names ...string) string {
	t.Helper()
	load := func(cert, key string) tls.Certificate {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	own, shown := load(from.issue(t, names...)), load(d.gateways.issue(t, "gateway-1"))
	protos := []string{map[string]string{"authz": "http/1.1", "grpc": "h2"}[to]}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: protos})
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(d.ours.cert)
	pass := func(conn *tls.Conn) {
		defer conn.Close()
		if conn.Handshake() != nil {
			return
		}
		door, err := tls.Dial("tcp", d.addrs[to], &tls.Config{Certificates: []tls.Certificate{shown}, RootCAs: roots, ServerName: doorName, NextProtos: protos})
		if err != nil {
			return
		}
		defer door.Close()
		go func() { _, _ = io.Copy(door, conn); _ = door.Close() }()
		_, _ = io.Copy(conn, door)
	}
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go pass(conn.(*tls.Conn))
		}
	})
	return l.Addr().String()
}

// answersThrough makes sure that a relay lets pass who does not look: otherwise
// that nothing passes would be no proof.
func (d *doors) answersThrough(t *testing.T, at string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "https://"+at+"/authz/forward-auth", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"status.acme." + d.Domain},
		"X-Forwarded-Uri": {"/"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Battery-Route-App": {"status.acme"}}
	hc := loopback()
	hc.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // who does not look
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the relay answers %s", resp.Status)
	}
}

// authority signs certificates, and is a PEM file.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	mu        sync.Mutex
	issued    int
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.file = a.write(t, "ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

// issue writes a certificate for servers and clients, and its key beside it,
// where HAProxy looks for it.
func (a *authority) issue(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	c, k := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s-%d.pem", names[0], c.SerialNumber)
	return a.write(t, name, "CERTIFICATE", c.Raw), a.write(t, name+".key", "PRIVATE KEY", raw)
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.issued++
	template.SerialNumber = big.NewInt(int64(a.issued))
	a.mu.Unlock()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func address(t *testing.T, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
