package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxLogoutAge is how old a logout token may be: it says that a session ended
// now. It bounds for how long a used one must be remembered.
const maxLogoutAge = 5 * time.Minute

// Logout is a verified logout token: the provider says that a session, or all
// of a person's, ended.
type Logout struct {
	TokenID   string // jti
	Subject   string // empty: whoever has the session
	SessionID string // empty: all sessions of the subject
	// Replayable is until when the same token would be taken again.
	Replayable time.Time
}

// logoutEvent is what makes a token a logout token (OpenID Connect Back-Channel
// Logout 1.0 §2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// VerifyLogout checks a logout token by OpenID Connect Back-Channel Logout 1.0
// §2.6, all but the replay of its jti, which is the caller's part. Errors match
// ErrUntrusted or ErrUnavailable.
func (p *Provider) VerifyLogout(ctx context.Context, token string) (Logout, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return Logout{}, fmt.Errorf("verify logout token: %w", err)
	}
	t, err := verifying(ctx, m.logouts.VerifyLogout, token)
	if err != nil {
		return Logout{}, fmt.Errorf("verify logout token: %w", err)
	}
	var c struct {
		Events map[string]json.RawMessage `json:"events"`
	}
	if err := t.Claims(&c); err != nil || !bytes.HasPrefix(bytes.TrimSpace(c.Events[logoutEvent]), []byte("{")) {
		return Logout{}, fmt.Errorf("verify logout token: %w: its event is no object", ErrUntrusted)
	}
	if !logoutType(token) {
		return Logout{}, fmt.Errorf("verify logout token: %w: it is a token of another type", ErrUntrusted)
	}
	switch {
	case len(t.Audience) != 1 || t.Audience[0] != p.cfg.ClientID:
		return Logout{}, fmt.Errorf("verify logout token: %w: it is for others, too", ErrUntrusted)
	case len(t.TokenID) > maxText || len(t.Subject) > maxText || len(t.SessionID) > maxText:
		return Logout{}, fmt.Errorf("verify logout token: %w: a claim is too long", ErrUntrusted)
	}
	if err := p.checkTimes(t.IssuedAt, t.Expiry, time.Time{}); err != nil {
		return Logout{}, fmt.Errorf("verify logout token: %w", err)
	}
	end := t.IssuedAt.Add(maxLogoutAge + p.cfg.ClockSkew)
	if !p.cfg.Now().Before(end) {
		return Logout{}, fmt.Errorf("verify logout token: %w: it is older than %s", ErrUntrusted, maxLogoutAge)
	}
	return Logout{TokenID: t.TokenID, Subject: t.Subject, SessionID: t.SessionID, Replayable: end}, nil
}

// logoutType: a typ that is given must be one of those that the standard knows,
// so that tokens made for other purposes stay there (RFC 8725 §3.11).
func logoutType(token string) bool {
	parsed, err := jose.ParseSignedCompact(token, algorithms())
	if err != nil || len(parsed.Signatures) != 1 {
		return false
	}
	typ, _ := parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "" || typ == "logout+jwt" || typ == "jwt"
}

func algorithms() []jose.SignatureAlgorithm {
	out := make([]jose.SignatureAlgorithm, len(asymmetric))
	for i, a := range asymmetric {
		out[i] = jose.SignatureAlgorithm(a)
	}
	return out
}

// LogoutURL is where the browser goes to sign out at the provider as well, and
// from there to the registered address returnTo, with state. It is empty if the
// provider has no such place, or is not to be signed out of. idToken may be
// empty; then the provider may ask the person.
func (p *Provider) LogoutURL(ctx context.Context, idToken, returnTo, state string) (string, error) {
	if p.cfg.KeepProviderSession {
		return "", nil
	}
	m, err := p.discover(ctx)
	if err != nil {
		return "", fmt.Errorf("make logout URL: %w", err)
	}
	if m.endSession == "" {
		return "", nil
	}
	u, err := url.Parse(m.endSession)
	if err != nil {
		return "", fmt.Errorf("make logout URL: %w", err)
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	q.Set("post_logout_redirect_uri", returnTo)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	if state != "" {
		q.Set("state", state)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
