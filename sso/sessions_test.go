package sso_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/store"
)

func TestTokensOpenOnlyWhatTheyAreFor(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	token := ada.cookie(w.crm, "__Host-battery_session")
	crm, wiki := w.apps["crm.acme"], w.apps["wiki.acme"]
	bob := w.browser()
	bob.get(w.public + "/login?app=crm.acme&login_hint=bob%40acme.test")
	second := bob.cookie(w.crm, "__Host-battery_session")
	login := ada.cookie(w.public, "__Host-battery_login")

	ask := func(app *authz.App, host string, tokens ...string) string {
		s, code := w.sessions.Session(w.now.Now(), app, host, tokens)
		if (s == nil) == (code == "") {
			t.Fatalf("session %+v with code %q", s, code)
		}
		return code
	}
	if code := ask(crm, "crm.acme.example", token); code != "" {
		t.Fatalf("its own app: %s", code)
	}
	if code := ask(crm, "crm.acme.example", token, token, token); code != "" {
		t.Fatalf("three equal copies: %s", code)
	}
	flip := func(at int) string {
		b := []byte(token)
		if b[at] ^= 1; b[at] == token[at] {
			t.Fatal("nothing changed")
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		app    *authz.App
		host   string
		tokens []string
	}{
		"another app":                    {wiki, "wiki.acme.example", []string{token}},
		"another app on this host":       {wiki, "crm.acme.example", []string{token}},
		"another host of this app":       {crm, "crm.acme-corp.example", []string{token}},
		"no app":                         {nil, "crm.acme.example", []string{token}},
		"no token":                       {crm, "crm.acme.example", nil},
		"an empty token":                 {crm, "crm.acme.example", []string{""}},
		"two people's tokens":            {crm, "crm.acme.example", []string{token, second}},
		"a token and noise":              {crm, "crm.acme.example", []string{token, "x"}},
		"noise and a token":              {crm, "crm.acme.example", []string{"x", token}},
		"a cut token":                    {crm, "crm.acme.example", []string{token[:len(token)-1]}},
		"a longer token":                 {crm, "crm.acme.example", []string{token + "A"}},
		"a token with a line break":      {crm, "crm.acme.example", []string{token[:40] + "\n" + token[41:]}},
		"a token of another version":     {crm, "crm.acme.example", []string{"2" + token[1:]}},
		"a token of another key":         {crm, "crm.acme.example", []string{"1.AAAAAAAA" + token[10:]}},
		"a changed secret":               {crm, "crm.acme.example", []string{flip(20)}},
		"a changed expiry":               {crm, "crm.acme.example", []string{flip(60)}},
		"a changed MAC":                  {crm, "crm.acme.example", []string{flip(80)}},
		"a megabyte":                     {crm, "crm.acme.example", []string{strings.Repeat("A", 1<<20)}},
		"a megabyte that begins like it": {crm, "crm.acme.example", []string{token + strings.Repeat("A", 1<<20)}},
		"NUL bytes":                      {crm, "crm.acme.example", []string{strings.Repeat("\x00", len(token))}},
		"the login cookie":               {crm, "crm.acme.example", []string{login}},
	} {
		t.Run(name+" is nobody", func(t *testing.T) {
			if code := ask(c.app, c.host, c.tokens...); code != authz.CodeNoSession {
				t.Fatalf("%q", code)
			}
		})
	}
	t.Run("the app cookie is nobody's login", func(t *testing.T) {
		b := w.browser()
		res := b.get(w.public+"/login?app=wiki.acme&challenge="+strings.Repeat("A", 43), "Cookie", "__Host-battery_login="+token)
		if s, _ := b.session(w.wiki); s != nil || !strings.HasPrefix(res.at, w.wiki+"/.battery/session") {
			t.Fatalf("ended at %s", res.at)
		}
	})
}

func TestWhatTheStoreHolds(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	entries, _, err := w.store.List(context.Background(), sso.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range entries {
		kinds[strings.Split(e.Key, "/")[1]]++
		var v struct{ V int }
		if err := json.Unmarshal(e.Value, &v); err != nil || v.V < 1 {
			t.Errorf("%s is not versioned JSON: %s", e.Key, e.Value)
		}
	}
	if fmt.Sprint(kinds) != "map[key:4 session:1 ticket:1]" {
		t.Fatalf("%v", kinds)
	}
	t.Run("a copy of it signs nobody in", func(t *testing.T) {
		all := ""
		for _, e := range entries {
			all += e.Key + string(e.Value)
		}
		token := ada.cookie(w.crm, "__Host-battery_session")
		if strings.Contains(all, strings.Split(token, ".")[2][:40]) || strings.Contains(all, "PRIVATE") {
			t.Fatal("a secret is in the store")
		}
	})
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	w.now.add(2 * time.Hour)
	s := ada.mustBe(w.crm, "ada@acme.test") // seen at 2 h
	if err := w.sessions.Tidy(context.Background()); err != nil {
		t.Fatal(err)
	}
	entries, _, err := w.store.List(context.Background(), sso.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	second, err := sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: w.ring, Absolute: absolute, Idle: idle, Published: w.seen.wait, Now: w.now.Now})
	if err != nil {
		t.Fatal(err)
	}
	second.Load(entries)
	tokens := []string{ada.cookie(w.crm, "__Host-battery_session")}
	t.Run("keeps the session and when it was last used", func(t *testing.T) {
		at := w.now.Now().Add(idle - time.Second)
		got, code := second.Session(at, w.apps["crm.acme"], "crm.acme.example", tokens)
		if got == nil || got.ID != s.ID || got.IdpID != s.IdpID || !got.ExpiresAt.Equal(s.ExpiresAt) {
			t.Fatalf("%+v %s", got, code)
		}
	})
	t.Run("a reload without it ends it", func(t *testing.T) {
		second.Load(nil)
		if got, code := second.Session(w.now.Now(), w.apps["crm.acme"], "crm.acme.example", tokens); got != nil || code != authz.CodeSessionRevoked {
			t.Fatalf("%+v %s", got, code)
		}
	})
	t.Run("a record that cannot be read is nobody's", func(t *testing.T) {
		for _, value := range []string{"", "{", `{"v":2,"user_id":"u","organization_id":"o","expires_at":"2030-01-01T00:00:00Z"}`, `{"v":1}`} {
			second.Load(entries)
			second.Apply(store.Change{Entries: []store.Entry{{Key: "sso/session/" + s.ID, Value: []byte(value)}}})
			if got, code := second.Session(w.now.Now(), w.apps["crm.acme"], "crm.acme.example", tokens); got != nil || code != authz.CodeSessionRevoked {
				t.Fatalf("%q: %+v %s", value, got, code)
			}
		}
	})
}

func TestLastUse(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	ada := w.browser()
	ada.visit(w.crm + "/")
	stored := func() (r struct {
		LastSeen time.Time `json:"last_seen"`
	}, revision uint64) {
		entries, revision, err := w.store.List(ctx, "sso/session/")
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v %v", entries, err)
		}
		_ = json.Unmarshal(entries[0].Value, &r)
		return r, revision
	}
	_, before := stored()
	t.Run("small steps are not written", func(t *testing.T) {
		w.now.add(idle/10 - time.Minute)
		ada.mustBe(w.crm, "ada@acme.test")
		_ = w.sessions.Tidy(ctx)
		// Tidy removes the ticket's mark, which is a write of its own.
		r, _ := stored()
		if !r.LastSeen.Equal(w.now.Now().Add(-(idle/10 - time.Minute))) {
			t.Fatalf("revision after %d: %v", before, r)
		}
	})
	t.Run("larger ones are", func(t *testing.T) {
		w.now.add(2 * time.Minute)
		ada.mustBe(w.crm, "ada@acme.test")
		if err := w.sessions.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		if r, _ := stored(); !r.LastSeen.Equal(w.now.Now()) {
			t.Fatalf("%v, want %v", r, w.now.Now())
		}
	})
	t.Run("it does not bring an ended session back", func(t *testing.T) {
		id := ada.mustBe(w.crm, "ada@acme.test").ID
		w.now.add(2 * time.Hour)
		ada.mustBe(w.crm, "ada@acme.test")
		if _, err := w.store.Update(ctx, func(tx store.Tx) error { return tx.Delete("sso/session/" + id) }); err != nil {
			t.Fatal(err)
		}
		if err := w.sessions.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		if entries, _, _ := w.store.List(ctx, "sso/session/"); len(entries) != 0 {
			t.Fatalf("%v", entries)
		}
	})
	t.Run("Run writes it when it stops", func(t *testing.T) {
		bob := w.browser()
		bob.visit(w.crm + "/")
		w.now.add(30 * time.Second)
		bob.mustBe(w.crm, "ada@acme.test")
		stop, cancel := context.WithCancel(ctx)
		cancel()
		if err := w.sessions.Run(stop); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if r, _ := stored(); !r.LastSeen.Equal(w.now.Now()) {
			t.Fatalf("%v, want %v", r, w.now.Now())
		}
	})
	t.Run("old ticket marks are removed", func(t *testing.T) {
		w.now.add(10 * time.Minute)
		_ = w.sessions.Tidy(ctx)
		if entries, _, _ := w.store.List(ctx, "sso/ticket/"); len(entries) != 0 {
			t.Fatalf("%d marks", len(entries))
		}
	})
}

