package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/sso/oidc"
)

func TestConfig(t *testing.T) {
	good := config("https://idp.example/tenant")
	if _, err := oidc.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*oidc.Config){
		"no organization":                 func(c *oidc.Config) { c.OrganizationID = "" },
		"no id":                           func(c *oidc.Config) { c.ID = "" },
		"an id of WorkOS's form":          func(c *oidc.Config) { c.ID = "conn_1" },
		"an id with a slash":              func(c *oidc.Config) { c.ID = "oidc_a/b" },
		"an id with a line break":         func(c *oidc.Config) { c.ID = "oidc_a\n" },
		"an endless id":                   func(c *oidc.Config) { c.ID = "oidc_" + strings.Repeat("a", 49) },
		"no issuer":                       func(c *oidc.Config) { c.Issuer = "" },
		"plain http":                      func(c *oidc.Config) { c.Issuer = "http://idp.example" },
		"an issuer that looks loopback":   func(c *oidc.Config) { c.Issuer = "http://localhost.evil.example" },
		"an issuer with a query":          func(c *oidc.Config) { c.Issuer += "?x=1" },
		"an issuer with a fragment":       func(c *oidc.Config) { c.Issuer += "#x" },
		"an issuer with a user":           func(c *oidc.Config) { c.Issuer = "https://u:p@idp.example" },
		"an issuer that is a file":        func(c *oidc.Config) { c.Issuer = "file:///etc/passwd" },
		"no client id":                    func(c *oidc.Config) { c.ClientID = "" },
		"no client secret":                func(c *oidc.Config) { c.ClientSecret = "" },
		"no signature":                    func(c *oidc.Config) { c.AllowedAlgorithms = []string{"none"} },
		"a shared key":                    func(c *oidc.Config) { c.AllowedAlgorithms = []string{"RS256", "HS256"} },
		"a clock off by more than minute": func(c *oidc.Config) { c.ClockSkew = 61 * time.Second },
		"a clock off by less than zero":   func(c *oidc.Config) { c.ClockSkew = -1 },
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			c := good
			change(&c)
			if _, err := oidc.New(c); !errors.Is(err, oidc.ErrConfig) || strings.Contains(err.Error(), c.ClientSecret) && c.ClientSecret != "" {
				t.Fatal(err)
			}
		})
	}
	t.Run("every fault is told at once", func(t *testing.T) {
		if _, err := oidc.New(oidc.Config{}); err == nil || strings.Count(err.Error(), "\n") < 3 {
			t.Fatal(err)
		}
	})
}

func TestDiscoveryRefuses(t *testing.T) {
	put := func(k string, v any) func(map[string]any) { return func(d map[string]any) { d[k] = v } }
	for name, change := range map[string]func(map[string]any){
		"another issuer":                                         put("issuer", "https://evil.example"),
		"no issuer":                                              put("issuer", nil),
		"a token endpoint on plain http":                         put("token_endpoint", "http://10.0.0.1/token"),
		"a token endpoint that is a path":                        put("token_endpoint", "/token"),
		"no token endpoint":                                      put("token_endpoint", nil),
		"an authorization endpoint in script":                    put("authorization_endpoint", "javascript:alert(1)"),
		"an authorization endpoint that adds to a page's policy": put("authorization_endpoint", "https://evil.example;sandbox/"),
		"no authorization endpoint":                              put("authorization_endpoint", nil),
		"keys on plain http":                                     put("jwks_uri", "http://metadata.internal/keys"),
		"keys in a file":                                         put("jwks_uri", "file:///etc/keys"),
		"no keys":                                                put("jwks_uri", nil),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.op.Metadata = change
			if to, err := w.p.AuthorizationURL(context.Background(), attempt(), ""); !errors.Is(err, oidc.ErrUntrusted) {
				t.Fatalf("%s, %v", to, err)
			}
		})
	}
}

const discovery = "/.well-known/openid-configuration"

