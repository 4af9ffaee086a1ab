// Package config reads what an operator wants: one strict YAML file, BATTERY_*
// environment variables on top, flags last. It checks everything before
// anything starts and tells every fault in one message, so that nobody fixes
// them one restart at a time.
package config

import (
	"cmp"
	"net/netip"
	"net/url"
	"time"

	"battery.app/gate/authz"
)

// Config is the whole configuration. Zero values are filled by Default.
type Config struct {
	PublicURL string    `koanf:"public_url"`
	Domain    string    `koanf:"domain"`
	Listen    Listen    `koanf:"listen"`
	Gateway   Gateway   `koanf:"gateway"`
	WorkOS    WorkOS    `koanf:"workos"`
	Sync      Sync      `koanf:"sync"`
	Operators Operators `koanf:"operators"`
	ITAdmins  ITAdmins  `koanf:"it_admins"`
	Session   Session   `koanf:"session"`
	Identity  Identity  `koanf:"identity"`
	Policy    Policy    `koanf:"policy"`
	Store     string    `koanf:"store"`
	Decisions string    `koanf:"decisions"`
	Retention Retention `koanf:"retention"`
	Log       Log       `koanf:"log"`
	OTLP      OTLP      `koanf:"otlp"`
	Machines  Machines  `koanf:"machines"`
	OIDC      []OIDC    `koanf:"oidc"`
	Limits    Limits    `koanf:"limits"`
	Apps      []App     `koanf:"apps"`

	parsed parsed
}

// Listen is where the four listeners bind.
type Listen struct {
	Public     string   `koanf:"public"`
	Authz      string   `koanf:"authz"`
	GRPC       string   `koanf:"grpc"`
	Admin      string   `koanf:"admin"`
	AdminHosts []string `koanf:"admin_hosts"` // Host values the admin listener answers to, beside loopback names
	AdminURL   string   `koanf:"admin_url"`   // where operators' browsers reach the console; empty: the admin listener itself, on loopback
}

// Gateway is who may ask, and how gateways serve the apps.
type Gateway struct {
	Trusted          []string `koanf:"trusted"` // networks
	SharedSecretFile string   `koanf:"shared_secret_file"`
	ClientCA         string   `koanf:"client_ca"`     // PEM file: gateways must show a certificate of one of these authorities
	TLSCertFile      string   `koanf:"tls_cert_file"` // of the authz and grpc listeners; empty: they speak no TLS
	TLSKeyFile       string   `koanf:"tls_key_file"`
	BoundRoutes      []string `koanf:"bound_routes"`   // doors whose gateways say which app a route belongs to
	CookieRewrite    []string `koanf:"cookie_rewrite"` // doors that hand back the client's cookies without ours
	Ports            []string `koanf:"ports"`          // ports, beside the scheme's default, at which browsers reach the apps
}

// WorkOS is the account that vouches for people.
type WorkOS struct {
	APIKeyFile          string   `koanf:"api_key_file"`
	ClientID            string   `koanf:"client_id"`
	WebhookSecretsFiles []string `koanf:"webhook_secrets_files"`
	WebhookAllowFrom    []string `koanf:"webhook_allow_from"` // networks that webhooks may come from; empty: any
	Endpoint            string   `koanf:"endpoint"`
	PortalHosts         []string `koanf:"portal_hosts"` // hosts, with port where there is one, that Admin Portal links may lead to
}

// Sync is how directories are kept true beside the webhooks.
type Sync struct {
	CatchUp   bool          `koanf:"catch_up"`  // read the Events API and reconcile; false leaves it to webhooks
	Poll      time.Duration `koanf:"poll"`      // between two reads of the Events API
	Reconcile time.Duration `koanf:"reconcile"` // between two full reads
	Staleness time.Duration `koanf:"staleness"` // age at which data counts as stale (input.sync.stale); 0: never
}

// Operators names the organization whose users may hold battery:* roles.
type Operators struct {
	Organization string `koanf:"organization"`
}

