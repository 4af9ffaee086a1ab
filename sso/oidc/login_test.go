package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

func TestLogin(t *testing.T) {
	w := newWorld(t, func(c *oidc.Config) { c.GroupsClaim = "groups" })
	w.op.Extra["groups"] = []string{"Engineering", "Everyone"}
	id, err := w.login(attempt())
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "sub-ada" || id.Email != "ada@acme.test" || id.Unverified != "" || id.GivenName != "Ada" || id.SessionID != "op-session-1" ||
		!slices.Equal(id.Groups, []string{"Engineering", "Everyone"}) || !id.AuthTime.Equal(w.clock.Now()) || strings.Count(id.IDToken, ".") != 2 {
		t.Fatalf("%+v", id)
	}
	if id.UserID != w.p.UserID("sub-ada") || !strings.HasPrefix(id.UserID, "oidc_") {
		t.Fatalf("user id %q", id.UserID)
	}
	sent := w.op.Last
	if sent.Get("login_hint") != "ada@acme.test" || sent.Get("nonce") != "nonce" || sent.Get("scope") != "openid email profile" ||
		sent.Has("max_age") || sent.Has("code_verifier") {
		t.Fatalf("asked with %v", sent)
	}
	t.Run("a second login asks for no metadata and no keys again", func(t *testing.T) {
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
		if w.asked("/.well-known/openid-configuration") != 1 || w.asked("/keys") != 1 || w.asked("/userinfo") != 0 {
			t.Fatalf("%v", w.op.Asked)
		}
	})
}

