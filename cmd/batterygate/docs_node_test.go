package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// TestTheNodeExampleVerifies runs the example that apps copy: it must take our
// assertions and nothing else.
func TestTheNodeExampleVerifies(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("node is missing")
		}
		t.Skip("node is missing")
	}
	examples := blocks(manual(t)["docs/assertions.md"], "js")
	if len(examples) != 1 {
		t.Fatalf("%d examples", len(examples))
	}
	ours, theirs := newKey(t), newKey(t)
	now := time.Now().Unix()
	claims := func(edit func(map[string]any)) map[string]any {
		c := map[string]any{"iss": "https://auth.test", "aud": "crm.test", "sub": "prof_1", "exp": now + 300}
		edit(c)
		return c
	}
	type sample struct {
		Name, Assertion string
		Good            bool
	}
	samples := []sample{
		{"a good one", signed(t, ours, "k", claims(func(map[string]any) {})), true},
		{"over", signed(t, ours, "k", claims(func(c map[string]any) { c["exp"] = now - 1 })), false},
		{"without an end", signed(t, ours, "k", claims(func(c map[string]any) { delete(c, "exp") })), false},
		{"for another app", signed(t, ours, "k", claims(func(c map[string]any) { c["aud"] = "wiki.test" })), false},
		{"of another issuer", signed(t, ours, "k", claims(func(c map[string]any) { c["iss"] = "https://evil.test" })), false},
		{"of another key", signed(t, theirs, "k", claims(func(map[string]any) {})), false},
		{"of a key nobody knows", signed(t, ours, "x", claims(func(map[string]any) {})), false},
		{"unsigned", "eyJhbGciOiJub25lIiwia2lkIjoiayJ9.eyJpc3MiOiJodHRwczovL2F1dGgudGVzdCIsImF1ZCI6ImNybS50ZXN0IiwiZXhwIjo5OTk5OTk5OTk5fQ.", false},
		{"nothing", "", false},
	}
	given, err := json.Marshal(map[string]any{"samples": samples, "keys": []jose.JSONWebKey{{Key: ours.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "example.mjs")
	text := examples[0] + fmt.Sprintf(`
const { samples, keys } = %s;
for (const s of samples) {
  let good = true;
  try { claimsOf(s.Assertion, keys, "https://auth.test", "crm.test"); } catch { good = false; }
  if (good !== s.Good) { console.log(s.Name + ": taken is " + good); process.exitCode = 1; }
}
`, given)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), node, script).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signed(t *testing.T, key *ecdsa.PrivateKey, kid string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