// ITAdmins are the customers' own administrators, who serve themselves at
// /orgs/{slug}/settings.
type ITAdmins struct {
	Roles          []string `koanf:"roles"`           // a user with one of these is an IT admin of their organization
	GrantableRoles []string `koanf:"grantable_roles"` // what IT admins may map their groups to
}

// Session limits.
type Session struct {
	Absolute time.Duration `koanf:"absolute"`
	Idle     time.Duration `koanf:"idle"`
	KeysDir  string        `koanf:"keys_dir"`
}

// Identity is how apps learn who asks.
type Identity struct {
	HeaderPrefix string `koanf:"header_prefix"`
}

// Policy is where the Rego comes from and what it may use.
type Policy struct {
	Source         string         `koanf:"source"` // "embedded" or "dir:PATH"
	Budget         time.Duration  `koanf:"budget"`
	Headers        []string       `koanf:"headers"`         // response headers a policy may set
	RequestHeaders []string       `koanf:"request_headers"` // request headers a policy may read
	Settings       map[string]any `koanf:"settings"`        // data.battery.settings
}

// Retention is how long records are kept; 0 keeps them.
type Retention struct {
	Decisions time.Duration `koanf:"decisions"`
	Audit     time.Duration `koanf:"audit"`
}

// Log is the program's own log.
type Log struct {
	Level string `koanf:"level"`
}

// OTLP is where telemetry is exported to.
type OTLP struct {
	Endpoint string  `koanf:"endpoint"`
	Insecure bool    `koanf:"insecure"`
	Sample   float64 `koanf:"sample"`
}

// OIDC is the OpenID provider of an organization that does not sign in through
// WorkOS.
type OIDC struct {
	ID               string   `koanf:"id"` // oidc_name; part of every user's id
	Organization     string   `koanf:"organization"`
	Issuer           string   `koanf:"issuer"`
	ClientID         string   `koanf:"client_id"`
	ClientSecretFile string   `koanf:"client_secret_file"`
	Scopes           []string `koanf:"scopes"`
	GroupsClaim      string   `koanf:"groups_claim"`
	TrustEmail       bool     `koanf:"trust_email"`
	KeepSession      bool     `koanf:"keep_provider_session"`

	secret string
}

// Secret is the client secret.
func (o *OIDC) Secret() string { return o.secret }

// Limits of what anybody may ask for without being signed in, by client
// address. 0: no limit.
type Limits struct {
	LoginsPerSecond float64 `koanf:"logins_per_second"` // steps of signing in
	LoginsBurst     int     `koanf:"logins_burst"`
}

// Machines are the issuers whose JWTs apps may opt into.
type Machines struct {
	Issuers []Issuer `koanf:"issuers"`
}

// Issuer vouches for the machines of one organization.
type Issuer struct {
	URL          string              `koanf:"url"` // the iss claim, to the letter
	Organization string              `koanf:"organization"`
	JWKSURL      string              `koanf:"jwks_url"`
	JWKSFile     string              `koanf:"jwks_file"`
	Algorithms   []string            `koanf:"algorithms"`
	RolesClaim   string              `koanf:"roles_claim"`
	Roles        map[string][]string `koanf:"roles"` // value of the claim → roles
	Claims       []string            `koanf:"claims"`
	MaxLifetime  time.Duration       `koanf:"max_lifetime"`
}

// MachineAccess is what of machines' credentials an app takes.
type MachineAccess struct {
	Audience      string   `koanf:"audience"`
	Issuers       []string `koanf:"issuers"`
	ServiceTokens bool     `koanf:"service_tokens"`
}

// App is an app that lives in the configuration file and is read-only in the
// API.
type App struct {
	ID             string            `koanf:"id"`
	OrganizationID string            `koanf:"organization_id"`
	Organization   string            `koanf:"organization"` // older spelling of organization_id
	Hosts          []string          `koanf:"hosts"`
	AllowedRoles   []string          `koanf:"allowed_roles"`
	Public         bool              `koanf:"public"`
	Path           string            `koanf:"path"`
	CORSPreflight  bool              `koanf:"cors_preflight"`
	Identity       []string          `koanf:"identity"`
	Labels         map[string]string `koanf:"labels"`
	Machines       MachineAccess     `koanf:"machines"`
	MaxAge         time.Duration     `koanf:"max_age"`
}

