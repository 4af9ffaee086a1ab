package machines_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
	"battery.app/gate/authz/machines"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// Keys are slow to make, so each kind is made once.
var (
	rsaKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaKey2 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ec384   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	ec521   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	edKey   = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// clock is a time that tests set.
type clock struct{ ns atomic.Int64 }

func newClock() *clock { c := &clock{}; c.ns.Store(noon.UnixNano()); return c }

func (c *clock) Now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

// authority is an issuer with its keys at an address.
type authority struct {
	*httptest.Server
	mu      sync.Mutex
	body    string
	status  int
	delay   time.Duration
	fetches atomic.Int64
}

func newAuthority(t testing.TB, keys ...jose.JSONWebKey) *authority {
	t.Helper()
	a := &authority{status: 200}
	a.publish(keys...)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fetches.Add(1)
		a.mu.Lock()
		body, status, delay := a.body, a.status, a.delay
		a.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
		if status >= 300 && status < 400 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authority) publish(keys ...jose.JSONWebKey) {
	a.answer(200, string(must(json.Marshal(jose.JSONWebKeySet{Keys: keys}))))
}

func (a *authority) answer(status int, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.body = status, body
}

func public(kid string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"}
}

// world is a verifier over two organizations' issuers, with their keys known.
type world struct {
	*machines.Verifier
	clock        *clock
	acme, globex *authority
	crm, desk    *authz.App
	log          *bytes.Buffer
}

func newWorld(t testing.TB, tune ...func(*machines.Options)) *world {
	t.Helper()
	w := &world{clock: newClock(), log: &bytes.Buffer{}}
	w.acme = newAuthority(t, public("rsa", rsaKey()), public("ec", ecKey()), public("ec384", ec384()), public("ec521", ec521()), public("ed", edKey()))
	w.globex = newAuthority(t, public("rsa", rsaKey2()))
	w.crm = &authz.App{ID: "crm.acme", OrganizationID: "org_acme", Machines: authz.MachineAccess{Audience: "https://crm.acme.test", Issuers: []string{w.acme.URL}, ServiceTokens: true}}
	w.desk = &authz.App{ID: "desk.globex", OrganizationID: "org_globex", Machines: authz.MachineAccess{Audience: "https://desk.globex.test", Issuers: []string{w.globex.URL}}}
	o := machines.Options{
		Issuers: []machines.Issuer{
			{URL: w.acme.URL, OrganizationID: "org_acme", JWKSURL: w.acme.URL + "/jwks", RolesClaim: "scope",
				Roles:  map[string][]string{"deals:write": {"editor"}, "deals:admin": {"admin", "editor"}},
				Claims: []string{"client_id", "level"}},
			{URL: w.globex.URL, OrganizationID: "org_globex", JWKSURL: w.globex.URL + "/jwks"},
		},
		Refresh: time.Hour, MinRefresh: 20 * time.Millisecond, Now: w.clock.Now,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{b: w.log}, nil)),
	}
	for _, f := range tune {
		f(&o)
	}
	v, err := machines.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Verifier = v
	run(t, v)
	eventually(t, "keys are fetched", func() bool {
		for _, s := range v.Status() {
			if s.FetchedAt.IsZero() {
				return false
			}
		}
		return true
	})
	return w
}

type lockedWriter struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func run(t testing.TB, v *machines.Verifier) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run does not end")
		}
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// good are the claims of a token that crm takes.
func (w *world) good() map[string]any {
	return map[string]any{"iss": w.acme.URL, "sub": "ci@acme", "aud": "https://crm.acme.test", "scope": "deals:write openid",
		"iat": noon.Unix() - 10, "exp": noon.Unix() + 300, "jti": "j1"}
}

func with(claims map[string]any, pairs ...any) map[string]any {
	out := maps.Clone(claims)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
			continue
		}
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

// sign makes a token; headers replace what the library writes.
func sign(key any, alg jose.SignatureAlgorithm, kid string, claims any, headers ...any) string {
	o := (&jose.SignerOptions{}).WithHeader("kid", kid).WithType("at+jwt")
	for i := 0; i < len(headers); i += 2 {
		o = o.WithHeader(jose.HeaderKey(headers[i].(string)), headers[i+1])
	}
	s := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o))
	payload, ok := claims.([]byte)
	if !ok {
		payload = must(json.Marshal(claims))
	}
	return must(must(s.Sign(payload)).CompactSerialize())
}

func (w *world) token(claims map[string]any) string { return sign(rsaKey(), jose.RS256, "rsa", claims) }

// forge writes a token by hand.
func forge(header, claims any, signature func(input string) []byte) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	input := part(header) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature(input))
}

func (w *world) ask(app *authz.App, bearer string) (*authz.Session, string) {
	return w.Machine(context.Background(), w.clock.Now(), app, bearer)
}

// is checks one answer. An empty code means a session.
func is(t testing.TB, s *authz.Session, code, want string) {
	t.Helper()
	if code != want || (s != nil) != (want == "") {
		t.Errorf("got session %v and %q, want %q", s, code, want)
	}
}

// lastByte changes the last byte of a token's signature.
func flip(token string) string {
	dot := strings.LastIndexByte(token, '.')
	sig := must(base64.RawURLEncoding.DecodeString(token[dot+1:]))
	sig[len(sig)/2] ^= 1
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(sig)
}
