package settings_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/settings"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

var update = flag.Bool("update", false, "write the golden pages")

var secretsRE = regexp.MustCompile(`name="(token|hash)" value="[^"]*"`)

// golden compares a page with the one that was looked at.
func golden(t *testing.T, name string, res reply, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("%s: status %d, want %d", name, res.StatusCode, status)
	}
	checkPage(t, res)
	got := secretsRE.ReplaceAllString(res.body, `name="$1" value="…"`)
	file := filepath.Join("testdata", name+".html")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s is not as it was (-update writes it): %v\n%s", name, err, got)
	}
}

var (
	styleRE = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	idRE    = regexp.MustCompile(` id="([^"]+)"`)
	thRE    = regexp.MustCompile(`<th[ >][^>]*`)
)

// checkPage holds what every page promises: nothing runs, nothing is kept, it is
// not framed, its style is the one that its policy names, every field has a
// label, every head of a table says what of.
func checkPage(t *testing.T, res reply) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	policy := res.Header.Get("Content-Security-Policy")
	style := styleRE.FindStringSubmatch(res.body)
	if style == nil {
		t.Fatalf("no style: %s", res.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "script") || strings.Contains(strings.ToLower(res.body), "<script") || strings.Contains(res.body, "ZgotmplZ") {
		t.Error("something runs, or was not rendered")
	}
	ids := map[string]bool{}
	for _, id := range idRE.FindAllStringSubmatch(res.body, -1) {
		if ids[id[1]] {
			t.Errorf("two things have the id %s", id[1])
		}
		ids[id[1]] = true
	}
	for _, in := range inputRE.FindAllStringSubmatchIndex(res.body, -1) {
		tag := res.body[in[0]:in[1]]
		if strings.Contains(tag, `type="hidden"`) {
			continue
		}
		before := res.body[:in[0]]
		inside := strings.LastIndex(before, "<label") > strings.LastIndex(before, "</label>")
		id := regexpAll(tag, ` id="([^"]+)"`)
		if !inside && (len(id) == 0 || !strings.Contains(res.body, `<label for="`+id[0]+`"`)) {
			t.Errorf("no label: %s", tag)
		}
	}
	for _, th := range thRE.FindAllString(res.body, -1) {
		if !strings.Contains(th, "scope=") && !strings.HasPrefix(th, "<thead") {
			t.Errorf("no scope: %s", th)
		}
	}
}

