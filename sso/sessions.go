package sso

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/store"
)

// SessionsOptions of NewSessions. All but Log and Now are required.
type SessionsOptions struct {
	Store store.Store
	Keys  *keys.Ring
	// Absolute is how long a session lives at most, Idle how long without a
	// request.
	Absolute, Idle time.Duration
	// Published waits until what this process answers from carries the store
	// revision; then a new session is known and an ended one is gone.
	Published func(ctx context.Context, revision uint64) error
	// MaxAge is how long ago a person must have signed in at the identity
	// provider at most to use an app; 0: no matter. nil: no app asks.
	MaxAge func(app *authz.App) time.Duration
	// Ended reports whether what a session stood on is gone, as Directory's does:
	// its record goes, too, so that it does not come back when a connection that was
	// turned off is turned on again. nil: no record goes for that.
	Ended func(*authz.Session) bool
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: nothing is logged
}

// Sessions keeps the session records: all of them in memory, fed by the store's
// changes (Load, then Apply), so that a request finds its session without
// waiting for anything. It is safe for concurrent use.
type Sessions struct {
	store     store.Store
	ring      *keys.Ring
	vault     *keys.Vault
	macs      *keys.MACs // follows the vault
	absolute  time.Duration
	idle      time.Duration
	published func(context.Context, uint64) error
	maxAge    func(*authz.App) time.Duration
	ended     func(*authz.Session) bool
	now       func() time.Time
	log       *slog.Logger

	// providers are the OpenID providers that are configured, by id. A session of
	// another is over.
	providers atomic.Pointer[map[string]*oidc.Provider]
	// signerChanged is told what the store holds as assertion keys.
	signerChanged atomic.Pointer[func([]byte)]

	shards [64]shard
}

var _ authz.Sessions = (*Sessions)(nil)

// shard holds a part of the records, so that logins do not stop requests.
type shard struct {
	mu      sync.RWMutex
	entries map[recordKey]*entry
	_       [32]byte // keeps neighbouring locks on separate cache lines
}

// entry is one session. Everything but voucher, seen and saved is immutable.
type entry struct {
	session *authz.Session
	// authenticated is when the person signed in at the identity provider, in
	// Unix nanoseconds; 0: nobody says. providerSession is its session's name.
	authenticated   int64
	providerSession string
	tabs            *tabs // nil: none

	voucher atomic.Pointer[oidc.Provider] // of whom it is known that the session is theirs

	seen  atomic.Int64 // Unix nanoseconds of the last request
	saved atomic.Int64 // what the store says of it
}

