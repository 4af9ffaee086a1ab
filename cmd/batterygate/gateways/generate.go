package gateways

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed templates
var templates embed.FS

// File is one generated file. Its name has no folder in it.
type File struct {
	Name    string
	Content []byte
}

// Names lists the gateways that Generate knows, in the order of the alphabet.
func Names() []string {
	entries, err := fs.ReadDir(templates, "templates")
	if err != nil {
		return nil // embedded: cannot happen
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Generate fills the templates of one gateway. It fails if the gateway is not
// known or the Setup does not pass Check; it never writes half a configuration.
func Generate(gateway string, s Setup) ([]File, error) {
	if !slices.Contains(Names(), gateway) {
		return nil, fmt.Errorf("gateway %q is not known; one of: %s", gateway, strings.Join(Names(), ", "))
	}
	if s.Dir == "" {
		s.Dir = defaultDirs[gateway]
	}
	if err := errors.Join(slices.Concat(s.checkDoor(gateway), s.checkServices(gateway), []error{s.Check()})...); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", gateway, err)
	}
	dir := path.Join("templates", gateway)
	entries, err := fs.ReadDir(templates, dir)
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	t, err := template.New("").Option("missingkey=error").Funcs(helpers).ParseFS(templates, dir+"/*")
	if err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	var files []File
	for _, e := range entries {
		var out bytes.Buffer
		if err := t.ExecuteTemplate(&out, e.Name(), view{Setup: s, Gateway: gateway}); err != nil {
			return nil, fmt.Errorf("fill %s: %w", e.Name(), err)
		}
		files = append(files, File{Name: strings.TrimSuffix(e.Name(), ".tmpl"), Content: out.Bytes()})
	}
	return files, nil
}

// defaultDirs is where each gateway's files usually lie.
var defaultDirs = map[string]string{
	"traefik": "/etc/traefik", "envoy": "/etc/envoy", "nginx": "/etc/nginx/battery",
	"caddy": "/etc/caddy", "haproxy": "/etc/haproxy", "gateway-api": "/etc/battery",
}

var helpers = template.FuncMap{
	"lower":   strings.ToLower,
	"escape":  regexp.QuoteMeta,
	"count":   func(n int) []struct{} { return make([]struct{}, n) },
	"inc":     func(n int) int { return n + 1 },
	"snake":   func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "_")) },
	"dash":    func(name string) string { return strings.ReplaceAll(name, "_", "-") },
	"sites":   siteAddresses,
	"service": serviceName,
	"lines":   func(hosts []string) [][]string { return slices.Collect(slices.Chunk(hosts, 50)) }, // HAProxy takes 64 words in one
}

// view is what templates see: the Setup and what follows from it.
type view struct {
	Setup
	Gateway string
}

// identitySuffixes are the identity headers that every allow carries.
var identitySuffixes = []string{"User-Id", "Org-Id", "User-Email", "Roles", "App-Id", "Decision-Id", "Groups", "Assertion"}

// Identity is all that an allow carries: identity headers, then the policies'.
func (v view) Identity() []string {
	var names []string
	for _, s := range identitySuffixes {
		names = append(names, http.CanonicalHeaderKey(v.Prefix+s))
	}
	return append(names, distinct(v.PolicyHeaders)...)
}

// Prefixes are the beginnings of names that belong to Battery Gate, in lower
// case: the identity headers' and, where that is another, that of the header
// which carries the shared secret.
func (v view) Prefixes() []string {
	p := strings.ToLower(v.Prefix)
	if p == "x-battery-" {
		return []string{p}
	}
	return []string{p, "x-battery-"}
}

// PublicHosts is PublicHost as a list, which is empty where there is none.
func (v view) PublicHosts() []string {
	if v.PublicHost == "" {
		return nil
	}
	return []string{v.PublicHost}
}

// Foreign are forwarding headers that apps may believe and that a gateway does
// not write itself; a client's copies must not reach an app.
func (v view) Foreign() []string {
	return []string{
		"Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method",
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", // oauth2-proxy's identity
		"X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Original-Host", "X-Rewrite-Url",
	}
}

// Seconds is StreamLimit in whole seconds.
func (v view) Seconds() int { return int(v.StreamLimit / time.Second) }

// TLS reports whether the gateway ends TLS itself.
func (v view) TLS() bool { return v.TLSCert != "" }

// Scheme is that of the apps' origins at this gateway.
func (v view) Scheme() string {
	if v.TLS() {
		return "https"
	}
	return "http"
}

// DoorScheme is that of the doors.
func (v view) DoorScheme() string {
	if v.DoorTLS.On {
		return "https"
	}
	return "http"
}

// SecretEnv is the variable that holds the shared secret.
func (v view) SecretEnv() string { return SecretEnv }

// GeneratedBy is the first line of every file, without its comment sign.
func (v view) GeneratedBy() string {
	return "Written by `batterygate gateway gen " + v.Gateway + "`; run it again when apps come or go."
}

// siteAddresses are Caddy's names of sites: scheme, host and port of each.
func siteAddresses(v view, hosts []string) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, fmt.Sprintf("%s://%s:%d", v.Scheme(), h, v.Listen.Port))
	}
	return out
}

// serviceName is the Kubernetes Service behind a host: its first label. Routes
// name Services of their own namespace.
func serviceName(host string) string {
	name, _, _ := strings.Cut(host, ".")
	return name
}

// checkServices finds hosts that Kubernetes routes cannot name.
func (s *Setup) checkServices(gateway string) (faults []error) {
	if gateway != "gateway-api" {
		return nil
	}
	check := func(flag, host string) {
		if net.ParseIP(host) != nil || !servicePattern.MatchString(serviceName(host)) {
			faults = append(faults, fmt.Errorf("%s: %q is no Service; name one of the gateway's namespace", flag, host))
		}
	}
	check("--gate or --public-addr", s.Public.Host)
	check("--gate or --grpc-addr", s.GRPC.Host)
	for _, a := range s.Apps {
		check("--upstream "+a.ID, a.Upstream.Host)
	}
	return faults
}

var servicePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
