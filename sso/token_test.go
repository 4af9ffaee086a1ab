package sso

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
)

func macs(t testing.TB) *keys.MACs {
	t.Helper()
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	r, err := keys.FromSecrets(b)
	if err != nil {
		t.Fatal(err)
	}
	return r.MACs(keys.Cookie)
}

// Only what was minted, byte for byte, verifies, and only for the app and host
// it was minted for.
func FuzzVerify(f *testing.F) {
	m := macs(f)
	now := time.Now()
	s, expires := newSecret(), time.Unix(1_900_000_000, 0)
	token := mint(m, now, s, expires, "crm.acme", "crm.acme.example")
	for _, seed := range []string{token, token + "\n", token[:40] + "\n" + token[41:], token[:tokenSize-1] + "=", "", "1.", strings.Repeat("1.", 80), strings.ToUpper(token)} {
		f.Add(seed, "crm.acme", "crm.acme.example")
	}
	f.Add(token, "crm.acm", "ecrm.acme.example")
	f.Add(token, "crm.acme\x00crm", "acme.example")
	f.Fuzz(func(t *testing.T, in, app, host string) {
		p, ok := verify(m, now, in, app, host)
		if want := in == token && app == "crm.acme" && host == "crm.acme.example"; ok != want {
			t.Fatalf("verify(%q, %q, %q) = %v", in, app, host, ok)
		}
		if ok && (p.key != s.key() || p.expires != expires.Unix()) {
			t.Fatalf("%+v", p)
		}
		// Nor can a token for any other pair stand in for this one.
		if other := mint(m, now, s, expires, app, host); other != "" && other != token {
			if _, ok := verify(m, now, other, "crm.acme", "crm.acme.example"); ok {
				t.Fatalf("the token of %q, %q works for another", app, host)
			}
		}
	})
}

func TestTokenSize(t *testing.T) {
	if got := len(mint(macs(t), time.Now(), newSecret(), time.Now(), "a", "b")); got != tokenSize {
		t.Fatalf("%d bytes, want %d", got, tokenSize)
	}
	for _, pair := range [][2]string{{"", "h"}, {"a", ""}, {"a\x00b", "h"}, {"a", "h\x00"}} {
		if got := mint(macs(t), time.Now(), newSecret(), time.Now(), pair[0], pair[1]); got != "" {
			t.Errorf("%q is bound", pair)
		}
	}
}

func TestUsedStatesAreBounded(t *testing.T) {
	u := newUsedStates(4)
	for _, s := range []string{"a", "b", "c", "d"} {
		if !u.use(s) || u.use(s) {
			t.Fatalf("%s", s)
		}
	}
	u.use("e")
	if len(u.seen) != 4 || u.use("d") || !u.use("a") {
		t.Fatalf("%d kept", len(u.seen))
	}
}

func BenchmarkVerify(b *testing.B) {
	m := macs(b)
	now := time.Now()
	token := mint(m, now, newSecret(), time.Now(), "crm.acme", "crm.acme.example")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := verify(m, now, token, "crm.acme", "crm.acme.example"); !ok {
			b.Fatal("refused")
		}
	}
}
