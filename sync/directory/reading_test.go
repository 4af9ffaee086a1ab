package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

const day = 24 * 3_600_000 // ms

var (
	adaP = person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	bobP = person{id: bob, email: "bob@acme.test", idp: "idp-bob"}
)

// seen is a reading of dirA as of a time, of people and who is in which group.
func seen(ms int, people []person, edges ...directory.Edge) directory.Reading {
	r := directory.Reading{
		Directory: directory.RemoteDirectory{ID: dirA, OrganizationID: acme, State: "linked", Name: "D", Type: "okta scim v2.0"},
		Watermark: at(ms), Edges: edges,
		Groups: []directory.RemoteGroup{{ID: eng, IdpID: "Engineering", Name: "Engineering"}, {ID: all, IdpID: "Everyone", Name: "Everyone"}},
	}
	for _, p := range people {
		r.Users = append(r.Users, remoteUser(p))
	}
	return r
}

// told is a difference in words, sorted.
func told(changes []directory.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, strings.TrimSpace(strings.Join(strings.Fields(strings.Join([]string{c.Op, c.Kind, c.ID, c.UserID, c.GroupID}, " ")), " ")))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// read applies a reading and returns what it did; the dry run before must have
// said the same.
func (w *world) read(r directory.Reading) directory.Difference {
	w.t.Helper()
	before := w.d.View()
	dry := w.d.Compare(r)
	if w.d.View() != before {
		w.t.Errorf("a dry run changed something")
	}
	diff, err := w.d.ApplyReading(context.Background(), r)
	if err != nil {
		w.t.Fatalf("apply reading: %v", err)
	}
	if told(dry.Changes) != told(diff.Changes) || told(dry.Held) != told(diff.Held) || told(dry.Pending) != told(diff.Pending) {
		w.t.Errorf("the dry run said %+v, and it did %+v", dry, diff)
	}
	w.catchUp()
	return diff
}

func (w *world) did(r directory.Reading, changes, pending string) {
	w.t.Helper()
	d := w.read(r)
	if told(d.Changes) != changes || told(d.Pending) != pending || len(d.Held) != 0 {
		w.t.Errorf("the reading changed %q, pending %q, held %q; want %q, %q", told(d.Changes), told(d.Pending), told(d.Held), changes, pending)
	}
}

var adaInEng = directory.Edge{UserID: ada, GroupID: eng}

func TestAReadingAloneMakesTheDirectory(t *testing.T) {
	w := newWorld(t)
	w.put(directory.Organization{ID: acme, Slug: "acme"})
	w.mappings(acme, directory.Mapping{GroupName: "Engineering", Roles: []string{"editor"}})
	w.apply(connection("connection.activated", connA, acme, 1))
	w.did(seen(1000, []person{adaP, bobP}, adaInEng),
		"add directory directory_A, add edge directory_user_ADA directory_group_ENG, add group directory_group_ALL, add group directory_group_ENG, add user directory_user_ADA, add user directory_user_BOB", "")
	w.see(session("ada@acme.test", "idp-ada"), ada+" active [Engineering] [editor]")
	w.see(session("bob@acme.test", "idp-bob"), bob+" active [] []")
	_, rev, _ := w.st.List(context.Background(), "none")
	w.did(seen(1000, []person{adaP, bobP}, adaInEng), "", "")
	if d := w.read(seen(2000, []person{adaP, bobP}, adaInEng)); len(d.Changes) > 0 {
		t.Errorf("again: %+v", d)
	}
	if _, now, _ := w.st.List(context.Background(), "none"); now > rev+4 {
		t.Errorf("two readings of what is known made %d commits", now-rev)
	}
}

