package sso

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/sso/keys"
)

// The cookies, as they are named on plain-http loopback. Over https each has
// the prefix __Host-, by which the browser itself sees to it that they are
// Secure, host-only and set by this host (RFC 6265bis §4.1.3.2).
const (
	hostPrefix     = "__Host-"
	cookieSession  = "battery_session"   // app host: the app token
	cookieVerifier = "battery_verifier_" // app host: one per attempt
	cookieState    = "battery_state_"    // public host: one per attempt, sealed
	cookieLogin    = "battery_login"     // public host: sealed
)

// maxAttempts is how many logins one browser may have under way.
const maxAttempts = 5

// maxDeleted is how many of a browser's cookies one answer deletes: who sends
// thousands does not get thousands of lines back.
const maxDeleted = 16

// attemptLife is how long a login may take.
const attemptLife = 10 * time.Minute

// SessionCookieName is the app cookie's name on a host of that scheme.
func SessionCookieName(scheme string) string { return cookieName(scheme, cookieSession) }

func cookieName(scheme, name string) string {
	if scheme == "http" {
		return name
	}
	return hostPrefix + name
}

// bake makes one of our cookies; life 0 deletes it. SameSite is Lax, not
// Strict, because the way back from the identity provider is cross-site.
func bake(scheme, name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure follows the scheme: plain http only exists on loopback
		Name: cookieName(scheme, name), Value: value, Path: "/",
		HttpOnly: true, Secure: scheme != "http", SameSite: http.SameSiteLaxMode,
		MaxAge: int(life / time.Second),
	}
	if c.MaxAge <= 0 {
		c.Value, c.MaxAge = "", -1
	}
	return c
}

// values returns every copy of a cookie that was sent.
func values(sent []*http.Cookie, name string) []string {
	var out []string
	for _, c := range sent {
		if c.Name == name {
			out = append(out, c.Value)
		}
	}
	return out
}

// single returns a cookie's value if it was sent exactly once. Two copies mean
// that someone else can write cookies here, and then neither counts.
func single(sent []*http.Cookie, name string) (string, bool) {
	all := values(sent, name)
	if len(all) != 1 {
		return "", false
	}
	return all[0], true
}

// makeRoom deletes the oldest of the cookies of a numbered kind, so that with a
// new one there are at most maxAttempts (of a normal browser's). The numbers begin with the time, so
// their order is their age; what is not one of ours sorts as oldest.
func makeRoom(sent []*http.Cookie, scheme, kind string) []*http.Cookie {
	prefix := cookieName(scheme, kind)
	var numbers []string
	for _, c := range sent {
		if n, ok := strings.CutPrefix(c.Name, prefix); ok && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, func(a, b string) int { return strings.Compare(age(a), age(b)) })
	var out []*http.Cookie
	for len(numbers) >= maxAttempts && len(out) < maxDeleted {
		out = append(out, bake(scheme, kind+numbers[0], "", 0))
		numbers = numbers[1:]
	}
	return out
}

func age(number string) string {
	if len(number) != 16 {
		return ""
	}
	return number
}

// numbered is the number of an attempt: its time and some bits of a hash, in
// hex.
func numbered(now time.Time, of string) string {
	sum := sha256.Sum256([]byte(of))
	return fmt.Sprintf("%08x%s", uint32(now.Unix()), hex.EncodeToString(sum[:4]))
}

// verifier is the random value that stays on the app's host.
func newVerifier() string {
	s := newSecret()
	return s.text()
}

// challengeOf is what of the verifier travels (as in RFC 7636 §4.2, S256).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return encoding.EncodeToString(sum[:])
}

// isChallenge reports whether s has the form of a SHA-256 in base64url.
func isChallenge(s string) bool {
	_, err := parseSecret(s)
	return err == nil
}

// findVerifier returns the name of the verifier cookie, without __Host-, whose
// hash is the challenge.
func findVerifier(sent []*http.Cookie, scheme, challenge string) (string, bool) {
	prefix := cookieName(scheme, cookieVerifier)
	for _, c := range sent {
		n, ok := strings.CutPrefix(c.Name, prefix)
		if ok && isChallenge(c.Value) &&
			subtle.ConstantTimeCompare([]byte(challengeOf(c.Value)), []byte(challenge)) == 1 {
			return cookieVerifier + n, true
		}
	}
	return "", false
}

// maxLogins is how many organizations' sessions the login cookie holds; the
// oldest goes first. It keeps the cookie under 4096 bytes.
const maxLogins = 12

// logins is what the login cookie holds: at most one session per organization,
// oldest first.
type logins struct {
	V        int     `json:"v"`
	Sessions []login `json:"s"`
}

type login struct {
	Organization string `json:"o"`
	Secret       string `json:"k"`
}

// readLogins opens the login cookie. One that is not ours, or there twice, is
// as good as none.
func readLogins(sealer *keys.Sealer, sent []*http.Cookie, scheme string) logins {
	none := logins{V: 1}
	value, ok := single(sent, cookieName(scheme, cookieLogin))
	if !ok {
		return none
	}
	plain, err := sealer.Open(value, cookieLogin)
	if err != nil {
		return none
	}
	var l logins
	if json.Unmarshal(plain, &l) != nil || l.V != 1 {
		return none
	}
	return l
}

// compact is JSON without HTML escapes, which would make six bytes of every "&"
// in a return address and push a cookie over 4096.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func (l logins) of(organization string) (secret, bool) {
	for _, e := range l.Sessions {
		if e.Organization == organization {
			s, err := parseSecret(e.Secret)
			return s, err == nil
		}
	}
	return secret{}, false
}

func (l logins) with(organization string, s secret) logins {
	out := logins{V: 1}
	for _, e := range l.Sessions {
		if e.Organization != organization {
			out.Sessions = append(out.Sessions, e)
		}
	}
	out.Sessions = append(out.Sessions, login{organization, s.text()})
	if n := len(out.Sessions) - maxLogins; n > 0 {
		out.Sessions = out.Sessions[n:]
	}
	return out
}

func (l logins) cookie(sealer *keys.Sealer, scheme string, life time.Duration) (*http.Cookie, error) {
	plain, err := compact(l)
	if err != nil {
		return nil, fmt.Errorf("write login cookie: %w", err)
	}
	return bake(scheme, cookieLogin, sealer.Seal(plain, cookieLogin), life), nil
}
