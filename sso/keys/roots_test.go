package keys_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

func TestARootIsRotatedByANewFileAndARestart(t *testing.T) {
	ctx := context.Background()
	st, c, dir := openStore(t), newClock(), filepath.Join(t.TempDir(), "keys")
	load := func() *keys.Ring {
		t.Helper()
		r, err := keys.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, err := keys.GenerateRootKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, st, load(), c)
	audit, err := load().AuditMAC(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	m, sealed, entry := sign(v, c.Now()), v.Sealer(keys.State).Seal([]byte("x"), ""), audit([]byte("entry"))
	second, err := keys.GenerateRootKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	v = open(t, st, load(), c)
	roots, err := v.Roots(ctx)
	if err != nil || len(roots) != 2 || roots[0].File != second || roots[1].File != first || !roots[1].Wraps {
		t.Fatalf("the audit's key is still wrapped by the old root: %+v %v", roots, err)
	}
	if _, err = load().AuditMAC(ctx, st); err != nil {
		t.Fatal(err)
	}
	if roots, err = v.Roots(ctx); err != nil || roots[1].Needed(c.Now()) || !roots[0].Needed(c.Now()) {
		t.Fatalf("%+v %v", roots, err)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	v = open(t, st, load(), c)
	if got, err := v.Sealer(keys.State).Open(sealed, ""); err != nil || string(got) != "x" || !m.good(v, c.Now()) {
		t.Fatal("somebody is logged out")
	}
	if audit, err = load().AuditMAC(ctx, st); err != nil || string(audit([]byte("entry"))) != string(entry) {
		t.Fatalf("the audit does not verify any more: %v", err)
	}
}

func TestAuditMAC(t *testing.T) {
	ctx := context.Background()
	st, r := openStore(t), ring(t, random(t, 32))
	a, err := r.AuditMAC(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.AuditMAC(ctx, st)
	if err != nil || string(a([]byte("x"))) != string(b([]byte("x"))) || string(a([]byte("x"))) == string(a([]byte("y"))) || len(a(nil)) != 32 {
		t.Fatal(err)
	}
	if other, err := r.AuditMAC(ctx, openStore(t)); err != nil || string(other([]byte("x"))) == string(a([]byte("x"))) {
		t.Fatal("two stores, one key")
	}
	if _, err := ring(t, random(t, 32)).AuditMAC(ctx, st); !errors.Is(err, keys.ErrUnusable) {
		t.Fatalf("another root: %v", err)
	}
}

func TestWhatWasMadeUnderTheRootsIsGoodUntilItIsOver(t *testing.T) {
	ctx := context.Background()
	old, added := random(t, 32), random(t, 32)
	r, st, c := ring(t, old), openStore(t), newClock()
	put(t, st, keys.AssertionKey, `{"v":1}`) // a store of before
	k := r.MACs(keys.Cookie).Key(c.Now())
	cookie := made{k.ID(), k.Sum("x")}
	ticket := r.Sealer(keys.Ticket).Seal([]byte("x"), "")
	v := open(t, st, r, c)
	if m := sign(v, c.Now()); m.id == cookie.id || !cookie.good(v, c.Now()) {
		t.Fatal("the upgrade logs out, or goes on as before")
	}
	if sign(v, c.Now().Add(-time.Hour)).id == cookie.id {
		t.Fatal("a replica whose clock is behind goes on as before")
	}
	if roots, err := v.Roots(ctx); err != nil || !roots[0].Needed(c.Now()) || !roots[0].VerifiesUntil.Equal(c.Now().Add(sessionLife+5*time.Minute)) {
		t.Fatalf("%+v %v", roots, err)
	}
	c.add(ticketLife)
	if _, err := v.Sealer(keys.Ticket).Open(ticket, ""); err != nil {
		t.Fatal(err)
	}
	c.add(5 * time.Minute)
	if _, err := v.Sealer(keys.Ticket).Open(ticket, ""); !errors.Is(err, keys.ErrNotOurs) {
		t.Fatal(err)
	}
	t.Run("under the roots of then, not those that came later", func(t *testing.T) {
		both := ring(t, added, old)
		v = open(t, st, both, c)
		k := both.MACs(keys.Cookie).Key(c.Now())
		if forged := (made{k.ID(), k.Sum("x")}); forged.good(v, c.Now()) || !cookie.good(v, c.Now()) {
			t.Fatal("a later root verifies, or the one of then does not")
		}
	})
	t.Run("through rotations of the keyring", func(t *testing.T) {
		rotate(t, v, keys.Sessions)
		c.add(sessionLife - ticketLife - 10*time.Minute)
		if !cookie.good(v, c.Now()) {
			t.Fatal("logged out")
		}
	})
	t.Run("and not a restart longer", func(t *testing.T) {
		c.add(10 * time.Minute)
		if cookie.good(v, c.Now()) || cookie.good(open(t, st, ring(t, added, old), c), c.Now()) {
			t.Fatal("it verifies for ever")
		}
		e, err := st.Get(ctx, keys.Prefix+keys.Sessions)
		if err != nil || strings.Contains(string(e.Value), "roots") {
			t.Fatalf("%v %s", err, e.Value)
		}
	})
}

func TestAShorterLimitEndsNoSessionEarly(t *testing.T) {
	st, c, r := openStore(t), newClock(), ring(t, random(t, 32))
	long := newVault(t, st, r, c.Now, 30*24*time.Hour)
	if err := long.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	m := sign(long, c.Now())
	short := open(t, st, r, c)
	rotate(t, short, keys.Sessions)
	c.add(29 * 24 * time.Hour)
	if err := short.Prune(context.Background()); err != nil || !m.good(short, c.Now()) {
		t.Fatal("logged out")
	}
	t.Run("and a longer one keeps the key for longer", func(t *testing.T) {
		m := sign(short, c.Now())
		if err := newVault(t, st, r, c.Now, 30*24*time.Hour).Open(context.Background()); err != nil {
			t.Fatal(err)
		}
		catchUp(t, st, short)
		rotate(t, short, keys.Sessions)
		c.add(29 * 24 * time.Hour)
		if err := short.Prune(context.Background()); err != nil || !m.good(short, c.Now()) {
			t.Fatal("logged out")
		}
	})
}

func TestAStoreIsUsedOnceItHasKeysBesideTheAudits(t *testing.T) {
	ctx, st, r := t.Context(), openStore(t), ring(t, random(t, 32))
	used := func() bool {
		t.Helper()
		got, err := keys.Used(ctx, st)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if used() {
		t.Error("an empty store")
	}
	if _, err := r.AuditMAC(ctx, st); err != nil || used() {
		t.Errorf("with the audit's key: %v", err)
	}
	if _, err := st.Update(ctx, func(tx store.Tx) error { return tx.Put(keys.Prefix+keys.Sessions, []byte("{}")) }); err != nil || !used() {
		t.Errorf("with a server's: %v", err)
	}
}
