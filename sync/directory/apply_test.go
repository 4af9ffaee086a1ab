package directory_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sync/directory"
)

// samples are WorkOS's own example payloads, one of every type.
func samples(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]byte{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var e struct {
			Event string `json:"event"`
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out[e.Event] = slices.Clone(sc.Bytes())
	}
	return out
}

func TestEveryWorkOSSampleIsTakenOrIgnoredByItsType(t *testing.T) {
	handled := directory.EventTypes()
	found := 0
	for typ, body := range samples(t) {
		t.Run(typ, func(t *testing.T) {
			w := newWorld(t)
			ev, err := directory.ParseEvent(body)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(handled, typ) {
				w.want(directory.OutcomeIgnored, ev)
				w.want(directory.OutcomeIgnored, ev)
				if c := w.d.View().Counted(); len(c) != 1 || c[0].Type != typ || c[0].Count != 1 || c[0].LastID != ev.ID {
					t.Errorf("counted: %+v", c)
				}
				if o := w.d.View().Organizations(); len(o) != 0 {
					t.Errorf("an ignored event made %+v", o)
				}
				return
			}
			found++
			w.want(directory.OutcomeApplied, ev)
			w.want(directory.OutcomeDuplicate, ev)
		})
	}
	if want := len(handled) - 1; found != want { // dsync.deactivated is no longer documented
		t.Errorf("%d handled types have a sample, want %d", found, want)
	}
}

func TestEventTypes(t *testing.T) {
	sam := session("ada@acme.test", "idp-ada")
	const before = ada + " active [Engineering] [editor]"
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	for _, c := range []struct {
		name string
		evs  []directory.Event
		want string
	}{
		{"a membership added opens", []directory.Event{member("added", p, all, "Everyone", 10)}, ada + " active [Everyone Engineering] [editor member]"},
		{"a membership removed closes", []directory.Event{member("removed", p, eng, "Engineering", 10)}, ada + " active [] []"},
		{"an inactive user keeps groups and loses roles", []directory.Event{user("updated", person{id: ada, email: "ada@acme.test", idp: "idp-ada", state: "inactive"}, 10)}, ada + " inactive [Engineering] []"},
		{"an unknown state grants nothing", []directory.Event{user("updated", person{id: ada, email: "ada@acme.test", idp: "idp-ada", state: "ACTIVE"}, 10)}, ada + " ACTIVE [Engineering] []"},
		{"a deleted user is nobody", []directory.Event{user("deleted", p, 10)}, "nobody"},
		{"a deleted group takes its memberships", []directory.Event{group("deleted", eng, "Engineering", 10)}, ada + " active [] []"},
		{"a renamed group keeps its id's roles", []directory.Event{group("updated", eng, "R&D", 10)}, ada + " active [R&D] [editor]"},
		{"a deleted directory takes all", []directory.Event{dirEvent("dsync.deleted", dirA, acme, 10)}, "nobody"},
		{"a deactivated directory counts for nothing", []directory.Event{dirEvent("dsync.deactivated", dirA, acme, 10)}, "nobody"},
		{"a directory activated again counts", []directory.Event{dirEvent("dsync.deactivated", dirA, acme, 10), dirEvent("dsync.activated", dirA, acme, 11)}, before},
		{"a deactivated connection ends", []directory.Event{connection("connection.deactivated", connA, acme, 10)}, "ended"},
		{"a deleted connection ends", []directory.Event{connection("connection.deleted", connA, acme, 10)}, "ended"},
		{"a deleted connection does not come back", []directory.Event{connection("connection.deleted", connA, acme, 10), connection("connection.deactivated", "conn_Z", acme, 11)}, "ended"},
		{"a deleted organization ends", []directory.Event{organization("deleted", acme, 10)}, "ended"},
		{"an updated organization changes nothing", []directory.Event{organization("updated", acme, 4_000_000)}, before},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}}, directory.Mapping{GroupID: all, Roles: []string{"member"}})
			w.see(sam, before)
			w.apply(c.evs...)
			w.see(sam, c.want)
			w.reload()
			w.see(sam, c.want)
		})
	}
}