func TestAReadingAgainstEvents(t *testing.T) {
	const ended, nobody = "ended", "nobody"
	was := ada + " active [Engineering] [editor]"
	for _, c := range []struct {
		name    string
		before  []directory.Event
		reading directory.Reading
		changes string
		between string
		after   []directory.Event
		want    string
	}{
		{"what is the same changes nothing", nil, seen(100, []person{adaP}, adaInEng), "", was, nil, was},
		{"who is not seen is gone at once, and so is the session", nil, seen(100, nil), "remove edge directory_user_ADA directory_group_ENG, remove user directory_user_ADA", ended, nil, ended},
		{"a newer event brings an absent user back, without its old groups", nil, seen(100, nil), "remove edge directory_user_ADA directory_group_ENG, remove user directory_user_ADA", ended,
			[]directory.Event{user("updated", adaP, 101)}, ada + " active [] []"},
		{"an event of the watermark's time is newer", nil, seen(100, nil), "remove edge directory_user_ADA directory_group_ENG, remove user directory_user_ADA", ended,
			[]directory.Event{user("updated", adaP, 100)}, ada + " active [] []"},
		{"an older event that comes late brings nobody back", nil, seen(100, nil), "remove edge directory_user_ADA directory_group_ENG, remove user directory_user_ADA", ended,
			[]directory.Event{user("updated", adaP, 99), member("added", adaP, eng, "Engineering", 98)}, ended},
		{"a removal that names an absent user does not bring it back", nil, seen(100, nil), "remove edge directory_user_ADA directory_group_ENG, remove user directory_user_ADA", ended,
			[]directory.Event{member("removed", adaP, eng, "Engineering", 200)}, ended},
		{"an event after the watermark outweighs what was not seen", []directory.Event{user("updated", adaP, 101), member("added", adaP, eng, "Engineering", 102)}, seen(100, nil), "", was, nil, was},
		{"an event at the watermark outweighs what was not seen", []directory.Event{member("added", adaP, eng, "Engineering", 100)}, seen(100, nil), "", was, nil, was},
		{"an event after the watermark outweighs what was seen", []directory.Event{user("updated", person{id: ada, email: adaP.email, idp: adaP.idp, state: "inactive"}, 101)}, seen(100, []person{adaP}, adaInEng), "",
			ada + " inactive [Engineering] []", nil, ada + " inactive [Engineering] []"},
		{"what is seen differently is so", nil, seen(100, []person{{id: ada, email: adaP.email, idp: adaP.idp, state: "suspended"}}, adaInEng), "update user directory_user_ADA",
			ada + " suspended [Engineering] []", []directory.Event{user("updated", adaP, 99)}, ada + " suspended [Engineering] []"},
		{"a membership that is not seen is gone, and a late older event does not bring it back", nil, seen(100, []person{adaP}), "remove edge directory_user_ADA directory_group_ENG",
			ada + " active [] []", []directory.Event{member("added", adaP, eng, "Engineering", 99)}, ada + " active [] []"},
		{"a membership nobody knew and a late older event removes nothing", []directory.Event{member("removed", adaP, eng, "Engineering", 7)}, seen(day+100, []person{adaP}, adaInEng), "add edge directory_user_ADA directory_group_ENG",
			was, []directory.Event{member("removed", adaP, eng, "Engineering", 99)}, was},
		{"a delete is final, even if it comes late", nil, seen(100, []person{adaP}, adaInEng), "", was, []directory.Event{user("deleted", adaP, 50)}, ended},
		{"nobody is made of an event that a reading did not show", []directory.Event{user("deleted", adaP, 20)}, seen(100, nil), "", ended,
			[]directory.Event{user("created", person{id: "directory_user_NEW", email: adaP.email, idp: adaP.idp}, 99)}, ended},
		{"a reading of a directory that is not linked says nothing of its people", nil, func() directory.Reading {
			r := seen(100, nil)
			r.Directory.State = "unlinked"
			return r
		}(), "update directory directory_A", nobody, []directory.Event{dirEvent("dsync.activated", dirA, acme, 200)}, was},
		{"members of groups that were not read stay", nil, func() directory.Reading {
			r := seen(100, []person{adaP})
			r.MembersOf = []string{all}
			return r
		}(), "", was, []directory.Event{member("removed", adaP, eng, "Engineering", 99)}, ada + " active [] []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
			w.apply(c.before...)
			s := session(adaP.email, adaP.idp, 10)
			w.did(c.reading, c.changes, "")
			w.see(s, c.between)
			for _, ev := range c.after {
				if _, err := w.try(ev); err != nil {
					t.Fatal(err)
				}
			}
			w.see(s, c.want)
			w.reload()
			w.see(s, c.want)
		})
	}
}

