package keys_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
)

func TestAFreshStoreGetsKeysThatMakeAtOnce(t *testing.T) {
	st, c := openStore(t), newClock()
	v := newVault(t, st, ring(t, random(t, 32)), c.Now, sessionLife)
	if v.MACs(keys.Cookie).Key(c.Now()) != nil || v.Sealer(keys.Ticket).Seal([]byte("x"), "") != "" {
		t.Fatal("something is made before there is a key")
	}
	if err := v.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	if m := sign(v, c.Now()); !m.good(v, c.Now()) {
		t.Fatal("refused")
	}
	sealed := v.Sealer(keys.Ticket).Seal([]byte("x"), "")
	if got, err := v.Sealer(keys.Ticket).Open(sealed, ""); err != nil || string(got) != "x" {
		t.Fatal(err)
	}
	t.Run("which are not the roots'", func(t *testing.T) {
		r := ring(t, random(t, 32))
		v, old := open(t, openStore(t), r, c), r.MACs(keys.Cookie).Key(c.Now())
		mac := old.Sum("x")
		if v.MACs(keys.Cookie).Verify(c.Now(), old.ID(), &mac, "x", "", "", "") {
			t.Fatal("a root key's cookie is taken though there never was one")
		}
		if _, err := v.Sealer(keys.State).Open(r.Sealer(keys.State).Seal([]byte("x"), ""), ""); !errors.Is(err, keys.ErrNotOurs) {
			t.Fatal(err)
		}
	})
	t.Run("on a replica whose clock is behind, too", func(t *testing.T) {
		if m := sign(v, c.Now().Add(-time.Hour)); !m.good(v, c.Now()) {
			t.Fatal("refused")
		}
	})
	t.Run("and a restart or a second replica finds the same", func(t *testing.T) {
		r := ring(t, random(t, 32))
		st := openStore(t)
		if a, b := open(t, st, r, c), open(t, st, r, c); !sign(a, c.Now()).good(b, c.Now()) {
			t.Fatal("two keys")
		}
	})
	t.Run("purposes are apart, those of other groups too", func(t *testing.T) {
		purposes := []string{keys.Cookie, keys.Login, keys.Hint, keys.Ticket, keys.State, keys.Form}
		for _, a := range purposes {
			for _, b := range purposes {
				_, err := v.Sealer(b).Open(v.Sealer(a).Seal([]byte("x"), ""), "")
				if (err == nil) != (a == b) {
					t.Errorf("sealed for %q, opened for %q: %v", a, b, err)
				}
			}
		}
		if s := v.Sealer("unheard of"); s.Seal([]byte("x"), "") != "" || v.MACs("unheard of").Key(c.Now()) != nil {
			t.Error("an unknown purpose has a key")
		}
	})
	t.Run("the store alone unwraps nothing", func(t *testing.T) {
		entries, _, _ := st.List(context.Background(), keys.Prefix)
		if len(entries) != 2 || strings.Contains(string(entries[0].Value), "secret") {
			t.Fatalf("%v", entries)
		}
	})
}