func TestUserIsWhatPoliciesNeed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	u, _ := w.d.View().User(session("ada@acme.test", "idp-ada"))
	if u == nil || u.DirectoryID != dirA || u.Email != "ada@acme.test" {
		t.Fatalf("user: %+v", u)
	}
	if want := map[string]any{"department": "R&D"}; !reflect.DeepEqual(u.Attributes, want) {
		t.Errorf("attributes %v, want custom_attributes alone: %v", u.Attributes, want)
	}
	if u.Roles == nil || u.Groups[0].ID != eng {
		t.Errorf("roles %v, groups %v: WorkOS's role must not become one of ours", u.Roles, u.Groups)
	}
	if len(u.Roles) != 0 {
		t.Errorf("roles without a mapping: %v", u.Roles)
	}
	full, ok := w.d.View().UserByID(ada)
	if !ok || !slices.Equal(full.WorkOSRoles, []string{"member"}) || full.FirstName != "F" {
		t.Errorf("operator's view: %+v %v", full, ok)
	}
}

func TestRegisterRule(t *testing.T) {
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	sam := session("ada@acme.test", "idp-ada")
	in, out := ada+" active [Engineering] []", ada+" active [] []"

	t.Run("an older event never undoes a newer one", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(member("removed", p, eng, "Engineering", 20))
		w.want(directory.OutcomeStale, member("added", p, eng, "Engineering", 15))
		w.see(sam, out)
	})
	t.Run("user_removed before an older user_added keeps the door shut", func(t *testing.T) {
		w := newWorld(t)
		w.put(directory.Organization{ID: acme, Slug: "acme"})
		w.apply(connection("connection.activated", connA, acme, 1), dirEvent("dsync.activated", dirA, acme, 2),
			member("removed", p, eng, "Engineering", 20))
		w.see(sam, "nobody")
		if us := w.d.View().Users(dirA); len(us) != 0 {
			t.Errorf("a removal created %v", us)
		}
		w.apply(member("added", p, eng, "Engineering", 15))
		w.see(sam, out)
		w.apply(member("added", p, eng, "Engineering", 21))
		w.see(sam, in)
	})
	t.Run("at equal times the removal wins, in both orders", func(t *testing.T) {
		add, remove := member("added", p, eng, "Engineering", 30), member("removed", p, eng, "Engineering", 30)
		add.ID, remove.ID = "event_Z", "event_A" // the addition has the higher id
		for _, evs := range [][]directory.Event{{add, remove}, {remove, add}} {
			w := newWorld(t)
			w.settle()
			for _, ev := range evs {
				if _, err := w.try(ev); err != nil {
					t.Fatal(err)
				}
			}
			w.see(sam, out)
		}
	})
	t.Run("at equal times an inactive user and an unlinked directory win", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		off := p
		off.state = "inactive"
		low, high := user("updated", off, 30), user("updated", p, 30)
		low.ID, high.ID = "event_A", "event_Z"
		w.apply(low)
		w.want(directory.OutcomeStale, high)
		w.see(sam, ada+" inactive [Engineering] []")
		down, up := dirEvent("dsync.deactivated", dirA, acme, 40), dirEvent("dsync.activated", dirA, acme, 40)
		down.ID, up.ID = "event_A", "event_Z"
		w.apply(down)
		w.want(directory.OutcomeStale, up)
		w.see(sam, "nobody")
	})
	t.Run("at equal times the higher id wins", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		a, b := group("updated", eng, "A", 50), group("updated", eng, "B", 50)
		a.ID, b.ID = "event_2", "event_1"
		w.apply(a)
		w.want(directory.OutcomeStale, b)
		w.see(sam, ada+" active [A] []")
	})
	t.Run("a delete is final whatever its stamp", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(user("deleted", p, 1)) // older than the creation
		w.want(directory.OutcomeStale, user("updated", p, 999))
		w.apply(member("added", p, eng, "Engineering", 1000)) // it brings news of the group alone
		w.see(sam, "nobody")
	})
	t.Run("deletes and removals of what is unknown create nothing", func(t *testing.T) {
		w := newWorld(t)
		w.put(directory.Organization{ID: acme, Slug: "acme"})
		w.apply(connection("connection.deleted", connA, acme, 1), dirEvent("dsync.activated", dirA, acme, 2),
			user("deleted", p, 3), group("deleted", eng, "Engineering", 4), organization("deleted", globex, 5), dirEvent("dsync.deleted", dirG, globex, 6))
		v := w.d.View()
		if len(v.Users(dirA))+len(v.Groups(dirA))+len(v.Connections(acme))+len(v.Directories(globex)) != 0 || len(v.Organizations()) != 1 {
			t.Error("a delete created something")
		}
		w.want(directory.OutcomeStale, user("created", p, 7))
		w.see(sam, "ended")
	})
	t.Run("a user_removed that is newer brings its news of a known user", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		q := p
		q.state = "inactive"
		w.apply(member("removed", q, eng, "Engineering", 60))
		w.see(sam, ada+" inactive [] []")
	})
}