func TestAnAbsenceEndsTheSessionsFromBeforeIt(t *testing.T) {
	w := newWorld(t)
	w.settle()
	early, late := session(adaP.email, adaP.idp, 50), session(adaP.email, adaP.idp, 150)
	w.pin(acme, early.UserID, ada)
	w.read(seen(100, nil))
	w.see(early, "ended")
	w.see(late, "nobody")
	again := person{id: "directory_user_NEW", email: adaP.email, idp: adaP.idp}
	w.apply(user("created", again, 200))
	w.see(early, "ended")
	w.see(late, again.id+" active [] []")
	w.read(seen(300, []person{adaP, again}))
	if _, ended := w.d.View().User(early); ended {
		t.Error("the user is back and the session still ended: what a reading inferred is not final")
	}
}

func TestARemovedMembershipIsBackOnlyAfterTwoReadings(t *testing.T) {
	add := "add edge directory_user_ADA directory_group_ENG"
	begin := func(t *testing.T) *world {
		w := newWorld(t)
		w.settle()
		w.apply(member("removed", adaP, eng, "Engineering", 10))
		return w
	}
	with := func(ms int) directory.Reading { return seen(ms, []person{adaP}, adaInEng) }
	t.Run("within a day", func(t *testing.T) {
		w := begin(t)
		w.did(with(100), "", add)
		w.did(with(100), "", add) // the same reading again is no second one
		w.see(session(adaP.email, adaP.idp), ada+" active [] []")
		w.did(with(200), add, "")
		w.see(session(adaP.email, adaP.idp), ada+" active [Engineering] []")
	})
	t.Run("two readings in a row", func(t *testing.T) {
		w := begin(t)
		w.did(with(100), "", add)
		w.did(seen(200, []person{adaP}), "", "")
		w.did(with(300), "", add)
		w.did(with(400), add, "")
	})
	t.Run("after a day one is enough", func(t *testing.T) {
		w := begin(t)
		w.did(with(10+day), add, "")
	})
	t.Run("an event is always enough, even a late one", func(t *testing.T) {
		w := begin(t)
		w.did(with(100), "", add)
		w.apply(member("added", adaP, eng, "Engineering", 50))
		w.see(session(adaP.email, adaP.idp), ada+" active [Engineering] []")
	})
	t.Run("a reading's own removal does not wait", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.did(seen(100, []person{adaP}), "remove edge directory_user_ADA directory_group_ENG", "")
		w.did(with(200), add, "")
	})
}

func TestADeletedUserIsBackOnlyAfterTwoReadings(t *testing.T) {
	w := newWorld(t)
	w.settle()
	gone := user("deleted", adaP, 10)
	w.apply(gone)
	s := session(adaP.email, adaP.idp, 500)
	r := func(ms int) directory.Reading { return seen(ms, []person{adaP}, adaInEng) }
	w.did(seen(5, []person{adaP}), "", "") // shows a time before the delete
	w.did(r(100), "", "undelete user directory_user_ADA")
	w.see(s, "nobody")
	w.did(r(100), "", "undelete user directory_user_ADA")
	w.did(seen(150, nil), "", "")
	w.did(r(200), "", "undelete user directory_user_ADA")
	d := w.read(r(300))
	if told(d.Changes) != "undelete user directory_user_ADA" || len(d.Pending) != 0 {
		t.Errorf("%+v", d)
	}
	w.did(r(310), "", "")
	w.see(s, ada+" active [Engineering] []")
	w.want(directory.OutcomeStale, gone)
	w.see(s, ada+" active [Engineering] []")
	w.apply(user("deleted", adaP, 400))
	w.see(session(adaP.email, adaP.idp, 390), "ended")
}

func TestOldReadingsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.read(seen(200, []person{adaP}, adaInEng))
	if _, err := w.d.ApplyReading(context.Background(), seen(100, nil)); !errors.Is(err, directory.ErrOldReading) {
		t.Errorf("error %v", err)
	}
	for name, r := range map[string]directory.Reading{
		"no watermark":      {Directory: seen(1, nil).Directory},
		"no organization":   {Directory: directory.RemoteDirectory{ID: dirA}, Watermark: at(300)},
		"a user without id": seen(300, []person{{email: "x"}}),
		"a hostile id":      seen(300, []person{{id: "x/../../slug"}}),
	} {
		if _, err := w.d.ApplyReading(context.Background(), r); !errors.Is(err, directory.ErrMalformed) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	w.catchUp()
	w.see(session(adaP.email, adaP.idp), ada+" active [Engineering] []")
}

