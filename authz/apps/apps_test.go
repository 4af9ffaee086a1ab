package apps_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/apps"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
)

func tempStore(t testing.TB) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// options are those of the demo world: two organizations with their slugs.
func options(configured ...authz.App) apps.Options {
	owners := map[string]string{"acme": "org_acme", "globex": "org_globex"}
	return apps.Options{
		Configured: configured, Scheme: "http", Ports: []string{"8000"}, Domain: "battery.localhost",
		Reserved:  []string{"auth.battery.localhost:8080"},
		SlugOwner: func(slug string) (string, bool) { id, ok := owners[slug]; return id, ok },
	}
}

func registry(t testing.TB, st store.Store, o apps.Options) *apps.Registry {
	t.Helper()
	r, err := apps.New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	load(t, st, r)
	return r
}

func load(t testing.TB, st store.Store, r *apps.Registry) {
	t.Helper()
	entries, _, err := st.List(t.Context(), "") // other rooms' entries too
	if err != nil {
		t.Fatal(err)
	}
	r.Load(entries)
}

func app(id, org string, hosts ...string) authz.App {
	return authz.App{ID: id, OrganizationID: org, Hosts: hosts, AllowedRoles: []string{"editor", "admin"}}
}

func create(t testing.TB, r *apps.Registry, a authz.App) {
	t.Helper()
	if _, _, err := r.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

// served is what a view serves: "host→app".
func served(v *apps.View, hosts ...string) string {
	var out []string
	for _, h := range hosts {
		if a, ok := v.App(h); ok {
			out = append(out, h+"→"+a.ID)
		}
	}
	return strings.Join(out, " ")
}

func ids(v *apps.View) string {
	var out []string
	for _, a := range v.List() {
		out = append(out, a.ID)
	}
	return strings.Join(out, " ")
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func entry(key, value string) store.Entry { return store.Entry{Key: key, Value: []byte(value)} }

// stored is an app as another replica or version could have left it.
func stored(id, org, host string) store.Entry {
	return entry("apps/app/"+id, fmt.Sprintf(`{"v":1,"id":%q,"organization_id":%q,"hosts":[%q],"allowed_roles":[],"public":false,"path":"strict","identity":[],"labels":{}}`, id, org, host))
}

func change(entries ...store.Entry) store.Change { return store.Change{Entries: entries} }

func TestConfiguredApps(t *testing.T) {
	t.Run("are served by host and id, in canonical form, with their origins", func(t *testing.T) {
		a := app("crm.acme", "org_acme", "CRM.acme.battery.localhost", "crm.example.com:9000", "[0:0::1]", "127.0.0.1")
		a.AllowedRoles = []string{"editor", "admin", "editor"}
		a.Identity = []string{"groups", "assertion"}
		r := registry(t, tempStore(t), options(a, app("open.acme", "org_acme", "open.example.com")))
		v := r.View()
		equal(t, "served", served(v, "crm.acme.battery.localhost", "crm.example.com", "[::1]", "127.0.0.1", "example.com", "other"),
			"crm.acme.battery.localhost→crm.acme crm.example.com→crm.acme [::1]→crm.acme 127.0.0.1→crm.acme")
		got, ok := v.ByID("crm.acme")
		if !ok {
			t.Fatal("not found by id")
		}
		equal(t, "app", got, authz.App{
			ID: "crm.acme", OrganizationID: "org_acme",
			Hosts:        []string{"crm.acme.battery.localhost", "crm.example.com:9000", "[::1]", "127.0.0.1"},
			AllowedRoles: []string{"admin", "editor"}, PathMode: "strict",
			Identity: []string{"assertion", "groups"}, Labels: map[string]string{},
		})
		for authority, want := range map[[2]string]bool{
			{"crm.acme.battery.localhost", ""}: true, {"crm.acme.battery.localhost", "8000"}: true,
			{"crm.acme.battery.localhost", "9000"}: false, {"crm.example.com", "9000"}: true, {"crm.example.com", ""}: false,
		} {
			if got.HasOrigin("http", authority[0], authority[1]) != want {
				t.Errorf("origin %v: want %t", authority, want)
			}
		}
		if got.HasOrigin("https", "crm.acme.battery.localhost", "") {
			t.Error("an https origin of an http app")
		}
		equal(t, "ids", ids(v), "crm.acme open.acme")
		if !r.Configured("crm.acme") || r.Configured("crm.globex") {
			t.Error("Configured is wrong")
		}
	})

	t.Run("no roles admit nobody: an empty list, not null", func(t *testing.T) {
		a := app("crm.acme", "org_acme", "crm.example.com")
		a.AllowedRoles = nil
		got, _ := registry(t, tempStore(t), options(a)).View().ByID("crm.acme")
		equal(t, "roles", got.AllowedRoles, []string{})
	})

	t.Run("do not follow what the caller does with its slices later", func(t *testing.T) {
		a := app("crm.acme", "org_acme", "crm.example.com")
		a.Labels = map[string]string{"tier": "1"}
		r := registry(t, tempStore(t), options(a))
		a.Hosts[0], a.AllowedRoles[0], a.Labels["tier"] = "evil.example.com", "everyone", "2"
		got, ok := r.View().App("crm.example.com")
		if !ok || slices.Contains(got.AllowedRoles, "everyone") || got.Labels["tier"] != "1" {
			t.Errorf("app is %+v", got)
		}
	})

	t.Run("every fault is in one error", func(t *testing.T) {
		bad := app("CRM", "", "*.example.com", "auth.battery.localhost", "a.example.com:80")
		bad.PathMode, bad.Identity = "any-reading", []string{"email"}
		o := options(bad,
			app("one.acme", "org_acme", "a.example.com"), app("one.acme", "org_acme", "b.example.com"),
			app("two.acme", "org_acme", "a.example.com:9000"))
		o.Scheme, o.Ports, o.Domain, o.Reserved = "http", []string{"0"}, "battery..localhost", append(o.Reserved, "a b")
		_, err := apps.New(tempStore(t), o)
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{
			`port "0"`, `domain "battery..localhost"`, `reserved host "a b"`,
			`apps[0] "CRM": id`, "organization_id: an app must have an owner", "hosts[0]: hosts are exact", "hosts[1]: this host is Battery Gate's own",
			"hosts[2]: leave out the default port", "path: must be", "identity[0]",
			`apps[2] "one.acme": another app has the same id`, `apps[3] "two.acme": host a.example.com is owned by one.acme too`,
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no word of %q in:\n%v", want, err)
			}
		}
		if _, err := apps.New(tempStore(t), apps.Options{}); err == nil {
			t.Error("options without a scheme pass")
		}
	})
}

func TestView(t *testing.T) {
	t.Run("the zero view knows no host", func(t *testing.T) {
		var v apps.View
		if _, ok := v.App("crm.example.com"); ok {
			t.Error("found a host")
		}
		if _, ok := v.ByID("crm.acme"); ok {
			t.Error("found an app")
		}
		equal(t, "list", ids(&v), "")
	})

	t.Run("a view stays as it was when apps change", func(t *testing.T) {
		r := registry(t, tempStore(t), options())
		r.Apply(change(stored("a.acme", "org_acme", "a.example.com")))
		before := r.View()
		r.Apply(change(stored("a.acme", "org_acme", "b.example.com"), stored("c.acme", "org_acme", "c.example.com")))
		hosts := []string{"a.example.com", "b.example.com", "c.example.com"}
		equal(t, "before", served(before, hosts...), "a.example.com→a.acme")
		equal(t, "after", served(r.View(), hosts...), "b.example.com→a.acme c.example.com→c.acme")
		r.Apply(change(store.Entry{Key: "apps/app/a.acme", Deleted: true}))
		equal(t, "deleted", served(r.View(), hosts...), "c.example.com→c.acme")
	})

	t.Run("a host moves between two apps in one change, whatever their order", func(t *testing.T) {
		for _, to := range []string{"a.acme", "z.acme"} {
			r := registry(t, tempStore(t), options())
			r.Apply(change(stored("m.acme", "org_acme", "moving.example.com")))
			r.Apply(change(stored(to, "org_acme", "moving.example.com"), stored("m.acme", "org_acme", "m.example.com")))
			equal(t, "served", served(r.View(), "moving.example.com", "m.example.com"), "moving.example.com→"+to+" m.example.com→m.acme")
		}
	})

	t.Run("finding an app allocates nothing", func(t *testing.T) {
		host := strings.Repeat("long", 12) + ".acme.battery.localhost"
		v := registry(t, tempStore(t), options(app("crm.acme", "org_acme", host))).View()
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := v.App(host); !ok {
				t.Fatal("not found")
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestLeftOut(t *testing.T) {
	reasons := func(r *apps.Registry) string {
		var out []string
		for _, l := range r.View().LeftOut() {
			out = append(out, l.ID+": "+l.Reason)
		}
		return strings.Join(out, "\n")
	}
	wantOut := func(t *testing.T, r *apps.Registry, host, reason string) {
		t.Helper()
		if a, ok := r.View().App(host); ok {
			t.Errorf("%s is served by %s", host, a.ID)
		}
		if got := reasons(r); !strings.Contains(got, reason) {
			t.Errorf("left out: %q, want %q", got, reason)
		}
	}
	good := string(stored("crm.acme", "org_acme", "crm.example.com").Value)

	for name, value := range map[string]string{
		"no JSON":                     `{`,
		"more than one value":         good + `{}`,
		"a later version":             strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no version":                  strings.Replace(good, `"v":1,`, ``, 1),
		"a field that is not known":   strings.Replace(good, `"v":1`, `"v":1,"deny_from":"tor"`, 1),
		"another app's id":            strings.Replace(good, `crm.acme`, `wiki.acme`, 1),
		"no owner":                    strings.Replace(good, `org_acme`, ``, 1),
		"a wildcard":                  strings.Replace(good, `crm.example.com`, `*.example.com`, 1),
		"a path mode that is unknown": strings.Replace(good, `strict`, `loose`, 1),
		"null":                        `null`,
	} {
		t.Run("a stored app with "+name+" is not served", func(t *testing.T) {
			r := registry(t, tempStore(t), options())
			r.Load([]store.Entry{entry("apps/app/crm.acme", value), stored("ok.acme", "org_acme", "ok.example.com")})
			wantOut(t, r, "crm.example.com", "crm.acme: ")
			equal(t, "others", ids(r.View()), "ok.acme")

			r.Load([]store.Entry{entry("apps/app/crm.acme", good)})
			equal(t, "left out once it is right", reasons(r), "")
			r.Apply(change(entry("apps/app/crm.acme", value)))
			wantOut(t, r, "crm.example.com", "crm.acme: ")
			r.Recheck()
			wantOut(t, r, "crm.example.com", "crm.acme: ")
			r.Apply(change(store.Entry{Key: "apps/app/crm.acme", Deleted: true}))
			equal(t, "left out once it is gone", reasons(r), "")
		})
	}

	t.Run("the config file wins a host, and an id, over the store", func(t *testing.T) {
		r := registry(t, tempStore(t), options(app("crm.acme", "org_acme", "crm.example.com")))
		for _, do := range []func(...store.Entry){
			func(e ...store.Entry) { r.Load(e) },
			func(e ...store.Entry) { r.Apply(change(e...)) },
		} {
			do(stored("crm.acme", "org_globex", "evil.example.com"), stored("a.globex", "org_globex", "crm.example.com"))
			equal(t, "served", served(r.View(), "crm.example.com", "evil.example.com"), "crm.example.com→crm.acme")
			wantOut(t, r, "evil.example.com", "a.globex: the config file gives its host crm.example.com to crm.acme")
		}
		r.Apply(change(store.Entry{Key: "apps/app/crm.acme", Deleted: true}))
		equal(t, "after the stored one is gone", served(r.View(), "crm.example.com"), "crm.example.com→crm.acme")
	})

	t.Run("of two stored apps with one host one is served, until it goes", func(t *testing.T) {
		r := registry(t, tempStore(t), options())
		r.Load([]store.Entry{stored("a.acme", "org_acme", "x.example.com"), stored("b.acme", "org_acme", "x.example.com")})
		equal(t, "served", served(r.View(), "x.example.com"), "x.example.com→a.acme")
		equal(t, "left out", reasons(r), "b.acme: its host x.example.com is owned by a.acme")
		r.Apply(change(store.Entry{Key: "apps/app/a.acme", Deleted: true}))
		equal(t, "served", served(r.View(), "x.example.com"), "x.example.com→b.acme")
		equal(t, "left out", reasons(r), "")
	})

	t.Run("a host under another organization's slug is not served", func(t *testing.T) {
		o := options(app("cfg.acme", "org_acme", "cfg.globex.battery.localhost"))
		r := registry(t, tempStore(t), o)
		r.Load([]store.Entry{
			stored("a.acme", "org_acme", "a.globex.battery.localhost"), stored("b.acme", "org_acme", "b.c.globex.battery.localhost"),
			stored("c.acme", "org_acme", "globex.battery.localhost"), stored("ok.acme", "org_acme", "ok.acme.battery.localhost"),
		})
		equal(t, "served", ids(r.View()), "ok.acme")
		wantOut(t, r, "cfg.globex.battery.localhost", "cfg.acme: hosts[0]: hosts under globex.battery.localhost belong to another organization")
	})

	t.Run("an organization that gets a slug ends what lies under it, at the next recheck", func(t *testing.T) {
		o := options(app("cfg.acme", "org_acme", "cfg.initech.battery.localhost"))
		owner := ""
		o.SlugOwner = func(slug string) (string, bool) { return owner, slug == "initech" && owner != "" }
		r := registry(t, tempStore(t), o)
		r.Load([]store.Entry{stored("a.acme", "org_acme", "a.initech.battery.localhost")})
		equal(t, "before", ids(r.View()), "a.acme cfg.acme")
		owner = "org_initech"
		r.Recheck()
		equal(t, "given to another", ids(r.View()), "")
		owner = "org_acme"
		r.Recheck()
		equal(t, "given to the owner", ids(r.View()), "a.acme cfg.acme")
	})

	t.Run("apps of a deleted organization are not served, at the next recheck, whatever they ask for", func(t *testing.T) {
		o := options(app("cfg.acme", "org_acme", "cfg.example.com"), app("desk.globex", "org_globex", "desk.example.com"))
		gone := ""
		o.OwnerGone = func(org string) bool { return org == gone }
		r := registry(t, tempStore(t), o)
		public := strings.Replace(string(stored("open.acme", "org_acme", "open.example.com").Value), `"public":false`, `"public":true`, 1)
		r.Load([]store.Entry{entry("apps/app/open.acme", public)})
		if a, ok := r.View().ByID("open.acme"); !ok || !a.Public {
			t.Fatal("the public app is not one")
		}
		gone = "org_acme"
		r.Recheck()
		equal(t, "after the deletion", ids(r.View()), "desk.globex")
		wantOut(t, r, "open.example.com", "open.acme: its organization org_acme was deleted")
		r.Apply(change(entry("apps/app/more.acme", strings.ReplaceAll(public, "open", "more"))))
		equal(t, "one stored since", ids(r.View()), "desk.globex")
	})
}
