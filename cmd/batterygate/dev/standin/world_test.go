package standin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

func TestDefaultWorld(t *testing.T) {
	w := standin.DefaultWorld()
	t.Run("people, groups and states are the fixed ones", func(t *testing.T) {
		r := start(t)
		for email, want := range map[string][]string{
			"ada@acme.test":   {"Engineering", "Everyone"},
			"bob@acme.test":   {"Everyone"},
			"eve@acme.test":   {"Everyone"},
			"root@acme.test":  {"Admins", "Everyone"},
			"gil@globex.test": {"Staff"},
		} {
			got := r.groupsOf(email)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s is in %v, want %v", email, got, want)
			}
			u, _ := w.User(email)
			if active := u.State == "active"; active == (email == "eve@acme.test") {
				t.Errorf("%s is %s", email, u.State)
			}
			if p, ok := w.Profile(email); !ok || p.IdpID != u.IdpID || string(p.OrganizationID) != u.OrganizationID {
				t.Errorf("%s has profile %+v", email, p)
			}
		}
		if len(w.Users) != 5 || len(w.Groups) != 4 {
			t.Errorf("%d users, %d groups", len(w.Users), len(w.Groups))
		}
	})
	t.Run("ids are in WorkOS's form, unique, and never change", func(t *testing.T) {
		form := regexp.MustCompile(`^(org|org_domain|conn|directory|directory_group|directory_user|prof|event)_01DXF6DT00[0-9A-HJKMNP-TV-Z]{16}$`)
		seen := map[string]bool{}
		ids := []string{}
		for _, slug := range []string{"acme", "globex"} {
			o, _ := w.Organization(slug)
			c, _ := w.Connection(slug)
			d, _ := w.Directory(slug)
			ids = append(ids, o.ID, c.ID, d.ID, o.Domains[0].ID)
		}
		for i := range w.Users {
			ids = append(ids, w.Users[i].ID, w.Profiles[i].ID)
		}
		for _, g := range w.Groups {
			ids = append(ids, g.ID)
		}
		for _, e := range w.Events() {
			ids = append(ids, e.ID)
		}
		for _, id := range ids {
			if !form.MatchString(id) || seen[id] {
				t.Errorf("id %q", id)
			}
			seen[id] = true
		}
		if o, _ := w.Organization("acme"); o.ID != "org_01DXF6DT00ACME000000000000" {
			t.Errorf("acme is %s", o.ID)
		}
		if u, _ := w.User("bob@acme.test"); u.ID != "directory_user_01DXF6DT00B0B0000000000000" {
			t.Errorf("bob is %s", u.ID)
		}
	})
	t.Run("its events tell it in the order in which it came about", func(t *testing.T) {
		order := []string{"organization.created", "connection.activated", "dsync.activated", "dsync.user.created", "dsync.group.created", "dsync.group.user_added"}
		counts := map[string]int{}
		last := 0
		lastID := ""
		for _, e := range w.Events() {
			i := slices.Index(order, e.Name)
			if i < last || e.ID <= lastID {
				t.Errorf("%s %s comes after %s %s", e.Name, e.ID, order[last], lastID)
			}
			last, lastID = i, e.ID
			counts[e.Name]++
			body, err := e.Body()
			if err != nil || !strings.Contains(string(body), `"created_at":"2020-01-01T00:00:00.000Z"`) {
				t.Errorf("%s %v", body, err)
			}
		}
		for name, want := range map[string]int{"organization.created": 2, "connection.activated": 2, "dsync.activated": 2, "dsync.user.created": 5, "dsync.group.created": 4, "dsync.group.user_added": 7} {
			if counts[name] != want {
				t.Errorf("%d %s, want %d", counts[name], name, want)
			}
		}
	})
}

func TestLay(t *testing.T) {
	r := start(t)
	for name, break_ := range map[string]func(*standin.World){
		"a user of no directory":          func(w *standin.World) { w.Users[0].DirectoryID = "directory_x" },
		"a connection of nobody":          func(w *standin.World) { w.Connections[0].OrganizationID = "org_x" },
		"a membership across directories": func(w *standin.World) { w.Memberships[0].GroupID = w.Groups[3].ID },
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			w := standin.DefaultWorld()
			break_(&w)
			if err := r.Lay(w); err == nil {
				t.Error("no error")
			}
			if len(r.World().Users) != 5 {
				t.Error("the world changed")
			}
		})
	}
}

