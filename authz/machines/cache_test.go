package machines_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/machines"
)

func TestARememberedTokenEndsWhenItExpires(t *testing.T) {
	w := newWorld(t)
	token := w.token(with(w.good(), "exp", noon.Unix()+30))
	first, code := w.ask(w.crm, token)
	is(t, first, code, "")
	if again, _ := w.ask(w.crm, token); again != first {
		t.Error("it is not remembered")
	}
	w.clock.Advance(89 * time.Second) // expired, within the clocks' difference: verified again
	s, code := w.ask(w.crm, token)
	is(t, s, code, "")
	w.clock.Advance(time.Second)
	s, code = w.ask(w.crm, token)
	is(t, s, code, authz.CodeTokenExpired)
}

// Whatever one byte of a good token becomes, it is refused: with the good one
// remembered, and at both apps.
func TestNoOtherTokenIsTakenForARememberedOne(t *testing.T) {
	w := newWorld(t)
	good := sign(ecKey(), jose.ES256, "ec", w.good())
	if s, code := w.ask(w.crm, good); s == nil {
		t.Fatal(code)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ "
	// The last digit of a base64 run carries bits that mean nothing, so that
	// another digit there is the same token in other words.
	meaningless := map[int]bool{len(good) - 1: true}
	for i := range good {
		if i+1 < len(good) && good[i+1] == '.' {
			meaningless[i] = true
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.IntRange(0, len(good)-1).Draw(rt, "at")
		c := rapid.SampledFrom([]byte(alphabet)).Draw(rt, "to")
		if good[at] == c || meaningless[at] {
			return
		}
		if s, code := w.ask(w.crm, good[:at]+string(c)+good[at+1:]); s != nil || code == "" {
			rt.Fatalf("byte %d as %q is accepted", at, c)
		}
		if s, _ := w.ask(w.desk, good); s != nil {
			rt.Fatal("accepted at another app")
		}
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	w := newWorld(t, func(o *machines.Options) { o.CacheSize = 32 })
	for i := range 300 {
		token := sign(edKey(), jose.EdDSA, "ed", with(w.good(), "jti", fmt.Sprint(i)))
		s, code := w.ask(w.crm, token)
		is(t, s, code, "")
	}
	if n := w.Remembered(); n < 1 || n > 64 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func TestManyAskAtOnceWhileKeysRotate(t *testing.T) {
	w := newWorld(t, func(o *machines.Options) { o.MinRefresh = time.Millisecond; o.Refresh = time.Millisecond })
	kept := []string{w.token(w.good()), sign(ecKey(), jose.ES256, "ec", w.good()), sign(edKey(), jose.EdDSA, "ed", w.good())}
	bad := flip(kept[0])
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, token := range kept {
					if s, code := w.ask(w.crm, token); s == nil {
						t.Errorf("a good token is refused: %s", code)
						return
					}
				}
				if s, _ := w.ask(w.crm, bad); s != nil {
					t.Error("a bad token is accepted")
					return
				}
			}
		})
	}
	for i := range 20 {
		extra := public(fmt.Sprint("extra", i), rsaKey2())
		w.acme.publish(public("rsa", rsaKey()), public("ec", ecKey()), public("ed", edKey()), extra)
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
}

// FuzzMachine: no bytes panic, and none but the signed ones open a session.
func FuzzMachine(f *testing.F) {
	w := newWorld(f)
	good := w.token(w.good())
	for _, s := range []string{"", "a.b.c", good, "bgs_x", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat(".", 10)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		s, code := w.ask(w.crm, token)
		if (s == nil) == (code == "") || s != nil && !strings.HasPrefix(token, good[:strings.LastIndexByte(good, '.')]) {
			t.Errorf("%q: %+v %q", token, s, code)
		}
	})
}

func BenchmarkMachine(b *testing.B) {
	w := newWorld(b)
	secret, hash := machines.NewServiceToken()
	kept := &tokens{byHash: map[string]machines.Token{hash: {ID: "st_1", OrganizationID: "org_acme", Apps: []string{"crm.acme"}, Roles: []string{"editor"}, ExpiresAt: noon.Add(time.Hour)}}}
	services := must(machines.New(machines.Options{ServiceTokens: kept}))
	ctx := context.Background()
	for name, token := range map[string]string{
		"RS256": w.token(w.good()), "ES256": sign(ecKey(), jose.ES256, "ec", w.good()), "EdDSA": sign(edKey(), jose.EdDSA, "ed", w.good()),
	} {
		b.Run("remembered/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s, _ := w.Machine(ctx, noon, w.crm, token); s == nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run("verified/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				app := *w.crm // another value is another configuration, so nothing is remembered
				if s, _ := w.Machine(ctx, noon, &app, token); s == nil {
					b.Fatal("refused")
				}
			}
		})
	}
	b.Run("service token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s, _ := services.Machine(ctx, noon, w.crm, secret); s == nil {
				b.Fatal("refused")
			}
		}
	})
}
