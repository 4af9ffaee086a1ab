package console

import (
	"net/http"
	"slices"
	"strings"
)

// The cookies, by their names on plain-http loopback. Over https each has the
// prefix __Host-, so that no other host can set it.
const (
	cookieSeat    = "battery_console"          // the console session
	cookieEntry   = "battery_console_entry"    // binds the sign-in form to the browser
	cookieAttempt = "battery_console_attempt_" // the verifier of an SSO sign-in under way: one for each, so that several tabs work
)

// A browser has so many sign-ins under way at most; one answer deletes so many of
// its cookies at most, however many it sends.
const (
	maxAttempts = 5
	maxDeleted  = 16
)

// attemptID is how an attempt's cookie is found again: a part of its challenge,
// which is no secret.
func attemptID(challenge string) string { return challenge[:12] }

// makeRoom deletes the oldest attempts, so that there is room for one more. Their
// values begin with when they are over, so their order is their age; what is not
// one of ours sorts anywhere, and is deleted as well.
func (c *Console) makeRoom(w http.ResponseWriter, r *http.Request) {
	prefix := c.cookieName(cookieAttempt)
	var old []*http.Cookie
	for _, k := range r.Cookies() {
		if strings.HasPrefix(k.Name, prefix) {
			old = append(old, k)
		}
	}
	slices.SortFunc(old, func(a, b *http.Cookie) int { return strings.Compare(a.Value, b.Value) })
	for _, k := range old[:min(maxDeleted, max(0, len(old)-maxAttempts+1))] {
		c.setCookie(w, cookieAttempt+strings.TrimPrefix(k.Name, prefix), "", 0)
	}
}

func (c *Console) cookieName(name string) string {
	if c.secure {
		return "__Host-" + name
	}
	return name
}

// setCookie sets one of ours; an empty value deletes it. All are Strict but the
// verifier, which must come along when the browser returns from the public host.
func (c *Console) setCookie(w http.ResponseWriter, name, value string, seconds int) {
	k := &http.Cookie{Name: c.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode, MaxAge: seconds} //nolint:gosec // Secure follows the scheme: plain http only exists on loopback
	if strings.HasPrefix(name, cookieAttempt) {
		k.SameSite = http.SameSiteLaxMode
	}
	if value == "" {
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

// cookie is one of ours, if it was sent once. Two copies mean that somebody else
// can write cookies here, and then none counts.
func (c *Console) cookie(r *http.Request, name string) string {
	value, n := "", 0
	for _, k := range r.Cookies() {
		if k.Name == c.cookieName(name) {
			value, n = k.Value, n+1
		}
	}
	if n != 1 || len(value) > 200 {
		return ""
	}
	return value
}