// none is an unsigned token (RFC 7519 §6).
func none(payload []byte) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"none"}`)) + "." + enc.EncodeToString(payload) + "."
}

func TestIDTokenIsRefused(t *testing.T) {
	set := func(k string, v any) func(*world) {
		return func(w *world) { w.op.Tamper = func(c map[string]any) { c[k] = v } }
	}
	at := func(k string, d time.Duration) func(*world) {
		return func(w *world) { w.op.Tamper = func(c map[string]any) { c[k] = w.clock.Now().Add(d).Unix() } }
	}
	stranger, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, hostile := range map[string]func(*world){
		"another issuer":                  set("iss", "https://evil.example"),
		"the issuer with a slash":         func(w *world) { w.op.Tamper = func(c map[string]any) { c["iss"] = w.op.URL + "/" } },
		"no issuer":                       set("iss", nil),
		"another audience":                set("aud", "other"),
		"a second audience":               set("aud", []string{oidctest.ClientID, "other"}),
		"no audience":                     set("aud", nil),
		"an audience that only begins so": set("aud", oidctest.ClientID+"x"),
		"another authorized party":        set("azp", "other"),
		"another nonce":                   set("nonce", "nonc"),
		"no nonce":                        set("nonce", nil),
		"an empty nonce":                  set("nonce", ""),
		"no subject":                      set("sub", nil),
		"an endless subject":              set("sub", strings.Repeat("x", 256)),
		"a subject that is a number":      set("sub", 7),
		"expired":                         at("exp", -30*time.Second),
		"no expiry":                       set("exp", nil),
		"an expiry that is text":          set("exp", "tomorrow"),
		"no time of issue":                set("iat", nil),
		"issued in the future":            at("iat", 31*time.Second),
		"not valid yet":                   at("nbf", 31*time.Second),
		"another access token":            set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"an endless session id":           set("sid", strings.Repeat("x", 256)),
		"unsigned":                        func(w *world) { w.op.Sign = none },
		"unsigned, spelled otherwise": func(w *world) {
			w.op.Sign = func(p []byte) string {
				enc := base64.RawURLEncoding
				return enc.EncodeToString([]byte(`{"alg":"NoNe","kid":"`+oidctest.KeyID(w.op.Key())+`"}`)) + "." + enc.EncodeToString(p) + ".AA"
			}
		},
		"an HMAC under the public key": func(w *world) {
			w.op.Sign = func(p []byte) string {
				der, _ := x509.MarshalPKIXPublicKey(w.op.Key().Public())
				key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
				return oidctest.SignWith(key, jose.HS256, oidctest.KeyID(w.op.Key()), "JWT", p)
			}
		},
		"an HMAC under the client secret": func(w *world) {
			w.op.Sign = func(p []byte) string {
				return oidctest.SignWith([]byte(strings.Repeat(oidctest.ClientSecret, 2)), jose.HS256, "", "JWT", p)
			}
		},
		"a stranger's key under a known name": func(w *world) {
			w.op.Sign = func(p []byte) string {
				return oidctest.SignWith(stranger, jose.RS256, oidctest.KeyID(w.op.Key()), "JWT", p)
			}
		},
		"a key that it brings along": func(w *world) {
			w.op.Sign = func(p []byte) string {
				s, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, (&jose.SignerOptions{EmbedJWK: true}))
				signed, _ := s.Sign(p)
				out, _ := signed.CompactSerialize()
				return out
			}
		},
		"a changed payload": func(w *world) {
			w.op.Sign = func(p []byte) string {
				good := oidctest.SignWith(w.op.Key(), jose.ES256, oidctest.KeyID(w.op.Key()), "JWT", []byte(`{}`))
				parts := strings.Split(good, ".")
				return parts[0] + "." + base64.RawURLEncoding.EncodeToString(p) + "." + parts[2]
			}
		},
		"nothing":             func(w *world) { w.op.Sign = func([]byte) string { return "" } },
		"noise":               func(w *world) { w.op.Sign = func([]byte) string { return "a.b.c" } },
		"an encrypted one":    func(w *world) { w.op.Sign = func([]byte) string { return "a.b.c.d.e" } },
		"claims of no object": func(w *world) { w.op.Sign = func([]byte) string { return sign(w, `[]`) } },
		"two groups claims too many": func(w *world) {
			w.op.Extra["groups"] = make([]string, 1001)
		},
		"groups of a megabyte":     func(w *world) { w.op.Extra["groups"] = []string{strings.Repeat("x", 65<<10)} },
		"groups that are no names": func(w *world) { w.op.Extra["groups"] = map[string]any{"a": 1} },
		"groups with a number":     func(w *world) { w.op.Extra["groups"] = []any{"a", 1} },
		"an answer without ID token": func(w *world) {
			w.op.Instead["/token"] = respond(200, "application/json", `{"access_token":"x","token_type":"Bearer"}`)
		},
		"an ID token that is an object": func(w *world) {
			w.op.Instead["/token"] = respond(200, "application/json", `{"access_token":"x","token_type":"Bearer","id_token":{}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *oidc.Config) { c.GroupsClaim = "groups" })
			hostile(w)
			if id, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) || id.UserID != "" {
				t.Fatalf("%+v, %v", id, err)
			}
		})
	}
	t.Run("an algorithm that is not allowed here", func(t *testing.T) {
		w := newWorld(t, func(c *oidc.Config) { c.AllowedAlgorithms = []string{"RS256"} })
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	t.Run("but what clocks may differ by is allowed", func(t *testing.T) {
		for k, d := range map[string]time.Duration{"exp": -29 * time.Second, "iat": 30 * time.Second, "nbf": 30 * time.Second} {
			w := newWorld(t)
			at(k, d)(w)
			if _, err := w.login(attempt()); err != nil {
				t.Errorf("%s %s: %v", k, d, err)
			}
		}
	})
}

func sign(w *world, payload string) string {
	return oidctest.SignWith(w.op.Key(), jose.ES256, oidctest.KeyID(w.op.Key()), "JWT", []byte(payload))
}

func respond(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestCodeIsRefused(t *testing.T) {
	ctx := context.Background()
	t.Run("with another verifier, and then even with the right one", func(t *testing.T) {
		w := newWorld(t)
		q := w.begin(attempt())
		other := attempt()
		other.Verifier = strings.Repeat("w", 43)
		for _, a := range []oidc.Attempt{other, attempt()} {
			if _, err := w.p.Exchange(ctx, a, q.Get("code"), q.Get("iss")); !errors.Is(err, oidc.ErrRefused) {
				t.Fatal(err)
			}
		}
	})
	t.Run("from another login, by its nonce", func(t *testing.T) {
		w := newWorld(t)
		q := w.begin(attempt())
		mine := attempt()
		mine.Nonce = "mine"
		if _, err := w.p.Exchange(ctx, mine, q.Get("code"), q.Get("iss")); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	t.Run("without nonce, verifier or code, before anything is sent", func(t *testing.T) {
		w := newWorld(t)
		bare, noVerifier := attempt(), attempt()
		bare.Nonce, noVerifier.Verifier = "", ""
		for _, a := range []oidc.Attempt{bare, noVerifier} {
			if _, err := w.p.Exchange(ctx, a, "code", w.op.URL); !errors.Is(err, oidc.ErrUntrusted) {
				t.Fatal(err)
			}
		}
		if _, err := w.p.Exchange(ctx, attempt(), "", w.op.URL); err == nil || w.asked("/token") != 0 {
			t.Fatal(err)
		}
	})
	t.Run("with an answer of another issuer (mix-up), before the code is sent", func(t *testing.T) {
		for _, iss := range []string{"https://evil.example", "x"} {
			w := newWorld(t)
			w.op.AnswerIssuer = iss
			if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) || w.asked("/token") != 0 {
				t.Fatalf("%v, asked %v", err, w.op.Asked)
			}
		}
	})
	t.Run("without issuer, where the provider always names it", func(t *testing.T) {
		w := newWorld(t)
		w.op.AnswerIssuer = "-"
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) || w.asked("/token") != 0 {
			t.Fatal(err)
		}
		w = newWorld(t)
		w.op.AnswerIssuer = "-"
		w.op.Metadata = func(d map[string]any) { delete(d, "authorization_response_iss_parameter_supported") }
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("by a provider that does not know the client", func(t *testing.T) {
		w := newWorld(t, func(c *oidc.Config) { c.ClientSecret = "wrong" })
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrConfig) || strings.Contains(err.Error(), "wrong") {
			t.Fatal(err)
		}
	})
}

func TestClientSecretInTheBodyWhereTheHeaderIsNotTaken(t *testing.T) {
	w := newWorld(t)
	w.op.Metadata = func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
	var got string
	w.op.Instead["/token"] = func(rw http.ResponseWriter, r *http.Request) {
		_, _, basic := r.BasicAuth()
		got = r.PostFormValue("client_secret")
		if basic {
			got = "in the header"
		}
		respond(400, "application/json", `{"error":"invalid_grant"}`)(rw, r)
	}
	if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrRefused) || got != oidctest.ClientSecret {
		t.Fatalf("%v, secret %q", err, got)
	}
}

func TestTokenEndpointInTrouble(t *testing.T) {
	huge := `{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`
	for name, h := range map[string]http.HandlerFunc{
		"down":              respond(503, "text/html", "<html>"),
		"over its limit":    respond(429, "application/json", `{}`),
		"talking HTML":      respond(200, "text/html", "<html>"),
		"talking half JSON": respond(200, "application/json", `{"access_token":`),
		"an empty answer":   respond(200, "application/json", ``),
		"an empty object":   respond(200, "application/json", `{}`),
		"a huge answer":     respond(200, "application/json", huge),
		"leading elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"refusing strangely": respond(400, "application/json", `{"error":"<script>"}`),
		"hanging up": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *oidc.Config) { c.Timeout = 100 * time.Millisecond })
			w.op.Instead["/token"] = h
			id, err := w.login(attempt())
			if !errors.Is(err, oidc.ErrUnavailable) || id.UserID != "" {
				t.Fatalf("%+v, %v", id, err)
			}
			if len(err.Error()) > 600 || strings.Contains(err.Error(), "code-1") {
				t.Fatalf("the error repeats what was sent: %.300s", err.Error())
			}
		})
	}
}

