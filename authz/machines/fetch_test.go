package machines_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"battery.app/gate/authz"
	"battery.app/gate/authz/machines"
)

func TestKeysRotateWithoutAnybodyWaiting(t *testing.T) {
	w := newWorld(t)
	fresh := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	old, next := w.token(w.good()), sign(fresh, jose.ES256, "next", w.good())
	s, code := w.ask(w.crm, old)
	is(t, s, code, "")

	w.acme.publish(public("rsa", rsaKey()), public("next", fresh))
	start := time.Now()
	s, code = w.ask(w.crm, next)
	is(t, s, code, authz.CodeTokenKey)
	if d := time.Since(start); d > 100*time.Millisecond {
		t.Errorf("a request waited %v", d)
	}
	eventually(t, "the new key is known", func() bool { s, _ := w.ask(w.crm, next); return s != nil })
	s, code = w.ask(w.crm, old)
	is(t, s, code, "")

	w.acme.publish(public("next", fresh)) // the old key was stolen
	w.ask(w.crm, sign(rsaKey2(), jose.RS256, "nobody's", w.good()))
	eventually(t, "a remembered token ends with its key", func() bool { s, _ := w.ask(w.crm, old); return s == nil })
}

func TestUnknownKeysDoNotMakeUsFetchMoreThanAllowed(t *testing.T) {
	w := newWorld(t, func(o *machines.Options) { o.MinRefresh = time.Hour })
	token := sign(rsaKey2(), jose.RS256, "unknown", w.good())
	for range 200 {
		s, code := w.ask(w.crm, token)
		is(t, s, code, authz.CodeTokenKey)
	}
	time.Sleep(50 * time.Millisecond)
	if n := w.acme.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestAnIssuerThatIsDownEndsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"500":                      {500, ""},
		"429":                      {429, ""},
		"a redirect":               {302, ""},
		"no JSON":                  {200, "<html>"},
		"no key set":               {200, `{"error":"x"}`},
		"a key set of null":        {200, `{"keys":null}`},
		"endless":                  {200, `{"keys":[` + strings.Repeat(" ", 300<<10) + `]}`},
		"more keys than are taken": {200, `{"keys":[` + strings.Repeat("{},", 100) + `{}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token := w.token(w.good())
			lasting := w.token(with(w.good(), "exp", noon.Unix()+2*86400))
			s, code := w.ask(w.crm, lasting)
			is(t, s, code, "")
			w.acme.answer(c.status, c.body)
			before := w.acme.fetches.Load()
			w.ask(w.crm, sign(rsaKey2(), jose.RS256, "unknown", w.good()))
			eventually(t, "the fetch fails", func() bool { return w.acme.fetches.Load() > before && w.Status()[0].Error != "" })
			s, code = w.ask(w.crm, token)
			is(t, s, code, "")

			w.clock.Advance(-w.clock.Now().Sub(noon) + 24*time.Hour) // the keys are too old now
			aged := w.token(with(w.good(), "iat", noon.Unix()+86390, "exp", noon.Unix()+86900))
			s, code = w.ask(w.crm, aged)
			is(t, s, code, authz.CodeTokenKey)
			s, code = w.ask(w.crm, lasting) // remembered or not
			is(t, s, code, authz.CodeTokenKey)

			w.acme.publish(public("rsa", rsaKey()))
			eventually(t, "it recovers by itself", func() bool { s, _ := w.ask(w.crm, aged); return s != nil })
		})
	}
}

func TestAnIssuerThatPublishesNoKeyHasNone(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.good())
	s, code := w.ask(w.crm, token)
	is(t, s, code, "")
	w.acme.answer(200, `{"keys":[]}`)
	w.ask(w.crm, sign(rsaKey2(), jose.RS256, "unknown", w.good()))
	eventually(t, "its tokens end", func() bool { s, _ := w.ask(w.crm, token); return s == nil })
}

func TestASlowIssuerDelaysNobody(t *testing.T) {
	slow := newAuthority(t, public("rsa", rsaKey()))
	slow.delay = time.Hour
	v := must(machines.New(machines.Options{Issuers: []machines.Issuer{{URL: slow.URL, OrganizationID: "org_acme", JWKSURL: slow.URL}}, Now: newClock().Now}))
	run(t, v) // and ends with its context, while the fetch hangs
	eventually(t, "the fetch begins", func() bool { return slow.fetches.Load() > 0 })
	app := &authz.App{ID: "a.b", OrganizationID: "org_acme", Machines: authz.MachineAccess{Audience: "x", Issuers: []string{slow.URL}}}
	start := time.Now()
	s, code := v.Machine(context.Background(), noon, app, sign(rsaKey(), jose.RS256, "rsa", map[string]any{"iss": slow.URL, "sub": "x", "aud": "x", "iat": noon.Unix(), "exp": noon.Unix() + 60}))
	is(t, s, code, authz.CodeTokenKey)
	if time.Since(start) > 200*time.Millisecond {
		t.Error("a request waited for the network")
	}
}

func TestKeysInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(keys ...jose.JSONWebKey) {
		if err := os.WriteFile(file, must(json.Marshal(jose.JSONWebKeySet{Keys: keys})), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(public("", rsaKey()))
	issuer := machines.Issuer{URL: "https://issuer.acme.test", OrganizationID: "org_acme", JWKSFile: file}
	o := machines.Options{Issuers: []machines.Issuer{issuer}, Now: newClock().Now, MinRefresh: time.Millisecond}
	v := must(machines.New(o))
	app := &authz.App{ID: "a.b", OrganizationID: "org_acme", Machines: authz.MachineAccess{Audience: "x", Issuers: []string{issuer.URL}}}
	claims := map[string]any{"iss": issuer.URL, "sub": "x", "aud": "x", "iat": noon.Unix(), "exp": noon.Unix() + 60}
	ask := func(token string) (*authz.Session, string) { return v.Machine(context.Background(), noon, app, token) }

	s, code := ask(sign(rsaKey(), jose.RS256, "", claims)) // the only key needs no name
	is(t, s, code, "")
	run(t, v)
	write(public("b", ecKey()))
	rotated := sign(ecKey(), jose.ES256, "b", claims)
	eventually(t, "the file is read again", func() bool { s, _ := ask(rotated); return s != nil })

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := machines.New(o); err == nil {
		t.Error("a start without its key file works")
	}
}

// What an issuer publishes beside good public keys verifies nothing.
func TestKeysThatVerifyNothing(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	secret := []byte("0123456789abcdef0123456789abcdef")
	for name, c := range map[string]struct {
		keys  string
		token func(w *world) string
	}{
		"a symmetric key": {string(must(json.Marshal(jose.JSONWebKey{Key: secret, KeyID: "k"}))),
			func(w *world) string { return sign(secret, jose.HS256, "k", w.good()) }},
		"a private key": {string(must(json.Marshal(jose.JSONWebKey{Key: rsaKey(), KeyID: "k"}))),
			func(w *world) string { return sign(rsaKey(), jose.RS256, "k", w.good()) }},
		"a key for encryption": {string(must(json.Marshal(jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "k", Use: "enc"}))),
			func(w *world) string { return sign(rsaKey(), jose.RS256, "k", w.good()) }},
		"an RSA key of 1024 bits": {string(must(json.Marshal(jose.JSONWebKey{Key: weak.Public(), KeyID: "k"}))),
			func(w *world) string { return forgeRS256(map[string]any{"alg": "RS256", "kid": "k"}, w.good()) }},
		"an RSA key of 8193 bits": {string(must(json.Marshal(jose.JSONWebKey{Key: &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}, KeyID: "k"}))),
			func(w *world) string { return sign(rsaKey(), jose.RS256, "k", w.good()) }},
		"broken keys": {`{"kty":"RSA","kid":"k","n":"!!","e":"AQAB"},{"kty":"EC","kid":"k","crv":"P-256","x":"AA","y":"AA"},{"kty":"dance","kid":"k"},7,null`, func(w *world) string { return sign(rsaKey(), jose.RS256, "k", w.good()) }},
		"a point off the curve": {`{"kty":"EC","kid":"k","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}`,
			func(w *world) string { return sign(ecKey(), jose.ES256, "k", w.good()) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.acme.fetches.Load()
			w.acme.answer(200, `{"keys":[`+c.keys+`]}`)
			w.ask(w.crm, sign(ecKey(), jose.ES256, "unknown", w.good()))
			eventually(t, "the set is read", func() bool { return w.acme.fetches.Load() > before && w.Status()[0].Keys == 0 })
			s, code := w.ask(w.crm, c.token(w))
			if s != nil || code == "" {
				t.Errorf("accepted: %+v", s)
			}
		})
	}
	t.Run("a key that names its algorithm verifies no other", func(t *testing.T) {
		w := newWorld(t)
		k := public("only", rsaKey())
		k.Algorithm = "PS256"
		w.acme.publish(k)
		ps := sign(rsaKey(), jose.PS256, "only", w.good())
		eventually(t, "the key is known", func() bool { s, _ := w.ask(w.crm, ps); return s != nil })
		s, code := w.ask(w.crm, sign(rsaKey(), jose.RS256, "only", w.good()))
		is(t, s, code, authz.CodeTokenInvalid)
	})
}

