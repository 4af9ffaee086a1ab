package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

func TestARecordThatCannotBeReadIsAnErrorAndNeverANewKey(t *testing.T) {
	ctx := context.Background()
	c := newClock()
	for name, spoil := range map[string]func(string) string{
		"nothing":              func(string) string { return `{}` },
		"no JSON":              func(string) string { return `x` },
		"a later version":      func(s string) string { return strings.Replace(s, `"v":1`, `"v":2`, 1) },
		"no generations":       func(string) string { return `{"v":1,"generations":[]}` },
		"a life of nothing":    func(s string) string { return strings.Replace(s, `"life_seconds":86400`, `"life_seconds":0`, 1) },
		"another's secret":     func(s string) string { return strings.Replace(s, `"id":"`, `"id":"A`, 1) },
		"a changed wrapping":   func(s string) string { return strings.Replace(s, `.`, `.A`, 1) },
		"wrapped by no root":   func(s string) string { i := strings.Index(s, `"sealed":"`) + 10; return s[:i] + "AAAAAAAA" + s[i+8:] },
		"the other keyring's":  func(string) string { return "tickets" },
		"generations reversed": func(string) string { return "reversed" },
	} {
		t.Run(name, func(t *testing.T) {
			r, st := ring(t, random(t, 32)), openStore(t)
			v := open(t, st, r, c)
			m := sign(v, c.Now())
			e, err := st.Get(ctx, keys.Prefix+keys.Sessions)
			if err != nil {
				t.Fatal(err)
			}
			bad := spoil(string(e.Value))
			switch bad {
			case "tickets":
				other, _ := st.Get(ctx, keys.Prefix+keys.Tickets)
				bad = string(other.Value)
			case "reversed":
				c.add(time.Hour)
				rotate(t, v, keys.Sessions)
				e, _ = st.Get(ctx, keys.Prefix+keys.Sessions)
				bad = strings.NewReplacer(`"from":"2026`, `"from":"2027`).Replace(string(e.Value))
				i := strings.LastIndex(bad, "2027")
				bad = bad[:i] + "2026" + bad[i+4:]
			}
			if bad == string(e.Value) {
				t.Fatal("the test spoils nothing")
			}
			put(t, st, keys.Prefix+keys.Sessions, bad)
			if err := newVault(t, st, r, c.Now, sessionLife).Open(ctx); err == nil {
				t.Fatal("started")
			}
			if after, _ := st.Get(ctx, keys.Prefix+keys.Sessions); string(after.Value) != bad {
				t.Fatal("the record was overwritten")
			}
			v.Apply(keys.Prefix+keys.Sessions, []byte(bad))
			if !m.good(v, c.Now()) || sign(v, c.Now()).id != m.id {
				t.Fatal("what is at hand was given up for it")
			}
			if _, err := v.Rotate(ctx, keys.Sessions, 0); err == nil {
				t.Fatal("rotated over it")
			}
		})
	}
	t.Run("the wrong root says what to do", func(t *testing.T) {
		st := openStore(t)
		open(t, st, ring(t, random(t, 32)), c)
		err := newVault(t, st, ring(t, random(t, 32)), c.Now, sessionLife).Open(ctx)
		if !errors.Is(err, keys.ErrUnusable) || !strings.Contains(err.Error(), "session.keys_dir") || !strings.Contains(err.Error(), "put") {
			t.Fatal(err)
		}
	})
	t.Run("a keyring that is gone is not made anew under way", func(t *testing.T) {
		st := openStore(t)
		v := open(t, st, ring(t, random(t, 32)), c)
		if _, err := st.Update(ctx, func(tx store.Tx) error { return tx.Delete(keys.Prefix + keys.Sessions) }); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Rotate(ctx, keys.Sessions, 0); err == nil {
			t.Fatal("rotated")
		}
		if err := v.Prune(ctx); err == nil {
			t.Fatal("pruned")
		}
		if !sign(v, c.Now()).good(v, c.Now()) {
			t.Fatal("what is at hand was given up")
		}
	})
}
