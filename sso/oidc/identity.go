package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
)

// Limits of what one person may bring. Groups are kept with the session and
// shown to policies at every request.
const (
	maxGroups     = 1000
	maxGroupBytes = 64 << 10
	maxText       = 255
)

// Identity is a person the provider vouches for.
type Identity struct {
	// UserID is stable for connection, issuer and subject, and safe in a header.
	UserID  string
	Subject string
	// Email is verified, or empty. Unverified is an address that is not: anyone
	// may have typed it.
	Email      string
	Unverified string

	GivenName  string
	FamilyName string

	// Groups is nil if no groups claim is configured. GroupsMissing: the provider
	// says that there are groups, but elsewhere (Entra ID does above 200).
	Groups        []string
	GroupsMissing bool

	// SessionID is the provider's own name of its session, for back-channel
	// logout; AuthTime when the person signed in there. Either may be empty.
	SessionID string
	AuthTime  time.Time

	// IDToken is what the provider wants back at logout, to know whose session is
	// meant. It is a secret.
	IDToken string
}

// claims is what is read of an ID token or of UserInfo. Everything else stays
// in raw.
type claims struct {
	AuthorizedParty string            `json:"azp"`
	NotBefore       seconds           `json:"nbf"`
	AuthTime        seconds           `json:"auth_time"`
	SessionID       string            `json:"sid"`
	Email           string            `json:"email"`
	EmailVerified   *flag             `json:"email_verified"`
	GivenName       string            `json:"given_name"`
	FamilyName      string            `json:"family_name"`
	Elsewhere       map[string]string `json:"_claim_names"`

	raw map[string]json.RawMessage
}

// seconds since 1970, as some write them: with a fraction.
type seconds float64

func (s seconds) time() time.Time {
	if s == 0 || math.IsNaN(float64(s)) || math.Abs(float64(s)) > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// flag is a boolean, which some providers write as a string.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = string(b) == "true" || string(b) == `"true"`
	return nil
}

func readClaims(read func(any) error) (*claims, error) {
	c := &claims{}
	if err := read(c); err != nil {
		return nil, fmt.Errorf("%w: its claims are not of the form they must have", ErrUntrusted)
	}
	if err := read(&c.raw); err != nil {
		return nil, fmt.Errorf("%w: its claims are no object", ErrUntrusted)
	}
	return c, nil
}

func (c *claims) has(name string) bool { return c.raw[name] != nil || c.Elsewhere[name] != "" }

// fill takes from UserInfo what the ID token, which is signed, does not say.
// Address and its verification go together.
func (c *claims) fill(more *claims) {
	if c.Email == "" {
		c.Email, c.EmailVerified = more.Email, more.EmailVerified
	}
	if c.GivenName == "" && c.FamilyName == "" {
		c.GivenName, c.FamilyName = more.GivenName, more.FamilyName
	}
	for name, value := range more.raw {
		if c.raw[name] == nil {
			c.raw[name] = value
		}
	}
}

func (p *Provider) identity(subject, raw string, c *claims) (Identity, error) {
	if len(c.SessionID) > maxText {
		return Identity{}, fmt.Errorf("%w: the session id is too long", ErrUntrusted)
	}
	id := Identity{
		UserID: p.UserID(subject), Subject: subject, GivenName: short(c.GivenName), FamilyName: short(c.FamilyName),
		SessionID: c.SessionID, AuthTime: c.AuthTime.time(), IDToken: raw,
	}
	if plausible(c.Email) {
		if c.EmailVerified != nil && bool(*c.EmailVerified) || c.EmailVerified == nil && p.cfg.TrustEmail {
			id.Email = c.Email
		} else {
			id.Unverified = c.Email
		}
	}
	if p.cfg.GroupsClaim == "" {
		return id, nil
	}
	var err error
	id.GroupsMissing = c.Elsewhere[p.cfg.GroupsClaim] != "" && c.raw[p.cfg.GroupsClaim] == nil
	id.Groups, err = groups(c.raw[p.cfg.GroupsClaim])
	return id, err
}

// groups reads a list of names, or one name. Too many are refused rather than
// cut: a policy that denies by group must see all.
func groups(raw json.RawMessage) ([]string, error) {
	out := []string{}
	if len(raw) == 0 || string(raw) == "null" {
		return out, nil
	}
	if len(raw) > maxGroupBytes {
		return nil, fmt.Errorf("%w: the groups claim has %d bytes; let the provider send fewer groups", ErrUntrusted, len(raw))
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("%w: the groups claim is not a list of names", ErrUntrusted)
	}
	if len(out) > maxGroups {
		return nil, fmt.Errorf("%w: the groups claim has %d groups; let the provider send fewer", ErrUntrusted, len(out))
	}
	return out, nil
}

// UserID is the id of a subject of this provider. A subject is unique for its
// issuer alone (OpenID Connect Core §5.7) and may hold any character, so it is
// hashed with both.
func (p *Provider) UserID(subject string) string {
	h := sha256.New()
	for _, s := range []string{p.cfg.ID, p.cfg.Issuer, subject} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return "oidc_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// plausible: an address has one "@" with something around it, and is at most
// 254 bytes (RFC 5321 §4.5.3.1.3) that can be shown.
func plausible(email string) bool {
	local, domain, ok := strings.Cut(email, "@")
	return ok && local != "" && domain != "" && !strings.Contains(domain, "@") && len(email) <= 254 &&
		strings.IndexFunc(email, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' || r == unicode.ReplacementChar }) < 0
}

func short(s string) string {
	if len(s) > maxText {
		return ""
	}
	return s
}
