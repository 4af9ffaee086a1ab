package oidc

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	coreoidc "github.com/coreos/go-oidc/v3/oidc"
)

var (
	// ErrConfig: a provider is not configured so that it can be used. The text
	// says what is wrong.
	ErrConfig = errors.New("OpenID provider is not configured right")
	// ErrUnavailable: the provider did not answer, or not in the protocol. Trying
	// again may help.
	ErrUnavailable = errors.New("OpenID provider is not available")
	// ErrRefused: the provider did not take the code: it was used, is too old, or
	// is not of this login.
	ErrRefused = errors.New("OpenID provider refused the code")
	// ErrUntrusted: what the provider sent must not be believed. Somebody is
	// attacking, or the provider or its configuration is broken.
	ErrUntrusted = errors.New("answer of the OpenID provider cannot be trusted")
	// ErrNotFresh: a fresh login was asked for and the provider did not show that
	// there was one.
	ErrNotFresh = errors.New("OpenID provider did not sign the person in anew")
)

// maxSkew is how far the provider's clock may be off at most.
const maxSkew = time.Minute

// asymmetric are the algorithms there are a public key for. Those with a shared
// key are not among them: who holds the public key could sign (alg confusion).
var asymmetric = []string{
	coreoidc.RS256, coreoidc.RS384, coreoidc.RS512, coreoidc.PS256, coreoidc.PS384, coreoidc.PS512,
	coreoidc.ES256, coreoidc.ES384, coreoidc.ES512, coreoidc.EdDSA,
}

// Config of one provider. OrganizationID, ID, Issuer, ClientID and ClientSecret
// are required.
type Config struct {
	// OrganizationID is whose people sign in here, and nobody else's.
	OrganizationID string
	// ID names the connection: "oidc_" and up to 48 lower-case letters, digits,
	// "-" and "_". It is part of every user's id, so it stays when all else
	// changes.
	ID string
	// Issuer is the provider's issuer identifier, character for character.
	Issuer string

	ClientID     string
	ClientSecret string

	// Scopes beside "openid"; default: email, profile.
	Scopes []string
	// GroupsClaim is the claim that holds the person's groups; empty: none.
	GroupsClaim string
	// AllowedAlgorithms for ID and logout tokens; default: all asymmetric ones.
	AllowedAlgorithms []string
	// ClockSkew is how far the provider's clock may be off; default: 30 s, at
	// most a minute.
	ClockSkew time.Duration
	// TrustEmail takes an address as verified if the provider does not say
	// whether it is. That is right where only the customer's administrators set
	// addresses (Entra ID, AD FS). What it says is unverified stays so.
	TrustEmail bool
	// KeepProviderSession leaves people signed in at the provider when they sign
	// out here.
	KeepProviderSession bool

	Timeout   time.Duration     // of one request to the provider; default: 5 s
	Transport http.RoundTripper // default: one of its own, over http.DefaultTransport's settings
	Now       func() time.Time  // default: time.Now
}

// idForm keeps connection ids fit for headers, URLs and logs, and apart from
// WorkOS's, which begin with conn_.
var idForm = regexp.MustCompile(`^oidc_[a-z0-9_-]{1,48}$`)

// complete checks a configuration and fills in what has a default. It reports
// every fault at once.
func (c Config) complete() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.OrganizationID == "" {
		fault("organization is missing")
	}
	if !idForm.MatchString(c.ID) {
		fault("id %.60q must be oidc_ and 1 to 48 lower-case letters, digits, hyphens or underscores", c.ID)
	}
	if u, err := address(c.Issuer); err != nil {
		fault("issuer: %w", err)
	} else if u.RawQuery != "" || u.ForceQuery {
		fault("issuer: it must have no query (OpenID Connect Discovery §3)")
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		fault("client id and client secret are both needed")
	}
	if c.ClockSkew < 0 || c.ClockSkew > maxSkew {
		fault("clock skew %s must be between 0 and %s", c.ClockSkew, maxSkew)
	}
	for _, a := range c.AllowedAlgorithms {
		if !slices.Contains(asymmetric, a) {
			fault("algorithm %.20q is not asymmetric or not known; use some of %s", a, strings.Join(asymmetric, ", "))
		}
	}
	if len(faults) > 0 {
		return c, fmt.Errorf("%w: %.60q: %w", ErrConfig, c.ID, errors.Join(faults...))
	}
	c.defaults()
	return c, nil
}

func (c *Config) defaults() {
	c.AllowedAlgorithms = slices.Clone(c.AllowedAlgorithms)
	if len(c.AllowedAlgorithms) == 0 {
		c.AllowedAlgorithms = slices.Clone(asymmetric)
	}
	if c.Scopes == nil {
		c.Scopes = []string{coreoidc.ScopeEmail, coreoidc.ScopeProfile}
	}
	scopes := []string{coreoidc.ScopeOpenID}
	for _, s := range c.Scopes {
		if s != "" && !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	c.Scopes = scopes
	if c.ClockSkew == 0 {
		c.ClockSkew = 30 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
		if t, ok := http.DefaultTransport.(*http.Transport); ok {
			c.Transport = t.Clone()
		}
	}
}

// address reads a URL that the provider's metadata names. Only the operator may
// point to this machine or its link, by the issuer: the provider of a customer
// must not have us ask what listens there (request forgery).
func (c Config) address(s string) (*url.URL, error) {
	u, err := address(s)
	if err != nil {
		return nil, err
	}
	if issuer, err := url.Parse(c.Issuer); isNear(u.Hostname()) && (err != nil || !isNear(issuer.Hostname())) {
		return nil, fmt.Errorf("%.200q is on this machine, and the issuer is not", s)
	}
	return u, nil
}

// address reads a URL that secrets may be sent to: absolute, https or on this
// machine, without user and fragment. Its host is nothing but a name or an
// address: it stands in policies of pages (Content-Security-Policy) as it is.
func address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%.200q is not an absolute URL", s)
	}
	if strings.Trim(strings.ToLower(u.Host), "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]") != "" {
		return nil, fmt.Errorf("%.200q has a host that is neither a name nor an address", s)
	}
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("it must hold neither a user nor a fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%.200q must be https; plain http is for loopback alone", s)
	}
	return u, nil
}

// isLoopback: localhost and below (RFC 6761 §6.3) and the loopback addresses.
func isLoopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// isNear: what no name service leads to and no firewall guards: loopback, this
// host, and its link, where clouds keep credentials (169.254.169.254).
func isNear(host string) bool {
	a, err := netip.ParseAddr(host)
	return isLoopback(host) || err == nil && (a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Unmap().IsLinkLocalUnicast() || a.Unmap().IsUnspecified())
}
