package settings_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/settings"
	"battery.app/gate/sso"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

const save = "/role-mappings"

// edit opens the page and returns its table's form with the save button pressed.
func (b *browser) edit() url.Values {
	b.w.t.Helper()
	res := b.get(page)
	f := form(res.body, save)
	if res.StatusCode != http.StatusOK || f == nil {
		b.w.t.Fatalf("%d: %s", res.StatusCode, res.body)
	}
	f.Set("do", "save")
	return f
}

func TestAnITAdminChangesTheTable(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := b.edit()
	f["roles."+rowOf(f, "id:"+eng)] = []string{"editor", "member"}
	f["roles."+rowOf(f, "id:"+adm)] = nil // member goes; admin has no box and stays
	f.Set("remove."+rowOf(f, "id:"+all), "yes")
	f.Set("new.group", ops)
	f["new.roles"] = []string{"editor"}
	res := b.step(page+save, f)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/orgs/acme/settings?done=saved#done" {
		t.Fatalf("%d %s: %s", res.StatusCode, res.Header.Get("Location"), res.body)
	}
	for group, want := range map[string]string{it: "it-admin", eng: "editor,member", all: "", adm: "admin", "Legacy": "editor", ops: "editor"} {
		if got := w.mapping(group); got != want {
			t.Errorf("%s maps to %q, want %q", group, got, want)
		}
	}
	if got := b.get(page + "?done=saved"); !strings.Contains(got.body, "saved and in force") {
		t.Error("the page does not say that it is saved")
	}
	acts := w.acts()
	if len(acts) != 1 || acts[0].Result != "done" || acts[0].Action != "role-mappings.update" || acts[0].RemoteIP != "192.0.2.7" || acts[0].Actor.Kind != "session" ||
		acts[0].Actor.OrganizationID != acme || !strings.Contains(string(acts[0].Before), all) || strings.Contains(string(acts[0].After), all) {
		t.Fatalf("the audit holds %+v", acts)
	}
}

func TestNothingIsWrittenWithoutAChange(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	if res := b.step(page+save, b.edit()); res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), "nothing") {
		t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Location"))
	}
	if w.unchanged(); len(w.acts()) != 0 {
		t.Fatal("something was recorded")
	}
}

// TestRolesAreGivenAndTakenByPolicyAlone: what a form says is no permission.
func TestRolesAreGivenAndTakenByPolicyAlone(t *testing.T) {
	for name, forge := range map[string]func(f url.Values){
		"adding a role that is not grantable": func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+eng), "admin") },
		"adding the role of IT admins":        func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+all), "it-admin") },
		"adding an operator's role":           func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+eng), "battery:operator") },
		"adding one in capitals":              func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+eng), "BATTERY:operator") },
		"adding a wildcard":                   func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+eng), "*") },
		"adding an empty role":                func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+eng), "") },
		"adding it to a row that has one":     func(f url.Values) { f.Add("roles."+rowOf(f, "id:"+it), "battery:auditor") },
		"a new group with it":                 func(f url.Values) { f.Set("new.group", ops); f["new.roles"] = []string{"editor", "admin"} },
		"removing the row of a role":          func(f url.Values) { f.Set("remove."+rowOf(f, "id:"+it), "yes") },
		"removing a row that has one beside":  func(f url.Values) { f.Set("remove."+rowOf(f, "id:"+adm), "yes") },
		"hidden among changes that are allowed": func(f url.Values) {
			f.Add("roles."+rowOf(f, "id:"+eng), "member")
			f.Add("roles."+rowOf(f, "id:"+all), "admin")
		},
		"a faulty form does not hide it": func(f url.Values) {
			f["roles."+rowOf(f, "id:"+all)] = nil
			f.Add("roles."+rowOf(f, "id:"+eng), "admin")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.admin()
			f := b.edit()
			forge(f)
			res := b.step(page+save, f)
			if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "Nothing was changed") {
				t.Fatalf("%d: %s", res.StatusCode, res.body)
			}
			w.unchanged()
			if acts := w.acts(); len(acts) != 1 || acts[0].Result != "refused" || acts[0].Status != http.StatusForbidden {
				t.Fatalf("the audit holds %+v", acts)
			}
		})
	}
	t.Run("again and again", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "admin")
		for i := range 70 {
			f["roles."+rowOf(f, "id:"+eng)] = append(f["roles."+rowOf(f, "id:"+eng)], strings.Repeat("x", 60)+strconv.Itoa(i))
			if res := b.step(page+save, f); res.StatusCode != http.StatusForbidden {
				t.Fatalf("%d: %s", res.StatusCode, res.body)
			}
		}
		entries := func() []store.Entry {
			all, _, err := w.store.List(t.Context(), audit.Prefix)
			if err != nil {
				t.Fatal(err)
			}
			return slices.DeleteFunc(all, func(e store.Entry) bool {
				return e.Key == audit.Prefix+"head" || !strings.Contains(string(e.Value), `"kind":"outcome"`)
			})
		}
		all := entries()
		if len(all) != 60 || !strings.Contains(string(all[59].Value), "only logged") || strings.Count(w.log.String(), "IT admin's act refused") != 70 {
			t.Fatalf("%d recorded, the last is %s", len(all), w.acts()[0].Detail)
		}
		if got, _, _ := w.audit.List(t.Context(), audit.Query{Limit: 2}); len(got[1].Request) > audit.RefusedAtMost {
			t.Fatalf("the request is kept in %d bytes", len(got[1].Request))
		}
		w.pass(time.Minute)
		if b.step(page+save, f); len(entries()) != 61 {
			t.Error("a minute later nothing is recorded")
		}
	})
	t.Run("a row without its roles keeps them", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f.Set("roles."+rowOf(f, "id:"+it), "member") // it-admin is not in the form, and stays
		if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		if got := w.mapping(it); got != "it-admin,member" {
			t.Fatal(got)
		}
	})
}

