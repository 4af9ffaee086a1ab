package keys_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

const (
	sessionLife = 24 * time.Hour
	ticketLife  = time.Hour
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func openStore(t testing.TB) store.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func newVault(t fataler, st store.Store, r *keys.Ring, now func() time.Time, sessions time.Duration) *keys.Vault {
	t.Helper()
	v, err := keys.NewVault(keys.VaultOptions{Store: st, Ring: r, Now: now,
		Lives: map[string]time.Duration{keys.Sessions: sessions, keys.Tickets: ticketLife}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// open is a replica that starts.
func open(t fataler, st store.Store, r *keys.Ring, c *clock) *keys.Vault {
	t.Helper()
	v := newVault(t, st, r, c.Now, sessionLife)
	if err := v.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return v
}

// catchUp is what the facts loop does.
func catchUp(t fataler, st store.Store, v *keys.Vault) {
	t.Helper()
	entries, _, err := st.List(context.Background(), keys.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		v.Apply(e.Key, e.Value)
	}
}

func rotate(t fataler, v *keys.Vault, group string) {
	t.Helper()
	if did, err := v.Rotate(context.Background(), group, 0); err != nil || !did {
		t.Fatalf("%v, %v", did, err)
	}
}

// made is a MAC with the id of its key.
type made struct {
	id  string
	mac [keys.MACSize]byte
}

func sign(v *keys.Vault, now time.Time) made {
	k := v.MACs(keys.Cookie).Key(now)
	return made{k.ID(), k.Sum("x")}
}

func (m made) good(v *keys.Vault, now time.Time) bool {
	return v.MACs(keys.Cookie).Verify(now, m.id, &m.mac, "x", "", "", "")
}

func put(t fataler, st store.Store, key, value string) {
	t.Helper()
	if _, err := st.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}
