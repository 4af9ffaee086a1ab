package keys

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

// Lead is how long a new key stands in the store before it makes anything: what
// a replica needs at most to hear of it.
const Lead = time.Minute

// slack is how much longer than needed an old key verifies, for clocks that
// differ.
const slack = 5 * time.Minute

// ErrRotating: a new key was made a moment ago and does not make or sign yet.
var ErrRotating = errors.New("keys: a new key is about to take over")

var errYoung = errors.New("keys: the newest key is not that old")

var errForeign = errors.New("its record is not what this program writes")

// record is a keyring as the store keeps it.
type record struct {
	V           int          `json:"v"`
	Generations []generation `json:"generations"` // oldest first

	// Roots are the root keys whose derived keys were in use before there was
	// this keyring. What those made is verified until RootsUntil.
	Roots      []string  `json:"roots,omitempty"`
	RootsUntil time.Time `json:"roots_until,omitzero"`
}

// generation is one secret of a keyring. It makes from From until that of the
// next, and verifies Life longer.
type generation struct {
	ID      string    `json:"id"`
	Sealed  string    `json:"sealed"` // the secret, by a root key
	Created time.Time `json:"created"`
	From    time.Time `json:"from"`
	Life    int64     `json:"life_seconds"` // of the longest-lived thing it made

	secret []byte
}

func (g generation) life() time.Duration { return time.Duration(g.Life) * time.Second }

func (r record) newest() generation { return r.Generations[len(r.Generations)-1] }

// until is when generation i stops verifying; zero while nothing is to take
// its place.
func (r record) until(i int) time.Time {
	if i+1 >= len(r.Generations) {
		return time.Time{}
	}
	return r.Generations[i+1].From.Add(r.Generations[i].life() + slack)
}

// prune leaves out what nothing can need any more.
func (r record) prune(now time.Time) record {
	for len(r.Generations) > 1 && !now.Before(r.until(0)) {
		r.Generations = r.Generations[1:]
	}
	if !now.Before(r.RootsUntil) {
		r.Roots, r.RootsUntil = nil, time.Time{}
	}
	return r
}

// lengthen notes that what is made from now on may live longer than was said.
func (r record) lengthen(now time.Time, life time.Duration) record {
	r.Generations = slices.Clone(r.Generations)
	for i := range r.Generations {
		making := i+1 >= len(r.Generations) || now.Before(r.Generations[i+1].From)
		if making && r.Generations[i].life() < life {
			r.Generations[i].Life = seconds(life)
		}
	}
	return r
}

// next adds a generation that makes when every replica has it, unless the newest
// is younger than age.
func (r record) next(now time.Time, age, life time.Duration) (record, error) {
	switch newest := r.newest().From; {
	case now.Before(newest):
		return r, ErrRotating
	case now.Sub(newest) < age:
		return r, errYoung
	}
	r = r.prune(now)
	r.Generations = append(slices.Clone(r.Generations), newGeneration(now, now.Add(Lead), life))
	return r, nil
}

func newGeneration(created, from time.Time, life time.Duration) generation {
	secret := make([]byte, rootSize)
	rand.Read(secret) // never fails (Go 1.24)
	return generation{ID: idOf(secret), Created: created, From: from, Life: seconds(life), secret: secret}
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// materials is what verifies and makes, newest first: the generations, and for
// what was made before them the roots.
func (r record) materials(ring *Ring) []material {
	var out []material
	for i, g := range slices.Backward(r.Generations) {
		m := material{id: g.ID, secret: g.secret, span: span{from: g.From.UnixNano()}}
		if until := r.until(i); !until.IsZero() {
			m.until = until.UnixNano()
		}
		out = append(out, m)
	}
	for _, x := range ring.roots {
		if slices.Contains(r.Roots, x.id) {
			out = append(out, material{id: x.id, secret: x.secret, span: span{from: never, until: r.RootsUntil.UnixNano()}})
		}
	}
	return out
}

// shelf is where one keyring lies, and what wraps it.
type shelf struct {
	store  store.Store
	sealer *Sealer // of the roots, for Wrapper
	key    string
}

// change is one transaction over a keyring: two replicas that rotate at once
// make one new key. f gets what is there, or found false; what it returns is
// written if it differs, wrapped by the newest root.
func (s shelf) change(ctx context.Context, f func(tx store.Tx, r record, found bool) (record, error)) (record, error) {
	var out record
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		value, err := tx.Get(s.key)
		found := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		var now record
		if found {
			if now, err = s.open(value); err != nil {
				return err
			}
		}
		if out, err = f(tx, now, found); err != nil {
			return err
		}
		fresh, err := s.wrap(out)
		if err != nil || string(fresh) == string(value) {
			return err
		}
		return tx.Put(s.key, fresh)
	})
	return out, err
}

// open reads a keyring. One that no root opens is an error: a new one in its
// place would log everybody out.
func (s shelf) open(value []byte) (record, error) {
	var r record
	if json.Unmarshal(value, &r) != nil || r.V != 1 || len(r.Generations) == 0 {
		return r, errForeign
	}
	for i := range r.Generations {
		g := &r.Generations[i]
		secret, err := s.sealer.Open(g.Sealed, s.context(g.ID))
		if err != nil {
			return r, fmt.Errorf("%w: the keyring %s in the store is wrapped by the root key %s, which is not in session.keys_dir or is not the one; "+
				"put that root key's file back, or the store that belongs to these root keys", ErrUnusable, s.key, sealedBy(g.Sealed))
		}
		if len(secret) != rootSize || idOf(secret) != g.ID || g.Life <= 0 || (i > 0 && g.From.Before(r.Generations[i-1].From)) {
			return r, errForeign
		}
		g.secret = secret
	}
	return r, nil
}

func (s shelf) wrap(r record) ([]byte, error) {
	r.V, r.Generations = 1, slices.Clone(r.Generations)
	for i := range r.Generations {
		if g := &r.Generations[i]; !s.sealer.Current(g.Sealed) {
			g.Sealed = s.sealer.Seal(g.secret, s.context(g.ID))
		}
	}
	return json.Marshal(r)
}

// context binds a wrapped secret to its place.
func (s shelf) context(id string) string { return s.key + "\x00" + id }
