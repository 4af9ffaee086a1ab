package sso

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Rate is how many requests one client may make: PerSecond in the long run,
// Burst at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limits of what anybody may ask for without being signed in, by client. The
// zero value of each is its default. A company's people often share one
// address, so the limits are wide: they are there against floods.
type Limits struct {
	Login  Rate // /login, /callback, /.battery/login and /.battery/session together; default: 20/s, 300
	Picker Rate // e-mail addresses asked about; default: 0.5/s, 20
	Logout Rate // logout tokens; default: 20/s, 300
}

func (r Rate) or(d Rate) Rate {
	if r.PerSecond <= 0 || r.Burst <= 0 {
		return d
	}
	return r
}

// maxClients is how many clients are told apart at most, in one generation.
const maxClients = 1 << 15

// limiter is a token bucket for each client. Its memory is bounded: when a
// generation is full the one before it is forgotten, and with it those that
// came least recently.
type limiter struct {
	rate Rate
	max  int
	now  func() time.Time

	mu          sync.Mutex
	recent, old map[netip.Prefix]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(r Rate, now func() time.Time) *limiter {
	return &limiter{rate: r, max: maxClients, now: now, recent: map[netip.Prefix]bucket{}}
}

// clientOf is what counts as one client: an IPv4 address, or the /64 that one
// IPv6 customer has to itself. Unknown addresses are one client.
func clientOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap() // Prefix drops the zone
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// allow takes a token of the client's, or says how long until there is one.
func (l *limiter) allow(ip netip.Addr) (wait time.Duration, ok bool) {
	k, now := clientOf(ip), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.recent[k]
	if !known {
		if b, known = l.old[k]; !known {
			b = bucket{tokens: float64(l.rate.Burst), at: now}
		}
		if len(l.recent) >= l.max {
			l.old, l.recent = l.recent, make(map[netip.Prefix]bucket)
		}
	}
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.tokens = math.Min(float64(l.rate.Burst), b.tokens+passed*l.rate.PerSecond)
		b.at = now
	}
	if ok = b.tokens >= 1; ok {
		b.tokens--
	} else {
		wait = time.Duration((1 - b.tokens) / l.rate.PerSecond * float64(time.Second))
	}
	l.recent[k] = b
	return wait, ok
}

// limited answers what is over the limit with 429. Without a way to know the
// client there is no limit: behind a gateway all would share one.
func (s *Service) limited(l *limiter, h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.limit(l, w, r); err != nil {
			return err
		}
		return h(w, r)
	}
}

func (s *Service) limit(l *limiter, w http.ResponseWriter, r *http.Request) error {
	if s.clientIP == nil {
		return nil
	}
	wait, ok := l.allow(s.clientIP(r))
	if ok {
		return nil
	}
	s.count(r.Context(), "limit", "refused")
	w.Header().Set("Retry-After", strconv.FormatInt(max(1, wholeSeconds(wait)), 10))
	return &PageError{Status: http.StatusTooManyRequests, Title: "Too many tries",
		Text: "There were too many sign-ins from your network just now. Wait a moment, then try again."}
}

// LimitPicker holds a page of the public host, which anybody may send an e-mail
// address to, to the limit of the organization picker. It answers whoever asks
// too often itself.
func (s *Service) LimitPicker(next http.Handler) http.Handler {
	return s.serve(s.limited(s.pickerLimit, func(w http.ResponseWriter, r *http.Request) error {
		next.ServeHTTP(w, r)
		return nil
	}))
}