func TestOptionsSayEverythingThatIsWrong(t *testing.T) {
	good := machines.Issuer{URL: "https://a.test", OrganizationID: "org_a", JWKSURL: "https://a.test/jwks"}
	edit := func(f func(*machines.Issuer)) machines.Issuer { i := good; f(&i); return i }
	for name, c := range map[string]struct {
		issuer machines.Issuer
		says   string
	}{
		"no organization":      {edit(func(i *machines.Issuer) { i.OrganizationID = "" }), "organization"},
		"no keys":              {edit(func(i *machines.Issuer) { i.JWKSURL = "" }), "keys"},
		"keys twice":           {edit(func(i *machines.Issuer) { i.JWKSFile = "x" }), "exactly one"},
		"plain http":           {edit(func(i *machines.Issuer) { i.URL = "http://a.test" }), "https"},
		"keys over plain http": {edit(func(i *machines.Issuer) { i.JWKSURL = "http://a.test/jwks" }), "https"},
		"keys in a local file": {edit(func(i *machines.Issuer) { i.JWKSURL = "file:///etc/passwd" }), "absolute URL"},
		"a password in it":     {edit(func(i *machines.Issuer) { i.JWKSURL = "https://u:p@a.test/jwks" }), "user name"},
		"HMAC":                 {edit(func(i *machines.Issuer) { i.Algorithms = []string{"RS256", "HS256"} }), "HS256"},
		"none":                 {edit(func(i *machines.Issuer) { i.Algorithms = []string{"none"} }), "none"},
		"a role of our own":    {edit(func(i *machines.Issuer) { i.RolesClaim, i.Roles = "r", map[string][]string{"x": {"battery:operator"}} }), "battery"},
		"no role's name":       {edit(func(i *machines.Issuer) { i.RolesClaim, i.Roles = "r", map[string][]string{"x": {"A,B"}} }), "lower-case"},
		"roles without claim":  {edit(func(i *machines.Issuer) { i.Roles = map[string][]string{"x": {"a"}} }), "no claim"},
		"roles let through":    {edit(func(i *machines.Issuer) { i.Claims = []string{"roles"} }), "taken"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := machines.New(machines.Options{Issuers: []machines.Issuer{c.issuer}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want something about %q", err, c.says)
			}
		})
	}
	_, err := machines.New(machines.Options{Issuers: []machines.Issuer{good, good, {URL: "x"}}})
	if err == nil || !strings.Contains(err.Error(), "twice") || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("not every fault is told: %v", err)
	}
	if _, err := machines.New(machines.Options{Issuers: []machines.Issuer{good}}); err != nil {
		t.Errorf("a good issuer is refused: %v", err)
	}
}

func TestNothingIsConfigured(t *testing.T) {
	v := must(machines.New(machines.Options{}))
	app := &authz.App{ID: "a.b", OrganizationID: "org_a", Machines: authz.MachineAccess{Audience: "x", Issuers: []string{"https://a.test"}, ServiceTokens: true}}
	secret, _ := machines.NewServiceToken()
	for _, token := range []string{secret, sign(rsaKey(), jose.RS256, "k", map[string]any{"iss": "https://a.test"}), "x"} {
		s, code := v.Machine(context.Background(), noon, app, token)
		is(t, s, code, authz.CodeTokenInvalid)
	}
}
