package gateways

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Address is a host and a port, as templates use them: whole or in parts.
type Address struct {
	Host string // a name, an IPv4 address, or an IPv6 address without brackets; "" listens everywhere
	Port int
}

// ParseAddress reads "host:port"; the host may be empty.
func ParseAddress(s string) (Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q is not host:port", s)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return Address{}, fmt.Errorf("address %q has no port between 1 and 65535", s)
	}
	return Address{Host: host, Port: n}, nil
}

// String is host:port, an IPv6 address in brackets.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// Any is the address to bind: every interface where the host is empty.
func (a Address) Any() string {
	if a.Host == "" {
		return "0.0.0.0"
	}
	return a.Host
}

// App is one app as a gateway needs to know it.
type App struct {
	ID       string   // as Battery Gate knows it: "crm.acme"
	Hosts    []string // exact, lower case, without port
	Upstream Address  // where the app itself listens
}

// Name names the app in a gateway's configuration: the id with "_" for ".".
// Ids have no "_", so that two apps never share a name.
func (a App) Name() string { return strings.ReplaceAll(a.ID, ".", "_") }

// Setup is what a configuration is made from.
type Setup struct {
	Listen Address // where the gateway serves the apps
	Public Address // Battery Gate's listeners, as the gateway reaches them
	Authz  Address
	GRPC   Address

	PublicHost string // host of public_url; "": this gateway does not serve it

	Prefix         string   // of the identity headers, with its dash: "X-Battery-"
	PolicyHeaders  []string // what policies add to an allow
	RequestHeaders []string // request headers that policies read

	Apps []App

	TLSCert string // PEM files on the gateway's host; both or neither
	TLSKey  string

	// SecretFile is a file on the gateway's host that holds what Battery Gate's
	// gateway.shared_secret_file holds; "": no secret is sent. The configuration
	// names the file and never holds the secret itself.
	SecretFile string

	// DoorTLS: the doors speak TLS. The public listener does not.
	DoorTLS DoorTLS

	// BindRoutes: each route names its app to the door. The server must be set
	// up for it (gateway.bound_routes), or the door refuses everybody.
	BindRoutes bool
	// CookieRewrite: Traefik puts the answer's Cookie header in the place of the
	// request's. The server must be set up for it (gateway.cookie_rewrite), or
	// apps get no cookies at all.
	CookieRewrite bool

	StreamLimit time.Duration // how long what was begun under one decision may last
	Door        string        // Envoy: "grpc" or "http"
	Dir         string        // folder on the gateway's host in which the files will lie
}

// SecretEnv is the environment variable from which Traefik and Envoy take the
// shared secret: neither can read a file where they need it.
const SecretEnv = "BATTERY_GATEWAY_SECRET"

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9-]*$`)
	hostPattern   = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	headerPattern = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)
	pathPattern   = regexp.MustCompile(`^/[A-Za-z0-9._/@+-]+$`)
)

// Check finds everything in a Setup that no gateway's configuration may hold.
// It returns one error that names all faults.
func (s *Setup) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for name, a := range map[string]Address{"listen": s.Listen, "public": s.Public, "authz": s.Authz, "grpc": s.GRPC} {
		if name != "listen" && a.Host == "" || a.Host != "" && !IsHost(a.Host) || a.Port < 1 || a.Port > 65535 {
			fault("the %s address %q is not host:port", name, a)
		}
	}
	if s.PublicHost != "" && !hostPattern.MatchString(s.PublicHost) {
		fault("the public URL's host %q is no host name", s.PublicHost)
	}
	if !strings.HasSuffix(s.Prefix, "-") || !headerPattern.MatchString(strings.TrimSuffix(s.Prefix, "-")) {
		fault("the header prefix %q is not letters, digits and dashes that end in a dash", s.Prefix)
	}
	for _, h := range slices.Concat(s.PolicyHeaders, s.RequestHeaders) {
		if !headerPattern.MatchString(h) {
			fault("the header name %q is not letters, digits and dashes", h)
		}
	}
	for name, p := range map[string]string{"--tls-cert": s.TLSCert, "--tls-key": s.TLSKey, "--secret-file": s.SecretFile, "--dir": s.Dir} {
		if p != "" && (!pathPattern.MatchString(p) || strings.Contains(p, "/..")) {
			fault("%s %q is not an absolute path of letters, digits and . _ / @ + -", name, p)
		}
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		fault("--tls-cert and --tls-key go together")
	}
	if s.StreamLimit < time.Second || s.StreamLimit%time.Second != 0 {
		fault("the stream limit %v is not a whole number of seconds, at least one", s.StreamLimit)
	}
	if s.Door != "grpc" && s.Door != "http" {
		fault("the door %q is neither grpc nor http", s.Door)
	}
	faults = append(faults, s.checkApps()...)
	return errors.Join(faults...)
}

func (s *Setup) checkApps() (faults []error) {
	if len(s.Apps) == 0 {
		faults = append(faults, errors.New("there is no app: a gateway without one has nothing to serve"))
	}
	seen := map[string]string{}
	if s.PublicHost != "" {
		seen[s.PublicHost] = "the public URL"
	}
	for _, a := range s.Apps {
		if !idPattern.MatchString(a.ID) {
			faults = append(faults, fmt.Errorf("app id %q is not name.organization", a.ID))
		}
		if len(a.Hosts) == 0 {
			faults = append(faults, fmt.Errorf("app %s has no host", a.ID))
		}
		if !IsHost(a.Upstream.Host) || a.Upstream.Port < 1 || a.Upstream.Port > 65535 {
			faults = append(faults, fmt.Errorf("app %s: the upstream %q is not host:port", a.ID, a.Upstream))
		}
		for _, h := range a.Hosts {
			if !hostPattern.MatchString(h) {
				faults = append(faults, fmt.Errorf("app %s: the host %q is no lower-case host name", a.ID, h))
			}
			if other := seen[h]; other != "" {
				faults = append(faults, fmt.Errorf("app %s: the host %s is also of %s", a.ID, h, other))
			}
			seen[h] = "app " + a.ID
		}
	}
	return faults
}

// IsHost reports whether h is a name or an IP address.
func IsHost(h string) bool {
	return net.ParseIP(h) != nil || hostPattern.MatchString(strings.ToLower(h))
}

// DoorOf is the door that a gateway asks, as the server's configuration names
// it. envoy is "grpc" or "http".
func DoorOf(gateway, envoy string) string {
	switch {
	case gateway == "nginx":
		return "auth-request"
	case gateway == "envoy" && envoy == "http":
		return "ext-authz"
	case gateway == "envoy", gateway == "gateway-api":
		return "ext-authz-grpc"
	}
	return "forward-auth"
}