func TestFormsCountOnlyFromThisPage(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := b.edit()
	f.Add("roles."+rowOf(f, "id:"+eng), "member")
	portal := form(b.get(page).body, "/portal")
	portal.Set("intent", "sso")
	other := w.admin()
	foreign := other.edit()
	with := func(f url.Values, token ...string) url.Values {
		out := url.Values{}
		for k, v := range f {
			out[k] = v
		}
		if out["token"] = token; len(token) == 0 {
			delete(out, "token")
		}
		return out
	}
	for name, c := range map[string]struct {
		path   string
		form   url.Values
		header []string
	}{
		"from a sibling app":                {save, f, []string{"Sec-Fetch-Site", "same-site", "Origin", "https://crm.example"}},
		"from a sibling app, old browser":   {save, f, []string{"Sec-Fetch-Site", "", "Origin", "https://crm.example"}},
		"from anywhere":                     {save, f, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		"from a sandboxed frame":            {save, f, []string{"Sec-Fetch-Site", "", "Origin", "null"}},
		"over plain http":                   {save, f, []string{"Sec-Fetch-Site", "", "Origin", "http://auth.example"}},
		"without a token":                   {save, with(f), nil},
		"with an empty token":               {save, with(f, ""), nil},
		"with a token and another":          {save, with(f, f.Get("token"), f.Get("token")), nil},
		"with a token of another session":   {save, with(f, foreign.Get("token")), nil},
		"with a token of another action":    {save, with(f, portal.Get("token")), nil},
		"portal: with a token of the table": {"/portal", with(portal, f.Get("token")), nil},
		"portal: without a token":           {"/portal", with(portal), nil},
		"portal: from a sibling app":        {"/portal", portal, []string{"Sec-Fetch-Site", "same-site", "Origin", "https://crm.example"}},
		"portal: with a made-up token":      {"/portal", with(portal, strings.Repeat("A", 80)), nil},
		"as another kind of form":           {save, f, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		"as plain text":                     {save, f, []string{"Content-Type", "text/plain"}},
	} {
		t.Run(name, func(t *testing.T) {
			res := b.step(page+c.path, c.form, c.header...)
			if res.StatusCode != http.StatusForbidden || res.Header.Get("Location") != "" {
				t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Location"))
			}
			if w.unchanged(); len(w.workos.asked) != 0 || len(w.acts()) != 0 {
				t.Fatal("something was done")
			}
		})
	}
	t.Run("an hour later", func(t *testing.T) {
		w.pass(61 * time.Minute)
		if res := b.step(page+save, f); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
	})
	t.Run("in its time", func(t *testing.T) {
		w.pass(-61 * time.Minute)
		if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	})
	t.Run("in a query", func(t *testing.T) {
		f := b.edit()
		f.Add("roles."+rowOf(f, "id:"+eng), "member")
		if res := b.step(page+save+"?"+f.Encode(), url.Values{"x": {"y"}}); res.StatusCode != http.StatusForbidden {
			t.Fatal(res.StatusCode)
		}
	})
}

func TestMalformedFormsChangeNothing(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	for name, spoil := range map[string]func(f url.Values){
		"a row that is not in the table": func(f url.Values) { f.Set("row.5", "row-0123456789ab"); f.Set("roles.5", "member") },
		"a row twice":                    func(f url.Values) { f.Set("row.5", f.Get("row.0")); f.Set("roles.5", "member") },
		"roles of no row":                func(f url.Values) { f.Set("roles.17", "member") },
		"roles of a negative row":        func(f url.Values) { f.Set("roles.-1", "member") },
		"two hashes":                     func(f url.Values) { f.Add("hash", f.Get("hash")) },
		"no button":                      func(f url.Values) { f.Del("do") },
		"another button":                 func(f url.Values) { f.Set("do", "delete") },
		"a page that is no number":       func(f url.Values) { f.Set("from", "-1") },
		"a search without end":           func(f url.Values) { f.Set("find", strings.Repeat("x", 300)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := b.edit()
			f.Add("roles."+rowOf(f, "id:"+eng), "member")
			spoil(f)
			if res := b.step(page+save, f); res.StatusCode != http.StatusBadRequest {
				t.Fatalf("%d: %s", res.StatusCode, res.body)
			}
			w.unchanged()
		})
	}
	t.Run("a large one", func(t *testing.T) {
		f := b.edit()
		f.Set("find", strings.Repeat("x", 600<<10))
		if res := b.step(page+save, f); res.StatusCode != http.StatusBadRequest {
			t.Fatal(res.StatusCode)
		}
	})
	t.Run("a group of another organization", func(t *testing.T) {
		f := b.edit()
		f.Set("new.group", itG)
		f["new.roles"] = []string{"editor"}
		res := b.step(page+save, f)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `href="#new-group"`) {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
		w.unchanged()
	})
}

// lateChange is a directory in which somebody else's change comes between the
// look at the table and the write.
type lateChange struct {
	settings.Directory
	first func()
}

func (l *lateChange) ReplaceMappings(ctx context.Context, org string, before, m []directory.Mapping, by string) (directory.Mappings, uint64, error) {
	l.first()
	return l.Directory.ReplaceMappings(ctx, org, before, m, by)
}

func TestARoleTakenWhileTheTableIsSavedIsNotGivenBack(t *testing.T) {
	late := &lateChange{first: func() {}}
	w := newWorld(t, func(o *settings.Options) { late.Directory, o.Directory = o.Directory, late })
	b := w.admin()
	f := b.edit()
	f["roles."+rowOf(f, "id:"+eng)] = []string{"member"}
	late.first = func() { // an operator clears the table by the API, on this replica or another
		if _, _, err := w.directory.PutMappings(context.Background(), acme, nil, "token:t1"); err != nil {
			t.Fatal(err)
		}
	}
	res := b.step(page+save, f)
	if res.StatusCode != http.StatusConflict && res.StatusCode != http.StatusForbidden {
		t.Errorf("%d: %s", res.StatusCode, res.body)
	}
	if _, _, err := w.directory.ReplaceMappings(context.Background(), acme, nil, nil, "check"); err != nil {
		t.Errorf("what the operator took is back: %v", err)
	}
}

func TestWhoEditsWhatSomebodyElseChangedIsTold(t *testing.T) {
	w := newWorld(t)
	a, b := w.admin(), w.admin()
	fa, fb := a.edit(), b.edit()
	fa["roles."+rowOf(fa, "id:"+eng)] = []string{"member"}
	fb["roles."+rowOf(fb, "id:"+eng)] = []string{"editor", "member"}
	fb["roles."+rowOf(fb, "name:Legacy")] = []string{"member"}
	fb.Set("new.group", ops)
	fb["new.roles"] = []string{"editor"}
	if res := a.step(page+save, fa); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	res := b.step(page+save, fb)
	if res.StatusCode != http.StatusConflict || w.mapping(eng) != "member" || w.mapping(ops) != "" || !strings.Contains(res.body, "Somebody changed this table") {
		t.Fatalf("%d, engineering maps to %q: %s", res.StatusCode, w.mapping(eng), res.body)
	}
	again := form(res.body, save)
	if got := again["roles."+rowOf(again, "id:"+eng)]; strings.Join(got, ",") != "editor,member" {
		t.Errorf("typed roles are lost: %v", got)
	}
	if again.Get("new.group") != ops || again.Get("new.roles") != "editor" {
		t.Error("the new row is lost")
	}
	if !strings.Contains(res.body, "In force now: <code>member</code>") {
		t.Error("what is in force is not said")
	}
	again.Set("do", "save")
	if res := b.step(page+save, again); res.StatusCode != http.StatusSeeOther || w.mapping(eng) != "editor,member" || w.mapping(ops) != "editor" {
		t.Fatalf("%d, %q", res.StatusCode, w.mapping(eng))
	}

	t.Run("rows that are gone are named", func(t *testing.T) {
		f := b.edit()
		w.put(acme, first[0], first[1])
		res := b.step(page+save, f)
		if res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "not in the table any more") || !strings.Contains(res.body, "Legacy") {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	})
	t.Run("of many at once one wins", func(t *testing.T) {
		w := newWorld(t)
		b := w.admin()
		f := b.edit()
		f["roles."+rowOf(f, "id:"+eng)] = []string{"editor", "member"}
		g := b.edit()
		g["roles."+rowOf(g, "id:"+all)] = []string{"editor", "member"}
		status := make(chan int, 8)
		for i := range 8 {
			go func() { status <- b.step2(page+save, []url.Values{f, g}[i%2]) }()
		}
		won := 0
		for range 8 {
			if <-status == http.StatusSeeOther {
				won++
			}
		}
		if won != 1 || len(w.acts()) != 1 {
			t.Fatalf("%d won, %d recorded", won, len(w.acts()))
		}
	})
}

func TestFaultsAreSaidAndNothingTypedIsLost(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := b.edit()
	f["roles."+rowOf(f, "id:"+all)] = nil
	f["roles."+rowOf(f, "id:"+eng)] = []string{"member"}
	f["new.roles"] = []string{"editor"}
	res := b.step(page+save, f)
	if res.StatusCode != http.StatusUnprocessableEntity || strings.Count(res.body, `<li><a href="#`) != 2 {
		t.Fatalf("%d: %s", res.StatusCode, res.body)
	}
	again := form(res.body, save)
	if len(again["roles."+rowOf(again, "id:"+all)]) != 0 || again.Get("roles."+rowOf(again, "id:"+eng)) != "member" || again.Get("new.roles") != "editor" {
		t.Fatal("what was typed is lost")
	}
	for _, at := range regexpAll(res.body, `<li><a href="#([^"]+)"`) {
		if !strings.Contains(res.body, `id="`+at+`"`) {
			t.Errorf("the summary leads to %q, which is not there", at)
		}
	}
	w.unchanged()
}

func TestNothingIsWrittenThatIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f, portal := b.edit(), form(b.get(page).body, "/portal")
	f.Add("roles."+rowOf(f, "id:"+eng), "member")
	portal.Set("intent", "dsync")
	w.failAudit = errors.New("disk full")
	for _, res := range []reply{b.step(page+save, f), b.step(page+"/portal", portal)} {
		if res.StatusCode != http.StatusServiceUnavailable || strings.Contains(res.body, "disk full") || res.Header.Get("Location") != "" {
			t.Fatalf("%d: %s", res.StatusCode, res.body)
		}
	}
	if w.unchanged(); len(w.workos.asked) != 0 {
		t.Fatal("a link was made")
	}
	w.failAudit = nil
	if res := b.step(page+save, f); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
}

func TestSavedIsSaidOnlyWhenItIsInForce(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := b.edit()
	f.Add("roles."+rowOf(f, "id:"+eng), "member")
	w.unready = errors.New("behind")
	res := b.step(page+save, f)
	w.unready = nil
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "not in force yet") {
		t.Fatalf("%d: %s", res.StatusCode, res.body)
	}
	if acts := w.acts(); len(acts) != 1 || acts[0].Result != "failed" || !strings.Contains(string(acts[0].After), "member") {
		t.Fatalf("the audit holds %+v", acts)
	}
}

