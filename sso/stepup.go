package sso

import (
	"fmt"
	"net/url"
	"time"

	"battery.app/gate/authz"
)

// freshGrace is how much longer than its app asks a fresh login counts. A
// provider whose clock is behind ours holds the person for fresh a little
// longer than we do; without it the browser would go in circles meanwhile.
const freshGrace = time.Minute

// ageLimit is how long ago a person must have signed in at the identity
// provider at most to use an app; 0: no matter.
func (s *Sessions) ageLimit(app *authz.App) time.Duration {
	if s.maxAge == nil || app == nil {
		return 0
	}
	return max(s.maxAge(app), 0)
}

// fresh reports whether a session shows a login that is fresh enough for the
// app.
func (s *Sessions) fresh(e *entry, app *authz.App, now time.Time) bool {
	limit := s.ageLimit(app)
	return limit == 0 || e.youngerThan(limit, now)
}

// youngerThan reports whether the person is known to have signed in at the
// identity provider no longer ago than limit.
func (e *entry) youngerThan(limit time.Duration, now time.Time) bool {
	return e.authenticated != 0 && now.UnixNano()-e.authenticated < int64(limit+freshGrace)
}

// wholeSeconds rounds up, so that a limit is never sent as none.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// askAnew makes an authorization URL of WorkOS ask for credentials even from
// whom the identity provider still knows.
func askAnew(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", fmt.Errorf("ask for a fresh login: %w", err)
	}
	q := u.Query()
	q.Set("prompt", "login")
	u.RawQuery = q.Encode()
	return u.String(), nil
}
