package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	coreoidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Attempt is one login under way: what both its beginning and its end need.
// State, Nonce and Verifier are random, of this attempt alone; only the browser
// that began it may bring them back.
type Attempt struct {
	RedirectURI string
	State       string
	Nonce       string
	Verifier    string // PKCE (RFC 7636): 43 to 128 characters
	// MaxAge asks for a login no longer ago than that; 0: any.
	MaxAge time.Duration
}

// AuthorizationURL is where the browser goes to sign in. It fails if the
// provider's metadata cannot be had.
func (p *Provider) AuthorizationURL(ctx context.Context, a Attempt, loginHint string) (string, error) {
	if a.RedirectURI == "" || a.State == "" || a.Nonce == "" || len(a.Verifier) < 43 {
		return "", errors.New("make authorization URL: redirect URI, state, nonce and verifier are required")
	}
	m, err := p.discover(ctx)
	if err != nil {
		return "", fmt.Errorf("make authorization URL: %w", err)
	}
	opts := []oauth2.AuthCodeOption{coreoidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if loginHint != "" {
		opts = append(opts, oauth2.SetAuthURLParam("login_hint", loginHint))
	}
	if a.MaxAge > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(a.MaxAge/time.Second), 10)))
	}
	return p.oauth(m, a.RedirectURI).AuthCodeURL(a.State, opts...), nil
}

// CheckIssuer compares the iss parameter of an answer, where there is one, with
// the provider that the attempt went to. Another one's answer means that
// somebody mixes up two providers to get at a code (RFC 9207 §1).
func (p *Provider) CheckIssuer(iss string) error {
	if iss != "" && iss != p.cfg.Issuer {
		return fmt.Errorf("%w: it comes from the issuer %.200q", ErrUntrusted, iss)
	}
	return nil
}

// Exchange turns a code into the person it stands for. iss is the answer's iss
// parameter, empty if it has none. Errors match ErrUnavailable, ErrRefused,
// ErrUntrusted or ErrNotFresh.
func (p *Provider) Exchange(ctx context.Context, a Attempt, code, iss string) (Identity, error) {
	if err := p.CheckIssuer(iss); err != nil {
		return Identity{}, fmt.Errorf("exchange code: %w", err)
	}
	if a.Nonce == "" || a.Verifier == "" || code == "" {
		return Identity{}, fmt.Errorf("exchange code: %w: the attempt is not complete", ErrUntrusted)
	}
	m, err := p.discover(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("exchange code: %w", err)
	}
	if m.namesIssuer && iss == "" {
		return Identity{}, fmt.Errorf("exchange code: %w: it does not name its issuer, though the provider always does", ErrUntrusted)
	}
	ctx = coreoidc.ClientContext(ctx, p.cfg.client(guarded{}))
	token, err := p.oauth(m, a.RedirectURI).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return Identity{}, fmt.Errorf("exchange code: %w", tokenFault(err))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" {
		return Identity{}, fmt.Errorf("exchange code: %w: there is no ID token", ErrUntrusted)
	}
	id, err := p.identify(ctx, m, a, token, raw)
	if err != nil {
		return Identity{}, fmt.Errorf("exchange code: %w", err)
	}
	return id, nil
}

// tokenFault sorts what the token endpoint answered. Its text is dropped: it
// may repeat the code or the secret.
func tokenFault(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response == nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			return fmt.Errorf("%w: its token endpoint does not answer: %s", ErrUnavailable, excerpt(failed.Err))
		}
		return fmt.Errorf("%w: its token endpoint talks nonsense", ErrUnavailable)
	}
	status := answer.Response.StatusCode
	switch {
	case answer.ErrorCode == "invalid_grant":
		return ErrRefused
	case answer.ErrorCode == "invalid_client" || answer.ErrorCode == "unauthorized_client" || status == http.StatusUnauthorized:
		return fmt.Errorf("%w: it does not take this client's id and secret", ErrConfig)
	}
	return fmt.Errorf("%w: its token endpoint answers with status %d", ErrUnavailable, status)
}

