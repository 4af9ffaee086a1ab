package machines

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"battery.app/gate/authz"
)

// skew is how far an issuer's clock may be from ours.
const skew = 60 * time.Second

// maxSubject bounds a subject, which travels in headers and records, in bytes.
const maxSubject = 255

// claims are the members of a token's payload as they were written. Reading them
// refuses a member that is there twice: which one counts differs from reader to
// reader.
type claims map[string]strict.RawMessage

// verify checks a JWT from its shape to its claims. What it returns with an
// empty code was signed by the issuer for this app and holds now.
func (v *Verifier) verify(now time.Time, app *authz.App, bearer string) (*issuer, *authz.Session, *keySet, string) {
	invalid := func() (*issuer, *authz.Session, *keySet, string) { return nil, nil, nil, authz.CodeTokenInvalid }
	jws, err := jose.ParseSignedCompact(bearer, supported())
	if err != nil || len(jws.Signatures) != 1 {
		return invalid()
	}
	header := jws.Signatures[0].Protected
	if !acceptable(&header) {
		return invalid()
	}
	// Nothing of this is believed but which issuer's keys to try.
	var c claims
	if strict.Unmarshal(jws.UnsafePayloadWithoutVerification(), &c) != nil {
		return invalid()
	}
	iss, _ := c.text("iss")
	i := v.issuers[iss]
	if i == nil || !slices.Contains(app.Machines.Issuers, iss) || i.OrganizationID != app.OrganizationID ||
		app.Machines.Audience == "" || !slices.Contains(i.algs, jose.SignatureAlgorithm(header.Algorithm)) {
		return invalid()
	}
	keys, code := i.verifySignature(jws, &header, now, v.opt.MaxStale)
	if code != "" {
		return nil, nil, nil, code
	}
	session, code := i.session(c, app, now)
	if code != "" {
		return nil, nil, nil, code
	}
	return i, session, keys, ""
}

// acceptable looks at what a header demands. jku, x5u, x5c and jwk are not looked
// at: a key comes from the issuer's own set or not at all.
func acceptable(h *jose.Header) bool {
	if _, demands := h.ExtraHeaders["crit"]; demands {
		return false // RFC 7515 §4.1.11: we know no extension
	}
	if _, odd := h.ExtraHeaders["b64"]; odd || len(h.KeyID) > maxKid {
		return false
	}
	typ, given := h.ExtraHeaders[jose.HeaderType]
	if !given {
		return true
	}
	text, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(text), "application/") {
	case "jwt", "at+jwt": // RFC 7519 §5.1, RFC 9068 §2.1
		return true
	}
	return false // a token made for something else (RFC 8725 §3.11)
}

// verifySignature tries the keys that the header names, of the set that is known
// now. A key that is not known is asked for, for the next request.
func (i *issuer) verifySignature(jws *jose.JSONWebSignature, h *jose.Header, now time.Time, maxStale time.Duration) (*keySet, string) {
	f := i.keys.Load()
	if f == nil || now.Sub(f.at) >= maxStale {
		i.want()
		return nil, authz.CodeTokenKey
	}
	fit, known := f.set.find(h.KeyID, jose.SignatureAlgorithm(h.Algorithm))
	if !known {
		i.want()
		return nil, authz.CodeTokenKey
	}
	for _, k := range fit {
		if _, err := jws.Verify(k.public); err == nil {
			return f.set, ""
		}
	}
	return nil, authz.CodeTokenInvalid
}

