package keys_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store/boltstore"
	"pgregory.net/rapid"
)

// Whatever rotates, restarts or gets a new root, and however late (within the
// lead) each replica hears of it: what was made is good everywhere for its life,
// and no key is kept that nothing needs.
func TestNobodyIsEverLoggedOut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		st, err := boltstore.Open(filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", time.Now().UnixNano())), boltstore.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer st.Close()
		c := newClock()
		secrets := [][]byte{random(t, 32)}
		start := func() *keys.Vault {
			r, err := keys.FromSecrets(secrets...)
			if err != nil {
				rt.Fatal(err)
			}
			return open(rt, st, r, c)
		}
		replicas := []*keys.Vault{start(), start()}
		heard := []time.Time{c.Now(), c.Now()}
		type item struct {
			made
			until time.Time
		}
		var items []item
		// A replica hears of everything within the lead; nobody writes meanwhile, so
		// once is enough.
		advance := func(d time.Duration) {
			step := min(d, keys.Lead/2)
			c.add(step)
			for i := range replicas {
				if c.Now().Sub(heard[i]) >= keys.Lead/2 {
					catchUp(rt, st, replicas[i])
					heard[i] = c.Now()
				}
			}
			c.add(d - step)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"make": func(rt *rapid.T) {
				v := replicas[rapid.IntRange(0, 1).Draw(rt, "by")]
				items = append(items, item{sign(v, c.Now()), c.Now().Add(sessionLife)})
			},
			"wait":          func(rt *rapid.T) { advance(time.Duration(rapid.IntRange(1, 400).Draw(rt, "minutes")) * time.Minute) },
			"wait a little": func(rt *rapid.T) { advance(time.Duration(rapid.IntRange(1, 70).Draw(rt, "seconds")) * time.Second) },
			"rotate": func(rt *rapid.T) {
				_, err := replicas[rapid.IntRange(0, 1).Draw(rt, "by")].Rotate(ctx, keys.Sessions, 0)
				if err != nil && !errors.Is(err, keys.ErrRotating) {
					rt.Fatal(err)
				}
			},
			"prune": func(rt *rapid.T) {
				if err := replicas[rapid.IntRange(0, 1).Draw(rt, "by")].Prune(ctx); err != nil {
					rt.Fatal(err)
				}
			},
			"restart": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "which")
				replicas[i], heard[i] = start(), c.Now()
			},
			"new root": func(rt *rapid.T) {
				secrets = slices.Insert(secrets, 0, random(t, 32))
				if len(secrets) > 3 {
					secrets = secrets[:3]
				}
				for i := range replicas {
					replicas[i], heard[i] = start(), c.Now()
				}
			},
			"": func(rt *rapid.T) {
				for _, it := range items {
					for n, v := range replicas {
						if c.Now().Before(it.until) && !it.good(v, c.Now()) {
							rt.Fatalf("at %s replica %d refuses what is good until %s", c.Now(), n, it.until)
						}
					}
				}
				items = slices.DeleteFunc(items, func(it item) bool { return !c.Now().Before(it.until) })
			},
		})
		if err := replicas[0].Prune(ctx); err != nil {
			rt.Fatal(err)
		}
		list, err := replicas[0].Info(ctx, keys.Sessions)
		if err != nil {
			rt.Fatal(err)
		}
		for _, k := range list {
			if k.RetiresAt != nil && !c.Now().Before(*k.RetiresAt) {
				rt.Fatalf("an old key is kept: %+v", k)
			}
		}
	})
}

func TestVerifyNeitherLocksNorTears(t *testing.T) {
	st, c := openStore(t), newClock()
	v := open(t, st, ring(t, random(t, 32)), c)
	m := sign(v, c.Now())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !m.good(v, c.Now()) {
					t.Error("refused while the keys change")
					return
				}
				if now := c.Now(); !sign(v, now).good(v, now) {
					t.Error("what was made just now is refused")
					return
				}
			}
		})
	}
	for range 40 {
		rotate(t, v, keys.Sessions)
		c.add(2 * time.Minute)
	}
	close(stop)
	wg.Wait()
}