func TestADirectoryLearnsItsOrganizationOnce(t *testing.T) {
	early, late := dirEvent("dsync.activated", dirG, globex, 10), dirEvent("dsync.activated", dirG, "", 20)
	gone := dirEvent("dsync.deleted", dirG, "", 30)
	for _, evs := range [][]directory.Event{{early, late}, {late, early}} {
		w := newWorld(t)
		w.put(directory.Organization{ID: globex, Slug: "globex"})
		w.apply(evs...)
		if got := w.d.View().Directories(globex); len(got) != 1 || got[0].ID != dirG || !got[0].Linked {
			t.Errorf("%+v", got)
		}
		w.apply(gone) // a delete without it still ends the directory
		if got := w.d.View().Directories(globex); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	}
}

func TestAnEventDatedTooFarAheadCountsAsOfItsFirstReceipt(t *testing.T) {
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	sam := session("ada@acme.test", "idp-ada")
	w := newWorld(t)
	w.settle()
	const hour = 3_600_000
	ahead := member("added", p, all, "Everyone", 2*hour) // now is one hour
	w.apply(ahead)
	w.now = at(hour + 2000)
	w.apply(member("removed", p, all, "Everyone", hour+1000))
	w.see(sam, ada+" active [Engineering] []")
	t.Run("and a later copy does not count anew", func(t *testing.T) {
		w.now = at(2*hour + 1000)
		w.want(directory.OutcomeStale, ahead)
		w.see(sam, ada+" active [Engineering] []")
	})
	t.Run("while one a little ahead is taken at its word", func(t *testing.T) {
		w.now = at(3 * hour)
		near := member("added", p, all, "Everyone", 3*hour+4*60*1000)
		w.apply(near)
		w.want(directory.OutcomeStale, member("removed", p, all, "Everyone", 3*hour+60*1000))
		w.see(sam, ada+" active [Everyone Engineering] []")
	})
}

func TestMalformedEventsChangeNothing(t *testing.T) {
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	other := map[string]any{"directory_id": dirG, "user": p.data(), "group": groupData(eng, "E", "", "")}
	foreign := map[string]any{"directory_id": dirA, "user": p.data(), "group": groupData(eng, "E", "", globex)}
	bad := func(change func(map[string]any)) map[string]any { d := p.data(); change(d); return d }
	for name, ev := range map[string]directory.Event{
		"no user id":                      event("dsync.user.created", 50, bad(func(d map[string]any) { delete(d, "id") })),
		"an id that is a path":            event("dsync.user.created", 50, bad(func(d map[string]any) { d["id"] = "../x" })),
		"an id with a slash":              event("dsync.user.created", 50, bad(func(d map[string]any) { d["id"] = "a/b" })),
		"an id with a NUL":                event("dsync.user.created", 50, bad(func(d map[string]any) { d["id"] = "a\x00b" })),
		"a long id":                       event("dsync.user.created", 50, bad(func(d map[string]any) { d["id"] = strings.Repeat("a", 129) })),
		"no directory":                    event("dsync.user.created", 50, bad(func(d map[string]any) { d["directory_id"] = "" })),
		"no organization":                 event("dsync.user.created", 50, bad(func(d map[string]any) { d["organization_id"] = nil })),
		"attributes that are a list":      event("dsync.user.created", 50, bad(func(d map[string]any) { d["custom_attributes"] = []int{1} })),
		"attributes too large":            event("dsync.user.created", 50, bad(func(d map[string]any) { d["custom_attributes"] = map[string]any{"x": strings.Repeat("x", 200<<10)} })),
		"a number for a name":             event("dsync.group.created", 50, map[string]any{"id": eng, "directory_id": dirA, "organization_id": acme, "name": 7}),
		"directories that disagree":       event("dsync.group.user_added", 50, other),
		"organizations that disagree":     event("dsync.group.user_added", 50, foreign),
		"no group":                        event("dsync.group.user_added", 50, map[string]any{"directory_id": dirA, "user": p.data()}),
		"a user moved to another org":     user("updated", person{id: ada, org: globex}, 50),
		"a user moved to another dir":     user("updated", person{id: ada, dir: "directory_B"}, 50),
		"a group moved to another dir":    event("dsync.group.updated", 50, groupData(eng, "E", "directory_B", "")),
		"a stranger in the directory":     user("created", person{id: "directory_user_X", org: globex}, 50),
		"a directory moved":               dirEvent("dsync.activated", dirA, globex, 50),
		"a connection moved":              connection("connection.activated", connA, globex, 50),
		"an organization without id":      event("organization.updated", 50, map[string]any{"name": "x"}),
		"a deleted user of another org":   user("deleted", person{id: ada, org: globex}, 50),
		"data that is a list":             {ID: "event_1", Type: "dsync.user.created", CreatedAt: at(50), Data: json.RawMessage(`[]`)},
		"no data":                         {ID: "event_1", Type: "dsync.user.created", CreatedAt: at(50)},
		"no time":                         {ID: "event_1", Type: "dsync.user.created", Data: p.data0()},
		"an event id that is not one":     {ID: "event/1", Type: "dsync.user.created", CreatedAt: at(50), Data: p.data0()},
		"far ahead and with a wrong user": user("updated", person{id: ada, org: globex}, 80_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			_, before, _ := w.st.List(context.Background(), "")
			if _, err := w.try(ev); !errors.Is(err, directory.ErrMalformed) {
				t.Fatalf("error %v, want ErrMalformed", err)
			}
			if _, after, _ := w.st.List(context.Background(), ""); after != before {
				t.Error("something was written")
			}
			w.see(session("ada@acme.test", "idp-ada"), ada+" active [Engineering] []")
		})
	}
}

