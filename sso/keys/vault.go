package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"battery.app/gate/store"
)

// Prefix is where keys lie in the store, each group's under its name.
const Prefix = "sso/key/"

// AssertionKey is where the keys of assertions lie; package sso keeps them. That
// it is there tells a store of before there were keyrings from an empty one.
const AssertionKey = Prefix + "assertion"

// The groups: purposes that live and rotate together.
const (
	Sessions = "sessions" // session and login cookies, logout hints
	Tickets  = "tickets"  // tickets, states, form tokens
)

// ErrUnknownGroup: there is no keyring of that name.
var ErrUnknownGroup = errors.New("keys: no such keyring")

// members is which purposes belong to which group: those whose makings live
// equally long.
var members = map[string][]string{
	Sessions: {Cookie, Login, Hint},
	Tickets:  {Ticket, State, Form},
}

// VaultOptions of NewVault. Ring and the lives are required.
type VaultOptions struct {
	Store store.Store
	Ring  *Ring
	// Lives is how long what a group makes is good for at most, by group.
	Lives map[string]time.Duration
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: nothing is logged
}

// Vault is the keyrings that lie in the store. Until Open or Apply have seen
// one, nothing of its group is made or verified. It is safe for concurrent use;
// it starts nothing.
type Vault struct {
	ring   *Ring
	groups map[string]*group
	store  store.Store
	now    func() time.Time
	log    *slog.Logger
}

// group is a keyring and those who use it.
type group struct {
	shelf
	life time.Duration

	mu      sync.Mutex // over changes of what follows
	macs    map[string]*MACs
	sealers map[string]*Sealer
}

// NewVault makes a vault that holds nothing yet.
func NewVault(o VaultOptions) (*Vault, error) {
	if o.Store == nil || o.Ring == nil {
		return nil, errors.New("make key vault: store and ring are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	v := &Vault{ring: o.Ring, groups: map[string]*group{}, store: o.Store, now: o.Now, log: o.Log}
	wrapper := o.Ring.Sealer(Wrapper)
	for name, purposes := range members {
		if o.Lives[name] <= 0 {
			return nil, fmt.Errorf("make key vault: the life of %s must be above zero", name)
		}
		g := &group{shelf: shelf{store: o.Store, sealer: wrapper, key: Prefix + name}, life: o.Lives[name],
			macs: map[string]*MACs{}, sealers: map[string]*Sealer{}}
		for _, p := range purposes {
			g.macs[p], g.sealers[p] = &MACs{purpose: p}, &Sealer{purpose: p, now: o.Now}
		}
		v.groups[name] = g
	}
	return v, nil
}

// MACs returns the MACs of a purpose, which follow the keyring. A purpose that
// no keyring has makes and verifies nothing.
func (v *Vault) MACs(purpose string) *MACs {
	for _, g := range v.groups {
		if m := g.macs[purpose]; m != nil {
			return m
		}
	}
	return &MACs{purpose: purpose}
}

// Sealer returns the Sealer of a purpose, which follows the keyring. A purpose
// that no keyring has seals and opens nothing.
func (v *Vault) Sealer(purpose string) *Sealer {
	for _, g := range v.groups {
		if s := g.sealers[purpose]; s != nil {
			return s
		}
	}
	return &Sealer{purpose: purpose, now: v.now}
}

// Open reads the keyrings from the store, or makes the first, which makes at
// once. What an older root wrapped is wrapped by the newest. A keyring that no
// root unwraps is an ErrUnusable that says what to do.
func (v *Vault) Open(ctx context.Context) error {
	for _, name := range v.names() {
		g := v.groups[name]
		now := v.moment()
		r, err := g.change(ctx, func(tx store.Tx, r record, found bool) (record, error) {
			if found {
				return r.prune(now).lengthen(now, g.life), nil
			}
			first := record{Generations: []generation{newGeneration(now, now, g.life)}}
			switch _, err := tx.Get(AssertionKey); {
			case err == nil: // the roots' own keys were in use
				for _, x := range v.ring.roots {
					first.Roots = append(first.Roots, x.id)
				}
				first.RootsUntil = now.Add(g.life + slack)
			case !errors.Is(err, store.ErrNotFound):
				return first, err
			}
			return first, nil
		})
		if err != nil {
			return fmt.Errorf("open the keys for %s: %w", name, err)
		}
		g.take(r, v.ring)
	}
	return nil
}

// Apply takes what the store holds under a key: another replica rotated. What
// cannot be read changes nothing: the keys at hand stay good for what they made.
func (v *Vault) Apply(key string, value []byte) {
	name, ok := strings.CutPrefix(key, Prefix)
	g := v.groups[name]
	if !ok || g == nil {
		return
	}
	r, err := g.open(value)
	if err != nil {
		v.log.Error("keys in the store are unreadable; the ones at hand are used on", "keyring", name, "error", err)
		return
	}
	g.take(r, v.ring)
}

// Rotate makes a new key for a group unless the newest began to make less than
// age ago; 0 makes one in any case. It makes a minute later, and what the one
// before it made stays good. It reports whether it did; ErrRotating while a new
// one does not make yet; ErrUnknownGroup.
func (v *Vault) Rotate(ctx context.Context, name string, age time.Duration) (bool, error) {
	g := v.groups[name]
	if g == nil {
		return false, fmt.Errorf("rotate %q: %w", name, ErrUnknownGroup)
	}
	now := v.moment()
	r, err := g.change(ctx, func(_ store.Tx, r record, found bool) (record, error) {
		if !found {
			return r, errors.New("it is gone from the store; a restart makes a new one")
		}
		return r.next(now, age, g.life)
	})
	switch {
	case errors.Is(err, errYoung):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("rotate %s: %w", name, err)
	}
	g.take(r, v.ring)
	return true, nil
}

// Prune deletes the keys from the store that nothing can need any more.
func (v *Vault) Prune(ctx context.Context) error {
	now := v.moment()
	for _, name := range v.names() {
		g := v.groups[name]
		r, err := g.change(ctx, func(_ store.Tx, r record, found bool) (record, error) {
			if !found {
				return r, errors.New("it is gone from the store; a restart makes a new one")
			}
			return r.prune(now), nil
		})
		if err != nil {
			return fmt.Errorf("remove old keys for %s: %w", name, err)
		}
		g.take(r, v.ring)
	}
	return nil
}

// take makes everyone who uses the keyring use it as it is now.
func (g *group) take(r record, ring *Ring) {
	all := r.materials(ring)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.macs {
		m.load(all)
	}
	for _, s := range g.sealers {
		s.load(all)
	}
}

func (v *Vault) names() []string { return slices.Sorted(maps.Keys(v.groups)) }

func (v *Vault) moment() time.Time { return v.now().UTC().Truncate(time.Millisecond) }

// read is a group's keyring as the store has it.
func (v *Vault) read(ctx context.Context, name string) (record, error) {
	e, err := v.store.Get(ctx, Prefix+name)
	if err != nil {
		return record{}, fmt.Errorf("read the keys for %s: %w", name, err)
	}
	var r record
	if json.Unmarshal(e.Value, &r) != nil || len(r.Generations) == 0 {
		return r, fmt.Errorf("read the keys for %s: %w", name, errForeign)
	}
	return r, nil
}
