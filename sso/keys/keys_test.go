package keys_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso/keys"
	"pgregory.net/rapid"
)

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func ring(t testing.TB, secrets ...[]byte) *keys.Ring {
	t.Helper()
	r, err := keys.FromSecrets(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoad(t *testing.T) {
	good := random(t, 32)
	write := func(t *testing.T, dir, name string, mode os.FileMode, body []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		body []byte
		mode os.FileMode
		want string // in the error; empty: it loads
	}{
		{"raw bytes load", good, 0o600, ""},
		{"base64 loads", []byte(base64.StdEncoding.EncodeToString(good) + "\n"), 0o400, ""},
		{"url base64 without padding loads", []byte(base64.RawURLEncoding.EncodeToString(good)), 0o600, ""},
		{"a group-readable file is refused", good, 0o640, "chmod 600"},
		{"a world-readable file is refused", good, 0o604, "chmod 600"},
		{"a short key is refused", good[:31], 0o600, "31 bytes"},
		{"a short key in base64 is refused", []byte(base64.StdEncoding.EncodeToString(good[:16])), 0o600, "16 bytes"},
		{"an empty file is refused", nil, 0o600, "0 bytes"},
		{"zeros are refused", make([]byte, 64), 0o600, "not random"},
		{"a pass phrase is refused", []byte("the quick brown fox jumps over the lazy dog"), 0o600, "a text"},
		{"a huge file is refused", random(t, 5000), 0o600, "4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a.key", c.mode, c.body)
			_, err := keys.Load(dir)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, keys.ErrUnusable) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want ErrUnusable with %q", err, c.want)
			}
		})
	}
	t.Run("no key is an error that says how to make one", func(t *testing.T) {
		_, err := keys.Load(t.TempDir())
		if !errors.Is(err, keys.ErrUnusable) || !strings.Contains(err.Error(), "/dev/urandom") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("one bad file beside a good one is an error", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.key", 0o600, good)
		write(t, dir, "b.key", 0o600, []byte("short"))
		if _, err := keys.Load(dir); !errors.Is(err, keys.ErrUnusable) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("the same key twice is an error", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.key", 0o600, good)
		write(t, dir, "b.key", 0o600, []byte(base64.StdEncoding.EncodeToString(good)))
		if _, err := keys.Load(dir); !errors.Is(err, keys.ErrUnusable) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first, err := keys.GenerateRootKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sealed, mac := old.Sealer(keys.Ticket).Seal([]byte("x"), "c"), old.MACs(keys.Cookie).Key(now).Sum("a")
	if _, err := keys.GenerateRootKey(dir); err != nil {
		t.Fatal(err)
	}
	both, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the newest signs", func(t *testing.T) {
		if both.MACs(keys.Cookie).Key(now).ID() == old.MACs(keys.Cookie).Key(now).ID() {
			t.Fatal("the old key signs")
		}
		if both.Sealer(keys.Ticket).Current(sealed) {
			t.Fatal("what the old key sealed counts as current")
		}
	})
	t.Run("the old still verifies and opens", func(t *testing.T) {
		if got, err := both.Sealer(keys.Ticket).Open(sealed, "c"); err != nil || string(got) != "x" {
			t.Fatalf("%q, %v", got, err)
		}
		if !both.MACs(keys.Cookie).Verify(now, old.MACs(keys.Cookie).Key(now).ID(), &mac, "a", "", "", "") {
			t.Fatal("refused")
		}
	})
	t.Run("a removed key opens nothing", func(t *testing.T) {
		if err := os.Remove(first); err != nil {
			t.Fatal(err)
		}
		only, err := keys.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := only.Sealer(keys.Ticket).Open(sealed, "c"); !errors.Is(err, keys.ErrNotOurs) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestPurposesAreSeparate(t *testing.T) {
	r, now := ring(t, random(t, 32)), time.Now()
	purposes := []string{keys.Cookie, keys.Ticket, keys.State, keys.Login, keys.Form, keys.Wrapper, keys.Hint}
	for _, a := range purposes {
		for _, b := range purposes {
			_, err := r.Sealer(b).Open(r.Sealer(a).Seal([]byte("x"), ""), "")
			if (err == nil) != (a == b) {
				t.Errorf("sealed for %q, opened for %q: %v", a, b, err)
			}
			mac := r.MACs(a).Key(now).Sum("x")
			if r.MACs(b).Verify(now, r.MACs(b).Key(now).ID(), &mac, "x", "", "", "") != (a == b) {
				t.Errorf("signed for %q, verified for %q", a, b)
			}
		}
	}
}

func TestSealerOpensOnlyWhatItSealed(t *testing.T) {
	s := ring(t, random(t, 32)).Sealer(keys.State)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		context := rapid.String().Draw(t, "context")
		sealed := s.Seal(plain, context)
		if got, err := s.Open(sealed, context); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%v, %v", got, err)
		}
		if _, err := s.Open(sealed, context+"x"); !errors.Is(err, keys.ErrNotOurs) {
			t.Fatalf("another context: %v", err)
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		b := []byte(sealed)
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := s.Open(string(b), context); !errors.Is(err, keys.ErrNotOurs) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := s.Open(sealed[:i], context); !errors.Is(err, keys.ErrNotOurs) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	})
}
