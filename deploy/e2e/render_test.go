package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// Address is a host and a port.
type Address struct {
	Host string
	Port int
}

// ParseAddress reads "host:port".
func ParseAddress(s string) (Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("parse address %q: %w", s, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return Address{}, fmt.Errorf("parse port of %q: %w", s, err)
	}
	return Address{Host: host, Port: n}, nil
}

// String is host:port.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// AppRoute is one app in a gateway's configuration.
type AppRoute struct {
	ID       string  // "crm.acme", as Battery Gate knows it
	Host     string  // "crm.acme.battery.app", without a port
	Upstream Address // where the app listens
}

// GatewayConfig is what `batterygate gateway gen` is told.
type GatewayConfig struct {
	Listen     Address // where the gateway serves the apps
	Public     Address // Battery Gate's public listener
	Authz      Address // its HTTP doors
	GRPC       Address // its gRPC door
	PublicHost string  // host of public_url; empty: it is not served by this gateway
	Apps       []AppRoute
	Door       string // Envoy: "http" or "grpc"
	TLSCert    string // path of a PEM file; empty: plain HTTP
	TLSKey     string
	BindRoutes bool          // each route names its app
	Rewrite    bool          // Traefik takes the app's cookies from the answer
	Dir        string        // where the files will lie, if not where they are written
	SecretFile string        // path of a file with the shared secret; empty: none is sent
	Prefix     string        // of the identity headers; empty: X-Battery-
	Headers    []string      // that policies set
	Doors      *DoorTLS      // how the doors' TLS is spoken; nil: they speak none
	Limit      time.Duration // how long a stream may last: 15 minutes as shipped
	// Edit changes what was written before the gateway starts with it: what an
	// operator may have made of it. It gets the content of
	// the gateway's main file.
	Edit func(conf string) string
}

// DoorTLS is what the gateway needs to speak TLS with the doors: PEM files.
type DoorTLS struct {
	CA, Name  string // who signed the doors' certificate, and for which name
	Cert, Key string // the gateway's own; empty: it shows none
}

// Generate has the binary write a gateway's configuration into dir.
func Generate(binary, gateway, dir string, c GatewayConfig) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apps:\n")
	args := []string{"gateway", "gen", gateway, "--config", filepath.Join(dir, "setup.yaml"), "--out", dir, "--listen", c.Listen.String(),
		"--public-addr", c.Public.String(), "--authz-addr", c.Authz.String(), "--grpc-addr", c.GRPC.String(), "--stream-limit", c.Limit.String()}
	for _, a := range c.Apps {
		fmt.Fprintf(&b, "  - {id: %s, organization: org_1, hosts: [%s]}\n", a.ID, a.Host)
		args = append(args, "--upstream", a.ID+"="+a.Upstream.String())
	}
	if c.BindRoutes {
		args = append(args, "--bind-routes")
	}
	args = append(args, fmt.Sprintf("--cookie-rewrite=%t", c.Rewrite))
	if c.PublicHost != "" {
		args = append(args, "--public-url", "https://"+c.PublicHost)
	}
	for flag, v := range map[string]string{"--door": c.Door, "--tls-cert": c.TLSCert, "--tls-key": c.TLSKey, "--secret-file": c.SecretFile,
		"--header-prefix": c.Prefix, "--dir": c.Dir, "--policy-header": strings.Join(c.Headers, ",")} {
		if v != "" {
			args = append(args, flag, v)
		}
	}
	if d := c.Doors; d != nil {
		fmt.Fprintf(&b, "gateway: {tls_cert_file: cert.pem, tls_key_file: key.pem%s}\n", map[bool]string{true: ", client_ca: ca.pem"}[d.Cert != ""])
		hop, err := program.FreePort() // HAProxy's
		if err != nil {
			return err
		}
		args = append(args, "--door-ca", d.CA, "--door-name", d.Name, "--door-hop", Address{"127.0.0.1", hop}.String())
		if d.Cert != "" {
			args = append(args, "--door-cert", d.Cert, "--door-key", d.Key)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "setup.yaml"), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write the set-up: %w", err)
	}
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("batterygate gateway gen %s: %w\n%s", gateway, err, out)
	}
	return nil
}