func TestFreshLogin(t *testing.T) {
	fresh := attempt()
	fresh.MaxAge = 5 * time.Minute
	for name, c := range map[string]struct {
		auth any
		ok   bool
	}{
		"just now":                {0 * time.Second, true},
		"as long ago as allowed":  {-5 * time.Minute, true},
		"within the clocks' skew": {-5*time.Minute - 29*time.Second, true},
		"too long ago":            {-5*time.Minute - 31*time.Second, false},
		"not said":                {nil, false},
		"zero":                    {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.op.Tamper = func(claims map[string]any) {
				claims["auth_time"] = c.auth
				if d, ok := c.auth.(time.Duration); ok {
					claims["auth_time"] = w.clock.Now().Add(d).Unix()
				}
			}
			_, err := w.login(fresh)
			if (err == nil) != c.ok || (!c.ok && !errors.Is(err, oidc.ErrNotFresh)) {
				t.Fatal(err)
			}
			if w.op.Last.Get("max_age") != "300" {
				t.Fatalf("asked with %v", w.op.Last)
			}
		})
	}
}

func TestUserIDs(t *testing.T) {
	a, b, c := newWorld(t).p, newWorld(t).p, newWorld(t, func(c *oidc.Config) { c.ID = "oidc_globex" }).p
	rapid.Check(t, func(t *rapid.T) {
		sub, other := rapid.String().Draw(t, "sub"), rapid.String().Draw(t, "other")
		id := a.UserID(sub)
		if len(id) != 37 || !regexp.MustCompile(`^oidc_[0-9a-f]{32}$`).MatchString(id) || id != a.UserID(sub) {
			t.Fatalf("%q is not fit for a header", id)
		}
		if sub != other && id == a.UserID(other) {
			t.Fatalf("%q and %q are one user", sub, other)
		}
		// b is another issuer, c another connection.
		if id == b.UserID(sub) || b.UserID(sub) == c.UserID(sub) {
			t.Fatal("two providers' subjects are one user")
		}
	})
}

func TestIDTokenParserNeverPanics(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.Custom(func(t *rapid.T) any {
			return map[string]any{
				rapid.SampledFrom([]string{"iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "sid", "email", "email_verified", "azp", "_claim_names"}).Draw(t, "k"): rapid.OneOf(
					rapid.Just(any(nil)), rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Float64(), func(f float64) any { return f }),
					rapid.Just(any([]any{1, "x"})), rapid.Just(any(map[string]any{"a": 1}))).Draw(t, "v")}
		}).Draw(rt, "claims")
		w.op.Tamper = func(c map[string]any) {
			for k, x := range v.(map[string]any) {
				c[k] = x
			}
		}
		w.op.Sign = func(p []byte) string {
			if !json.Valid(p) {
				return ""
			}
			return sign(w, string(p))
		}
		if id, err := w.login(attempt()); err == nil && (id.Subject == "" || len(id.Subject) > 255) {
			rt.Fatalf("%+v", id)
		}
	})
}
