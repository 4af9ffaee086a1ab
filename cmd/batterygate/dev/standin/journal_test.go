package standin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// steps are what may happen to the world, some of it more than once.
var steps = []string{
	`{"event":"dsync.user.created","data":{"organization":"ORG","email":"uN1@ORG.test"}}`,
	`{"event":"dsync.user.updated","data":{"user":"uN1@ORG.test","email":"vN1@ORG.test"}}`,
	`{"event":"dsync.user.updated","data":{"user":"uN1@ORG.test","state":"inactive"}}`,
	`{"event":"dsync.user.deleted","data":{"email":"uN1@ORG.test"}}`,
	`{"event":"dsync.group.created","data":{"organization":"ORG","name":"GN1"}}`,
	`{"event":"dsync.group.updated","data":{"organization":"ORG","group":"GN1","name":"GN2"}}`,
	`{"event":"dsync.group.deleted","data":{"organization":"ORG","name":"GN1"}}`,
	`{"event":"dsync.group.user_added","data":{"user":"uN1@ORG.test","group":"GN2"}}`,
	`{"event":"dsync.group.user_added","data":{"user":"uN1@ORG.test","group":"GN2"}}`,
	`{"event":"dsync.group.user_removed","data":{"user":"uN1@ORG.test","group":"GN2"}}`,
	`{"event":"dsync.group.user_removed","data":{"user":"bob@acme.test","group":"Everyone"}}`,
	`{"event":"dsync.group.user_added","data":{"user":"bob@acme.test","group":"Everyone"}}`,
	`{"event":"dsync.group.user_removed","data":{"user":"gil@globex.test","group":"Staff"}}`,
	`{"event":"dsync.group.user_added","data":{"user":"ada@acme.test","group":"Admins"}}`,
	`{"event":"dsync.deactivated","data":{"organization":"ORG"}}`,
	`{"event":"dsync.activated","data":{"organization":"ORG"}}`,
	`{"event":"dsync.deleted","data":{"organization":"ORG"}}`,
	`{"event":"connection.deleted","data":{"organization":"ORG"}}`,
	`{"event":"connection.activated","data":{"organization":"ORG"}}`,
	`{"event":"organization.updated","data":{"organization":"ORG","name":"NN1"}}`,
	`{"event":"organization_domain.created","data":{"organization":"ORG","domain":"dN1.example"}}`,
	`{"event":"organization_domain.deleted","data":{"domain":"dN1.example"}}`,
	`{"event":"organization_role.created","data":{"organization":"ORG","slug":"rN1"}}`,
	`{"event":"organization_role.deleted","data":{"organization":"ORG","slug":"rN1"}}`,
	`{"event":"organization_membership.created","data":{"organization":"ORG","user_id":"user_N1"}}`,
	`{"event":"organization_membership.deleted","data":{"organization":"ORG","user_id":"user_N1"}}`,
	`{"event":"session.revoked","data":{"user_id":"user_N1"}}`,
	`{"event":"organization.deleted","data":{"organization":"ORG"}}`,
}

// server is one that is driven in this process, without a network.
func server(t testing.TB, file string) (*standin.Server, func(method, path, body string) *httptest.ResponseRecorder) {
	s, err := standin.New(standin.Options{APIKey: apiKey, ClientID: clientID, World: standin.DefaultWorld(), State: file, Now: newClock().Now})
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler()
	return s, func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr, r.Host = "127.0.0.1:9", "127.0.0.1"
		r.Header.Set("Authorization", "Bearer "+apiKey)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

// snapshotOf is all that can be seen of a server.
func snapshotOf(t testing.TB, s *standin.Server, call func(method, path, body string) *httptest.ResponseRecorder) string {
	world, err := json.Marshal(s.World())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, step := range steps {
		name, _, _ := strings.Cut(step[len(`{"event":"`):], `"`)
		names = append(names, name)
	}
	return string(world) + call(http.MethodGet, "/events?limit=100&events="+strings.Join(names, ","), "").Body.String()
}

// A process killed at any byte of its writing has, after the restart, all that
// it had answered, and nothing by half.
func TestKilledAtAnyByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		file := filepath.Join(dir, "w.json")
		s, call := server(t, file)
		size := func() int {
			info, err := os.Stat(file + "-journal")
			if err != nil {
				rt.Fatal(err)
			}
			return int(info.Size())
		}
		sizes, seen := []int{size()}, []string{snapshotOf(t, s, call)}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			step := rapid.SampledFrom(steps).Draw(rt, "step")
			org := rapid.SampledFrom([]string{"acme", "globex"}).Draw(rt, "org")
			n, m := rapid.SampledFrom([]string{"0", "1", "2"}).Draw(rt, "n"), rapid.SampledFrom([]string{"0", "1", "2"}).Draw(rt, "m")
			body := strings.NewReplacer("ORG", org, "N1", n, "N2", m).Replace(step)
			if w := call(http.MethodPost, "/_dev/events", body); w.Code != 201 && w.Code != 422 {
				rt.Fatalf("%s: %d %s", body, w.Code, w.Body)
			}
			sizes, seen = append(sizes, size()), append(seen, snapshotOf(t, s, call))
		}
		journal, err := os.ReadFile(file + "-journal")
		if err != nil {
			rt.Fatal(err)
		}
		cut := rapid.IntRange(sizes[0], len(journal)).Draw(rt, "cut")
		if err := os.WriteFile(file+"-journal", journal[:cut], 0o600); err != nil {
			rt.Fatal(err)
		}
		want := ""
		for i := range sizes {
			if sizes[i] <= cut {
				want = seen[i]
			}
		}
		starts := 1
		if cut%4 == 0 { // the second start reads what the first one wrote
			starts = 2
		}
		for range starts {
			again, call := server(t, file)
			if got := snapshotOf(t, again, call); got != want {
				rt.Fatalf("after the restart:\n%s\nwant:\n%s", got, want)
			}
		}
	})
}

