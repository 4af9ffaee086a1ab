package sso_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// replica is another process over the same store, that hears of changes as
// every process does.
func (w *world) replica(t *testing.T) (*sso.Service, *sso.Sessions) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	sessions, err := sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: w.ring, Absolute: absolute, Idle: idle, Published: w.seen.wait, Now: w.now.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	o := options(w)
	o.Sessions = sessions
	service, err := sso.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	entries, revision, err := w.store.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	sessions.Load(entries)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.store.Watch(ctx, "", revision, func(changes []store.Change) error {
			for _, c := range changes {
				sessions.Apply(c)
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return service, sessions
}

func (w *world) rotate(t *testing.T, purposes ...string) {
	t.Helper()
	for _, p := range purposes {
		if err := w.service.RotatePurpose(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
}

func keyOf(token string) string { return strings.Split(token, ".")[1] }

func TestRotatingKeysLogsNobodyOut(t *testing.T) {
	w := newWorld(t)
	ada, eve, mia := w.browser(), w.browser(), w.browser()
	ada.visit(w.crm + "/")
	before := keyOf(ada.cookie(w.crm, "__Host-battery_session"))
	_, elsewhere := w.replica(t)

	// Eve is at the identity provider, and Mia about to redeem her ticket.
	back := eve.until(w.crm+"/.battery/login", w.public+"/callback")
	ticket := mia.until(w.crm+"/.battery/login", w.crm+"/.battery/session")
	eve.visit(w.desk + "/")
	question := tokenField.FindStringSubmatch(eve.get(w.desk + "/.battery/logout").body)

	w.rotate(t, "sessions", "tickets")
	w.now.add(10 * time.Second)
	if res := mia.get(ticket); res.at != w.crm+"/" {
		t.Fatalf("a ticket of before: %d at %s", res.StatusCode, res.at)
	}
	w.now.add(50 * time.Second)
	if res := eve.get(back); res.at != w.crm+"/" {
		t.Fatalf("a login under way: %d at %s: %s", res.StatusCode, res.at, res.body)
	}
	eve.mustBe(w.crm, "ada@acme.test")
	if keyOf(eve.cookie(w.crm, "__Host-battery_session")) == before {
		t.Fatal("the old key signs on")
	}
	if res := eve.send(http.MethodPost, w.desk+"/.battery/logout", url.Values{"token": question[1:]}); res.at != w.public+"/signed-out" {
		t.Fatalf("a form of before: %d at %s", res.StatusCode, res.at)
	}
	t.Run("on no replica", func(t *testing.T) {
		app := w.apps["crm.acme"]
		deadline := time.Now().Add(5 * time.Second)
		for _, b := range []*browser{ada, mia, eve} {
			for {
				s, code := elsewhere.Session(w.now.Now(), app, "crm.acme.example", []string{b.cookie(w.crm, "__Host-battery_session")})
				if s != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(code)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	})
	t.Run("and old login cookies open other apps", func(t *testing.T) {
		ada.path = nil
		ada.visit(w.wiki + "/")
		ada.mustBe(w.wiki, "ada@acme.test")
		if slices.ContainsFunc(ada.path, func(p string) bool { return strings.HasPrefix(p, w.workos.URL) }) {
			t.Fatalf("she had to sign in again: %v", ada.path)
		}
	})
	t.Run("over many rotations, until the session's own end", func(t *testing.T) {
		for range 20 {
			w.now.add(time.Hour)
			if _, err := w.service.RotateOlder(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			ada.mustBe(w.crm, "ada@acme.test")
		}
		w.now.add(4 * time.Hour)
		ada.mustBeNobody(w.crm, authz.CodeSessionExpired)
	})
	t.Run("and the keys of then are deleted", func(t *testing.T) {
		w.now.add(30 * time.Minute)
		if _, err := w.service.RotateOlder(context.Background(), 365*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		e, err := w.store.Get(context.Background(), "sso/key/sessions")
		if err != nil || strings.Contains(string(e.Value), before) {
			t.Fatalf("%v %s", err, e.Value)
		}
		ada.mustBeNobody(w.crm, authz.CodeNoSession)
	})
}

func TestRotatePurposeAndKeyInfo(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	states := func() map[string]string {
		t.Helper()
		list, err := w.service.KeyInfo(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, k := range list {
			if k.ID == "" || k.Created.IsZero() {
				t.Fatalf("%+v", k)
			}
			out[k.Purpose] += k.State + " "
		}
		return out
	}
	want := func(assertions, sessions, tickets string) {
		t.Helper()
		got := states()
		if got["assertions"] != assertions+" " || got["sessions"] != sessions+" " || got["tickets"] != tickets+" " || len(got) != 3 {
			t.Fatalf("%v", got)
		}
	}
	want("signing", "signing", "signing")
	for _, bad := range []string{"", "audit", "cookies", "sessions "} {
		if err := w.service.RotatePurpose(ctx, bad); !errors.Is(err, sso.ErrUnknownPurpose) {
			t.Fatalf("%q: %v", bad, err)
		}
	}
	for _, p := range []string{"assertions", "sessions", "tickets"} {
		w.rotate(t, p)
		if err := w.service.RotatePurpose(ctx, p); !errors.Is(err, sso.ErrRotating) {
			t.Fatalf("%s twice: %v", p, err)
		}
	}
	want("next signing", "next signing", "next signing")
	w.now.add(time.Minute)
	want("next signing", "signing verifying", "signing verifying")
	w.now.add(9 * time.Minute)
	want("signing verifying", "signing verifying", "signing verifying")
	t.Run("what is over is deleted without a rotation", func(t *testing.T) {
		w.now.add(25 * time.Hour)
		if did, err := w.service.RotateOlder(ctx, 30*24*time.Hour); did || err != nil {
			t.Fatal(did, err)
		}
		want("signing", "signing", "signing")
	})
	t.Run("by age, all of them", func(t *testing.T) {
		w.now.add(30 * 24 * time.Hour)
		if did, err := w.service.RotateOlder(ctx, 30*24*time.Hour); !did || err != nil {
			t.Fatal(did, err)
		}
		want("next signing", "next signing", "next signing")
		if did, err := w.service.RotateOlder(ctx, 30*24*time.Hour); did || err != nil {
			t.Fatal(did, err)
		}
	})
	t.Run("nothing secret is in it", func(t *testing.T) {
		list, _ := w.service.KeyInfo(ctx)
		text, _ := json.Marshal(list)
		if len(list) != 6 || strings.Contains(string(text), "ealed") {
			t.Fatalf("%s", text)
		}
	})
	t.Run("a store that is down changes nothing and is told", func(t *testing.T) {
		st := &broken{}
		w := build(t, "https", "example", "", func(in store.Store) store.Store { st.Store = in; return st })
		ada := w.browser()
		ada.visit(w.crm + "/")
		st.down.Store(true)
		for _, p := range []string{"assertions", "sessions", "tickets"} {
			if err := w.service.RotatePurpose(ctx, p); err == nil {
				t.Fatalf("%s rotated", p)
			}
		}
		if _, err := w.service.RotateOlder(ctx, 0); err == nil {
			t.Fatal("rotated")
		}
		ada.mustBe(w.crm, "ada@acme.test")
	})
}

func TestANewRootKeyLogsNobodyOut(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	entry := w.service.AuditMAC()([]byte("entry"))
	old, err := w.service.RootKeys(ctx)
	if err != nil || len(old) != 1 || !old[0].Needed(w.now.Now()) {
		t.Fatalf("%+v %v", old, err)
	}
	if _, err := keys.GenerateRootKey(w.keyDir); err != nil {
		t.Fatal(err)
	}
	load := func() {
		t.Helper()
		if w.ring, err = keys.Load(w.keyDir); err != nil {
			t.Fatal(err)
		}
		w.restart(t)
		ada.mustBe(w.crm, "ada@acme.test")
		ada.visit(w.wiki + "/")
		ada.mustBe(w.wiki, "ada@acme.test")
	}
	load()
	roots, err := w.service.RootKeys(ctx)
	if err != nil || len(roots) != 2 || roots[1].ID != old[0].ID || roots[1].Needed(w.now.Now()) {
		t.Fatalf("the old root is still needed: %+v %v", roots, err)
	}
	if line := "its file may be removed"; !strings.Contains(w.log.String(), line) || !strings.Contains(w.log.String(), roots[1].File) {
		t.Fatal("the log does not say so")
	}
	if err := os.Remove(roots[1].File); err != nil {
		t.Fatal(err)
	}
	load()
	if got := w.service.AuditMAC()([]byte("entry")); string(got) != string(entry) {
		t.Fatal("the audit does not verify any more")
	}
	t.Run("a root that is not the store's is a start-up error that says what to do", func(t *testing.T) {
		ring, err := keys.Load(keyDir(t))
		if err != nil {
			t.Fatal(err)
		}
		o := options(w)
		o.Keys = ring
		if _, err := sso.New(ctx, o); err == nil {
			t.Fatal("keys other than the sessions' are taken")
		}
		o.Sessions, err = sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: ring, Absolute: absolute, Idle: idle, Published: w.seen.wait, Now: w.now.Now})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sso.New(ctx, o); !errors.Is(err, keys.ErrUnusable) || !strings.Contains(err.Error(), "session.keys_dir") {
			t.Fatalf("%v", err)
		}
		load()
	})
}

// Before there were keyrings, cookies were made under keys derived from the
// root itself.
func TestCookiesFromBeforeTheKeyringsStayGoodForTheirLife(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ada := w.browser()
	ada.visit(w.crm + "/")
	part := strings.Split(ada.cookie(w.crm, "__Host-battery_session"), ".")
	payload, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil {
		t.Fatal(err)
	}
	root := w.ring.MACs(keys.Cookie).Key(w.now.Now())
	body := "1." + root.ID() + "." + part[2]
	mac := root.Sum(body, "crm.acme", "\x00", "crm.acme.example")
	login := w.ring.Sealer(keys.Login).Seal([]byte(`{"v":1,"s":[{"o":"org_acme","k":"`+base64.RawURLEncoding.EncodeToString(payload[:32])+`"}]}`), "battery_login")
	set := func(b *browser) {
		for origin, c := range map[string]*http.Cookie{
			w.crm:    {Name: "__Host-battery_session", Value: body + "." + base64.RawURLEncoding.EncodeToString(mac[:]), Path: "/", Secure: true},
			w.public: {Name: "__Host-battery_login", Value: login, Path: "/", Secure: true},
		} {
			u, _ := url.Parse(origin)
			b.jar.SetCookies(u, []*http.Cookie{c})
		}
	}
	t.Run("where there were keyrings from the start they are nobody's", func(t *testing.T) {
		b := w.browser()
		set(b)
		b.mustBeNobody(w.crm, authz.CodeNoSession)
	})
	// The store as that version leaves it.
	_, err = w.store.Update(ctx, func(tx store.Tx) error {
		return errors.Join(tx.Delete("sso/key/sessions"), tx.Delete("sso/key/tickets"), tx.Delete("sso/key/audit"))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	old := w.browser()
	set(old)
	old.mustBe(w.crm, "ada@acme.test")
	old.visit(w.wiki + "/")
	old.mustBe(w.wiki, "ada@acme.test")
	if slices.ContainsFunc(old.path, func(p string) bool { return strings.HasPrefix(p, w.workos.URL) }) {
		t.Fatalf("signed in again: %v", old.path)
	}
	if got := keyOf(old.cookie(w.wiki, "__Host-battery_session")); got == root.ID() {
		t.Fatal("the root signs on")
	}
	for range 3 {
		w.now.add(7 * time.Hour)
		old.mustBe(w.crm, "ada@acme.test")
		if err := w.sessions.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		w.restart(t)
	}
	if roots, err := w.service.RootKeys(ctx); err != nil || roots[0].VerifiesUntil.IsZero() {
		t.Fatalf("%+v %v", roots, err)
	}
	w.now.add(3*time.Hour + 10*time.Minute)
	old.mustBeNobody(w.crm, authz.CodeNoSession) // and not "expired": the key counts no more
}
