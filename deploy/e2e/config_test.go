package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// The configuration for the internet (https, the public URL on the same
// gateway) is accepted by the real gateways; with no gate running they let
// nothing pass.
func TestProductionConfiguration(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		c := stubConfig(t, deadAddress(t), app.Address)
		c.PublicHost, c.SecretFile, c.Door = "auth.battery.app", secretFile(t, "s3cret-of-the-gateways"), f.door
		c.Prefix, c.Headers = "X-Acme-Corp-Identity-", []string{"X-Acme-Customer-Plan"} // Envoy bounds regular expressions
		for i := range 100 {                                                            // more, and longer, than nginx's table and HAProxy's lines hold by themselves
			id := fmt.Sprintf("app-%d.other", i)
			c.Apps = append(c.Apps, AppRoute{ID: id, Host: id + strings.Repeat(".a-rather-long-label-of-a-customers-own-domain", 4) + ".test", Upstream: app.Address})
		}
		dir := t.TempDir()
		c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.pem.key") // HAProxy finds the key by its name
		selfSigned(t, c.TLSCert, c.TLSKey, "crm.acme.battery.app", c.PublicHost)
		p := startGateway(t, f, c)

		hc := loopback()
		hc.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // a certificate of our own, made above
		status := func(host, path string) int {
			resp, err := hc.Get(fmt.Sprintf("https://%s:%d%s", host, c.Listen.Port, path))
			if err != nil {
				return 0
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			if alt := resp.Header.Get("Alt-Svc"); alt != "" {
				t.Errorf("clients are told of %q, over which nothing was tested", alt)
			}
			return resp.StatusCode
		}
		// Traefik reads its routes a moment after it listens.
		eventually(t, "the gateway routes", func() bool { return status("auth.battery.app", "/login") >= 500 })
		for _, host := range []string{"crm.acme.battery.app", "nobody.battery.app"} {
			if got := status(host, "/"); got != http.StatusForbidden && got < http.StatusInternalServerError {
				t.Errorf("%s without a gate: status %d, want 403 or 5xx", host, got)
			}
		}
		if n := app.hits.Load(); n != 0 {
			t.Errorf("%d requests reached the app", n)
		}
		log, _ := os.ReadFile(p.Log)
		for _, word := range []string{"deprecated", "error parsing", "invalid"} {
			if strings.Contains(strings.ToLower(string(log)), word) {
				t.Errorf("the gateway complains about its configuration:\n%s", log)
			}
		}
	})
}

// The secret by which gateways prove themselves goes to the door, once, whatever
// the client sends under its name; the app never sees it. (Over gRPC it is
// metadata of the call, where a client cannot write.)
func TestTheSharedSecretGoesToTheDoorAlone(t *testing.T) {
	const secret = "s3cret-of-the-gateways"
	gateways(t, func(t *testing.T, f front) {
		if f.door == "grpc" {
			return
		}
		var asked, seen atomic.Value // http.Header
		door := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Store(r.Header.Clone())
			w.Header().Set("X-Battery-User-Id", "prof_1")
		})
		app := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Clone()) })
		c := stubConfig(t, door.Address, app.Address)
		c.SecretFile, c.Door = secretFile(t, secret), "http"
		startGateway(t, f, c)

		p := &person{w: &world{gate: &gate{ready: ready{Domain: "battery.app"}}, scheme: "http", port: c.Listen.Port}, hc: loopback()}
		eventually(t, "the gateway routes", func() bool { return p.fetch(t, "crm.acme", "/").Status == http.StatusOK })
		p.fetch(t, "crm.acme", "/", "X-Battery-Gateway-Secret: forged", "X-Battery-User-Id: forged")
		if got := asked.Load().(http.Header).Values("X-Battery-Gateway-Secret"); len(got) != 1 || got[0] != secret {
			t.Errorf("the door was told %q", got)
		}
		h := seen.Load().(http.Header)
		if got := h.Values("X-Battery-Gateway-Secret"); len(got) != 0 {
			t.Errorf("the app was told %q", got)
		}
		if got := h.Values("X-Battery-User-Id"); len(got) != 1 || got[0] != "prof_1" {
			t.Errorf("the app takes the user for %q", got)
		}
	})
}

// The configuration that compose.yaml mounts is what `gateway gen` prints for it.
func TestComposeUsesWhatIsGenerated(t *testing.T) {
	dir := t.TempDir()
	err := Generate(shared.binary, "traefik", dir, GatewayConfig{
		Listen: Address{"", 8443}, Public: Address{"batterygate", 8080}, Authz: Address{"batterygate", 8081}, GRPC: Address{"batterygate", 8082},
		PublicHost: "auth.example.com", Rewrite: true, Limit: 15 * time.Minute, Dir: "/etc/traefik",
		TLSCert: "/run/secrets/tls.crt", TLSKey: "/run/secrets/tls.key",
		Apps: []AppRoute{{ID: "crm.acme", Host: "crm.acme.example.com", Upstream: Address{"crm", 8000}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"traefik.yaml", "dynamic.yaml"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		path := "../compose/" + name
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("%s is not what is generated (%v); UPDATE=1 writes it", path, err)
		}
	}
}

// A running server tells which apps there are.
func TestGatewayGenAsksARunningServer(t *testing.T) {
	w := sharedWorld(t, fronts[0])
	cmd := exec.Command(shared.binary, "gateway", "gen", "caddy", "--admin-url", w.AdminURL, "--public-url", "", "--upstream", "crm.acme=10.1.2.3:4")
	cmd.Env = append(os.Environ(), "BATTERY_TOKEN="+w.AdminToken)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for app := range w.Apps {
		if !strings.Contains(string(out), "http://"+app+"."+w.Domain+":80 {") {
			t.Errorf("%s is not served", app)
		}
	}
	if !strings.Contains(string(out), "10.1.2.3:4") {
		t.Error("the upstream is not the one given")
	}
}

// Battery Gate's own configuration in the example lacks nothing but the secrets
// that its reader has to bring.
func TestComposeConfigurationIsWhole(t *testing.T) {
	out, err := exec.Command(shared.binary, "serve", "--config", "../compose/batterygate.yaml").CombinedOutput()
	if err == nil {
		t.Fatal("it started without secrets")
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[1:] {
		if !strings.Contains(line, "/run/secrets/") && !strings.Contains(line, "/etc/batterygate/keys") {
			t.Error(line)
		}
	}
	if !strings.Contains(string(out), "configuration has 3 faults") {
		t.Errorf("said:\n%s", out)
	}
}

// stubConfig is a gateway before one app, with the door at an address of the
// test's and no other listener of Battery Gate's.
func stubConfig(t *testing.T, door, app Address) GatewayConfig {
	t.Helper()
	return GatewayConfig{
		Listen: deadAddress(t), Public: deadAddress(t), Authz: door, GRPC: deadAddress(t),
		Limit: 15 * time.Minute,
		Apps:  []AppRoute{{ID: "crm.acme", Host: "crm.acme.battery.app", Upstream: app}},
	}
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) Address {
	t.Helper()
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return Address{"127.0.0.1", port}
}

// startGateway runs a front's program with a configuration of the test's own.
func startGateway(t *testing.T, f front, c GatewayConfig) *program.Program {
	t.Helper()
	p, err := runGateway(f, tool(t, f.tool), t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Terminate(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func selfSigned(t *testing.T, cert, key string, hosts ...string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