// session reads the claims of a token whose signature was verified.
func (i *issuer) session(c claims, app *authz.App, now time.Time) (*authz.Session, string) {
	exp, okExp := c.time("exp")
	iat, okIat := c.time("iat")
	nbf, okNbf := c.time("nbf")
	_, hasNbf := c["nbf"]
	_, bound := c["cnf"]
	sub, okSub := c.text("sub")
	switch {
	case !okExp || !okIat || hasNbf && !okNbf, !okSub || !plainSubject(sub):
		return nil, authz.CodeTokenInvalid
	case bound:
		return nil, authz.CodeTokenInvalid // RFC 7800: it is good only with proof of a key, which a bearer does not give
	case !slices.Contains(c.list("aud"), app.Machines.Audience):
		return nil, authz.CodeTokenAudience
	case !now.Before(exp.Add(skew)):
		return nil, authz.CodeTokenExpired
	case iat.After(now.Add(skew)) || hasNbf && nbf.After(now.Add(skew)) || !iat.Before(exp):
		return nil, authz.CodeTokenInvalid
	case i.MaxLifetime > 0 && exp.Sub(iat) > i.MaxLifetime:
		return nil, authz.CodeTokenInvalid
	}
	seen := map[string]any{"iss": i.URL, authz.ClaimRoles: i.roles(c)}
	for _, name := range i.Claims {
		if raw, ok := c[name]; ok {
			value, err := plainValue(raw)
			if err != nil {
				return nil, authz.CodeTokenInvalid
			}
			seen[name] = value
		}
	}
	return &authz.Session{
		UserID: sub, OrganizationID: i.OrganizationID, Kind: authz.KindJWT,
		IssuedAt: iat, ExpiresAt: exp, Claims: seen,
	}, ""
}

// plainSubject: printable, of bearable length, and not of the form of a person's
// id (a WorkOS profile's, or that of somebody signed in by OpenID Connect), which
// apps take from the same header.
func plainSubject(s string) bool {
	if s == "" || len(s) > maxSubject || strings.HasPrefix(s, "prof_") || strings.HasPrefix(s, "oidc_") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// roles translates the values of the roles claim by the issuer's table.
func (i *issuer) roles(c claims) []string {
	var out []string
	for _, value := range i.roleValues(c) {
		out = append(out, i.Roles[value]...)
	}
	return grantable(out)
}

func (i *issuer) roleValues(c claims) []string {
	name := i.RolesClaim
	if name == "" {
		return nil
	}
	if !strings.HasPrefix(name, "/") {
		return c.words(name)
	}
	parts := strings.Split(name[1:], "/")
	for n, part := range parts {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		if n == len(parts)-1 {
			return c.words(part)
		}
		var inner claims
		if strict.Unmarshal(c[part], &inner) != nil {
			return nil
		}
		c = inner
	}
	return nil
}

// text is a claim that is a string.
func (c claims) text(name string) (string, bool) {
	var s *string
	if raw, ok := c[name]; !ok || strict.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// list is a claim that is a string or an array of strings; anything else is
// nothing (RFC 7519 §4.1.3).
func (c claims) list(name string) []string {
	if s, ok := c.text(name); ok {
		return []string{s}
	}
	var l []string
	if raw, ok := c[name]; !ok || strict.Unmarshal(raw, &l) != nil {
		return nil
	}
	return l
}

// words is list, with a string split at its spaces (RFC 6749 §3.3).
func (c claims) words(name string) []string {
	if s, ok := c.text(name); ok {
		return strings.Fields(s)
	}
	return c.list(name)
}

// lastSecond is the end of the year 9999, after which no time can be written.
const lastSecond = 253402300799

// time is a claim that is a NumericDate: seconds since 1970, perhaps with a
// fraction (RFC 7519 §2).
func (c claims) time(name string) (time.Time, bool) {
	var n *float64
	if raw, ok := c[name]; !ok || strict.Unmarshal(raw, &n) != nil || n == nil || *n < 1 || *n > lastSecond {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(*n)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

// plainValue is a claim's value with its numbers as they were written. A number
// that no float holds is refused: what a policy does with it could cost any
// amount of memory.
func plainValue(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	return out, checkNumbers(out)
}

func checkNumbers(v any) error {
	switch v := v.(type) {
	case json.Number:
		_, err := v.Float64()
		return err
	case []any:
		for _, e := range v {
			if err := checkNumbers(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range v {
			if err := checkNumbers(e); err != nil {
				return err
			}
		}
	}
	return nil
}
