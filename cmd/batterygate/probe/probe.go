package probe

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
	"battery.app/gate/store"
)

// TokenPrefix begins every probe's token, so that secret scanners and people
// know one.
const TokenPrefix = "bgp_"

const (
	// MaxTTL is the longest life of a probe, DefaultTTL the usual one.
	MaxTTL     = 30 * time.Minute
	DefaultTTL = 10 * time.Minute

	keyPrefix = "admin/probe/"
	atOnce    = 32 // live probes, so that what they saw stays small
	collected = 64 // of them in one transaction
)

// Wide is the mark of a probe's request whose identity headers should be long:
// the session's e-mail address is padded.
const Wide = "wide"

// widths of the padded address, in bytes: identity headers may be 3.5 KiB in
// all, and an assertion holds the address once more.
const (
	wide         = 2700
	wideAsserted = 800
)

var (
	// ErrTooMany: as many probes live as may.
	ErrTooMany = errors.New("too many probes live at once")
	// ErrTTL: a life that no probe may have.
	ErrTTL = errors.New("ttl must be at most 30m")
)

// Probe is a probe as it is shown.
type Probe struct {
	ID             string    `json:"id"`
	AppID          string    `json:"app_id"`
	OrganizationID string    `json:"organization_id"`
	CreatedAt      time.Time `json:"created_at"`
	ExpiresAt      time.Time `json:"expires_at"`
}

type record struct {
	V int `json:"v"`
	Probe
}

// Room keeps probes by the hash of their token, fed by the store like every other
// view, and what arrived of each. Store, Now and Log are required. It is safe
// for concurrent use.
type Room struct {
	Store store.Store
	Now   func() time.Time
	Log   *slog.Logger

	mu     sync.RWMutex
	byHash map[string]*live
}

// live is a probe and what arrived of it.
type live struct {
	Probe
	seen ring
}

var (
	_ authz.Probes   = (*Room)(nil)
	_ forward.Probes = (*Room)(nil)
)

// Load replaces the view. What arrived of a probe that is still there stays.
func (r *Room) Load(entries []store.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.byHash
	r.byHash = map[string]*live{}
	for _, e := range entries {
		r.put(e, before)
	}
}

// Apply moves the view on by a change.
func (r *Room) Apply(c store.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range c.Entries {
		r.put(e, r.byHash)
	}
}

func (r *Room) put(e store.Entry, before map[string]*live) {
	hash, ok := strings.CutPrefix(e.Key, keyPrefix)
	if !ok {
		return
	}
	if e.Deleted {
		delete(r.byHash, hash)
		return
	}
	var rec record
	if err := json.Unmarshal(e.Value, &rec); err != nil || rec.V != 1 {
		delete(r.byHash, hash)
		r.Log.Error("probe is unreadable and counts as ended", "key", e.Key, "error", err)
		return
	}
	p := &live{Probe: rec.Probe}
	if old := before[hash]; old != nil {
		p.seen = old.seen
	}
	if r.byHash == nil {
		r.byHash = map[string]*live{}
	}
	r.byHash[hash] = p
}