// identify checks the ID token and reads the person out of it.
func (p *Provider) identify(ctx context.Context, m *metadata, a Attempt, token *oauth2.Token, raw string) (Identity, error) {
	t, err := verifying(ctx, m.tokens.Verify, raw)
	if err != nil {
		return Identity{}, err
	}
	c, err := readClaims(t.Claims)
	if err != nil {
		return Identity{}, err
	}
	if err := p.checkIDToken(t, c); err != nil {
		return Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(a.Nonce)) != 1 {
		return Identity{}, fmt.Errorf("%w: the nonce is not the one that was sent", ErrUntrusted)
	}
	if t.AccessTokenHash != "" {
		if err := t.VerifyAccessToken(token.AccessToken); err != nil {
			return Identity{}, fmt.Errorf("%w: the access token is not the ID token's", ErrUntrusted)
		}
	}
	// A sign-in that lies ahead would count as a fresh one until then.
	if c.AuthTime < 0 || c.AuthTime.time().After(p.cfg.Now().Add(p.cfg.ClockSkew)) {
		c.AuthTime = 0
	}
	if a.MaxAge > 0 {
		if c.AuthTime == 0 || p.cfg.Now().After(c.AuthTime.time().Add(a.MaxAge+p.cfg.ClockSkew)) {
			return Identity{}, fmt.Errorf("%w: auth_time is missing or longer ago than asked for", ErrNotFresh)
		}
	}
	if c.Email == "" || (p.cfg.GroupsClaim != "" && !c.has(p.cfg.GroupsClaim)) {
		if err := p.askUserInfo(ctx, m, token, t.Subject, c); err != nil {
			return Identity{}, err
		}
	}
	return p.identity(t.Subject, raw, c)
}

// checkIDToken: what the library leaves to its caller (OpenID Connect Core
// §3.1.3.7), and its exception for one issuer, which is not wanted here.
func (p *Provider) checkIDToken(t *coreoidc.IDToken, c *claims) error {
	switch {
	case t.Issuer != p.cfg.Issuer:
		return fmt.Errorf("%w: issuer %.200q", ErrUntrusted, t.Issuer)
	case len(t.Audience) != 1 || t.Audience[0] != p.cfg.ClientID:
		return fmt.Errorf("%w: the ID token is for others, too", ErrUntrusted)
	case c.AuthorizedParty != "" && c.AuthorizedParty != p.cfg.ClientID:
		return fmt.Errorf("%w: the ID token was made for another client", ErrUntrusted)
	case t.Subject == "" || len(t.Subject) > 255:
		return fmt.Errorf("%w: the subject is missing or too long", ErrUntrusted)
	}
	return p.checkTimes(t.IssuedAt, t.Expiry, c.NotBefore.time())
}

// checkTimes allows the provider's clock to be off by the skew, both ways.
func (p *Provider) checkTimes(issued, expires, notBefore time.Time) error {
	now, skew := p.cfg.Now(), p.cfg.ClockSkew
	switch {
	case issued.IsZero() || expires.IsZero():
		return fmt.Errorf("%w: iat or exp is missing", ErrUntrusted)
	case !now.Before(expires.Add(skew)):
		return fmt.Errorf("%w: the token expired at %s", ErrUntrusted, expires.UTC().Format(time.RFC3339))
	case now.Add(skew).Before(issued) || now.Add(skew).Before(notBefore):
		return fmt.Errorf("%w: the token is not valid yet; compare the clocks", ErrUntrusted)
	}
	return nil
}

// askUserInfo adds what the ID token does not say. The answer counts only if it
// is about the same subject (OpenID Connect Core §5.3.2): else it would put one
// person's address on another.
func (p *Provider) askUserInfo(ctx context.Context, m *metadata, token *oauth2.Token, subject string, c *claims) error {
	if _, err := p.cfg.address(m.provider.UserInfoEndpoint()); err != nil {
		return nil //nolint:nilerr // the provider has none that may be asked; the person has no address then
	}
	info, err := m.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("%w: UserInfo: %s", ErrUnavailable, excerpt(err))
	}
	if info.Subject != subject {
		return fmt.Errorf("%w: UserInfo is about somebody else", ErrUntrusted)
	}
	more, err := readClaims(info.Claims)
	if err != nil {
		return err
	}
	c.fill(more)
	return nil
}
