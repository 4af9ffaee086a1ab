package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

func TestStalenessComesWithTimeAlone(t *testing.T) {
	w := worldOver(t, openStore(t), directory.Options{Staleness: time.Minute, ReconcileStaleness: 2 * time.Hour})
	w.settle()
	v := w.d.View()
	stale := func(want bool, when string) {
		t.Helper()
		if v.Stale(acme) != want || v.Freshness(dirA).Stale != want {
			t.Errorf("%s: stale %v, %v; want %v", when, v.Stale(acme), v.Freshness(dirA).Stale, want)
		}
	}
	stale(true, "before anything was polled")
	w.d.NotePoll(w.now)
	stale(true, "before anything was reconciled")
	if err := w.d.NoteReconcile(context.Background(), dirA, w.now, nil); err != nil {
		t.Fatal(err)
	}
	v = w.d.View()
	stale(false, "polled and reconciled")
	w.now = w.now.Add(time.Minute)
	stale(false, "at the bound")
	w.now = w.now.Add(time.Millisecond)
	stale(true, "after the bound, in the same view")
	w.d.NotePoll(w.now)
	w.d.NotePoll(w.now.Add(-time.Hour)) // an older note changes nothing
	stale(false, "polled again, in the same view")
	if n := testing.AllocsPerRun(100, func() { v.Stale(acme) }); n != 0 {
		t.Errorf("asking allocates %v times", n)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.d.NotePoll(w.now)
	stale(true, "not reconciled for two hours")
	w.apply(dirEvent("dsync.deactivated", dirA, acme, 100))
	if w.d.View().Stale(acme) {
		t.Error("a directory that is not linked is waited for")
	}
	if w.d.View().Stale("org_none") {
		t.Error("an unknown organization is stale")
	}
}

func TestNothingIsStaleWithoutABound(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.now = w.now.Add(1000 * time.Hour)
	if w.d.View().Stale(acme) || w.d.View().Freshness(dirA).Stale {
		t.Error("stale")
	}
}

func TestAPollIsKnownAfterARestartAndOnOtherReplicas(t *testing.T) {
	st := openStore(t)
	w := worldOver(t, st, directory.Options{Staleness: time.Hour})
	w.settle()
	w.page(directory.Page{Head: w.now})
	other := worldOver(t, st, directory.Options{Staleness: time.Hour})
	if other.d.View().Stale(acme) || !other.d.View().Freshness(dirA).LastPoll.Equal(w.now) {
		t.Errorf("%+v", other.d.View().Freshness(dirA))
	}
	_, before, _ := st.List(context.Background(), "none")
	for range 50 {
		w.now = w.now.Add(time.Second)
		w.page(directory.Page{Head: w.now})
	}
	if _, after, _ := st.List(context.Background(), "none"); after != before {
		t.Errorf("50 empty polls in 50 seconds made %d commits", after-before)
	}
	w.now = w.now.Add(11 * time.Second)
	w.page(directory.Page{Head: w.now})
	other.reload()
	if !other.d.View().Freshness(dirA).LastPoll.Equal(w.now) {
		t.Error("the other replica does not know")
	}
}

func TestFreshnessTellsHowADirectoryIs(t *testing.T) {
	w := newWorld(t)
	w.settle()
	ctx := context.Background()
	w.apply(user("updated", adaP, 5000))
	w.read(seen(9000, []person{adaP}, adaInEng, directory.Edge{UserID: ada, GroupID: all})) // a reading is no event
	if err := w.d.NoteReconcile(ctx, dirA, at(9000), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.d.NoteReconcile(ctx, dirA, at(9500), errors.New("429: "+strings.Repeat("x", 1000))); err != nil {
		t.Fatal(err)
	}
	f := w.d.View().Freshness(dirA)
	if !f.LastEvent.Equal(at(5000)) || !f.LastReconcile.Equal(at(9000)) || len(f.LastReconcileError) != 300 {
		t.Errorf("%+v", f)
	}
	if err := w.d.NoteReconcile(ctx, dirA, at(9800), nil); err != nil {
		t.Fatal(err)
	}
	if f := w.d.View().Freshness(dirA); f.LastReconcileError != "" || !f.LastReconcile.Equal(at(9800)) {
		t.Errorf("%+v", f)
	}
	w.reload()
	if f := w.d.View().Freshness(dirA); !f.LastEvent.Equal(at(5000)) || !f.LastReconcile.Equal(at(9800)) {
		t.Errorf("after a restart: %+v", f)
	}
	if err := w.d.NoteReconcile(ctx, "", at(9900), nil); err != nil || !w.d.View().Freshness("").LastReconcile.Equal(at(9900)) {
		t.Errorf("the list of organizations: %+v %v", w.d.View().Freshness(""), err)
	}
	if err := w.d.NoteReconcile(ctx, "a/b", at(1), nil); !errors.Is(err, directory.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestAPausedDirectoryGrantsNothingAndMissesNothing(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	s := session(adaP.email, adaP.idp)
	pause := func(paused bool) {
		t.Helper()
		rev, err := w.d.Pause(context.Background(), dirA, "root", paused)
		if err != nil {
			t.Fatal(err)
		}
		w.follow(rev)
	}
	w.see(s, ada+" active [Engineering] [editor]")
	pause(true)
	w.see(s, ada+" active [] []")
	if by, when, on := w.d.View().Paused(dirA); by != "root" || !when.Equal(w.now) || !on || !w.d.View().Freshness(dirA).Paused {
		t.Errorf("%s %v %v", by, when, on)
	}
	w.reload()
	w.see(s, ada+" active [] []")
	w.apply(user("created", bobP, 100), member("added", bobP, eng, "Engineering", 101), member("removed", adaP, eng, "Engineering", 102))
	w.see(session(bobP.email, bobP.idp), bob+" active [] []")
	pause(false)
	w.see(s, ada+" active [] []")
	w.see(session(bobP.email, bobP.idp), bob+" active [Engineering] [editor]")
	if _, err := w.d.Pause(context.Background(), "directory_none", "root", true); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("%v", err)
	}
	rev, err := w.st.Update(context.Background(), func(tx store.Tx) error { return tx.Put("directory/pause/"+dirA, []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	w.follow(rev)
	w.see(session(bobP.email, bobP.idp), bob+" active [] []") // a switch that cannot be read is on
}

// withRoles is a user event with roles of WorkOS.
func withRoles(ms int, roles ...string) directory.Event {
	data := adaP.data()
	var all []any
	for _, r := range roles {
		all = append(all, map[string]any{"slug": r})
	}
	data["role"], data["roles"] = nil, all
	return event("dsync.user.updated", ms, data)
}

func roleEvent(typ, org, slug string, ms int) directory.Event {
	return event(typ, ms, map[string]any{"object": "role", "slug": slug, "organization_id": org})
}

func TestRolesHaveOneSource(t *testing.T) {
	w := worldOver(t, openStore(t), directory.Options{Operators: acme})
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	w.apply(withRoles(100, "admin", "viewer", "battery:admin", "Not A Slug", "battery:operator"))
	s := session(adaP.email, adaP.idp)
	source := func(org, source string) error {
		rev, err := w.d.PutRoleSource(context.Background(), org, source, "root")
		if err == nil {
			w.follow(rev)
		}
		return err
	}
	w.see(s, ada+" active [Engineering] [editor]")
	_, before := w.d.View().RoleMappings(acme)
	if err := source(acme, directory.RolesFromWorkOS); err != nil {
		t.Fatal(err)
	}
	w.see(s, ada+" active [Engineering] [admin viewer]")
	if m, _ := w.d.View().RoleMappings(acme); m != nil {
		t.Errorf("policies that map for themselves get %v", m)
	}
	if m := w.d.View().Mappings(acme); m.RoleSource.Source != directory.RolesFromWorkOS || m.RoleSource.By != "root" || !m.RoleSource.At.Equal(w.now) || len(m.Mappings) != 1 {
		t.Errorf("%+v", m)
	}
	t.Run("a role that WorkOS deleted counts no more", func(t *testing.T) {
		w.apply(roleEvent("organization_role.deleted", acme, "viewer", 200))
		w.see(s, ada+" active [Engineering] [admin]")
		w.apply(roleEvent("role.deleted", "", "admin", 201))
		w.see(s, ada+" active [Engineering] []")
		w.want(directory.OutcomeStale, roleEvent("role.updated", "", "admin", 150))
		w.reload()
		w.see(s, ada+" active [Engineering] []")
		w.apply(roleEvent("role.created", "", "admin", 300), roleEvent("organization_role.created", acme, "viewer", 301))
		w.see(s, ada+" active [Engineering] [admin viewer]")
		w.apply(roleEvent("organization_role.deleted", globex, "viewer", 302)) // another's
		w.see(s, ada+" active [Engineering] [admin viewer]")
	})
	w.apply(withRoles(400))
	w.see(s, ada+" active [Engineering] []")
	if err := source(acme, directory.RolesFromMappings); err != nil {
		t.Fatal(err)
	}
	w.see(s, ada+" active [Engineering] [editor]")
	if _, after := w.d.View().RoleMappings(acme); after <= before {
		t.Errorf("version %d, before %d", after, before)
	}
	if err := source(acme, "both"); !errors.Is(err, directory.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := source("org_none", directory.RolesFromWorkOS); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("%v", err)
	}
	rev, err := w.st.Update(context.Background(), func(tx store.Tx) error { return tx.Put("directory/rolesource/"+acme, []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	w.follow(rev)
	w.see(s, ada+" active [Engineering] []") // neither source, and so nothing
}

func TestWhyNamesGroupMappingAndEvent(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor", "member"}}, directory.Mapping{GroupName: "Everyone", Roles: []string{"member"}})
	ev := member("added", adaP, eng, "Engineering", 50)
	w.page(page("", ev))
	w.read(seen(day, []person{adaP}, adaInEng, directory.Edge{UserID: ada, GroupID: all}))
	for _, name := range []string{ada, "ADA@acme.test"} {
		why, ok := w.d.View().Why(acme, name)
		if !ok || why.User.ID != ada || why.Source != directory.RolesFromMappings || why.Paused || len(why.Groups) != 2 {
			t.Fatalf("%+v", why)
		}
		var got []string
		for _, r := range why.Roles {
			got = append(got, fmt.Sprint(r.Role, " ", r.Group.Name, " ", r.ByName, " ", r.MappedBy, " ", r.EventID == ev.ID, " ", r.Time.Sub(epoch0).Milliseconds(), " ", r.Source))
			if !r.MappedAt.Equal(w.now) {
				t.Errorf("mapped at %v", r.MappedAt)
			}
		}
		want := []string{"editor Engineering  tester true 50 events", fmt.Sprint("member Everyone Everyone tester false ", day, " reconcile"), "member Engineering  tester true 50 events"}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	w.now = at(2 * day)
	w.want(directory.OutcomeApplied, member("added", adaP, eng, "Engineering", day+10))
	if why, _ := w.d.View().Why(acme, ada); why.Roles[0].Source != directory.SourceWebhook {
		t.Errorf("%+v", why.Roles[0])
	}
	for _, c := range [][2]string{{globex, ada}, {acme, "directory_user_NONE"}, {acme, ""}, {"", ada}} {
		if _, ok := w.d.View().Why(c[0], c[1]); ok {
			t.Errorf("%v is explained", c)
		}
	}
	if _, err := w.d.Pause(context.Background(), dirA, "root", true); err != nil {
		t.Fatal(err)
	}
	w.catchUp()
	if why, ok := w.d.View().Why(acme, ada); !ok || !why.Paused || len(why.Roles) != 0 {
		t.Errorf("%+v", why)
	}
}

func TestWhatNobodyNeedsIsCollectedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: all, Roles: []string{"member"}})
	linked := person{id: "directory_user_LINKED", email: "l@acme.test", idp: "l"}
	second := person{id: "directory_user_2", email: "2@acme.test", dir: "directory_2"}
	w.apply(user("created", bobP, 10), member("added", bobP, eng, "Engineering", 11), member("removed", bobP, all, "Everyone", 12),
		user("created", linked, 13), dirEvent("dsync.activated", "directory_2", acme, 14), user("created", second, 15))
	w.pin(acme, "prof_l", linked.id)
	ahead := user("updated", adaP, 0)
	ahead.CreatedAt = w.now.Add(time.Hour)
	w.want(directory.OutcomeApplied, ahead)
	w.page(directory.Page{Dead: []directory.DeadLetter{{ID: "event_dead", Reason: "x"}}})
	w.apply(user("deleted", bobP, 100), user("deleted", linked, 101), group("deleted", eng, "Engineering", 102), group("deleted", all, "Everyone", 103),
		dirEvent("dsync.deleted", "directory_2", acme, 104))
	collect := func(after time.Duration) int {
		t.Helper()
		n, err := w.d.Collect(context.Background(), w.now.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		w.catchUp()
		return n
	}
	if n := collect(119 * 24 * time.Hour); n != 0 {
		t.Errorf("%d values were collected before their time", n)
	}
	// bob and his two memberships, ada's in Engineering and Engineering itself,
	// the second directory's user, a receipt and a letter; whose profile is
	// linked stays, and what a mapping names.
	if n := collect(121 * 24 * time.Hour); n != 8 {
		t.Errorf("%d values were collected, want 8", n)
	}
	if n := collect(121 * 24 * time.Hour); n != 0 {
		t.Errorf("%d more the second time", n)
	}
	entries, _, _ := w.st.List(context.Background(), "directory/")
	var left []string
	for _, e := range entries {
		if k := strings.Split(e.Key, "/"); slices.Contains([]string{"user", "group", "edge", "stamp", "dead", "directory"}, k[1]) {
			left = append(left, strings.Join(k[1:], "/"))
		}
	}
	if want := []string{"directory/directory_2", "directory/" + dirA, "group/" + all, "user/" + ada, "user/" + linked.id}; !slices.Equal(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
	w.want(directory.OutcomeStale, dirEvent("dsync.activated", "directory_2", acme, 200))
}

func TestReadersWhileReadingsArrive(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	s := session(adaP.email, adaP.idp, 2)
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := w.d.View()
				if u, _ := v.User(s); u != nil && (len(u.Groups) == 0) != (len(u.Roles) == 0) {
					t.Errorf("%+v", u)
				}
				v.MayOpen(s)
				v.Stale(acme)
				v.Freshness(dirA)
				v.Hold(dirA)
				v.Why(acme, ada)
				w.d.Compare(seen(1, nil))
				w.d.NotePoll(time.Now())
			}
		})
	}
	ctx := context.Background()
	for i := range 15 {
		r := seen(1000+100*i, []person{adaP, bobP}, adaInEng)
		if i%2 == 0 {
			r.Edges = nil
		}
		if _, err := w.d.ApplyReading(ctx, r); err != nil {
			t.Fatal(err)
		}
		if _, err := w.d.ApplyPage(ctx, page("", member([]string{"removed", "added"}[i%2], bobP, eng, "Engineering", 1050+100*i))); err != nil {
			t.Fatal(err)
		}
		if _, err := w.d.Pause(ctx, dirA, "root", i%3 == 0); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}
