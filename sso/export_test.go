package sso

import (
	"net/http"
	"net/netip"
	"time"
)

// Limiter is the limiter, for a test of its bounds.
type Limiter struct{ l *limiter }

func NewLimiter(r Rate, max int, now func() time.Time) Limiter {
	l := newLimiter(r, now)
	l.max = max
	return Limiter{l}
}

func (l Limiter) Allow(ip netip.Addr) (time.Duration, bool) { return l.l.allow(ip) }

// Size is how many clients are remembered.
func (l Limiter) Size() int { return len(l.l.recent) + len(l.l.old) }

// Misfile is the login cookie with one organization's session under another's name.
func (s *Service) Misfile(sent []*http.Cookie, of, under string) *http.Cookie {
	sec, ok := readLogins(s.logins, sent, s.public.scheme).of(of)
	if !ok {
		return nil
	}
	c, err := logins{V: 1}.with(under, sec).cookie(s.logins, s.public.scheme, time.Hour)
	if err != nil {
		return nil
	}
	return c
}
