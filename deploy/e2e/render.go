package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"
)

// Address is a host and a port as the configuration templates use them: whole
// ("{{ .Authz }}") or in parts ("{{ .Authz.Host }}").
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
	Slug     string  // "crm-acme", a name that gateways accept for a route
	Host     string  // "crm.acme.battery.app", without a port
	Upstream Address // where the app listens
}

// GatewayConfig holds the variables of the templates in deploy/traefik and
// deploy/envoy. deploy/README.md describes them for their users.
type GatewayConfig struct {
	Listen     Address // where the gateway serves the apps
	Public     Address // Battery Gate's public listener
	Authz      Address // its HTTP doors
	GRPC       Address // its gRPC door
	PublicHost string  // host of public_url; empty: it is not served by this gateway
	Apps       []AppRoute
	Door       string // Envoy: "http" or "grpc"
	Dynamic    string // Traefik: path of the rendered dynamic.yaml
	TLSCert    string // path of a PEM file; empty: plain HTTP
	TLSKey     string

	// SharedSecret is what Battery Gate's gateway.shared_secret_file holds, of
	// letters, digits, dashes and underscores; empty: none is sent.
	SharedSecret string

	// StreamLimit caps how long one answer may last: 15 minutes as shipped.
	StreamLimit time.Duration
}

// StreamSeconds is StreamLimit in whole seconds, as Envoy writes durations.
func (c GatewayConfig) StreamSeconds() int { return int(c.StreamLimit / time.Second) }

// Render fills the template at path. A variable that the template names and
// GatewayConfig lacks is an error.
func Render(path string, c GatewayConfig) ([]byte, error) {
	t, err := template.New(filepath.Base(path)).Option("missingkey=error").ParseFiles(path)
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, c); err != nil {
		return nil, fmt.Errorf("render %s: %w", path, err)
	}
	return out.Bytes(), nil
}

// RenderTo writes the template at path, filled, to the file at to.
func RenderTo(path, to string, c GatewayConfig) error {
	b, err := Render(path, c)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
