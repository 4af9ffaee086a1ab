package sso

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/sso/keys"
)

// tabs is what tells sessions that one browser opened at once: several tabs that
// are restored together come back from the identity provider together, before any
// answer has brought a login cookie, and each opens a session. The cookie then
// names one; signing out must end them all.
type tabs struct {
	own    string   // the attempt that the session came of
	beside []string // attempts that the browser had under way beside it
}

// attemptName names an attempt in records, and gives its state away to nobody.
func attemptName(a attempt) string {
	sum := sha256.Sum256([]byte(a.State))
	return hex.EncodeToString(sum[:8])
}

// underWay finds the other attempts of a browser for the same organization.
func underWay(sealer *keys.Sealer, sent []*http.Cookie, scheme string, a attempt, now time.Time) []string {
	prefix := cookieName(scheme, cookieState)
	var out []string
	for _, c := range sent {
		number, ok := strings.CutPrefix(c.Name, prefix)
		if !ok || len(out) == maxAttempts {
			continue
		}
		other, err := openAttempt(sealer, sent, scheme, cookieState+number, now)
		if err == nil && other.Organization == a.Organization && other.State != a.State {
			out = append(out, attemptName(other))
		}
	}
	return out
}

// together returns the ids of the sessions that the same browser opened at once
// with this one: each saw the other's attempt.
func (s *Sessions) together(id string) []string {
	k, ok := parseID(id)
	e := s.find(k)
	if !ok || e == nil || e.tabs == nil {
		return nil
	}
	var out []string
	s.each(func(k recordKey, o *entry) {
		if o.tabs != nil && o.session.OrganizationID == e.session.OrganizationID &&
			slices.Contains(o.tabs.beside, e.tabs.own) && slices.Contains(e.tabs.beside, o.tabs.own) {
			out = append(out, k.id())
		}
	})
	return out
}
