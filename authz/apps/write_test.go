package apps_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/store"
)

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func keys(t testing.TB, st store.Store) string {
	t.Helper()
	entries, _, err := st.List(t.Context(), apps.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimPrefix(e.Key, apps.Prefix))
	}
	return strings.Join(out, " ")
}

func TestWrite(t *testing.T) {
	t.Run("an app that is created is kept with its claims and served after its revision", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		in := app("crm.acme", "org_acme", "CRM.acme.battery.localhost", "crm.acme.battery.localhost:9000")
		got, revision, err := r.Create(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "keys", keys(t, st), "app/crm.acme host/crm.acme.battery.localhost")
		e, err := st.Get(t.Context(), "apps/app/crm.acme")
		if err != nil || e.Revision != revision {
			t.Fatalf("revision %d, said %d: %v", e.Revision, revision, err)
		}
		equal(t, "record", json.RawMessage(e.Value), json.RawMessage(`{"v":1,"id":"crm.acme","organization_id":"org_acme",`+
			`"hosts":["crm.acme.battery.localhost","crm.acme.battery.localhost:9000"],"allowed_roles":["admin","editor"],`+
			`"public":false,"path":"strict","identity":[],"labels":{}}`))
		claim, err := st.Get(t.Context(), "apps/host/crm.acme.battery.localhost")
		if err != nil || string(claim.Value) != `{"v":1,"app_id":"crm.acme"}` {
			t.Errorf("claim %s, %v", claim.Value, err)
		}
		load(t, st, r)
		servedApp, _ := r.View().App("crm.acme.battery.localhost")
		equal(t, "served", servedApp, got)
		if !servedApp.HasOrigin("http", "crm.acme.battery.localhost", "8000") || !got.HasOrigin("http", "crm.acme.battery.localhost", "8000") {
			t.Error("origins are not filled in")
		}
	})

	t.Run("replacing frees the hosts that are gone and deleting frees all", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		create(t, r, app("a.acme", "org_acme", "1.example.com", "2.example.com:9000"))
		if _, _, err := r.Replace(t.Context(), app("a.acme", "org_acme", "3.example.com", "1.example.com")); err != nil {
			t.Fatal(err)
		}
		equal(t, "keys", keys(t, st), "app/a.acme host/1.example.com host/3.example.com")
		create(t, r, app("b.acme", "org_acme", "2.example.com"))
		if _, err := r.Delete(t.Context(), "a.acme"); err != nil {
			t.Fatal(err)
		}
		equal(t, "keys", keys(t, st), "app/b.acme host/2.example.com")
		create(t, r, app("c.acme", "org_acme", "1.example.com"))
	})

	t.Run("a host has one owner, whatever the port and the spelling", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options(app("cfg.acme", "org_acme", "cfg.example.com")))
		create(t, r, app("a.acme", "org_acme", "1.example.com"))
		create(t, r, app("b.acme", "org_acme", "2.example.com"))
		before := keys(t, st)
		for _, host := range []string{"1.example.com", "1.EXAMPLE.com", "1.example.com:9000", "cfg.example.com", "cfg.example.com:9000"} {
			_, _, err := r.Create(t.Context(), app("c.acme", "org_acme", "3.example.com", host))
			wantError(t, "Create with "+host, err, apps.ErrHostTaken)
			_, _, err = r.Replace(t.Context(), app("b.acme", "org_acme", "3.example.com", host))
			wantError(t, "Replace with "+host, err, apps.ErrHostTaken)
		}
		equal(t, "keys", keys(t, st), before)
	})

	t.Run("ids", func(t *testing.T) {
		r := registry(t, tempStore(t), options(app("cfg.acme", "org_acme", "cfg.example.com")))
		create(t, r, app("a.acme", "org_acme", "1.example.com"))
		for _, id := range []string{"a.acme", "cfg.acme"} {
			_, _, err := r.Create(t.Context(), app(id, "org_acme", "2.example.com"))
			wantError(t, "Create "+id, err, apps.ErrExists)
		}
		_, _, err := r.Replace(t.Context(), app("cfg.acme", "org_acme", "cfg.example.com"))
		wantError(t, "Replace", err, apps.ErrReadOnly)
		_, err = r.Delete(t.Context(), "cfg.acme")
		wantError(t, "Delete", err, apps.ErrReadOnly)
		_, _, err = r.Replace(t.Context(), app("b.acme", "org_acme", "2.example.com"))
		wantError(t, "Replace", err, apps.ErrNotFound)
		for _, id := range []string{"b.acme", "", "\x00", strings.Repeat("x", 5000)} {
			_, err = r.Delete(t.Context(), id)
			wantError(t, "Delete", err, apps.ErrNotFound)
		}
	})

	t.Run("of many who claim one host at once, one gets it", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		var (
			wg  sync.WaitGroup
			won atomic.Int32
		)
		for i := range 16 {
			wg.Go(func() {
				_, _, err := r.Create(t.Context(), app(fmt.Sprintf("a%d.acme", i), "org_acme", fmt.Sprintf("own%d.example.com", i), "one.example.com"))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, apps.ErrHostTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		equal(t, "winners", won.Load(), 1)
		equal(t, "keys", len(strings.Fields(keys(t, st))), 3)
	})

	t.Run("an app that cannot be read can be replaced or deleted, and lets its hosts go", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		for _, id := range []string{"a.acme", "b.acme"} {
			create(t, r, app(id, "org_acme", id+".example.com"))
			put(t, st, "apps/app/"+id, `{"v":9,"hosts":["`+id+`.example.com","bad\u0000host"]}`)
		}
		_, _, err := r.Create(t.Context(), app("c.acme", "org_acme", "a.acme.example.com"))
		wantError(t, "its host while it is there", err, apps.ErrHostTaken)
		if _, err := r.Delete(t.Context(), "a.acme"); err != nil {
			t.Error(err)
		}
		if _, _, err := r.Replace(t.Context(), app("b.acme", "org_acme", "new.example.com")); err != nil {
			t.Error(err)
		}
		equal(t, "keys", keys(t, st), "app/b.acme host/new.example.com")
	})

	t.Run("a claim stands while its app exists or it cannot be read", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		put(t, st, "apps/host/gone.example.com", `{"v":1,"app_id":"gone.acme"}`)
		put(t, st, "apps/host/odd.example.com", `{"v":9}`)
		create(t, r, app("a.acme", "org_acme", "gone.example.com"))
		_, _, err := r.Create(t.Context(), app("b.acme", "org_acme", "odd.example.com"))
		wantError(t, "Create", err, apps.ErrHostTaken)
	})

	t.Run("the most hosts fit one transaction, before and after", func(t *testing.T) {
		r := registry(t, tempStore(t), options())
		hosts := func(kind string) (list []string) {
			for i := range 50 {
				list = append(list, fmt.Sprintf("%s%d.example.com", kind, i))
			}
			return list
		}
		create(t, r, app("a.acme", "org_acme", hosts("old")...))
		if _, _, err := r.Replace(t.Context(), app("a.acme", "org_acme", hosts("new")...)); err != nil {
			t.Error(err)
		}
		if _, err := r.Delete(t.Context(), "a.acme"); err != nil {
			t.Error(err)
		}
	})

	t.Run("a store that fails is told as it is", func(t *testing.T) {
		st := tempStore(t)
		r := registry(t, st, options())
		_ = st.Close()
		_, _, err := r.Create(t.Context(), app("a.acme", "org_acme", "1.example.com"))
		wantError(t, "Create", err, store.ErrClosed)
	})
}