// A session that another replica made a moment ago ends with the others.
func TestRevokeWhereMissesNoNewSession(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var late *sso.Sessions
	late, err := sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: w.ring, Absolute: absolute, Idle: idle, Now: w.now.Now,
		Published: func(ctx context.Context, _ uint64) error {
			entries, _, err := w.store.List(ctx, "")
			late.Load(entries)
			return err
		}})
	if err != nil {
		t.Fatal(err)
	}
	ada := w.browser()
	ada.visit(w.crm + "/")
	ada.mustBe(w.crm, "ada@acme.test")
	if late.Count() != 0 {
		t.Fatal("the other replica is not late")
	}
	if n, err := late.RevokeWhere(ctx, sso.Filter{User: "ada@acme.test"}); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if got, _, _ := w.store.List(ctx, sso.Prefix+"session/"); len(got) != 0 {
		t.Fatalf("%d records are left", len(got))
	}
}

func TestListAndRevoke(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	for _, who := range []string{"ada@acme.test", "bob@acme.test"} {
		w.browser().get(w.public + "/login?app=crm.acme&login_hint=" + who)
		w.now.add(time.Second)
	}
	gil := w.browser()
	gil.get(w.public + "/login?app=desk.globex&login_hint=gil%40globex.test")
	for name, c := range map[string]struct {
		f    sso.Filter
		want string
	}{
		"all, newest first": {sso.Filter{}, "gil@globex.test bob@acme.test ada@acme.test"},
		"by organization":   {sso.Filter{OrganizationID: "org_acme"}, "bob@acme.test ada@acme.test"},
		"by e-mail":         {sso.Filter{User: "ADA@acme.test"}, "ada@acme.test"},
		"by profile":        {sso.Filter{User: "prof_bob@acme.test"}, "bob@acme.test"},
		"by both":           {sso.Filter{User: "ada@acme.test", OrganizationID: "org_globex"}, ""},
		"by connection":     {sso.Filter{ConnectionID: "conn_2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range w.sessions.List(c.f) {
				got = append(got, s.Email)
			}
			if strings.Join(got, " ") != c.want {
				t.Fatalf("%v", got)
			}
		})
	}
	for _, id := range []string{"", "session_", "session_zz", "../key/assertion", "session_" + strings.Repeat("0", 32), "session_" + strings.Repeat("A", 32)} {
		if err := w.sessions.Revoke(ctx, id); !errors.Is(err, sso.ErrNoSession) {
			t.Errorf("Revoke(%q): %v", id, err)
		}
		if _, err := w.sessions.Get(id); !errors.Is(err, sso.ErrNoSession) {
			t.Errorf("Get(%q): %v", id, err)
		}
	}
	if n, err := w.sessions.RevokeWhere(ctx, sso.Filter{OrganizationID: "org_acme"}); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if got := w.sessions.List(sso.Filter{}); len(got) != 1 || got[0].Email != "gil@globex.test" {
		t.Fatalf("%v", got)
	}
	gil.mustBe(w.desk, "gil@globex.test")
}