func TestVaultRotation(t *testing.T) {
	ctx := context.Background()
	r, st, c := ring(t, random(t, 32)), openStore(t), newClock()
	a, b := open(t, st, r, c), open(t, st, r, c)
	first := sign(a, c.Now())
	rotate(t, a, keys.Sessions)

	t.Run("the new key waits until every replica has it", func(t *testing.T) {
		c.add(keys.Lead - time.Second)
		if m := sign(a, c.Now()); m.id != first.id || !m.good(b, c.Now()) {
			t.Fatal("it makes already")
		}
		if _, err := b.Rotate(ctx, keys.Sessions, 0); !errors.Is(err, keys.ErrRotating) {
			t.Fatalf("a second one while it waits: %v", err)
		}
		catchUp(t, st, b)
		c.add(time.Second)
		if m := sign(a, c.Now()); m.id == first.id || !m.good(b, c.Now()) || sign(b, c.Now()).id != m.id {
			t.Fatal("replicas differ")
		}
	})
	t.Run("of other groups nothing moved", func(t *testing.T) {
		if list, err := a.Info(ctx, keys.Tickets); err != nil || len(list) != 1 {
			t.Fatalf("%v %v", list, err)
		}
	})
	t.Run("the old one verifies for a life, and then no more", func(t *testing.T) {
		c.add(sessionLife)
		if !first.good(a, c.Now()) || !first.good(b, c.Now()) {
			t.Fatal("somebody is logged out")
		}
		c.add(5 * time.Minute)
		if first.good(a, c.Now()) {
			t.Fatal("it verifies for ever")
		}
	})
	t.Run("and is deleted", func(t *testing.T) {
		if err := a.Prune(ctx); err != nil {
			t.Fatal(err)
		}
		e, err := st.Get(ctx, keys.Prefix+keys.Sessions)
		if err != nil || strings.Contains(string(e.Value), first.id) {
			t.Fatalf("%v %s", err, e.Value)
		}
	})
	t.Run("by age, when it is time", func(t *testing.T) {
		if did, err := a.Rotate(ctx, keys.Sessions, 48*time.Hour); did || err != nil {
			t.Fatal(did, err)
		}
		c.add(48 * time.Hour)
		if did, err := a.Rotate(ctx, keys.Sessions, 48*time.Hour); !did || err != nil {
			t.Fatal(did, err)
		}
	})
	t.Run("an unknown keyring is an error", func(t *testing.T) {
		for _, name := range []string{"", "audit", "assertion", "sessions/", "../sessions"} {
			if _, err := a.Rotate(ctx, name, 0); !errors.Is(err, keys.ErrUnknownGroup) {
				t.Fatalf("%q: %v", name, err)
			}
		}
	})
	t.Run("replicas that rotate at once make one key", func(t *testing.T) {
		c.add(48 * time.Hour)
		vaults := make([]*keys.Vault, 6)
		for i := range vaults {
			vaults[i] = open(t, st, r, c)
		}
		before, _ := a.Info(ctx, keys.Sessions)
		var wg sync.WaitGroup
		var won sync.Map
		for i, v := range vaults {
			wg.Go(func() {
				if did, err := v.Rotate(ctx, keys.Sessions, 0); did {
					won.Store(i, true)
				} else if !errors.Is(err, keys.ErrRotating) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		won.Range(func(any, any) bool { n++; return true })
		after, err := a.Info(ctx, keys.Sessions)
		if n != 1 || err != nil || after[0].State != keys.StateNext || after[1].ID != before[0].ID {
			t.Fatalf("%d won, %v, %v", n, after, err)
		}
	})
}

func TestInfoTellsWhatEachKeyDoes(t *testing.T) {
	ctx := context.Background()
	st, c := openStore(t), newClock()
	v := open(t, st, ring(t, random(t, 32)), c)
	start := c.Now()
	states := func() string {
		t.Helper()
		list, err := v.Info(ctx, keys.Sessions)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, k := range list {
			retires := "-"
			if k.RetiresAt != nil {
				retires = k.RetiresAt.Sub(start).String()
			}
			out = append(out, fmt.Sprintf("%s from %s to %s", k.State, k.SignsFrom.Sub(start), retires))
		}
		return strings.Join(out, "; ")
	}
	want := func(s string) {
		t.Helper()
		if got := states(); got != s {
			t.Fatalf("got  %s\nwant %s", got, s)
		}
	}
	want("signing from 0s to -")
	c.add(time.Hour)
	rotate(t, v, keys.Sessions)
	want("next from 1h1m0s to -; signing from 0s to 25h6m0s")
	c.add(time.Minute)
	want("signing from 1h1m0s to -; verifying from 0s to 25h6m0s")
}
