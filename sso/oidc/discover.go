package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coreoidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"
)

const (
	// keptFor is how long metadata and keys are believed without asking again: a
	// key that the provider withdraws is refused after that at the latest.
	keptFor = time.Hour
	// After a failure nobody is made to wait for another for firstPause, then
	// twice as long each time, up to longestPause.
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// Provider is one organization's OpenID provider. It is safe for concurrent
// use, and holds no connection or goroutine while nobody signs in.
type Provider struct {
	cfg Config

	turn chan struct{} // held by the one that asks for the metadata

	mu     sync.Mutex
	known  *metadata
	fault  error // of the last attempt
	pause  time.Duration
	notYet time.Time // no attempt before that
}

// metadata is what discovery found, checked, with the keys that go with it.
type metadata struct {
	provider     *coreoidc.Provider
	tokens       *coreoidc.IDTokenVerifier // for ID tokens: they come from the provider itself
	logouts      *coreoidc.IDTokenVerifier // for logout tokens: anyone may send one
	endSession   string
	namesIssuer  bool // answers carry iss (RFC 9207 §3)
	secretInBody bool
	until        time.Time
}

// New checks a configuration. It sends nothing: a provider that is down at the
// start is found when somebody signs in.
func New(c Config) (*Provider, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	return &Provider{cfg: c, turn: make(chan struct{}, 1)}, nil
}

// ID is the connection's id.
func (p *Provider) ID() string { return p.cfg.ID }

// OrganizationID is whose provider it is.
func (p *Provider) OrganizationID() string { return p.cfg.OrganizationID }

// Issuer is the provider's issuer identifier.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// discover returns the metadata, asking the provider if it is unknown or old.
// One asks, the others wait for it; after a failure all are told at once until
// the pause is over. Old metadata is used on while the provider is down.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	if m, err, settled := p.settled(); settled {
		return m, err
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: discovery: %w", ErrUnavailable, ctx.Err())
	}
	if m, err, settled := p.settled(); settled {
		return m, err
	}
	m, err := p.fetch(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.known, p.fault, p.pause = m, nil, 0
		return m, nil
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		// The person went away: that says nothing about the provider.
	default:
		p.pause = min(max(2*p.pause, firstPause), longestPause)
		p.fault, p.notYet = err, p.cfg.Now().Add(p.pause)
	}
	if p.known != nil {
		return p.known, nil
	}
	return nil, err
}

// settled returns what is known, if there is no point in asking now.
func (p *Provider) settled() (*metadata, error, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	switch {
	case p.known != nil && (now.Before(p.known.until) || now.Before(p.notYet)):
		return p.known, nil, true
	case p.fault != nil && now.Before(p.notYet):
		return nil, p.fault, true
	}
	return nil, nil, false
}

func (p *Provider) fetch(ctx context.Context) (*metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	ctx = coreoidc.ClientContext(ctx, p.cfg.client(guarded{}))
	found, err := coreoidc.NewProvider(ctx, p.cfg.Issuer)
	if err != nil {
		var mismatch *coreoidc.IssuerMismatchError
		if errors.As(err, &mismatch) {
			return nil, fmt.Errorf("%w: discovery: it calls itself %.200q", ErrUntrusted, mismatch.Discovered)
		}
		// The text may hold whatever the provider sent; some of it is enough.
		return nil, fmt.Errorf("%w: discovery: %s", ErrUnavailable, excerpt(err))
	}
	var doc struct {
		KeysURL     string   `json:"jwks_uri"`
		EndSession  string   `json:"end_session_endpoint"`
		NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"`
		Secrets     []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := found.Claims(&doc); err != nil {
		return nil, fmt.Errorf("%w: discovery: %s", ErrUnavailable, excerpt(err))
	}
	e := found.Endpoint()
	for name, s := range map[string]string{"authorization endpoint": e.AuthURL, "token endpoint": e.TokenURL, "key set": doc.KeysURL} {
		if _, err := p.cfg.address(s); err != nil {
			return nil, fmt.Errorf("%w: discovery: %s: %w", ErrUntrusted, name, err)
		}
	}
	// Not needed to sign in: without them there is no UserInfo or no logout there.
	if _, err := p.cfg.address(doc.EndSession); err != nil {
		doc.EndSession = ""
	}
	return &metadata{
		provider: found, endSession: doc.EndSession, namesIssuer: doc.NamesIssuer,
		tokens:  p.verifier(doc.KeysURL, nil),
		logouts: p.verifier(doc.KeysURL, rate.NewLimiter(rate.Every(5*time.Second), 3)),
		// Without a list the provider takes the header (OpenID Connect Discovery §3).
		secretInBody: len(doc.Secrets) > 0 && !slices.Contains(doc.Secrets, "client_secret_basic"),
		until:        p.cfg.Now().Add(keptFor),
	}, nil
}

// verifier checks signature, algorithm, issuer and audience. The times are
// checked here, because the library allows five minutes on one side and nothing
// on the other.
func (p *Provider) verifier(keysURL string, limit *rate.Limiter) *coreoidc.IDTokenVerifier {
	ctx := coreoidc.ClientContext(context.Background(), p.cfg.client(guarded{keys: true, limit: limit}))
	return coreoidc.NewVerifier(p.cfg.Issuer, keySet{coreoidc.NewRemoteKeySet(ctx, keysURL)}, &coreoidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: p.cfg.AllowedAlgorithms, SkipExpiryCheck: true,
	})
}

func (p *Provider) oauth(m *metadata, redirectURI string) *oauth2.Config {
	e := m.provider.Endpoint()
	e.AuthStyle = oauth2.AuthStyleInHeader
	if m.secretInBody {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret,
		Endpoint: e, RedirectURL: redirectURI, Scopes: p.cfg.Scopes,
	}
}

// keySet tells a key set that cannot be got from a signature that does not
// hold: the library says both in words alone.
type keySet struct{ *coreoidc.RemoteKeySet }

type keyFault struct{ err error }

type keyFaultKey struct{}

func (k keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, jwt)
	// A signature that does not hold has no cause; keys that could not be asked
	// for, read or understood have one.
	if f, ok := ctx.Value(keyFaultKey{}).(*keyFault); ok && errors.Unwrap(err) != nil {
		f.err = err
	}
	return payload, err
}

// verifying runs a verifier and says which of the two it was.
func verifying[T any](ctx context.Context, verify func(context.Context, string) (T, error), token string) (T, error) {
	fault := &keyFault{}
	out, err := verify(context.WithValue(ctx, keyFaultKey{}, fault), token)
	switch {
	case fault.err != nil:
		return out, fmt.Errorf("%w: keys: %s", ErrUnavailable, excerpt(fault.err))
	case err != nil:
		return out, fmt.Errorf("%w: %s", ErrUntrusted, excerpt(err))
	}
	return out, nil
}

// excerpt is the beginning of an error's text: it may repeat what a stranger
// sent.
func excerpt(err error) string {
	s := err.Error()
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