func TestATableThatIsNotInForceIsNotEdited(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	f := b.edit()
	f.Add("roles."+rowOf(f, "id:"+eng), "member")
	// ada stays an IT admin by WorkOS's word.
	r := acmeReading()
	r.Users[0].Roles = []string{"it-admin"}
	w.read(r)
	w.must(w.directory.PutRoleSource(context.Background(), acme, directory.RolesFromWorkOS, "token:t1"))
	res := b.get(page)
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "This table is not in force") || form(res.body, save) != nil {
		t.Fatalf("%d: %s", res.StatusCode, res.body)
	}
	if res := b.step(page+save, f); res.StatusCode != http.StatusConflict {
		t.Fatal(res.StatusCode)
	}
	w.unchanged()
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := settings.New(settings.Options{}); err == nil {
		t.Fatal("pages of nothing")
	}
	for _, hosts := range [][]string{nil, {""}, {"https://setup.workos.com"}, {"setup.workos.com/x"}, {"*.workos.com"}, {"a@b"}, {"a b"}, {"x;y"}} {
		w := &world{}
		_, err := settings.New(settings.Options{PublicURL: &url.URL{Scheme: "https", Host: "auth.example"}, SignIn: &sso.Service{}, Policy: adminPolicy(t, time.Now),
			Directory: &directory.Directory{}, Portal: &workos{}, Audit: w, Published: w.published, PortalHosts: hosts})
		if err == nil {
			t.Errorf("%q is taken for portal hosts", hosts)
		}
	}
}