func TestAFactThatDoesNotBelongIsLeftOut(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.apply(dirEvent("dsync.activated", "directory_B", acme, 5), user("created", person{id: bob, email: "bob@acme.test", dir: "directory_B"}, 6))
	d := w.read(seen(100, []person{adaP, bobP}, adaInEng, directory.Edge{UserID: ada, GroupID: all}))
	if told(d.Changes) != "add edge directory_user_ADA directory_group_ALL" {
		t.Errorf("changed %s", told(d.Changes))
	}
	if u, _ := w.d.View().UserByID(bob); u.DirectoryID != "directory_B" {
		t.Errorf("%+v", u)
	}
}

// meddler applies an event in the middle of a reading.
type meddler struct {
	store.Store
	at  int
	do  func()
	did int
}

func (m *meddler) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	if m.did++; m.did == m.at && m.do != nil {
		do := m.do
		m.do = nil
		do()
	}
	return m.Store.Update(ctx, fn)
}

func TestAnEventFromBeforeThatComesAmidAReadingIsNotTakenForConfirmed(t *testing.T) {
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint("at update ", n), func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			m := &meddler{Store: w.st, at: n}
			own := worldOver(t, m, directory.Options{})
			removed, added := member("removed", adaP, eng, "Engineering", 50), member("added", adaP, eng, "Engineering", 60)
			m.do = func() {
				if _, err := w.d.ApplyEvent(context.Background(), removed); err != nil {
					t.Error(err)
				}
			}
			m.did = 0
			if _, err := own.d.ApplyReading(context.Background(), seen(100, []person{adaP, bobP}, adaInEng)); err != nil {
				t.Fatal(err)
			}
			own.catchUp()
			if _, err := own.try(removed); err != nil {
				t.Fatal(err)
			}
			if _, err := own.try(added); err != nil {
				t.Fatal(err)
			}
			own.see(session(adaP.email, adaP.idp), ada+" active [Engineering] []")
		})
	}
}

func TestAReadingWaitsForTheView(t *testing.T) {
	st := openStore(t)
	w := worldOver(t, st, directory.Options{ViewWait: 5 * time.Second})
	w.settle()
	w.lags = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- st.Watch(ctx, directory.Prefix, w.seen, func(changes []store.Change) error {
			for _, ch := range changes {
				w.d.Apply(ch)
			}
			return nil
		})
	}()
	defer func() { cancel(); <-done }()
	for i := range 40 {
		p := person{id: ada, email: adaP.email, idp: adaP.idp, state: []string{"active", "inactive"}[i%2]}
		if _, err := w.d.ApplyEvent(context.Background(), user("updated", p, 1000*i+1000)); err != nil {
			t.Fatal(err)
		}
		if d, err := w.d.ApplyReading(context.Background(), seen(1000*i+1500, []person{p}, adaInEng)); err != nil || len(d.Changes) > 0 {
			t.Fatalf("round %d: %+v %v", i, d, err)
		}
	}
}

func TestAReadingThatIsInterruptedAnywhereAndRunAgainIsTheSame(t *testing.T) {
	var people []person
	var edges []directory.Edge
	for i := range 300 {
		people = append(people, person{id: fmt.Sprintf("directory_user_%d", i), email: fmt.Sprintf("u%d@acme.test", i), idp: fmt.Sprint(i)})
		edges = append(edges, directory.Edge{UserID: people[i].id, GroupID: []string{eng, all}[i%2]})
	}
	build := func(w *world) {
		w.settle()
		w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
		w.read(seen(100, people[:200], edges[:200]...))
	}
	reading := seen(200, people[20:], edges[20:]...)
	whole := newWorld(t)
	build(whole)
	whole.read(reading)
	want := dump(whole.d.View(), nil)
	for n := 1; ; n++ {
		f := &flaky{Store: openStore(t)}
		w := worldOver(t, f, directory.Options{})
		build(w)
		f.arm(n, n%2 == 0)
		_, err := w.d.ApplyReading(context.Background(), reading)
		if err == nil {
			if n < 5 {
				t.Errorf("only %d transactions", n)
			}
			return
		}
		f.arm(0, false)
		w.reload()
		if _, err := w.d.ApplyReading(context.Background(), reading); err != nil {
			t.Fatal(err)
		}
		w.catchUp()
		if got := dump(w.d.View(), nil); got != want {
			t.Fatalf("interrupted at update %d: %s", n, unlike(got, want))
		}
	}
}
