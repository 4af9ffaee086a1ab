package sso_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/store"
)

// keySet is what an app fetches, with how long it may keep it.
func (w *world) keySet(t *testing.T) (jose.JSONWebKeySet, time.Duration) {
	t.Helper()
	res := w.browser().get(w.public + "/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(res.body), &set); err != nil || strings.Contains(res.body, `"d":`) {
		t.Fatalf("%v: %s", err, res.body)
	}
	age, err := time.ParseDuration(strings.TrimPrefix(res.Header.Get("Cache-Control"), "public, max-age=") + "s")
	if err != nil {
		t.Fatal(err)
	}
	return set, age
}

func verifies(set jose.JSONWebKeySet, token string) bool {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	_, err = signed.Verify(set)
	return err == nil
}

func kid(t *testing.T, token string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header.KeyID
}

func TestAssertionKeyRotation(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	sign := func(svc *sso.Service) string {
		t.Helper()
		d := decided{app: w.apps["crm.acme"], roles: []string{"x"}, session: &authz.Session{
			ID: "session_x", UserID: "u", OrganizationID: "org_acme", ExpiresAt: w.now.Now().Add(time.Hour)}}
		token, err := svc.Assertion(d.make(t), "crm.acme.example")
		if err != nil || token == "" {
			t.Fatalf("%q, %v", token, err)
		}
		return token
	}
	first := kid(t, sign(w.service))
	if err := w.service.RotatePurpose(ctx, "assertions"); err != nil {
		t.Fatal(err)
	}
	t.Run("whatever copy of the key set an app holds, it verifies every live assertion", func(t *testing.T) {
		type held struct {
			set   jose.JSONWebKeySet
			until time.Time
		}
		type live struct {
			token string
			until time.Time
		}
		var copies []held
		var tokens []live
		kids := map[string]bool{}
		for range 90 { // 45 minutes, two rotations
			now := w.now.Now()
			set, age := w.keySet(t)
			copies = append(copies, held{set, now.Add(age)})
			token := sign(w.service)
			kids[kid(t, token)] = true
			tokens = append(tokens, live{token, now.Add(5 * time.Minute)})
			for _, c := range copies {
				for _, a := range tokens {
					if !now.After(c.until) && now.Before(a.until) && !verifies(c.set, a.token) {
						t.Fatalf("at %s a key set fetched %s ago does not know the key %s", now, age-c.until.Sub(now), kid(t, a.token))
					}
				}
			}
			w.now.add(30 * time.Second)
			if err := w.service.RotatePurpose(ctx, "assertions"); err != nil && !errors.Is(err, sso.ErrRotating) {
				t.Fatal(err)
			}
		}
		if len(kids) < 4 || !kids[first] {
			t.Fatalf("signed with %v", kids)
		}
	})
	t.Run("old keys go when their assertions are over, and no others", func(t *testing.T) {
		w.now.add(time.Hour)
		if set, _ := w.keySet(t); len(set.Keys) != 1 || set.Keys[0].KeyID != kid(t, sign(w.service)) {
			t.Fatalf("%d keys", len(set.Keys))
		}
		entry, err := w.store.Get(ctx, "sso/key/assertion")
		if err != nil || strings.Count(string(entry.Value), `"sealed"`) > 6 {
			t.Fatalf("the store keeps them all: %s", entry.Value)
		}
	})
	t.Run("another replica follows, and rotating twice makes one key", func(t *testing.T) {
		o := options(w)
		replica, err := sso.New(ctx, o) // the keeper tells the newest service
		if err != nil {
			t.Fatal(err)
		}
		before := kid(t, sign(replica))
		if err := w.service.RotatePurpose(ctx, "assertions"); err != nil {
			t.Fatal(err)
		}
		entries, revision, err := w.store.List(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		_ = w.seen.wait(ctx, revision)
		w.sessions.Load(entries)
		if err := replica.RotatePurpose(ctx, "assertions"); !errors.Is(err, sso.ErrRotating) {
			t.Fatalf("rotated twice: %v", err)
		}
		if got := kid(t, sign(replica)); got != before {
			t.Fatal("the new key signs before apps can know it")
		}
		w.now.add(10 * time.Minute)
		if a, b := kid(t, sign(replica)), kid(t, sign(w.service)); a != b || a == before {
			t.Fatalf("replicas sign with %s and %s, before with %s", a, b, before)
		}
	})
	t.Run("a restart in between keeps both keys and their times", func(t *testing.T) {
		w.now.add(time.Hour)
		if err := w.service.RotatePurpose(ctx, "assertions"); err != nil {
			t.Fatal(err)
		}
		old := kid(t, sign(w.service))
		w.restart(t)
		if set, _ := w.keySet(t); len(set.Keys) != 2 || kid(t, sign(w.service)) != old {
			t.Fatalf("%d keys", len(set.Keys))
		}
	})
	t.Run("by age, only when it is time", func(t *testing.T) {
		w.now.add(time.Hour)
		if did, err := w.service.RotateOlder(ctx, 24*time.Hour); did || err != nil {
			t.Fatalf("%v %v", did, err)
		}
		w.now.add(24 * time.Hour)
		if did, err := w.service.RotateOlder(ctx, 24*time.Hour); !did || err != nil {
			t.Fatalf("%v %v", did, err)
		}
		if did, err := w.service.RotateOlder(ctx, 24*time.Hour); did || err != nil {
			t.Fatalf("%v %v", did, err)
		}
	})
	t.Run("what cannot be read in the store changes nothing here", func(t *testing.T) {
		before := kid(t, sign(w.service))
		for _, value := range []string{`{}`, `x`, `{"v":2}`, `{"v":2,"keys":[{"alg":"ES256","sealed":"x"}]}`, `{"v":2,"keys":[{"alg":"none"}]}`} {
			w.sessions.Apply(store.Change{Revision: 1, Entries: []store.Entry{{Key: "sso/key/assertion", Value: []byte(value)}}})
			w.sessions.Apply(store.Change{Revision: 1, Entries: []store.Entry{{Key: "sso/key/assertion", Deleted: true}}})
			if got := kid(t, sign(w.service)); got != before {
				t.Fatalf("after %s another key signs", value)
			}
		}
	})
	t.Run("a store that is down leaves the key as it is", func(t *testing.T) {
		st := &broken{Store: w.store}
		o := options(w)
		o.Store = st
		svc, err := sso.New(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		w.now.add(time.Hour)
		before := kid(t, sign(svc))
		st.down.Store(true)
		if err := svc.RotatePurpose(ctx, "assertions"); err == nil || kid(t, sign(svc)) != before {
			t.Fatal(err)
		}
	})
}

func TestTheOneKeyOfBeforeIsKept(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	set, _ := w.keySet(t)
	entry, err := w.store.Get(ctx, "sso/key/assertion")
	if err != nil {
		t.Fatal(err)
	}
	var now struct{ Keys []map[string]any }
	if err := json.Unmarshal(entry.Value, &now); err != nil || len(now.Keys) != 1 {
		t.Fatalf("%v %s", err, entry.Value)
	}
	now.Keys[0]["v"] = 1
	old, _ := json.Marshal(now.Keys[0])
	if _, err := w.store.Update(ctx, func(tx store.Tx) error { return tx.Put("sso/key/assertion", old) }); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	if again, _ := w.keySet(t); len(again.Keys) != 1 || again.Keys[0].KeyID != set.Keys[0].KeyID {
		t.Fatal("another key")
	}
}
