package config

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shortestAudit is the shortest time that the audit is kept.
const shortestAudit = 24 * time.Hour

// minSecret is the shortest secret accepted from a file, in bytes.
const minSecret = 16

// rolePattern is a role's slug, as the registry of apps takes it.
var rolePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9:_-]{0,63}$`)

// Validate reads the files that the configuration names and checks every
// value. It returns all faults, each saying what to change.
func (c *Config) Validate() Faults {
	v := &validator{}
	c.parsed = parsed{}
	v.publicURL(c)
	v.listeners(c)
	v.adminURL(c)
	v.gateways(c)
	v.workos(c)
	v.directories(c)
	v.providers(c)
	v.itAdmins(c)
	v.sessions(c)
	v.policy(c)
	v.stores(c)
	v.apps(c)
	return v.faults
}

type validator struct{ faults Faults }

func (v *validator) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *validator) publicURL(c *Config) {
	u, err := url.Parse(c.PublicURL)
	c.parsed.publicURL = u
	switch {
	case c.PublicURL == "":
		v.fault("public_url is missing: set it to the URL at which browsers reach the public listener, such as https://auth.example.com")
		c.parsed.publicURL = &url.URL{Scheme: "https"}
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		v.fault("public_url %q is not an http(s) URL of just scheme and host", c.PublicURL)
		c.parsed.publicURL = &url.URL{Scheme: "https"}
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		v.fault("public_url %q is plain http outside loopback: session cookies would travel in the clear; use https", c.PublicURL)
	}
	if c.Domain != "" && (strings.ContainsAny(c.Domain, "/:@* ") || strings.HasPrefix(c.Domain, ".")) {
		v.fault("domain %q is not a plain domain name such as example.com", c.Domain)
	}
	if err := new(slog.Level).UnmarshalText([]byte(c.Log.Level)); err != nil {
		v.fault("log.level %q is not one of debug, info, warn, error", c.Log.Level)
	}
	if c.OTLP.Sample < 0 || c.OTLP.Sample > 1 {
		v.fault("otlp.sample %v is not between 0 and 1", c.OTLP.Sample)
	}
}

func (v *validator) listeners(c *Config) {
	for _, l := range []struct{ name, addr string }{
		{"public", c.Listen.Public}, {"authz", c.Listen.Authz}, {"grpc", c.Listen.GRPC}, {"admin", c.Listen.Admin},
	} {
		_, port, err := net.SplitHostPort(l.addr)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			v.fault("listen.%s %q is not host:port", l.name, l.addr)
		}
	}
}

// adminURL: whoever signs in there rules here, so no page of the public host or
// of an app may be of the same host.
func (v *validator) adminURL(c *Config) {
	if c.Listen.AdminURL == "" {
		return
	}
	u, err := url.Parse(c.Listen.AdminURL)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		v.fault("listen.admin_url %q is not an http(s) URL of just scheme and host", c.Listen.AdminURL)
		return
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		v.fault("listen.admin_url %q is plain http outside loopback: operators' cookies would travel in the clear; use https", c.Listen.AdminURL)
		return
	case !Loopback(u.Hostname()) && strings.EqualFold(u.Hostname(), c.parsed.publicURL.Hostname()):
		v.fault("listen.admin_url %q has the public URL's host: the console and what the internet reaches must not share a host", c.Listen.AdminURL)
		return
	}
	u.Path = ""
	c.parsed.adminURL = u
}

func (v *validator) gateways(c *Config) {
	if len(c.Gateway.Trusted) == 0 {
		v.fault("gateway.trusted is empty: name the networks of your gateways, or nobody may ask; it has no default on purpose")
	}
	for _, s := range c.Gateway.Trusted {
		p, err := network(s)
		switch {
		case err != nil:
			v.fault("gateway.trusted %q is not a network such as 10.0.0.0/8", s)
		case p.Bits() == 0:
			v.fault("gateway.trusted %q trusts every address: anybody could speak as a gateway", s)
		default:
			c.parsed.trusted = append(c.parsed.trusted, p.Masked())
		}
	}
	for _, p := range c.Gateway.Ports {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			v.fault("gateway.ports %q is not a port", p)
		}
	}
	if c.Gateway.SharedSecretFile != "" {
		c.parsed.sharedSecret = string(v.secret("gateway.shared_secret_file", c.Gateway.SharedSecretFile))
	}
	if (c.Gateway.TLSCertFile == "") != (c.Gateway.TLSKeyFile == "") {
		v.fault("gateway.tls_cert_file and gateway.tls_key_file go together: one is missing")
	}
	if c.Gateway.ClientCA == "" {
		return
	}
	if c.Gateway.TLSCertFile == "" {
		v.fault("gateway.client_ca needs gateway.tls_cert_file and gateway.tls_key_file: certificates are shown over TLS alone")
	}
	pem, err := os.ReadFile(c.Gateway.ClientCA)
	if err != nil {
		v.fault("gateway.client_ca: %v", err)
	}
	c.parsed.clientCA = pem
}

// network reads a network, or one address as a network of itself.
func network(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
	}
	return p, err
}

// providers reads what OpenID providers are configured.
func (v *validator) providers(c *Config) {
	owners := map[string]bool{}
	for i := range c.OIDC {
		p := &c.OIDC[i]
		if p.Organization == "" || owners[p.Organization] {
			v.fault("oidc %q: organization %q is missing or has a provider already", p.ID, p.Organization)
		}
		owners[p.Organization] = true
		if p.ClientSecretFile == "" {
			v.fault("oidc %q: client_secret_file is missing", p.ID)
			continue
		}
		p.secret = string(v.secret("oidc.client_secret_file", p.ClientSecretFile))
	}
	if c.Limits.LoginsPerSecond < 0 || c.Limits.LoginsBurst < 0 {
		v.fault("limits must not be negative; 0 means no limit")
	}
}

// itAdmins: the roles of operators are none that a customer could come by.
func (v *validator) itAdmins(c *Config) {
	for _, r := range slices.Concat(c.ITAdmins.Roles, c.ITAdmins.GrantableRoles) {
		switch {
		case strings.HasPrefix(r, "battery:"):
			v.fault("it_admins: %q is an operators' role; only users of operators.organization may hold it", r)
		case !rolePattern.MatchString(r):
			v.fault("it_admins: %q is not a role: lower-case letters, digits, : _ and -, at most 64", r)
		}
	}
	for _, r := range c.ITAdmins.GrantableRoles {
		if slices.Contains(c.ITAdmins.Roles, r) {
			v.fault("it_admins.grantable_roles: %q makes IT admins; they could make more of themselves", r)
		}
	}
	for _, h := range c.WorkOS.PortalHosts {
		if h == "" || strings.ContainsAny(h, "/@*?# ") {
			v.fault("workos.portal_hosts: %q is not a host such as setup.workos.com", h)
		}
	}
}

// directories checks how directories are kept true.
func (v *validator) directories(c *Config) {
	for _, s := range c.WorkOS.WebhookAllowFrom {
		p, err := network(s)
		if err != nil {
			v.fault("workos.webhook_allow_from %q is not a network such as 3.217.146.166/32", s)
			continue
		}
		c.parsed.webhookFrom = append(c.parsed.webhookFrom, p.Masked())
	}
	if c.Sync.Poll < time.Second || c.Sync.Reconcile < time.Minute {
		v.fault("sync.poll must be 1s or more and sync.reconcile 1m or more")
	}
	if c.Sync.Staleness < 0 || (c.Sync.Staleness > 0 && c.Sync.Staleness < 2*c.Sync.Poll) {
		v.fault("sync.staleness %v must be 0 (never) or at least twice sync.poll", c.Sync.Staleness)
	}
}

func (v *validator) workos(c *Config) {
	if c.WorkOS.ClientID == "" {
		v.fault("workos.client_id is missing")
	}
	if c.WorkOS.APIKeyFile == "" {
		v.fault("workos.api_key_file is missing")
	} else {
		c.parsed.apiKey = string(v.secret("workos.api_key_file", c.WorkOS.APIKeyFile))
	}
	if len(c.WorkOS.WebhookSecretsFiles) == 0 {
		v.fault("workos.webhook_secrets_files is empty: directory changes could not be told from forgeries")
	}
	for _, f := range c.WorkOS.WebhookSecretsFiles {
		if s := v.secret("workos.webhook_secrets_files", f); s != nil {
			c.parsed.webhookSecrets = append(c.parsed.webhookSecrets, s)
		}
	}
	u, err := url.Parse(c.WorkOS.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname()))) {
		v.fault("workos.endpoint %q is not an https URL", c.WorkOS.Endpoint)
	}
}

// secret reads a secret's file, without the white space around it.
func (v *validator) secret(setting, path string) []byte {
	raw, err := os.ReadFile(path)
	if err != nil {
		v.fault("%s: %v", setting, err)
		return nil
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) < minSecret {
		v.fault("%s: %s holds %d bytes, a secret needs %d or more", setting, path, len(raw), minSecret)
		return nil
	}
	return raw
}

func (v *validator) sessions(c *Config) {
	if c.Session.KeysDir == "" {
		v.fault("session.keys_dir is missing: a folder with a key file, made by 'batterygate keys create --dir DIR'")
	} else if info, err := os.Stat(c.Session.KeysDir); err != nil || !info.IsDir() {
		v.fault("session.keys_dir %q is not a folder that can be read; make it with 'batterygate keys create --dir DIR'", c.Session.KeysDir)
	}
	if c.Session.Absolute <= 0 || c.Session.Idle <= 0 {
		v.fault("session.absolute and session.idle must be more than 0")
	} else if c.Session.Idle > c.Session.Absolute {
		v.fault("session.idle %v is longer than session.absolute %v", c.Session.Idle, c.Session.Absolute)
	}
	if p := c.Identity.HeaderPrefix; !strings.HasPrefix(p, "X-") || !strings.HasSuffix(p, "-") || strings.Trim(p, "-") == "X" || !token(p) {
		v.fault("identity.header_prefix %q is not of the form X-Name-", p)
	}
}

func (v *validator) policy(c *Config) {
	dir, isDir := strings.CutPrefix(c.Policy.Source, "dir:")
	switch {
	case c.Policy.Source == "embedded":
	case isDir:
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			v.fault("policy.source: %q is not a folder that can be read", dir)
		}
	case strings.HasPrefix(c.Policy.Source, "bundle:"), c.Policy.Source == "store":
		v.fault("policy.source %q is not supported by this version: use embedded or dir:PATH", c.Policy.Source)
	default:
		v.fault("policy.source %q is neither embedded nor dir:PATH", c.Policy.Source)
	}
	if c.Policy.Budget <= 0 {
		v.fault("policy.budget must be more than 0")
	}
}

func (v *validator) stores(c *Config) {
	switch {
	case strings.HasPrefix(c.Store, "etcd:"):
		v.fault("store %q is not supported by this version: use bolt:PATH", redacted(c.Store))
	case len(c.Store) <= len("bolt:") || !strings.HasPrefix(c.Store, "bolt:"):
		v.fault("store %q is not bolt:PATH", c.Store)
	}
	switch {
	case strings.HasPrefix(c.Decisions, "postgres"):
		v.fault("decisions %q is not supported by this version: use sqlite:PATH", redacted(c.Decisions))
	case len(c.Decisions) <= len("sqlite:") || !strings.HasPrefix(c.Decisions, "sqlite:"):
		v.fault("decisions %q is not sqlite:PATH", redacted(c.Decisions))
	}
	// 400 without a unit is 400 ns: all of the audit would be gone within the hour.
	if kept := c.Retention.Audit; kept != 0 && kept < shortestAudit {
		v.fault("retention.audit %v is shorter than %v: write a duration such as 9600h, or 0s to keep the audit for ever", kept, shortestAudit)
	}
}

// apps finds what one configuration can tell; the registry checks the rest.
func (v *validator) apps(c *Config) {
	owners := map[string]string{}
	public := c.parsed.publicURL.Hostname()
	for i, a := range c.Apps {
		name := a.ID
		if name == "" {
			name = fmt.Sprintf("number %d", i+1)
			v.fault("app %s has no id", name)
		}
		if a.owner() == "" {
			v.fault("app %s has no owner: set organization_id", name)
		}
		if a.Organization != "" && a.Organization != a.owner() {
			v.fault("app %s has two owners: organization_id is %q, organization is %q", name, a.OrganizationID, a.Organization)
		}
		if len(a.Hosts) == 0 {
			v.fault("app %s has no hosts", name)
		}
		for _, h := range a.Hosts {
			h = strings.ToLower(h)
			if other, taken := owners[h]; taken {
				v.fault("host %s is owned twice: by %s and by %s", h, other, name)
			}
			owners[h] = name
			if admin := c.parsed.adminURL; admin != nil && strings.EqualFold(h, admin.Hostname()) {
				v.fault("host %s of app %s is listen.admin_url's: the console and apps must not share a host", h, name)
			}
			if h == public {
				v.fault("host %s of app %s is the public URL's: sign-in pages and apps must not share a host", h, name)
			}
		}
	}
}

// Loopback reports whether host means this machine alone.
func Loopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func token(s string) bool {
	for _, r := range s {
		if !(r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return false
		}
	}
	return s != ""
}

// redacted hides a password in a URL before it is shown.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

var _ error = Faults(nil)

// AsFaults returns the faults in err, if it is about the configuration's
// content.
func AsFaults(err error) (Faults, bool) {
	var f Faults
	ok := errors.As(err, &f)
	return f, ok
}