func TestScreens(t *testing.T) {
	t.Run("normal", func(t *testing.T) {
		w := newWorld(t)
		golden(t, "normal", w.admin().get(page), http.StatusOK)
	})
	t.Run("sign in", func(t *testing.T) {
		w := newWorld(t)
		golden(t, "sign-in", w.browser().get(page), http.StatusOK)
	})
	t.Run("an older login", func(t *testing.T) {
		w := newWorld(t)
		golden(t, "older-login", w.signIn("ada@acme.test", "acme").get(page), http.StatusOK)
	})
	t.Run("not allowed", func(t *testing.T) {
		w := newWorld(t)
		golden(t, "not-allowed", w.signIn("bob@acme.test", "acme").get(page), http.StatusForbidden)
	})
	t.Run("no directory", func(t *testing.T) {
		// Roles come from a directory, so the policy that ships lets nobody in here.
		w := newWorld(t, func(o *settings.Options) { o.Policy = only{} })
		w.must(w.directory.PutOrganization(context.Background(), directory.Organization{ID: "org_NEW", Slug: "new", Name: "New", Domains: []string{"new.test"}}))
		golden(t, "empty", w.signIn("al@new.test", "new").get(public+"/orgs/new/settings"), http.StatusOK)
	})
	t.Run("read only", func(t *testing.T) {
		w := newWorld(t, func(o *settings.Options) { o.Policy = only{"settings.read"} })
		b := w.signIn("bob@acme.test", "acme")
		golden(t, "read-only", b.get(page), http.StatusOK)
		for _, path := range []string{save, "/portal"} {
			if res := b.step(page+path, url.Values{"do": {"save"}, "intent": {"sso"}}); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d", path, res.StatusCode)
			}
		}
	})
	t.Run("faults", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f["roles."+rowOf(f, "id:"+all)] = nil
		f["new.roles"] = []string{"editor"}
		golden(t, "faults", b.step(page+save, f), http.StatusUnprocessableEntity)
	})
	t.Run("conflict", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f["roles."+rowOf(f, "id:"+eng)] = []string{"editor", "member"}
		w.put(acme, first[0], directory.Mapping{GroupID: eng, Roles: []string{"member"}}, first[2], first[3])
		golden(t, "conflict", b.step(page+save, f), http.StatusConflict)
	})
	t.Run("removals held", func(t *testing.T) {
		w := newWorld(t)
		many := acmeReading()
		for i := range 40 {
			u := person(fmt.Sprintf("p%02d@acme.test", i), "active")
			many.Users = append(many.Users, u)
			many.Edges = append(many.Edges, directory.Edge{UserID: u.ID, GroupID: all})
		}
		w.read(many)
		b := w.admin()
		w.read(acmeReading())
		golden(t, "held", b.get(page), http.StatusOK)
	})
	t.Run("paused", func(t *testing.T) {
		// The IT admins' own roles come from it, so the policy that ships lets
		// nobody in meanwhile.
		w := newWorld(t, func(o *settings.Options) { o.Policy = only{} })
		w.must(w.directory.Pause(context.Background(), dirA, "token:t1", true))
		w.event("dsync.activated", dirA, map[string]any{"object": "directory", "organization_id": acme, "state": "invalid_credentials", "name": "Acme Directory", "type": "okta scim v2.0"})
		golden(t, "paused", w.signIn("ada@acme.test", "acme").get(page), http.StatusOK)
	})
	t.Run("an own provider", func(t *testing.T) {
		w := newWorld(t)
		w.own[acme] = true
		golden(t, "own-provider", w.admin().get(page), http.StatusOK)
	})
	t.Run("stale", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		w.pass(4 * time.Hour)
		if err := w.directory.NoteReconcile(context.Background(), dirA, w.Now(), errors.New("secret cause")); err != nil {
			t.Fatal(err)
		}
		_, revision, err := w.store.List(context.Background(), "none/")
		w.must(revision, err)
		golden(t, "stale", b.get(page), http.StatusOK)
	})
	t.Run("WorkOS down", func(t *testing.T) {
		w := newWorld(t)
		w.workos.err = workosapi.ErrUnavailable
		golden(t, "workos-down", w.admin().press("sso"), http.StatusBadGateway)
	})
	t.Run("roles by WorkOS", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		r := acmeReading()
		r.Users[0].Roles = []string{"it-admin"}
		w.read(r)
		w.must(w.directory.PutRoleSource(context.Background(), acme, directory.RolesFromWorkOS, "token:t1"))
		golden(t, "roles-by-workos", b.get(page), http.StatusOK)
	})
}

// only is an admin policy by which everybody may do these in their own
// organization; with none named, everything.
type only []string

func (o only) Decide(_ context.Context, in engine.AdminInput) (authz.Verdict, error) {
	return authz.Verdict{Allow: in.Actor.OrganizationID == in.Resource.OrganizationID && (len(o) == 0 || slices.Contains(o, in.Action))}, nil
}

// hostile are names that an identity provider may send.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</bdi></label></form><form action="https://evil.example">`,
	"{{.Table.Token}}", "javascript:alert(1)", "\u202Egnirts\u202C", "\u2067اسم المجموعة\u2069", "👩‍👩‍👧‍👦 familia", strings.Repeat("x", 1024),
	strings.Repeat("🦄", 256), "a\x00b\r\nc", "\xff\xfe", " ", "<!--", "]]>", "&lt;b&gt;", "ﷺ", strings.Repeat("\u0300", 300),
}