// owner is the organization that the app belongs to, by either spelling.
func (a *App) owner() string { return cmp.Or(a.OrganizationID, a.Organization) }

// parsed holds what Validate read, so that it is read once.
type parsed struct {
	publicURL      *url.URL
	adminURL       *url.URL
	trusted        []netip.Prefix
	apiKey         string
	webhookSecrets [][]byte
	webhookFrom    []netip.Prefix
	sharedSecret   string
	clientCA       []byte
}

// Default is the configuration before anything is read.
func Default() Config {
	return Config{
		Listen:    Listen{Public: ":8080", Authz: ":8081", GRPC: ":8082", Admin: "127.0.0.1:8083"},
		Gateway:   Gateway{CookieRewrite: []string{"forward-auth"}},
		WorkOS:    WorkOS{Endpoint: "https://api.workos.com", PortalHosts: []string{"setup.workos.com"}},
		ITAdmins:  ITAdmins{Roles: []string{"it-admin"}},
		Sync:      Sync{CatchUp: true, Poll: 10 * time.Second, Reconcile: time.Hour, Staleness: 15 * time.Minute},
		Session:   Session{Absolute: 24 * time.Hour, Idle: 8 * time.Hour},
		Identity:  Identity{HeaderPrefix: "X-Battery-"},
		Policy:    Policy{Source: "embedded", Budget: 100 * time.Millisecond},
		Store:     "bolt:data/battery.db",
		Decisions: "sqlite:data/decisions.db",
		// Whoever looks back over a year once a year finds all of it.
		Retention: Retention{Audit: 400 * 24 * time.Hour},
		Limits:    Limits{LoginsPerSecond: 20, LoginsBurst: 300},
		Log:       Log{Level: "info"},
		OTLP:      OTLP{Sample: 0.01},
	}
}

// URL is the public URL, parsed.
func (c *Config) URL() *url.URL { return c.parsed.publicURL }

// AdminURL is where operators' browsers reach the console, of just scheme and
// host; nil: not said, and then it is the admin listener's own address.
func (c *Config) AdminURL() *url.URL { return c.parsed.adminURL }

// Trusted is the networks of the gateways.
func (c *Config) Trusted() []netip.Prefix { return c.parsed.trusted }

// APIKey is the WorkOS API key.
func (c *Config) APIKey() string { return c.parsed.apiKey }

// WebhookSecrets are the accepted webhook secrets.
func (c *Config) WebhookSecrets() [][]byte { return c.parsed.webhookSecrets }

// WebhookAllowFrom is the networks that webhooks may come from; none: any.
func (c *Config) WebhookAllowFrom() []netip.Prefix { return c.parsed.webhookFrom }

// SharedSecret is what gateways prove themselves with; empty: by address alone.
func (c *Config) SharedSecret() string { return c.parsed.sharedSecret }

// ClientCA is the authorities, in PEM, of the certificates that gateways must
// show; empty: they need none.
func (c *Config) ClientCA() []byte { return c.parsed.clientCA }

// AppScheme is the scheme of every app's origins: https, or http where the
// public URL is plain http on loopback.
func (c *Config) AppScheme() string { return c.parsed.publicURL.Scheme }

// Registered turns the configured apps into the registry's form.
func (c *Config) Registered() []authz.App {
	out := make([]authz.App, 0, len(c.Apps))
	for _, a := range c.Apps {
		out = append(out, authz.App{
			ID: a.ID, OrganizationID: a.owner(), Hosts: a.Hosts, AllowedRoles: a.AllowedRoles,
			Public: a.Public, PathMode: a.Path, CORSPreflight: a.CORSPreflight, Identity: a.Identity, Labels: a.Labels,
			Machines: authz.MachineAccess(a.Machines), MaxAgeSeconds: int(a.MaxAge / time.Second),
		})
	}
	return out
}
