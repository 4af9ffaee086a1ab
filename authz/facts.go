package authz

import "time"

// App is something deployed behind the gateway. It is immutable once published.
type App struct {
	ID             string            `json:"id"`
	OrganizationID string            `json:"organization_id"`
	Hosts          []string          `json:"hosts"` // exact names, lower case; "name:port" adds a port
	AllowedRoles   []string          `json:"allowed_roles"`
	Public         bool              `json:"public"`
	PathMode       string            `json:"path"`                     // PathStrict or PathEveryReading; anything else counts as strict
	CORSPreflight  bool              `json:"cors_preflight,omitempty"` // CORS preflights pass without asking the policy
	Identity       []string          `json:"identity"`                 // of "groups", "assertion"
	Labels         map[string]string `json:"labels"`
	MaxAgeSeconds  int               `json:"max_age_seconds,omitempty"` // how old a login may be; 0: as old as the session
	Machines       MachineAccess     `json:"machines,omitzero"`

	Scheme string   `json:"-"` // of its origins: "https", or "http" on loopback
	Ports  []string `json:"-"` // ports, beside the scheme's default, at which gateways serve it
}

// EveryReading: the policy is asked about every reading of a path that has
// several, instead of refusing it.
func (a *App) EveryReading() bool { return a.PathMode == PathEveryReading }

// MaxAge is how long ago people may have proved who they are; 0: as long as
// their session lives.
func (a *App) MaxAge() time.Duration { return time.Duration(a.MaxAgeSeconds) * time.Second }

// WantsGroups: the app asked for X-Battery-Groups.
func (a *App) WantsGroups() bool { return contains(a.Identity, "groups") }

// WantsAssertion: the app asked for X-Battery-Assertion.
func (a *App) WantsAssertion() bool { return contains(a.Identity, "assertion") }

// HasOrigin reports whether scheme://host[:port] is one of the app's origins.
// port is empty for the scheme's default port; host is already canonical.
func (a *App) HasOrigin(scheme, host, port string) bool {
	return scheme == a.Scheme && a.HasAuthority(host, port)
}

// HasAuthority is HasOrigin without the scheme.
func (a *App) HasAuthority(host, port string) bool {
	named := false
	for _, h := range a.Hosts {
		if port != "" && h == host+":"+port {
			return true
		}
		named = named || h == host
	}
	return named && (port == "" || contains(a.Ports, port))
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// Session is what SSO login made and we keep, or what a machine's token stands
// for. It is immutable once published; a person's roles and groups are never in
// it.
type Session struct {
	ID             string         `json:"id"`      // public name of the record; the cookie's secret is another value
	UserID         string         `json:"user_id"` // WorkOS profile id; of a machine, the token's subject or id
	Email          string         `json:"email"`
	OrganizationID string         `json:"organization_id"`
	ConnectionID   string         `json:"connection_id"`
	Kind           string         `json:"kind"` // "sso", KindJWT, KindServiceToken
	IssuedAt       time.Time      `json:"issued_at"`
	ExpiresAt      time.Time      `json:"expires_at"` // absolute limit
	Claims         map[string]any `json:"claims,omitempty"`

	IdpID string `json:"-"` // of the profile, for linking to the directory user
}

// Group is a directory group as policies see it.
type Group struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// User is the directory user a session belongs to, as policies see it: its
// groups are alive, its roles are what the role mappings give for them.
// It is immutable and shared between requests.
type User struct {
	ID          string         `json:"id"`
	DirectoryID string         `json:"directory_id"`
	State       string         `json:"state"` // only "active" grants
	Email       string         `json:"-"`
	Groups      []Group        `json:"groups"` // sorted by id
	Roles       []string       `json:"roles"`  // sorted, unique
	Attributes  map[string]any `json:"attributes"`
}

// Input is everything a policy may look at. Session and User may be nil.
type Input struct {
	Request *Request
	App     *App
	Session *Session
	User    *User
	Stale   bool // the directory's data is older than its bound
}

// Verdict is what a policy said.
type Verdict struct {
	Allow   bool
	Reasons []Reason
	Roles   []string
	Headers map[string]string // declared policy headers only
	Cached  bool
}