func TestNamesAreTextAndNothingElse(t *testing.T) {
	w := newWorld(t)
	r := acmeReading()
	table := append([]directory.Mapping{}, first...)
	for i, name := range hostile {
		name = strings.ToValidUTF8(name, "?") // JSON holds no other
		for _, kind := range []string{"MAPPED", "FREE"} {
			id := fmt.Sprintf("directory_group_%s%d", kind, i)
			r.Groups = append(r.Groups, directory.RemoteGroup{ID: id, Name: name})
			if kind == "MAPPED" {
				table = append(table, directory.Mapping{GroupID: id, Roles: []string{"member"}})
			}
		}
		table = append(table, directory.Mapping{GroupName: name[:min(len(name), 500)] + "!", Roles: []string{"member"}})
	}
	r.Directory.Name = hostile[1]
	w.read(r)
	w.put(acme, table...)
	w.event("connection.activated", connA, map[string]any{"object": "connection", "organization_id": acme, "state": "<b>x</b>", "name": hostile[0], "connection_type": hostile[3]})
	w.event("connection.activated", connA, map[string]any{"object": "connection", "organization_id": acme, "state": "active", "name": hostile[3], "connection_type": hostile[0]})
	b := w.admin()
	f := b.edit()
	for _, res := range []reply{b.get(page), b.get(page + "?from=50"), b.step(page+save, func() map[string][]string { f.Set("do", "find"); f.Set("find", `"><script>`); return f }())} {
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		checkPage(t, res)
		for _, bad := range []string{"<img", "<script", "evil.example\">", "onmouseover='", "\u202E", "\u2067", strings.Repeat("x", 200) + "<"} {
			if strings.Contains(res.body, bad) {
				t.Errorf("%q is on the page", bad)
			}
		}
	}
	t.Run("and such groups can be mapped", func(t *testing.T) {
		f := b.edit()
		f.Set("new.group", "directory_group_FREE0")
		f["new.roles"] = []string{"editor"}
		if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther || w.mapping("directory_group_FREE0") != "editor" {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	})
	t.Run("and rows by such names survive", func(t *testing.T) {
		f := b.edit()
		f.Set("from", "0")
		n := rowOf(f, "name:"+hostile[1]+"!")
		f["roles."+n] = []string{"editor"}
		if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther || w.mapping(hostile[1]+"!") != "editor" {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	})
}

func TestALargeDirectoryMakesNoLargePage(t *testing.T) {
	w := newWorld(t)
	r := acmeReading()
	for i := range 10_000 {
		r.Groups = append(r.Groups, directory.RemoteGroup{ID: fmt.Sprintf("directory_group_N%05d", i), Name: fmt.Sprintf("Team %d %s", i, strings.Repeat("x", 900))})
	}
	table := append([]directory.Mapping{}, first...)
	for i := range 900 {
		table = append(table, directory.Mapping{GroupID: fmt.Sprintf("directory_group_N%05d", i), Roles: []string{"member"}})
	}
	w.read(r)
	w.put(acme, table...)
	b := w.admin()
	begun := time.Now()
	res := b.get(page)
	t.Logf("%d bytes in %v", len(res.body), time.Since(begun))
	if len(res.body) > 128<<10 {
		t.Errorf("the page has %d bytes", len(res.body))
	}
	if !strings.Contains(res.body, "Rows 1 to 50 of 905") || !strings.Contains(res.body, "10,005 groups") {
		t.Error("it does not say how much there is")
	}
	t.Run("groups are found by a part of their name", func(t *testing.T) {
		f := b.edit()
		f["roles."+rowOf(f, "id:"+eng)] = []string{"member"}
		f.Set("do", "find")
		f.Set("find", "team 77")
		res := b.step(page+save, f)
		if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "Groups 1 to 20 of 100") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		f = form(res.body, save)
		if f.Get("roles."+rowOf(f, "id:"+eng)) != "member" || f.Get("find") != "team 77" {
			t.Error("a search loses what was typed")
		}
		f.Set("do", "find.80")
		res = b.step(page+save, f)
		if !strings.Contains(res.body, "Groups 81 to 100 of 100") {
			t.Fatal("the last page of the results is not there")
		}
		f = form(res.body, save)
		f.Set("do", "save")
		f.Set("new.group", "directory_group_N07777")
		f["new.roles"] = []string{"editor"}
		if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther || w.mapping("directory_group_N07777") != "editor" || w.mapping(eng) != "member" {
			t.Fatalf("%d", res.StatusCode)
		}
	})
	t.Run("rows of other pages stay", func(t *testing.T) {
		f := form(b.get(page+"?from=900").body, save)
		f.Set("do", "save")
		f["roles."+rowOf(f, "id:directory_group_N00898")] = []string{"editor"}
		res := b.step(page+save, f)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/orgs/acme/settings?done=saved&from=900#done" {
			t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Location"))
		}
		if n := len(w.directory.View().Mappings(acme).Mappings); n != 906 || w.mapping("directory_group_N00898") != "editor" || w.mapping("directory_group_N00001") != "member" {
			t.Fatalf("%d rows", n)
		}
	})
}