func TestDiscoveryInTrouble(t *testing.T) {
	ctx := context.Background()
	for name, h := range map[string]http.HandlerFunc{
		"down":              respond(503, "text/html", "<html>"),
		"nonsense":          respond(200, "application/json", `{"issuer":`),
		"HTML":              respond(200, "text/html", `<html>`),
		"a list":            respond(200, "application/json", `[]`),
		"nothing":           respond(200, "application/json", ``),
		"endless":           respond(200, "application/json", `{"issuer":"`+strings.Repeat("x", 2<<20)+`"}`),
		"leading elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) },
		"slow":              func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name+": its logins fail soon, and the next ones at once", func(t *testing.T) {
			w := newWorld(t, func(c *oidc.Config) { c.Timeout = 100 * time.Millisecond })
			w.op.Instead[discovery] = h
			start := time.Now()
			for range 20 {
				if _, err := w.p.AuthorizationURL(ctx, attempt(), ""); !errors.Is(err, oidc.ErrUnavailable) || len(err.Error()) > 600 {
					t.Fatal(err)
				}
			}
			if took := time.Since(start); took > time.Second || w.asked(discovery) != 1 {
				t.Fatalf("%s, asked %d times", took, w.asked(discovery))
			}
			w.op.Mu.Lock()
			delete(w.op.Instead, discovery)
			w.op.Mu.Unlock()
			w.clock.add(time.Second)
			if _, err := w.login(attempt()); err != nil {
				t.Fatalf("after it came back: %v", err)
			}
		})
	}
	t.Run("many who come at once ask once", func(t *testing.T) {
		w := newWorld(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := w.p.AuthorizationURL(ctx, attempt(), ""); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := w.asked(discovery); n != 1 {
			t.Fatalf("asked %d times", n)
		}
	})
	t.Run("somebody who goes away is not a failure for the others", func(t *testing.T) {
		w := newWorld(t)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := w.p.AuthorizationURL(gone, attempt(), ""); err == nil {
			t.Fatal("no error")
		}
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("what is known is used on while the provider is down", func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
		w.op.Instead[discovery] = respond(503, "", "")
		w.clock.add(2 * time.Hour)
		for range 3 {
			if _, err := w.login(attempt()); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.asked(discovery); n != 2 {
			t.Fatalf("asked %d times", n)
		}
	})
	t.Run("metadata is asked for again after an hour", func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			if _, err := w.login(attempt()); err != nil {
				t.Fatal(err)
			}
			w.clock.add(31 * time.Minute)
		}
		if n := w.asked(discovery); n != 2 {
			t.Fatalf("asked %d times", n)
		}
	})
}

func TestKeyRotation(t *testing.T) {
	t.Run("a new key counts at once, the old one while it is published", func(t *testing.T) {
		w := newWorld(t)
		old := w.op.Key()
		for range 3 {
			if _, err := w.login(attempt()); err != nil {
				t.Fatal(err)
			}
			w.op.Rotate(true)
		}
		w.op.Sign = func(p []byte) string { return oidcSign(old, p) }
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a key that was withdrawn is refused once others are known", func(t *testing.T) {
		w := newWorld(t)
		old := w.op.Key()
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
		w.op.Rotate(false)
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
		w.op.Sign = func(p []byte) string { return oidcSign(old, p) }
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	t.Run("and after an hour even if nothing new was seen", func(t *testing.T) {
		w := newWorld(t)
		old := w.op.Key()
		if _, err := w.login(attempt()); err != nil {
			t.Fatal(err)
		}
		w.op.Rotate(false)
		w.op.Sign = func(p []byte) string { return oidcSign(old, p) }
		w.clock.add(61 * time.Minute)
		if _, err := w.login(attempt()); !errors.Is(err, oidc.ErrUntrusted) {
			t.Fatal(err)
		}
	})
	for name, h := range map[string]http.HandlerFunc{
		"down": respond(503, "", ""),
		"slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run("keys that cannot be had are no proof of a forgery: "+name, func(t *testing.T) {
			w := newWorld(t, func(c *oidc.Config) { c.Timeout = 100 * time.Millisecond })
			w.op.Instead["/keys"] = h
			if id, err := w.login(attempt()); !errors.Is(err, oidc.ErrUnavailable) || id.UserID != "" {
				t.Fatalf("%+v, %v", id, err)
			}
		})
	}
	t.Run("keys that are nonsense open nothing", func(t *testing.T) {
		for _, body := range []string{`{"keys":`, `[]`, `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AA"}]}`, `null`} {
			w := newWorld(t)
			w.op.Instead["/keys"] = respond(200, "application/json", body)
			if id, err := w.login(attempt()); err == nil || id.UserID != "" {
				t.Fatalf("%s: %+v, %v", body, id, err)
			}
		}
	})
}
