package keys

import (
	"context"
	"slices"
	"strings"
	"time"
)

// The states of a key.
const (
	StateNext      = "next"      // stands ready and makes nothing yet
	StateSigning   = "signing"   // makes
	StateVerifying = "verifying" // makes nothing any more; what it made is good
)

// Info is a key of a keyring.
type Info struct {
	ID, State          string
	Created, SignsFrom time.Time
	// RetiresAt is when it stops verifying and is deleted; nil while nothing is
	// to take its place.
	RetiresAt *time.Time
}

// Info lists the keys of a group, newest first, as the store has them.
func (v *Vault) Info(ctx context.Context, name string) ([]Info, error) {
	r, err := v.read(ctx, name)
	if err != nil {
		return nil, err
	}
	now := v.now()
	var out []Info
	state := StateSigning
	for i, g := range slices.Backward(r.Generations) {
		k := Info{ID: g.ID, Created: g.Created, SignsFrom: g.From, State: state}
		if until := r.until(i); !until.IsZero() {
			k.RetiresAt = &until
		}
		switch {
		case now.Before(g.From) && i > 0:
			k.State = StateNext
		default:
			state = StateVerifying
		}
		out = append(out, k)
	}
	return out, nil
}

// RootInfo is a root key and what it is needed for.
type RootInfo struct {
	ID   string
	File string // empty: it did not come from a file
	// Wraps: something in the store is wrapped by it, or it is the newest and
	// will wrap what comes.
	Wraps bool
	// VerifiesUntil is until when it verifies what was made under it before
	// there were keyrings; zero: nothing.
	VerifiesUntil time.Time
}

// Needed reports whether removing the root key would end sessions or make keys
// in the store unreadable.
func (r RootInfo) Needed(now time.Time) bool { return r.Wraps || now.Before(r.VerifiesUntil) }

// Roots lists the root keys, newest first, and what each is needed for, as the
// store has it now.
func (v *Vault) Roots(ctx context.Context) ([]RootInfo, error) {
	entries, _, err := v.store.List(ctx, Prefix)
	if err != nil {
		return nil, err
	}
	var out []RootInfo
	for i, x := range v.ring.roots {
		info := RootInfo{ID: x.id, File: x.file, Wraps: i == 0}
		for _, e := range entries {
			// Every sealed value names its root in front: "<id>.".
			if strings.Contains(string(e.Value), `"`+x.id+`.`) {
				info.Wraps = true
			}
		}
		for _, name := range v.names() {
			r, err := v.read(ctx, name)
			if err != nil {
				return nil, err
			}
			if slices.Contains(r.Roots, x.id) && r.RootsUntil.After(info.VerifiesUntil) {
				info.VerifiesUntil = r.RootsUntil
			}
		}
		out = append(out, info)
	}
	return out, nil
}
