package machines

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
)

// Defaults of the background work.
const (
	DefaultRefresh    = 10 * time.Minute // how often keys are fetched
	DefaultMinRefresh = 30 * time.Second // the least time between two fetches, whoever asks
	DefaultMaxStale   = 24 * time.Hour   // how long keys hold without a fetch that worked
)

// Issuer is one authority whose JWTs are taken, for one organization's apps.
type Issuer struct {
	URL            string // the iss claim, to the letter: an absolute https URL (http on loopback)
	OrganizationID string // whose machines these are
	JWKSURL        string // where its keys are fetched: https, or http on loopback
	JWKSFile       string // or the file that holds them, read again at each refresh
	Algorithms     []string
	// RolesClaim is the claim whose values Roles translates: a name, or a JSON
	// pointer (RFC 6901, "/realm_access/roles") into nested ones. A string counts
	// as a list separated by spaces, as OAuth's scope is. Empty: no roles.
	RolesClaim string
	Roles      map[string][]string // value of the claim → the roles it gives; other values give nothing
	Claims     []string            // names of claims that policies and records may see
	// MaxLifetime bounds exp - iat: a JWT cannot be revoked but with its key. 0: any.
	MaxLifetime time.Duration
}

// Token is a service token of ours as it is kept. Values are immutable.
type Token struct {
	ID             string // public; the session's user
	OrganizationID string
	Apps           []string // ids of the apps it is good for
	Roles          []string
	IssuedAt       time.Time
	ExpiresAt      time.Time // required: a token without an end is refused
}

// ServiceTokens finds a live service token by its hash (see HashServiceToken).
// It is called in the request's path and must answer from memory.
type ServiceTokens interface {
	Find(hash string) (Token, bool)
}

// Options of a Verifier. All may be zero: then no token is good.
type Options struct {
	Issuers       []Issuer
	ServiceTokens ServiceTokens

	// Used is told that a service token was good, at most once a minute for each,
	// for its "last used". It is called in the request's path and must not block.
	Used func(id string, at time.Time)

	Client     *http.Client  // fetches key sets; redirects are not followed. nil: one with time limits
	Refresh    time.Duration // 0: DefaultRefresh
	MinRefresh time.Duration // 0: DefaultMinRefresh
	MaxStale   time.Duration // 0: DefaultMaxStale
	CacheSize  int           // verified tokens remembered; 0: 65536
	Now        func() time.Time
	Log        *slog.Logger
}

func (o Options) complete() Options {
	o.Refresh = orElse(o.Refresh, DefaultRefresh)
	o.MinRefresh = orElse(o.MinRefresh, DefaultMinRefresh)
	o.MaxStale = orElse(o.MaxStale, DefaultMaxStale)
	if o.CacheSize <= 0 {
		o.CacheSize = 1 << 16
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := http.Client{Timeout: fetchTimeout}
	if o.Client != nil {
		c = *o.Client
		c.Timeout = orElse(c.Timeout, fetchTimeout)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = &c
	return o
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// supported are the algorithms that a token may be signed with: asymmetric ones
// alone (RFC 8725 §3.1 and §3.2).
func supported() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}
}

const maxIssuers = 256

var (
	rolePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9:_-]{0,63}$`) // as authz/apps has it
	orgPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
)

// ourClaims are those that a session's claims say themselves.
func ourClaims() []string { return []string{authz.ClaimRoles, "iss"} }

// check says everything that is wrong with an issuer.
func (i *Issuer) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("machines: issuer %q: "+format, append([]any{i.URL}, args...)...))
	}
	if err := checkURL(i.URL); err != nil {
		bad("%v", err)
	}
	if !orgPattern.MatchString(i.OrganizationID) {
		bad("it must belong to an organization")
	}
	switch {
	case (i.JWKSURL == "") == (i.JWKSFile == ""):
		bad("its keys come from an address or from a file: name exactly one")
	case i.JWKSURL != "":
		if err := checkURL(i.JWKSURL); err != nil {
			bad("its keys' address %q: %v", i.JWKSURL, err)
		}
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(supported(), jose.SignatureAlgorithm(a)) {
			bad("algorithm %q is none of %v", a, supported())
		}
	}
	if len(i.Roles) > 0 && i.RolesClaim == "" {
		bad("roles are listed, but no claim to read them from")
	}
	for value, roles := range i.Roles {
		for _, r := range roles {
			if err := checkRole(r); err != nil {
				bad("role %q of %q: %v", r, value, err)
			}
		}
	}
	if i.MaxLifetime < 0 {
		bad("its tokens' lifetime %s is negative", i.MaxLifetime)
	}
	for _, c := range i.Claims {
		if c == "" || slices.Contains(ourClaims(), c) {
			bad("claim %q cannot be let through: its place is taken", c)
		}
	}
	return errors.Join(errs...)
}

// checkRole: a role of a machine never opens Battery Gate itself, whose roles
// only users of the operators' organization may carry.
func checkRole(r string) error {
	switch {
	case !rolePattern.MatchString(r):
		return errors.New(`a role is lower-case letters, digits, ":", "_" and "-", at most 64`)
	case strings.HasPrefix(r, "battery:"):
		return errors.New("roles of Battery Gate are not for machines")
	}
	return nil
}

// checkURL: https, or http on loopback, without what makes two spellings of one.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("it is no URL")
	case u.Host == "" || u.User != nil || u.Fragment != "" || len(s) > 1024:
		return errors.New("it is no absolute URL without user name and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("it must be https; http is for loopback alone")
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// revision names an issuer's configuration, for logs and Status.
func (i *Issuer) revision() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []any{i.URL, i.OrganizationID, i.JWKSURL, i.JWKSFile, i.Algorithms, i.RolesClaim, i.Roles, i.Claims, i.MaxLifetime.String()}))
	return hex.EncodeToString(sum[:8])
}
