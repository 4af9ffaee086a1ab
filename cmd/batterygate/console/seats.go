package console

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// How long a console session lives, and how many there are at most. Only who
// signed in has one, so the counts are against one token in a loop.
const (
	idleLimit     = 30 * time.Minute
	absoluteLimit = 8 * time.Hour
	maxSeats      = 1024
	seatsEach     = 8 // of one token or SSO session
)

// source is what a console session stands on: exactly one of both.
type source struct {
	token   string // id of an API token
	session string // public id of an SSO session
}

// seat is a console session. It holds no secret of what it stands on.
type seat struct {
	from        source
	begun, used time.Time
	key         [32]byte // of its forms' tokens
}

func (s *seat) over(now time.Time) bool {
	return now.Sub(s.used) >= idleLimit || now.Sub(s.begun) >= absoluteLimit || now.Before(s.begun)
}

// seats are the console sessions, by the hash of their cookie. The zero value is
// ready.
type seats struct {
	mu sync.Mutex
	by map[[32]byte]*seat
}

// open begins a console session and returns its cookie. old is the browser's
// cookie of before, whose session ends.
func (s *seats) open(old string, from source, now time.Time) string {
	id := random()
	n := &seat{from: from, begun: now, used: now}
	_, _ = rand.Read(n.key[:]) // crypto/rand.Read never fails: it ends the program instead
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[[32]byte]*seat{}
	}
	delete(s.by, sha256.Sum256([]byte(old)))
	for k, x := range s.by {
		if x.over(now) {
			delete(s.by, k)
		}
	}
	s.drop(seatsEach, func(x *seat) bool { return x.from == from })
	s.drop(maxSeats, func(*seat) bool { return true })
	s.by[sha256.Sum256([]byte(id))] = n
	return id
}

// drop ends those of a kind that were not used for longest, until there is room
// for one under limit.
func (s *seats) drop(limit int, of func(*seat) bool) {
	for {
		n, oldest := 0, [32]byte{}
		for k, x := range s.by {
			if !of(x) {
				continue
			}
			if n++; n == 1 || x.used.Before(s.by[oldest].used) {
				oldest = k
			}
		}
		if n < limit {
			return
		}
		delete(s.by, oldest)
	}
}

// find is the live session of a cookie, which is used by that.
func (s *seats) find(id string, now time.Time) (seat, bool) {
	k := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.by[k]
	if x == nil || id == "" {
		return seat{}, false
	}
	if x.over(now) {
		delete(s.by, k)
		return seat{}, false
	}
	x.used = now
	return *x, true
}

// end ends the session of a cookie.
func (s *seats) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sha256.Sum256([]byte(id)))
}