// Create makes a probe of app that lives for ttl. The token is told here and
// nowhere else. It works once revision is in force.
func (r *Room) Create(ctx context.Context, app *authz.App, ttl time.Duration) (p Probe, token string, revision uint64, err error) {
	if ttl <= 0 || ttl > MaxTTL {
		return Probe{}, "", 0, ErrTTL
	}
	now := r.Now().UTC()
	r.mu.RLock()
	alive := 0
	for _, l := range r.byHash {
		if now.Before(l.ExpiresAt) {
			alive++
		}
	}
	r.mu.RUnlock()
	if alive >= atOnce {
		return Probe{}, "", 0, ErrTooMany
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	token = TokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	hash := hashOf(token)
	p = Probe{ID: "probe_" + hash[:24], AppID: app.ID, OrganizationID: app.OrganizationID, CreatedAt: now, ExpiresAt: now.Add(ttl)}
	value, err := json.Marshal(record{V: 1, Probe: p})
	if err != nil {
		return Probe{}, "", 0, fmt.Errorf("encode probe: %w", err)
	}
	revision, err = r.Store.Update(ctx, func(tx store.Tx) error { return tx.Put(keyPrefix+hash, value) })
	if err != nil {
		return Probe{}, "", 0, fmt.Errorf("store probe: %w", err)
	}
	return p, token, revision, nil
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Get returns a live probe.
func (r *Room) Get(id string) (Probe, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, l := r.find(id)
	if l == nil {
		return Probe{}, false
	}
	return l.Probe, true
}

// Seen returns what arrived of a live probe, oldest first, and how much did not
// find room.
func (r *Room) Seen(id string) (all []Observation, dropped int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, l := r.find(id)
	if l == nil {
		return nil, 0
	}
	return slices.Clone(l.seen.kept), l.seen.dropped
}

func (r *Room) find(id string) (hash string, l *live) {
	for hash, l := range r.byHash { // few
		if l.ID == id && r.Now().Before(l.ExpiresAt) {
			return hash, l
		}
	}
	return "", nil
}

// Delete ends a probe once revision is in force; ok is false if there is none.
func (r *Room) Delete(ctx context.Context, id string) (revision uint64, ok bool, err error) {
	r.mu.RLock()
	hash, l := r.find(id)
	r.mu.RUnlock()
	if l == nil {
		return 0, false, nil
	}
	revision, err = r.Store.Update(ctx, func(tx store.Tx) error { return tx.Delete(keyPrefix + hash) })
	if err != nil {
		return 0, true, fmt.Errorf("end probe: %w", err)
	}
	return revision, true, nil
}

// Live returns the app of the probe that a token belongs to.
func (r *Room) Live(token string) (appID string, ok bool) {
	p, _, ok := r.lookup(token, r.Now())
	return p.AppID, ok
}

// lookup finds the probe of a token by its hash: comparing tokens themselves
// would tell by its time how much of one is right.
func (r *Room) lookup(token string, now time.Time) (Probe, string, bool) {
	if !strings.HasPrefix(token, TokenPrefix) {
		return Probe{}, "", false
	}
	hash := hashOf(token)
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.byHash[hash]
	if l == nil || !now.Before(l.ExpiresAt) {
		return Probe{}, "", false
	}
	return l.Probe, hash, true
}

// Probe is the session that a probe stands for at its own app: a machine's, with
// every role that the app allows, of the organization that owned the app when
// the probe was made.
func (r *Room) Probe(now time.Time, app *authz.App, token string) *authz.Session {
	token, mark, _ := strings.Cut(token, ".")
	p, _, ok := r.lookup(token, now)
	if !ok || p.AppID != app.ID || p.OrganizationID != app.OrganizationID {
		return nil
	}
	s := &authz.Session{
		ID: p.ID, UserID: p.ID, OrganizationID: p.OrganizationID, Kind: authz.KindServiceToken,
		IssuedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt, Claims: map[string]any{authz.ClaimRoles: rolesOf(app)},
	}
	if mark == Wide {
		width := wide
		if app.WantsAssertion() {
			width = wideAsserted
		}
		s.Email = strings.Repeat("x", width) + "@probe.invalid"
	}
	return s
}

// rolesOf are the app's roles, sorted, each once, without those of Battery Gate
// itself: a probe is never an operator.
func rolesOf(app *authz.App) []string {
	out := make([]string, 0, len(app.AllowedRoles))
	for _, role := range app.AllowedRoles {
		if !strings.HasPrefix(strings.ToLower(role), "battery:") {
			out = append(out, role)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Collect drops probes that are over.
func (r *Room) Collect(ctx context.Context) error {
	var over []string
	now := r.Now()
	r.mu.RLock()
	for hash, l := range r.byHash {
		if !now.Before(l.ExpiresAt) && len(over) < collected {
			over = append(over, keyPrefix+hash)
		}
	}
	r.mu.RUnlock()
	if len(over) == 0 {
		return nil
	}
	_, err := r.Store.Update(ctx, func(tx store.Tx) error {
		for _, key := range over {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop probes: %w", err)
	}
	return nil
}
