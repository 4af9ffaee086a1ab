package sso

import (
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
