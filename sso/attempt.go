package sso

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"battery.app/gate/sso/keys"
)

// attempt is one login under way. It lives nowhere but in a sealed cookie of
// the browser that began it, so that strangers who begin logins cost no
// memory, and a callback counts only in that browser.
type attempt struct {
	V            int    `json:"v"`
	State        string `json:"state"`
	App          string `json:"app"`
	Organization string `json:"org"`
	Target       string `json:"rd"`
	Challenge    string `json:"challenge"`
	Expires      int64  `json:"exp"`   // Unix seconds
	Begun        int64  `json:"begun"` // Unix milliseconds

	// From is the session of the organization that the browser had, by its public id.
	From string `json:"from,omitempty"`
	// MaxAge is how many seconds ago the person may have signed in at the
	// identity provider; 0: any.
	MaxAge int64 `json:"max_age,omitempty"`
	// At the organization's own provider: its id, and what proves that its
	// answer belongs to this attempt.
	Connection string `json:"conn,omitempty"`
	Nonce      string `json:"nonce,omitempty"`
	Verifier   string `json:"pkce,omitempty"`
}

// errState: the callback does not belong to a login that this browser began.
var errState = errors.New("state is unknown to this browser, expired or used")

// newState is the state parameter: an attempt's number, so that its cookie is
// found, and 256 random bits.
func newState(now time.Time) (state, number string) {
	s := newSecret()
	number = numbered(now, s.text())
	return number + "." + s.text(), number
}

func (a attempt) cookie(sealer *keys.Sealer, scheme, number string) (*http.Cookie, error) {
	plain, err := compact(a)
	if err != nil {
		return nil, fmt.Errorf("write state cookie: %w", err)
	}
	return bake(scheme, cookieState+number, sealer.Seal(plain, cookieState+number), attemptLife), nil
}

// readAttempt finds the attempt that a callback's state belongs to, and the
// cookie it lies in.
func readAttempt(sealer *keys.Sealer, sent []*http.Cookie, scheme, state string, now time.Time) (attempt, string, error) {
	number, _, ok := strings.Cut(state, ".")
	if !ok || len(number) != 16 {
		return attempt{}, "", errState
	}
	name := cookieState + number
	a, err := openAttempt(sealer, sent, scheme, name, now)
	if err != nil || a.State != state {
		return attempt{}, "", errState
	}
	return a, name, nil
}

// openAttempt reads the attempt in a state cookie, named without __Host-.
func openAttempt(sealer *keys.Sealer, sent []*http.Cookie, scheme, name string, now time.Time) (attempt, error) {
	value, ok := single(sent, cookieName(scheme, name))
	if !ok {
		return attempt{}, errState
	}
	plain, err := sealer.Open(value, name)
	if err != nil {
		return attempt{}, errState
	}
	var a attempt
	if json.Unmarshal(plain, &a) != nil || a.V != 1 || now.Unix() >= a.Expires {
		return attempt{}, errState
	}
	return a, nil
}

// usedStates remembers which states came back, so that a callback works once
// even if the browser kept the cookie. It is bounded: the oldest is forgotten
// first, and what it then lets through still needs a fresh code of WorkOS.
type usedStates struct {
	mu   sync.Mutex
	seen map[[32]byte]struct{}
	ring [][32]byte
	next int
}

func newUsedStates(size int) *usedStates {
	return &usedStates{seen: make(map[[32]byte]struct{}), ring: make([][32]byte, size)}
}

// use reports whether state was not used before, and marks it.
func (u *usedStates) use(state string) bool {
	k := sha256.Sum256([]byte(state))
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.seen[k]; ok {
		return false
	}
	delete(u.seen, u.ring[u.next])
	u.ring[u.next] = k
	u.next = (u.next + 1) % len(u.ring)
	u.seen[k] = struct{}{}
	return true
}