func put(t testing.TB, st store.Store, key, value string) {
	t.Helper()
	if _, err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func TestValidation(t *testing.T) {
	long := strings.Repeat("x", 64)
	with := func(change func(*authz.App)) authz.App {
		a := app("crm.acme", "org_acme", "crm.example.com")
		change(&a)
		return a
	}
	host := func(h string) authz.App { return with(func(a *authz.App) { a.Hosts = []string{"ok.example.com", h} }) }
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("x%d.example.com", i))
		}
		return list
	}
	for field, list := range map[string][]authz.App{
		"id": {with(func(a *authz.App) { a.ID = "" }), with(func(a *authz.App) { a.ID = "crm" }), with(func(a *authz.App) { a.ID = "a.b.c" }),
			with(func(a *authz.App) { a.ID = "Crm.acme" }), with(func(a *authz.App) { a.ID = "crm.acme\n" }), with(func(a *authz.App) { a.ID = "-a.acme" }),
			with(func(a *authz.App) { a.ID = "a/../b.acme" }), with(func(a *authz.App) { a.ID = long + ".acme" })},
		"organization_id": {with(func(a *authz.App) { a.OrganizationID = "" }), with(func(a *authz.App) { a.OrganizationID = "org acme" })},
		"hosts":           {with(func(a *authz.App) { a.Hosts = nil }), with(func(a *authz.App) { a.Hosts = many(51) })},
		"hosts[1]": {host(""), host("*.example.com"), host("a..b"), host(".a.b"), host("a.b."), host("a b.c"), host("a_b.c"), host("-a.b"), host("a-.b"),
			host("user@a.b"), host("https://a.b"), host("a.b/path"), host("a.b:"), host("a.b:0"), host("a.b:080"), host("a.b:65536"), host("a.b:80"),
			host("a.b:1:2"), host("a.b:+1"), host("bücher.example"), host("a.b\x00"), host("a.b,c.d"), host("a.b%2e"), host(long + ".example"),
			host(strings.Repeat("a.", 127) + "ab"), host("10.0.0.1"), host("127.1"), host("0x7f000001"), host("2130706433"), host("1.2.3.4:9000"),
			host("[::1"), host("::1"), host("[::1]x"), host("[::1]:80"), host("[2001:db8::1]"), host("[::ffff:127.0.0.1]"), host("[::1%eth0]"),
			host("ok.example.com"), host("OK.example.com"), host("auth.battery.localhost"), host("AUTH.battery.localhost:9000"),
			host("x.globex.battery.localhost"), host("x.y.globex.battery.localhost"), host("globex.battery.localhost:9000"),
			host("x.nobody.battery.localhost"), host("X.Nobody.Battery.Localhost")},
		"path":             {with(func(a *authz.App) { a.PathMode = "every" })},
		"allowed_roles":    {with(func(a *authz.App) { a.AllowedRoles = many(257) })},
		"allowed_roles[1]": {with(func(a *authz.App) { a.AllowedRoles = []string{"ok", "Admin"} }), with(func(a *authz.App) { a.AllowedRoles = []string{"ok", ""} }), with(func(a *authz.App) { a.AllowedRoles = []string{"ok", "a,b"} })},
		"identity[0]":      {with(func(a *authz.App) { a.Identity = []string{"Groups"} })},
		"labels": {with(func(a *authz.App) { a.Labels = map[string]string{"": "x"} }), with(func(a *authz.App) { a.Labels = map[string]string{"a b": "x"} }),
			with(func(a *authz.App) { a.Labels = map[string]string{"a": strings.Repeat("x", 257)} }), with(func(a *authz.App) { a.Labels = map[string]string{"a": "\x00"} }),
			with(func(a *authz.App) { a.Labels = map[string]string{"a": "\xff"} })},
	} {
		t.Run("refuses a bad "+field, func(t *testing.T) {
			st := tempStore(t)
			r := registry(t, st, options())
			for i, a := range list {
				_, _, err := r.Create(t.Context(), a)
				var v *apps.ValidationError
				if !errors.As(err, &v) {
					t.Errorf("case %d (%q): %v", i, a.Hosts, err)
				} else if v.Faults[0].Field != field || v.Faults[0].Message == "" {
					t.Errorf("case %d (%q): %+v", i, a.Hosts, v.Faults)
				}
			}
			equal(t, "keys", keys(t, st), "")
		})
	}

	t.Run("takes what is good", func(t *testing.T) {
		r := registry(t, tempStore(t), options())
		for i, a := range []authz.App{
			host("xn--bcher-kva.example"), host("localhost"), host("127.0.0.2:9000"), host("[::1]:9000"), host(strings.Repeat("x", 63) + ".example"),
			host("crm.acme.battery.localhost"), host("deep.crm.acme.battery.localhost"), host("battery.localhost"), host("nobody.battery.localhost"), host("3com.example"),
			with(func(a *authz.App) { a.AllowedRoles = []string{"battery:it_admin", "0-9"} }),
			with(func(a *authz.App) { a.Labels = map[string]string{"team/name": "Größe 1"} }),
		} {
			if _, _, err := r.Create(t.Context(), a); err != nil {
				t.Errorf("case %d: %v", i, err)
			} else if _, err := r.Delete(t.Context(), a.ID); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever is done through the API, in whatever order: each host has one
// owner, and a view that follows the changes is the one that a restart makes.
func TestViewFollowsTheStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := tempStore(t)
		o := options(app("cfg.acme", "org_acme", "h0.example.com"))
		r := registry(t, st, o)
		var seen uint64
		model := map[string][]string{"cfg.acme": {"h0.example.com"}}
		hosts := rapid.SampledFrom([]string{"h0.example.com", "h1.example.com", "h2.example.com", "h3.example.com"})
		names := rapid.SampledFrom([]string{"a.acme", "b.acme", "c.globex", "cfg.acme"})
		draw := func(rt *rapid.T) authz.App {
			return app(names.Draw(rt, "id"), "org_acme", rapid.SliceOfNDistinct(hosts, 1, 3, rapid.ID[string]).Draw(rt, "hosts")...)
		}
		free := func(a authz.App) bool {
			for id, taken := range model {
				for _, h := range taken {
					for _, want := range a.Hosts {
						if id != a.ID && h == want {
							return false
						}
					}
				}
			}
			return true
		}
		check := func(what string, err error, want bool, a authz.App) {
			if (err == nil) != want {
				rt.Fatalf("%s %s %v: %v", what, a.ID, a.Hosts, err)
			}
			if want {
				model[a.ID] = a.Hosts
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				a := draw(rt)
				_, _, err := r.Create(t.Context(), a)
				check("create", err, model[a.ID] == nil && free(a), a)
			},
			"replace": func(rt *rapid.T) {
				a := draw(rt)
				_, _, err := r.Replace(t.Context(), a)
				check("replace", err, model[a.ID] != nil && a.ID != "cfg.acme" && free(a), a)
			},
			"delete": func(rt *rapid.T) {
				id := names.Draw(rt, "id")
				_, err := r.Delete(t.Context(), id)
				if (err == nil) != (model[id] != nil && id != "cfg.acme") {
					rt.Fatalf("delete %s: %v", id, err)
				}
				if err == nil {
					delete(model, id)
				}
			},
			"": func(rt *rapid.T) {
				seen = follow(t, st, r, seen)
				again := registry(t, st, o)
				equal(t, "view", r.View().List(), again.View().List())
				for i := range 4 {
					h, owner := fmt.Sprintf("h%d.example.com", i), ""
					for id, taken := range model {
						for _, m := range taken {
							if m == h {
								owner = h + "→" + id
							}
						}
					}
					if got := served(r.View(), h); got != owner {
						rt.Fatalf("served %q, want %q", got, owner)
					}
				}
			},
		})
	})
}

// follow applies the changes after a revision and returns the last one.
func follow(t *testing.T, st store.Store, r *apps.Registry, from uint64) uint64 {
	_, now, err := st.List(t.Context(), apps.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	if from == now {
		return now
	}
	enough := errors.New("enough")
	err = st.Watch(t.Context(), apps.Prefix, from, func(cs []store.Change) error {
		for _, c := range cs {
			r.Apply(c)
			if c.Revision == now {
				return enough
			}
		}
		return nil
	})
	wantError(t, "Watch", err, enough)
	return now
}