func TestPersistence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "world.json")
	keep := func(o *standin.Options) { o.State = file }
	first := start(t, keep)
	added := first.happen(t, 201, "dsync.group.user_added", `{"user":"bob@acme.test","group":"Engineering"}`)
	first.happen(t, 201, "dsync.user.deleted", `{"email":"eve@acme.test"}`)

	t.Run("world, events and profiles survive a restart", func(t *testing.T) {
		second := start(t, keep)
		if got := second.groupsOf("bob@acme.test"); !slices.Contains(got, "Engineering") {
			t.Errorf("bob is in %v", got)
		}
		if _, ok := second.World().User("eve@acme.test"); ok {
			t.Error("eve is back")
		}
		if p, ok := second.World().Profile("eve@acme.test"); !ok || p.ID == "" {
			t.Error("eve's profile is gone")
		}
		_, out := second.call(t, http.MethodGet, "/events?events=dsync.group.user_added,dsync.user.deleted&limit=100", "")
		data, _ := out["data"].([]any)
		if len(data) != 7+2 || dig(data[7], "id") != added["id"] {
			t.Errorf("%d events", len(data))
		}
	})
	t.Run("event ids and times go on ascending although the clock stands still", func(t *testing.T) {
		second := start(t, keep)
		next := second.happen(t, 201, "dsync.group.user_removed", `{"user":"bob@acme.test","group":"Engineering"}`)
		if next["id"].(string) <= added["id"].(string) || next["created_at"].(string) <= added["created_at"].(string) {
			t.Errorf("%v %v after %v %v", next["id"], next["created_at"], added["id"], added["created_at"])
		}
	})
	t.Run("the file is the owner's alone and holds no secret", func(t *testing.T) {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		raw, _ := os.ReadFile(file)
		if strings.Contains(string(raw), apiKey) || strings.Contains(string(raw), secret) {
			t.Error("a secret is in it")
		}
		if left, _ := filepath.Glob(file + ".*"); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("a file that cannot be trusted stops the start", func(t *testing.T) {
		for _, content := range []string{"", "{", `{"version":9}`, `{"version":1,"world":{"users":[{"id":"u"}]}}`} {
			bad := filepath.Join(t.TempDir(), "bad.json")
			if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := standin.New(standin.Options{APIKey: "a", ClientID: "c", State: bad}); err == nil {
				t.Errorf("%q: no error", content)
			}
		}
	})
	t.Run("what cannot be saved is an error to the caller", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r := start(t, func(o *standin.Options) { o.State = filepath.Join(dir, "w.json") })
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		r.happen(t, 500, "dsync.user.deleted", `{"email":"eve@acme.test"}`)
	})
}

func TestOptions(t *testing.T) {
	for name, opt := range map[string]standin.Options{
		"no API key":                {ClientID: "c"},
		"no client":                 {APIKey: "a"},
		"webhooks without a secret": {APIKey: "a", ClientID: "c", WebhookURL: "http://127.0.0.1:1/"},
		"webhooks to the world":     {APIKey: "a", ClientID: "c", WebhookURL: "https://gate.example.com/", WebhookSecret: "s"},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if _, err := standin.New(opt); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestEdge(t *testing.T) {
	r := start(t)
	for name, c := range map[string]struct {
		remote, host string
		want         int
	}{
		"loopback":             {"127.0.0.1:5", "127.0.0.1:8085", 200},
		"loopback of IPv6":     {"[::1]:5", "[::1]:8085", 200},
		"a name of loopback":   {"127.0.0.1:5", "workos.localhost:8085", 200},
		"another machine":      {"192.0.2.1:5", "127.0.0.1:8085", 403},
		"a rebound name":       {"127.0.0.1:5", "evil.test:8085", 403},
		"localhost of another": {"127.0.0.1:5", "localhost.evil.test", 403},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/organizations", nil)
			req.RemoteAddr, req.Host = c.remote, c.host
			req.Header.Set("Authorization", "Bearer "+apiKey)
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, req)
			if w.Code != c.want {
				t.Errorf("%d, want %d", w.Code, c.want)
			}
			if len(w.Header().Get("X-Request-Id")) != 36 {
				t.Errorf("X-Request-ID = %q", w.Header().Get("X-Request-Id"))
			}
		})
	}
	for _, path := range []string{"/organizations", "/connections", "/directories", "/directory_users", "/directory_groups", "/events?events=x", "/_dev/world", "/_dev/faults"} {
		t.Run("asks for the API key at "+path, func(t *testing.T) {
			for _, auth := range []string{"", "Bearer wrong", "Basic " + apiKey, apiKey, "Bearer "} {
				req, _ := http.NewRequest(http.MethodGet, r.url+path, nil)
				req.Header.Set("Authorization", auth)
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				var body map[string]any
				_ = json.NewDecoder(res.Body).Decode(&body)
				res.Body.Close()
				if res.StatusCode != 401 || body["message"] != "Unauthorized" {
					t.Errorf("%q: %d %v", auth, res.StatusCode, body)
				}
			}
		})
	}
}
