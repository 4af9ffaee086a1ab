package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

func oidcSign(key *ecdsa.PrivateKey, payload []byte) string {
	return oidctest.SignWith(key, jose.ES256, oidctest.KeyID(key), "JWT", payload)
}

func TestLogoutToken(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	got, err := w.p.VerifyLogout(ctx, w.op.LogoutToken(map[string]any{"sid": "s1"}))
	if err != nil || got.Subject != "sub-ada" || got.SessionID != "s1" || got.TokenID == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if d := got.Replayable.Sub(w.clock.Now()); d < 5*time.Minute || d > 6*time.Minute {
		t.Fatalf("remembered for %s", d)
	}
	event := "http://schemas.openid.net/event/backchannel-logout"
	for name, claims := range map[string]map[string]any{
		"another issuer":          {"iss": "https://evil.example"},
		"another audience":        {"aud": "other"},
		"a second audience":       {"aud": []string{oidctest.ClientID, "other"}},
		"no audience":             {"aud": nil},
		"neither sub nor sid":     {"sub": nil},
		"no jti":                  {"jti": nil},
		"an endless jti":          {"jti": strings.Repeat("x", 256)},
		"no events":               {"events": nil},
		"another event":           {"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}},
		"an event that is null":   {"events": map[string]any{event: nil}},
		"an event that is text":   {"events": map[string]any{event: "x"}},
		"events that are a list":  {"events": []string{event}},
		"a nonce":                 {"nonce": "n"},
		"an empty nonce":          {"nonce": ""},
		"no time of issue":        {"iat": nil},
		"no expiry":               {"exp": nil},
		"issued in the future":    {"iat": w.clock.Now().Add(31 * time.Second).Unix()},
		"expired":                 {"exp": w.clock.Now().Add(-31 * time.Second).Unix()},
		"issued long ago":         {"iat": w.clock.Now().Add(-6 * time.Minute).Unix()},
		"issued long ago, with a": {"iat": w.clock.Now().Add(-24 * time.Hour).Unix(), "exp": w.clock.Now().Add(24 * time.Hour).Unix()},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if got, err := w.p.VerifyLogout(ctx, w.op.LogoutToken(claims)); !errors.Is(err, oidc.ErrUntrusted) {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
	payload, _ := json.Marshal(map[string]any{"iss": w.op.URL, "aud": oidctest.ClientID, "iat": w.clock.Now().Unix(),
		"exp": w.clock.Now().Add(time.Minute).Unix(), "jti": "j", "sub": "s", "events": map[string]any{event: map[string]any{}}})
	key := w.op.Key()
	stranger := oidctest.New(w.clock.Now)
	defer stranger.Close()
	for name, token := range map[string]string{
		"unsigned":              none(payload),
		"an HMAC":               oidctest.SignWith([]byte(strings.Repeat("k", 32)), jose.HS256, oidctest.KeyID(key), "logout+jwt", payload),
		"a stranger's key":      oidctest.SignWith(stranger.Key(), jose.ES256, oidctest.KeyID(key), "logout+jwt", payload),
		"a token for access":    oidctest.SignWith(key, jose.ES256, oidctest.KeyID(key), "at+jwt", payload),
		"noise":                 "a.b.c",
		"nothing":               "",
		"JSON serialization":    `{"payload":"e30","protected":"e30","signature":"AA"}`,
		"a megabyte of letters": strings.Repeat("a", 1<<20),
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if got, err := w.p.VerifyLogout(ctx, token); !errors.Is(err, oidc.ErrUntrusted) {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
	t.Run("an ID token is no logout token", func(t *testing.T) {
		id, err := w.login(attempt())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.p.VerifyLogout(ctx, id.IDToken); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	for _, typ := range []string{"", "JWT", "logout+jwt", "application/logout+jwt", "LOGOUT+JWT"} {
		t.Run("typ "+typ+" is taken", func(t *testing.T) {
			if _, err := w.p.VerifyLogout(ctx, oidctest.SignWith(key, jose.ES256, oidctest.KeyID(key), typ, payload)); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("an ID token is refused as one even where a logout token is one", func(t *testing.T) {
		w := newWorld(t)
		w.op.Sign = func([]byte) string {
			return oidctest.SignWith(w.op.Key(), jose.ES256, oidctest.KeyID(w.op.Key()), "", payload)
		}
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	t.Run("strangers' tokens make us ask for keys a few times, and logins can still", func(t *testing.T) {
		w := newWorld(t)
		for range 50 {
			_, _ = w.p.VerifyLogout(ctx, oidctest.SignWith(stranger.Key(), jose.ES256, "unknown", "", payload))
		}
		if n := w.asked("/keys"); n == 0 || n > 3 {
			t.Fatalf("asked %d times", n)
		}
		if _, err := w.p.VerifyLogout(ctx, oidctest.SignWith(stranger.Key(), jose.ES256, "unknown", "", payload)); !errors.Is(err, oidc.ErrUnavailable) {
			t.Fatalf("what was not looked up counts as forged: %v", err)
		}
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLogoutURL(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	to, err := w.p.LogoutURL(ctx, "id.to.ken", "https://auth.example/signed-out", "s t")
	u, _ := url.Parse(to)
	q := u.Query()
	if err != nil || !strings.HasPrefix(to, w.op.URL+"/end?") || q.Get("id_token_hint") != "id.to.ken" || q.Get("client_id") != oidctest.ClientID ||
		q.Get("post_logout_redirect_uri") != "https://auth.example/signed-out" || q.Get("state") != "s t" {
		t.Fatalf("%s, %v", to, err)
	}
	for name, change := range map[string]func(*world){
		"a provider without one": func(w *world) { w.op.Metadata = func(d map[string]any) { delete(d, "end_session_endpoint") } },
		"one on plain http": func(w *world) {
			w.op.Metadata = func(d map[string]any) { d["end_session_endpoint"] = "http://10.0.0.1/" }
		},
		"one that is a script": func(w *world) { w.op.Metadata = func(d map[string]any) { d["end_session_endpoint"] = "javascript:x" } },
		"sessions that are to be kept": func(w *world) {
			c := config(w.op.URL)
			c.KeepProviderSession = true
			w.p, _ = oidc.New(c)
		},
	} {
		t.Run(name+" leads nowhere", func(t *testing.T) {
			w := newWorld(t)
			change(w)
			if to, err := w.p.LogoutURL(ctx, "", "https://auth.example/", ""); err != nil || to != "" {
				t.Fatalf("%s, %v", to, err)
			}
		})
	}
	t.Run("a provider that is down is an error", func(t *testing.T) {
		w := newWorld(t)
		w.op.Instead[discovery] = respond(503, "", "")
		if _, err := w.p.LogoutURL(ctx, "", "https://auth.example/", ""); !errors.Is(err, oidc.ErrUnavailable) {
			t.Fatal(err)
		}
	})
}

func FuzzLogoutTokenOfAnybody(f *testing.F) {
	op := oidctest.New(time.Now)
	f.Cleanup(op.Close)
	p, err := oidc.New(config(op.URL))
	if err != nil {
		f.Fatal(err)
	}
	good := op.LogoutToken(nil)
	if _, err := p.VerifyLogout(context.Background(), good); err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for _, seed := range []string{"", "a.b.c", none([]byte(`{"sub":"x"}`)), parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1] + "." + parts[1], "{}", parts[1]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := p.VerifyLogout(context.Background(), token); err == nil {
			t.Fatalf("taken: %+v", got)
		}
	})
}