func TestJournal(t *testing.T) {
	t.Run("one of another world counts for nothing", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "w.json")
		_, call := server(t, file)
		call(http.MethodPost, "/_dev/events", `{"event":"dsync.user.deleted","data":{"email":"eve@acme.test"}}`)
		old, _ := os.ReadFile(file + "-journal")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		server(t, file)
		if err := os.WriteFile(file+"-journal", old, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, _ := server(t, file); len(s.World().Users) != 5 {
			t.Error("the old journal was used")
		}
	})
	t.Run("a line that cannot be read, and is not the last, stops the start", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "w.json")
		_, call := server(t, file)
		call(http.MethodPost, "/_dev/events", `{"event":"dsync.user.deleted","data":{"email":"eve@acme.test"}}`)
		raw, _ := os.ReadFile(file + "-journal")
		for _, bad := range []string{"{\n", `{"changes":[{"do":"dance"}],"last_ms":1}` + "\n"} {
			if err := os.WriteFile(file+"-journal", []byte(string(raw)+bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := standin.New(standin.Options{APIKey: apiKey, ClientID: clientID, State: file}); err == nil {
				t.Errorf("%q: no error", bad)
			}
		}
	})
	t.Run("the state is written anew before the journal grows without bound", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "w.json")
		s, call := server(t, file)
		before, _ := os.ReadFile(file)
		long := strings.Repeat("x", 500_000)
		for range 12 { // 6 MB
			if w := call(http.MethodPost, "/_dev/events", `{"event":"note.long","data":{"text":"`+long+`"}}`); w.Code != 201 {
				t.Fatal(w.Code)
			}
		}
		after, _ := os.ReadFile(file)
		if info, err := os.Stat(file + "-journal"); err != nil || info.Size() > 5<<20 || len(after) <= len(before) {
			t.Errorf("journal %v, state %d → %d", info, len(before), len(after))
		}
		again, _ := server(t, file)
		if !reflect.DeepEqual(again.World(), s.World()) {
			t.Error("the world is another one")
		}
	})
	t.Run("after a write that failed, the next one saves all", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "w.json")
		s, call := server(t, file)
		if err := os.Remove(file + "-journal"); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{500, 201} {
			body := fmt.Sprintf(`{"event":"dsync.user.created","data":{"email":"n%d@acme.test"}}`, i)
			if w := call(http.MethodPost, "/_dev/events", body); w.Code != want {
				t.Errorf("%d, want %d", w.Code, want)
			}
		}
		again, _ := server(t, file)
		if len(again.World().Users) != 7 || !reflect.DeepEqual(again.World(), s.World()) {
			t.Errorf("%d users", len(again.World().Users))
		}
	})
	t.Run("a state of version 1, which had no journal, is read", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "w.json")
		raw, err := json.Marshal(map[string]any{"version": 1, "world": standin.DefaultWorld(), "events": []any{}, "last_ms": 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, _ := server(t, file); len(s.World().Users) != 5 || len(s.World().Roles) != 3 {
			t.Errorf("%+v", s.World())
		}
	})
}

// Every kind of change by itself, in an order in which each has something to do.
func TestEveryChangeSurvives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.json")
	s, call := server(t, file)
	acme, _ := s.World().Organization("acme")
	for _, step := range []string{
		`{"event":"dsync.group.created","data":{"organization":"acme","name":"G"}}`,
		`{"event":"dsync.user.created","data":{"organization":"acme","email":"zoe@acme.test"}}`,
		`{"event":"dsync.group.user_added","data":{"user":"zoe@acme.test","group":"G"}}`,
		`{"event":"dsync.group.user_removed","data":{"user":"zoe@acme.test","group":"G"}}`,
		`{"event":"dsync.user.deleted","data":{"email":"zoe@acme.test"}}`,
		`{"event":"dsync.group.deleted","data":{"name":"G"}}`,
		`{"event":"organization_role.created","data":{"organization":"acme","slug":"r"}}`,
		`{"event":"organization_role.deleted","data":{"organization":"acme","slug":"r"}}`,
		`{"event":"organization_membership.created","data":{"organization":"acme","user_id":"user_1"}}`,
		`{"event":"organization_membership.deleted","data":{"organization":"acme","user_id":"user_1"}}`,
		`{"event":"organization_domain.created","data":{"organization":"acme","domain":"a.example"}}`,
		`{"event":"dsync.deactivated","data":{"organization":"acme"}}`,
		`{"event":"connection.deactivated","data":{"organization":"acme"}}`,
		`{"event":"dsync.deleted","data":{"organization":"acme"}}`,
		`{"event":"connection.deleted","data":{"organization":"acme"}}`,
		`{"event":"organization.deleted","data":{"organization":"acme"}}`,
		`{"event":"organization.created","data":{"name":"New"}}`,
	} {
		before := snapshotOf(t, s, call)
		if w := call(http.MethodPost, "/_dev/events", step); w.Code != 201 {
			t.Fatalf("%s: %d %s", step, w.Code, w.Body)
		}
		elsewhere := filepath.Join(t.TempDir(), "w.json")
		for _, suffix := range []string{"", "-journal"} {
			raw, err := os.ReadFile(file + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(elsewhere+suffix, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again, callAgain := server(t, elsewhere)
		got, want := snapshotOf(t, again, callAgain), snapshotOf(t, s, call)
		if got != want || want == before {
			t.Errorf("%s: after a restart\n%s\nwant\n%s", step, got, want)
		}
	}
	if _, ok := s.World().Organization(acme.ID); ok {
		t.Error("acme is still there")
	}
}