// NewSessions makes an empty keeper. It starts nothing, and knows no cookie until
// it has the keys, by New of the Service or by Load.
func NewSessions(o SessionsOptions) (*Sessions, error) {
	switch {
	case o.Store == nil || o.Keys == nil || o.Published == nil:
		return nil, errors.New("make session keeper: store, keys and published are required")
	case o.Absolute <= 0 || o.Idle <= 0:
		return nil, errors.New("make session keeper: the absolute and the idle limit must be above zero")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ended == nil {
		o.Ended = func(*authz.Session) bool { return false }
	}
	vault, err := keys.NewVault(keys.VaultOptions{Store: o.Store, Ring: o.Keys, Now: o.Now, Log: o.Log,
		Lives: map[string]time.Duration{keys.Sessions: o.Absolute, keys.Tickets: max(formLife, attemptLife, ticketLife)}})
	if err != nil {
		return nil, fmt.Errorf("make session keeper: %w", err)
	}
	s := &Sessions{
		store: o.Store, ring: o.Keys, vault: vault, macs: vault.MACs(keys.Cookie), absolute: o.Absolute, idle: o.Idle,
		published: o.Published, maxAge: o.MaxAge, ended: o.Ended, now: o.Now, log: o.Log,
	}
	for i := range s.shards {
		s.shards[i].entries = make(map[recordKey]*entry)
	}
	return s, nil
}

func (s *Sessions) shard(k recordKey) *shard { return &s.shards[k[0]%64] }

func (s *Sessions) find(k recordKey) *entry {
	sh := s.shard(k)
	sh.mu.RLock()
	e := sh.entries[k]
	sh.mu.RUnlock()
	return e
}

// Session implements authz.Sessions. A token counts only if it was minted here
// for this app and host and all copies agree: two that differ mean that
// someone else can set cookies here, and then nobody is signed in. Where the
// app asks for a fresh login, a session that cannot show one counts as expired:
// the person signs in again.
func (s *Sessions) Session(now time.Time, app *authz.App, host string, tokens []string) (*authz.Session, string) {
	e, code := s.named(now, app, host, tokens)
	switch {
	case e == nil:
		return nil, code
	case !s.fresh(e, app, now):
		return nil, authz.CodeSessionExpired
	}
	return e.session, ""
}

// named finds the live session that an app's cookies name, however long ago the
// person signed in.
func (s *Sessions) named(now time.Time, app *authz.App, host string, tokens []string) (*entry, string) {
	if len(tokens) == 0 || app == nil {
		return nil, authz.CodeNoSession
	}
	for _, t := range tokens[1:] {
		if t != tokens[0] {
			return nil, authz.CodeNoSession
		}
	}
	p, ok := verify(s.macs, now, tokens[0], app.ID, host)
	if !ok {
		return nil, authz.CodeNoSession
	}
	return s.live(now, p.key, p.expires)
}

// live finds a session that is neither ended nor over its limits, and notes
// that it was seen. expires is what the token says, for records that are gone.
func (s *Sessions) live(now time.Time, k recordKey, expires int64) (*entry, string) {
	e := s.find(k)
	switch {
	case now.Unix() >= expires:
		return nil, authz.CodeSessionExpired
	case e == nil, s.disconnected(e):
		return nil, authz.CodeSessionRevoked
	case s.over(e, now):
		return nil, authz.CodeSessionExpired
	}
	// A second is fine enough, and keeps a busy session's cache line quiet. A use
	// that lies ahead of the clock was none.
	for at, seen := now.UnixNano(), e.seen.Load(); at-seen > int64(time.Second) || seen-at > int64(clockSlack); seen = e.seen.Load() {
		if e.seen.CompareAndSwap(seen, at) {
			break
		}
	}
	return e, ""
}

// disconnected reports whether a session's OpenID provider is not the
// organization's (any more): removed, given to another organization, or, under
// the same id, another issuer.
func (s *Sessions) disconnected(e *entry) bool {
	if e.session.Kind != kindOIDC {
		return false
	}
	all := s.providers.Load()
	return all == nil || !e.vouchedBy((*all)[e.session.ConnectionID])
}

// vouchedBy reports whether the session is one that p can have made: it is in
// the user's id which issuer that was.
func (e *entry) vouchedBy(p *oidc.Provider) bool {
	if p == nil || p.OrganizationID() != e.session.OrganizationID {
		return false
	}
	if e.voucher.Load() == p {
		return true
	}
	if p.UserID(e.session.IdpID) != e.session.UserID {
		return false
	}
	e.voucher.Store(p)
	return true
}

// clockSlack is how far ahead of this clock another replica's may be. What is
// dated later was dated by a clock that was wrong and is set right by now: its
// limits would end as much too late.
const clockSlack = 5 * time.Minute

// over reports whether a session is past its absolute or its idle limit, or was
// made so far ahead of the clock that they are none.
func (s *Sessions) over(e *entry, now time.Time) bool {
	return !now.Before(e.session.ExpiresAt) || now.Before(e.session.IssuedAt.Add(-clockSlack)) || now.UnixNano()-e.seen.Load() >= int64(s.idle)
}

// bySecret finds the live session of a secret that came out of a sealed cookie
// or ticket.
func (s *Sessions) bySecret(now time.Time, sec secret) *entry {
	e := s.find(sec.key())
	if e == nil {
		return nil
	}
	found, _ := s.live(now, sec.key(), e.session.ExpiresAt.Unix())
	return found
}

// Load makes the keeper hold what the store holds now: what is not among the
// entries is over. Sessions that stay are never out of sight meanwhile.
func (s *Sessions) Load(entries []store.Entry) {
	keep := make(map[recordKey]bool, len(entries))
	for _, e := range entries {
		if k, ok := keyOf(e.Key); ok {
			keep[k] = true
		}
		s.put(e)
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for k := range sh.entries {
			if !keep[k] {
				delete(sh.entries, k)
			}
		}
		sh.mu.Unlock()
	}
}

// Apply takes one change of the store. Keys of other rooms are ignored.
func (s *Sessions) Apply(c store.Change) {
	for _, e := range c.Entries {
		s.put(e)
	}
}

func (s *Sessions) put(in store.Entry) {
	k, ok := keyOf(in.Key)
	if !ok {
		if !in.Deleted {
			s.keysChanged(in)
		}
		return
	}
	sh := s.shard(k)
	if in.Deleted {
		sh.mu.Lock()
		delete(sh.entries, k)
		sh.mu.Unlock()
		return
	}
	r, err := readRecord(in.Value)
	if err != nil {
		// Fail closed: what cannot be read is nobody's session.
		s.log.Error("session record is unreadable and counts as ended", "key", in.Key, "error", err)
		sh.mu.Lock()
		delete(sh.entries, k)
		sh.mu.Unlock()
		return
	}
	seen := r.LastSeen.UnixNano()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// A record only ever changes its last_seen, so the session that others hold
	// pointers to stays the same.
	if e := sh.entries[k]; e != nil && e.session.UserID == r.UserID && e.session.ExpiresAt.Equal(r.ExpiresAt) {
		e.saved.Store(seen)
		for old := e.seen.Load(); old < seen && !e.seen.CompareAndSwap(old, seen); old = e.seen.Load() {
		}
		return
	}
	e := &entry{session: r.session(k.id()), providerSession: r.ProviderSession}
	if !r.AuthenticatedAt.IsZero() {
		e.authenticated = r.AuthenticatedAt.UnixNano()
	}
	if len(r.Beside) > 0 {
		e.tabs = &tabs{own: r.Attempt, beside: r.Beside}
	}
	e.seen.Store(seen)
	e.saved.Store(seen)
	sh.entries[k] = e
}

// keysChanged takes the keys that the store holds now. Other keys of the store
// are ignored.
func (s *Sessions) keysChanged(in store.Entry) {
	if in.Key != signerKey {
		s.vault.Apply(in.Key, in.Value)
	} else if f := s.signerChanged.Load(); f != nil {
		(*f)(in.Value)
	}
}

// Count is how many records are kept, live or not.
func (s *Sessions) Count() int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		n += len(sh.entries)
		sh.mu.RUnlock()
	}
	return n
}

func (s *Sessions) wait(ctx context.Context, revision uint64) error {
	if err := s.published(ctx, revision); err != nil {
		return fmt.Errorf("wait for revision %d to be published: %w", revision, err)
	}
	return nil
}
