package sso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// ErrNoSession: there is no session of that id.
var ErrNoSession = errors.New("sso: no such session")

// Filter chooses sessions. Empty fields choose all.
type Filter struct {
	OrganizationID string
	User           string // WorkOS profile id, or e-mail in any case
	ConnectionID   string
	Is             func(*authz.Session) bool // nil: every one
}

func (f Filter) matches(s *authz.Session) bool {
	return (f.OrganizationID == "" || f.OrganizationID == s.OrganizationID) &&
		(f.ConnectionID == "" || f.ConnectionID == s.ConnectionID) &&
		(f.User == "" || f.User == s.UserID || strings.EqualFold(f.User, s.Email)) &&
		(f.Is == nil || f.Is(s))
}

// Info is a session and when it was last used, to within a second.
type Info struct {
	*authz.Session
	LastSeen time.Time
}

// List returns the live sessions that match, newest first.
func (s *Sessions) List(f Filter) []Info {
	now := s.now()
	var out []Info
	s.each(func(_ recordKey, e *entry) {
		if f.matches(e.session) && !s.over(e, now) && !s.disconnected(e) {
			out = append(out, Info{Session: e.session, LastSeen: time.Unix(0, e.seen.Load()).UTC()})
		}
	})
	slices.SortFunc(out, func(a, b Info) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Get returns a live session by its public id, or ErrNoSession.
func (s *Sessions) Get(id string) (*authz.Session, error) {
	k, ok := parseID(id)
	if !ok {
		return nil, ErrNoSession
	}
	if e := s.find(k); e != nil && !s.over(e, s.now()) && !s.disconnected(e) {
		return e.session, nil
	}
	return nil, ErrNoSession
}

// Revoke ends a session for all apps. It returns once every later request here
// is answered without it, or ErrNoSession.
func (s *Sessions) Revoke(ctx context.Context, id string) error {
	return s.remove(ctx, "revoke session", id, func(store.Tx, []byte) error { return nil })
}

// remove deletes a record, after first has seen it in the same transaction, and
// returns when this process knows. what names the act in errors.
func (s *Sessions) remove(ctx context.Context, what, id string, first func(tx store.Tx, value []byte) error) error {
	k, ok := parseID(id)
	if !ok {
		return ErrNoSession
	}
	revision, err := s.store.Update(ctx, func(tx store.Tx) error {
		value, err := tx.Get(sessionKey(k.id()))
		if errors.Is(err, store.ErrNotFound) {
			return ErrNoSession
		} else if err != nil {
			return err
		}
		if err := first(tx, value); err != nil {
			return err
		}
		return tx.Delete(sessionKey(k.id()))
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.wait(ctx, revision)
}

// RevokeWhere ends every session that matches, live or not, and returns how
// many. Some may have ended when it returns an error. No session that was made
// before the call slips through: what the store holds by then, of whatever
// replica, is waited for.
func (s *Sessions) RevokeWhere(ctx context.Context, f Filter) (int, error) {
	_, now, err := s.store.List(ctx, keys.Prefix) // a few entries; the revision is the whole store's
	if err == nil {
		err = s.wait(ctx, now)
	}
	if err != nil {
		return 0, fmt.Errorf("revoke sessions: %w", err)
	}
	var ids []string
	s.each(func(k recordKey, e *entry) {
		if f.matches(e.session) {
			ids = append(ids, k.id())
		}
	})
	n, revision, err := s.deleteAll(ctx, ids, sessionKey)
	if err != nil {
		return n, fmt.Errorf("revoke sessions: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.wait(ctx, revision)
}

// create makes the record of a new session and ends those it replaces, in one
// transaction. It returns when the session is known to this process. seal makes
// the logout hint, bound to the new session's id; it may be nil.
func (s *Sessions) create(ctx context.Context, r record, replaces []string, seal func(id string) string) (secret, *authz.Session, error) {
	sec := newSecret()
	id := sec.key().id()
	now := s.now().UTC().Truncate(time.Millisecond)
	r.V = recordVersion
	r.IssuedAt, r.LastSeen, r.ExpiresAt = now, now, now.Add(s.absolute)
	if seal != nil {
		r.LogoutHint = seal(id)
	}
	value, err := json.Marshal(r)
	if err != nil {
		return secret{}, nil, fmt.Errorf("create session: %w", err)
	}
	revision, err := s.store.Update(ctx, func(tx store.Tx) error {
		if err := notLoggedOut(tx, r); err != nil {
			return err
		}
		if err := notSignedOut(tx, r.came); err != nil {
			return err
		}
		for _, old := range replaces {
			if err := tx.Delete(sessionKey(old)); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return tx.Put(sessionKey(id), value)
	})
	if err != nil {
		return secret{}, nil, fmt.Errorf("create session: %w", err)
	}
	if err := s.wait(ctx, revision); err != nil {
		return secret{}, nil, fmt.Errorf("create session: %w", err)
	}
	return sec, r.session(id), nil
}

func (s *Sessions) each(f func(recordKey, *entry)) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for k, e := range sh.entries {
			f(k, e)
		}
		sh.mu.RUnlock()
	}
}

// chunk keeps a transaction under the store's limit of operations.
const chunk = store.MaxTxOps / 2

// deleteAll deletes the keys of names, a chunk at a time. It returns how many
// were there and the last revision.
func (s *Sessions) deleteAll(ctx context.Context, names []string, key func(string) string) (int, uint64, error) {
	var last uint64
	total := 0
	for part := range slices.Chunk(names, chunk) {
		n := 0
		revision, err := s.store.Update(ctx, func(tx store.Tx) error {
			n = 0
			for _, name := range part {
				if _, err := tx.Get(key(name)); errors.Is(err, store.ErrNotFound) {
					continue
				} else if err != nil {
					return err
				}
				if err := tx.Delete(key(name)); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			return total, last, err
		}
		total, last = total+n, revision
	}
	return total, last, nil
}
