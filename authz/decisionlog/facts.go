package decisionlog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"battery.app/gate/authz"
)

// cacheSize bounds each generation of each cache, in entries.
const cacheSize = 16384

// facts stores what apps, sessions and users looked like, each content once,
// and knows by pointer and by content what is stored already. Published values
// are immutable, so a known pointer needs no encoding.
//
// last_seen of a fact is never before the time of a row that refers to it;
// retention deletes by it and needs no reference counts. It moves in whole
// hours, so that a fact in use costs one update an hour.
type facts struct {
	apps     cache[*authz.App]
	sessions cache[*authz.Session]
	users    cache[*authz.User]
	contents cache[[sha256.Size]byte]
	people   cache[subject]
}

// subject is a person as filters find it. It is apart from the facts because a
// person has many sessions, and rows of one person must lie in one index run.
type subject struct {
	userID, email                   string
	directoryUserID, directoryEmail string
}

// stored is a row of facts or subjects; id 0 stands for what cannot be encoded.
type stored struct {
	id       int64
	lastSeen int64
}

func newFacts() *facts {
	f := &facts{}
	f.reset()
	return f
}

// reset forgets what is stored: after a rollback, and after old facts were
// deleted.
func (f *facts) reset() { *f = facts{} }

func (f *facts) app(ctx context.Context, tx *sql.Tx, a *authz.App, at int64, exact *bool) (any, error) {
	return fact(ctx, tx, f, &f.apps, "app", a, at, exact)
}

func (f *facts) session(ctx context.Context, tx *sql.Tx, s *authz.Session, at int64, exact *bool) (any, error) {
	return fact(ctx, tx, f, &f.sessions, "session", s, at, exact)
}

func (f *facts) user(ctx context.Context, tx *sql.Tx, u *authz.User, at int64, exact *bool) (any, error) {
	return fact(ctx, tx, f, &f.users, "user", u, at, exact)
}

// fact returns the id under which *p is stored, nil for no fact. What cannot
// be encoded is left out and the row is not exact.
func fact[T any](ctx context.Context, tx *sql.Tx, f *facts, known *cache[*T], kind string, p *T, at int64, exact *bool) (any, error) {
	if p == nil {
		return nil, nil
	}
	s, ok := known.get(p)
	if !ok || (s.id != 0 && s.lastSeen < at) {
		b, err := json.Marshal(p)
		if err != nil {
			s = stored{}
		} else if s, err = f.content(ctx, tx, kind, b, at); err != nil {
			return nil, err
		}
		known.put(p, s)
	}
	if s.id == 0 {
		*exact = false
		return nil, nil
	}
	return s.id, nil
}

func (f *facts) content(ctx context.Context, tx *sql.Tx, kind string, content []byte, at int64) (stored, error) {
	hash := sha256.Sum256(append([]byte(kind+"\x00"), content...))
	if s, ok := f.contents.get(hash); ok && s.lastSeen >= at {
		return s, nil
	}
	s := stored{lastSeen: hourAfter(at)}
	err := tx.QueryRowContext(ctx, `INSERT INTO facts (hash, kind, json, last_seen) VALUES (?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET last_seen =
			CASE WHEN facts.last_seen < excluded.last_seen THEN excluded.last_seen ELSE facts.last_seen END
		RETURNING id`, hash[:], kind, string(content), s.lastSeen).Scan(&s.id)
	if err != nil {
		return stored{}, err
	}
	f.contents.put(hash, s)
	return s, nil
}

// subject returns the id of the person a decision was about, nil for nobody.
func (f *facts) subject(ctx context.Context, tx *sql.Tx, r *authz.Record, at int64) (any, error) {
	if r.Session == nil && r.User == nil {
		return nil, nil
	}
	var who subject
	if r.Session != nil {
		who.userID, who.email = r.Session.UserID, r.Session.Email
	}
	if r.User != nil {
		who.directoryUserID, who.directoryEmail = r.User.ID, r.User.Email
	}
	if s, ok := f.people.get(who); ok && s.lastSeen >= at {
		return s.id, nil
	}
	s := stored{lastSeen: hourAfter(at)}
	key, err := json.Marshal([]string{who.userID, who.email, who.directoryUserID, who.directoryEmail})
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(key)
	err = tx.QueryRowContext(ctx, `INSERT INTO subjects
			(hash, user_id, email, directory_user_id, folded_email, folded_directory_email, last_seen)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET last_seen =
			CASE WHEN subjects.last_seen < excluded.last_seen THEN excluded.last_seen ELSE subjects.last_seen END
		RETURNING id`, hash[:], clean(who.userID, maxName), clean(who.email, maxName), name(who.directoryUserID),
		orNull(fold(who.email)), orNull(fold(who.directoryEmail)), s.lastSeen).Scan(&s.id)
	if err != nil {
		return nil, err
	}
	f.people.put(who, s)
	return s.id, nil
}

// fold makes e-mail addresses that differ in case equal, as filters want it.
func fold(email string) string { return strings.ToLower(clean(email, maxName)) }

// hourAfter is the first full hour after a time, in microseconds.
func hourAfter(at int64) int64 {
	hour := time.Hour.Microseconds()
	return at - at%hour + hour
}

// cache remembers the keys used most recently: at least cacheSize of them, at
// most twice as many. Its zero value is empty.
type cache[K comparable] struct{ young, old map[K]stored }

func (c *cache[K]) get(k K) (stored, bool) {
	if s, ok := c.young[k]; ok {
		return s, true
	}
	s, ok := c.old[k]
	if ok {
		c.put(k, s)
	}
	return s, ok
}

func (c *cache[K]) put(k K, s stored) {
	if len(c.young) >= cacheSize {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[K]stored)
	}
	c.young[k] = s
}