func (p person) data0() json.RawMessage { raw, _ := json.Marshal(p.data()); return raw }

func TestParseEvent(t *testing.T) {
	for created, want := range map[string]time.Time{
		"2026-01-15T12:00:00.123Z":      time.Date(2026, 1, 15, 12, 0, 0, 123e6, time.UTC),
		"2026-01-15T13:00:00.123+01:00": time.Date(2026, 1, 15, 12, 0, 0, 123e6, time.UTC),
		"2023-04-28 20:05:31.093":       time.Date(2023, 4, 28, 20, 5, 31, 93e6, time.UTC),
		"2023-04-28 20:05:31":           time.Date(2023, 4, 28, 20, 5, 31, 0, time.UTC),
		"2023-04-28 20:05:31.093Z":      time.Date(2023, 4, 28, 20, 5, 31, 93e6, time.UTC),
		"2023-04-28T20:05:31.093":       time.Date(2023, 4, 28, 20, 5, 31, 93e6, time.UTC),
	} {
		ev, err := directory.ParseEvent([]byte(`{"id":"event_1","event":"x.y","data":{"a":1},"created_at":"` + created + `"}`))
		if err != nil || !ev.CreatedAt.Equal(want) || ev.ID != "event_1" || ev.Type != "x.y" || string(ev.Data) != `{"a":1}` {
			t.Errorf("%s: %+v, %v", created, ev, err)
		}
	}
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `"x"`, `{"id":"event_1"`,
		`{"id":"event_1","event":"x","data":{},"created_at":"yesterday"}`,
		`{"id":"event_1","event":"x","data":{},"created_at":"0001-01-01T00:00:00Z"}`,
		`{"id":"event_1","event":"x","data":{},"created_at":17}`,
		`{"id":"event_1","event":"","data":{},"created_at":"2026-01-15T12:00:00Z"}`,
		`{"id":"event 1","event":"x","data":{},"created_at":"2026-01-15T12:00:00Z"}`,
		`{"id":"event_1","event":"x","data":[],"created_at":"2026-01-15T12:00:00Z"}`,
		`{"id":"event_1","event":"x","created_at":"2026-01-15T12:00:00Z"}`,
		`{"id":"event_1","event":"x","data":{},"created_at":"2026-01-15T12:00:00Z"} x`,
	} {
		if _, err := directory.ParseEvent([]byte(body)); !errors.Is(err, directory.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", body, err)
		}
	}
}

func FuzzApplyEventNeverLeavesItsRoom(f *testing.F) {
	f.Add([]byte(`{"id":"event_1","event":"dsync.user.created","created_at":"2026-01-15T12:00:00Z","data":{"id":"u","directory_id":"d","organization_id":"o"}}`))
	f.Add([]byte(`{"id":"event_1","event":"dsync.group.user_added","created_at":"2026-01-15T12:00:00Z","data":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ev, err := directory.ParseEvent(body)
		if err != nil {
			if !errors.Is(err, directory.ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		w := newWorld(t)
		if _, err := w.try(ev); err != nil && !errors.Is(err, directory.ErrMalformed) {
			t.Fatalf("error %v is not ErrMalformed", err)
		}
		entries, _, err := w.st.List(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if n := strings.Count(e.Key, "/"); !strings.HasPrefix(e.Key, directory.Prefix) || n < 2 || n > 3 || strings.Contains(e.Key, "//") {
				t.Fatalf("key %q", e.Key)
			}
		}
	})
}
