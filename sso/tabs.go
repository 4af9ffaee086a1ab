package sso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
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

// errSignedOut: the person signed out while the login was under way.
var errSignedOut = errors.New("the browser signed out while signing in")

// origins of a login: what a logout in the same browser calls off. Either may be
// empty.
type origins struct {
	attempt string // its own name
	from    string // the session that the browser had when it began
}

func (o origins) marks() []string {
	var out []string
	if o.attempt != "" {
		out = append(out, markKey("browser", "attempt", o.attempt))
	}
	if o.from != "" {
		out = append(out, markKey("browser", "from", o.from))
	}
	return out
}

// logOut ends a session at its person's wish, and with it the logins that their
// browser has under way, whose answers would sign them in again a moment later:
// those that the session saw beside it, and those that began from it. The marks
// lie in the store, so it does not matter on which replica an answer comes in.
func (s *Sessions) logOut(ctx context.Context, id string) error {
	now := s.now()
	return s.remove(ctx, "log out", id, func(tx store.Tx, value []byte) error {
		marks := origins{from: id}.marks()
		if r, err := readRecord(value); err == nil {
			for _, name := range r.Beside {
				marks = append(marks, origins{attempt: name}.marks()...)
			}
		}
		for _, key := range marks {
			if err := putMark(tx, key, now.Add(attemptLife), now); err != nil {
				return err
			}
		}
		return nil
	})
}

// notSignedOut refuses the record of a login that a logout called off.
func notSignedOut(tx store.Tx, o origins) error {
	for _, key := range o.marks() {
		switch _, err := tx.Get(key); {
		case err == nil:
			return errSignedOut
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}
