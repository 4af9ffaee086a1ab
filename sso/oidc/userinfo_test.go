package oidc_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/sso/oidc"
)

func TestEmail(t *testing.T) {
	for name, c := range map[string]struct {
		extra, info       map[string]any
		trust             bool
		email, unverified string
	}{
		"verified":                                  {extra: map[string]any{"email": "a@b.c", "email_verified": true}, email: "a@b.c"},
		"verified, as text":                         {extra: map[string]any{"email": "a@b.c", "email_verified": "true"}, email: "a@b.c"},
		"not verified":                              {extra: map[string]any{"email": "a@b.c", "email_verified": false}, unverified: "a@b.c"},
		"not verified, as text":                     {extra: map[string]any{"email": "a@b.c", "email_verified": "false"}, unverified: "a@b.c"},
		"verified says something odd":               {extra: map[string]any{"email": "a@b.c", "email_verified": 1}, unverified: "a@b.c"},
		"nothing is said":                           {extra: map[string]any{"email": "a@b.c"}, unverified: "a@b.c"},
		"nothing is said, and that is trusted":      {extra: map[string]any{"email": "a@b.c"}, trust: true, email: "a@b.c"},
		"not verified is not trusted":               {extra: map[string]any{"email": "a@b.c", "email_verified": false}, trust: true, unverified: "a@b.c"},
		"none anywhere":                             {},
		"from UserInfo":                             {info: map[string]any{"email": "a@b.c", "email_verified": true}, email: "a@b.c"},
		"from UserInfo, not verified":               {info: map[string]any{"email": "a@b.c", "email_verified": false}, unverified: "a@b.c"},
		"a verification without address helps none": {extra: map[string]any{"email_verified": true}, info: map[string]any{"email": "a@b.c"}, unverified: "a@b.c"},
		"the ID token's counts, not UserInfo's":     {extra: map[string]any{"email": "a@b.c"}, info: map[string]any{"email": "x@y.z", "email_verified": true}, unverified: "a@b.c"},
		"a line break in it":                        {extra: map[string]any{"email": "a@b.c\r\nX: y", "email_verified": true}},
		"two signs in it":                           {extra: map[string]any{"email": "a@b@c", "email_verified": true}},
		"endless":                                   {extra: map[string]any{"email": strings.Repeat("a", 251) + "@b.c", "email_verified": true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *oidc.Config) { cfg.TrustEmail = c.trust })
			w.op.Extra, w.op.UserInfo = c.extra, c.info
			id, err := w.login(attempt())
			if err != nil || id.Email != c.email || id.Unverified != c.unverified {
				t.Fatalf("%+v, %v", id, err)
			}
		})
	}
}

func TestUserInfo(t *testing.T) {
	for name, c := range map[string]struct {
		hostile func(*world)
		want    error
	}{
		"about somebody else": {func(w *world) {
			w.op.UserInfo = map[string]any{"sub": "sub-root", "email": "root@acme.test", "email_verified": true}
		}, oidc.ErrUntrusted},
		"about nobody": {func(w *world) { w.op.UserInfo = map[string]any{"sub": ""} }, oidc.ErrUntrusted},
		"down":         {func(w *world) { w.op.Instead["/userinfo"] = respond(500, "text/plain", "x") }, oidc.ErrUnavailable},
		"nonsense":     {func(w *world) { w.op.Instead["/userinfo"] = respond(200, "application/json", "<html>") }, oidc.ErrUnavailable},
		"a list":       {func(w *world) { w.op.Instead["/userinfo"] = respond(200, "application/json", "[]") }, oidc.ErrUnavailable},
		"leading elsewhere": {func(w *world) {
			w.op.Instead["/userinfo"] = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/keys", http.StatusFound) }
		}, oidc.ErrUnavailable},
	} {
		t.Run(name+" fails the login", func(t *testing.T) {
			w := newWorld(t)
			delete(w.op.Extra, "email")
			c.hostile(w)
			if id, err := w.login(attempt()); !errors.Is(err, c.want) || id.UserID != "" {
				t.Fatalf("%+v, %v", id, err)
			}
		})
	}
	t.Run("on plain http elsewhere is never asked", func(t *testing.T) {
		w := newWorld(t)
		delete(w.op.Extra, "email")
		w.op.Metadata = func(d map[string]any) { d["userinfo_endpoint"] = "http://10.0.0.1/userinfo" }
		if id, err := w.login(attempt()); err != nil || id.Email != "" {
			t.Fatalf("%+v, %v", id, err)
		}
	})
	t.Run("is asked for groups that the ID token lacks", func(t *testing.T) {
		w := newWorld(t, func(c *oidc.Config) { c.GroupsClaim = "roles" })
		w.op.UserInfo = map[string]any{"roles": "one"}
		if id, err := w.login(attempt()); err != nil || !slices.Equal(id.Groups, []string{"one"}) || id.Email != "ada@acme.test" {
			t.Fatalf("%+v, %v", id, err)
		}
	})
	t.Run("groups that are kept elsewhere are reported missing", func(t *testing.T) {
		w := newWorld(t, func(c *oidc.Config) { c.GroupsClaim = "groups" })
		w.op.Extra["_claim_names"] = map[string]string{"groups": "src1"}
		w.op.Extra["_claim_sources"] = map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/"}}
		if id, err := w.login(attempt()); err != nil || !id.GroupsMissing || len(id.Groups) != 0 {
			t.Fatalf("%+v, %v", id, err)
		}
	})
}
