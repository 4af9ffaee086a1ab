package directory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

func TestUsersAreSharedWhileNothingChanges(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.apply(user("created", person{id: bob, email: "bob@acme.test", idp: "b"}, 10))
	s := session("ada@acme.test", "idp-ada")
	get := func() *authz.User { u, _ := w.d.View().User(s); return u }
	first := get()
	if first == nil || get() != first {
		t.Fatal("two calls, two users")
	}
	w.apply(member("added", person{id: bob, email: "bob@acme.test", idp: "b"}, eng, "Engineering", 11))
	if get() != first {
		t.Error("another's membership, which carries the same group, made a new user")
	}
	w.apply(group("updated", eng, "R&D", 12))
	if u := get(); u == first || u.Groups[0].Name != "R&D" {
		t.Error("a renamed group did not make a new user")
	}
	if first.Groups[0].Name != "Engineering" {
		t.Error("a user that was handed out changed")
	}
}

func TestSnapshotsInUseTogetherDoNotMixTheirUsers(t *testing.T) {
	w := newWorld(t)
	w.settle()
	s := session("ada@acme.test", "idp-ada")
	old := w.d.View()
	w.apply(group("updated", eng, "R&D", 12))
	now := w.d.View()
	for range 3 {
		a, _ := old.User(s)
		b, _ := now.User(s)
		if a.Groups[0].Name != "Engineering" || b.Groups[0].Name != "R&D" {
			t.Fatalf("old says %s, new says %s", a.Groups[0].Name, b.Groups[0].Name)
		}
	}
	a, _ := now.User(s)
	_, _ = old.User(s)
	if b, _ := now.User(s); a != b {
		t.Error("the old snapshot pushed out the new one's user")
	}
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	w.settle()
	matched, pinned := session("ada@acme.test", "idp-ada"), session("ada@acme.test", "idp-ada")
	pinned.UserID = "prof_pinned_01EZTR6WYX1A0DSE2CYMGXQ24Y"
	w.pin(acme, pinned.UserID, ada)
	v := w.d.View()
	for name, s := range map[string]*authz.Session{"linked by match": matched, "pinned": pinned} {
		if u, _ := v.User(s); u == nil {
			t.Fatal("nobody")
		}
		if n := testing.AllocsPerRun(100, func() { v.User(s) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestReadersWhileChangesArrive(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	s := session("ada@acme.test", "idp-ada")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := w.d.View()
				u, ended := v.User(s)
				if ended || u == nil || (len(u.Groups) == 0) != (len(u.Roles) == 0) {
					t.Errorf("user %+v, ended %v", u, ended)
					return
				}
				v.Mappings(acme)
				v.Users(dirA)
			}
		}()
	}
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	for i := range 60 {
		w.apply(member([]string{"removed", "added"}[i%2], p, eng, fmt.Sprintf("E%d", i), 100+i))
	}
	close(stop)
	wg.Wait()
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	w := newWorld(t)
	w.settle()
	var wg sync.WaitGroup
	var mu sync.Mutex
	last := uint64(0)
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := person{id: fmt.Sprintf("directory_user_%d", i), email: fmt.Sprintf("u%d@acme.test", i), idp: fmt.Sprint(i)}
			a, err := w.d.ApplyEvent(context.Background(), member("added", p, eng, "Engineering", 100+i))
			if err != nil || a.Outcome != directory.OutcomeApplied {
				t.Errorf("%+v %v", a, err)
			}
			mu.Lock()
			last = max(last, a.Revision)
			mu.Unlock()
		}()
	}
	wg.Wait()
	w.follow(last)
	if n := len(w.d.View().GroupMembers(eng)); n != 41 {
		t.Errorf("%d members, want 41", n)
	}
}

// The rules of ApplyEvent keep such values from the store; a View does not rely
// on that.
func TestAMembershipAcrossDirectoriesCountsForNothing(t *testing.T) {
	w := newWorld(t)
	w.settle()
	s := session("ada@acme.test", "idp-ada")
	write := func(kv ...string) {
		rev, err := w.st.Update(context.Background(), func(tx store.Tx) error {
			for i := 0; i < len(kv); i += 2 {
				if err := tx.Put("directory/"+kv[i], []byte(kv[i+1])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.follow(rev)
	}
	head := `{"v":1,"seen":true,"stamp":{"at":1,"id":"e"},"name":"Late","organization_id":"` + acme + `","directory_id":"`
	write("edge/"+ada+"/g_other", `{"v":1,"present":true}`, "edge/"+ada+"/g_late", `{"v":1,"present":true}`)
	w.see(s, ada+" active [Engineering] []")
	write("group/g_other", head+`directory_B"}`)
	w.see(s, ada+" active [Engineering] []")
	write("group/g_late", head+dirA+`"}`)
	w.see(s, ada+" active [Engineering Late] []")
}

func TestListsPage(t *testing.T) {
	w := newWorld(t)
	w.settle()
	for i := range 5 {
		w.apply(user("created", person{id: fmt.Sprintf("directory_user_%d", i), idp: fmt.Sprint(i)}, 10+i))
	}
	var got []string
	after := ""
	for {
		page := w.d.View().UsersAfter(dirA, after, 2)
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			got = append(got, u.ID)
			after = u.ID
		}
	}
	if want := "[directory_user_0 directory_user_1 directory_user_2 directory_user_3 directory_user_4 " + ada + "]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if got := w.d.View().Users("directory_A\x00"); len(got) != 0 {
		t.Errorf("users of a directory that is not: %v", got)
	}
}

func TestAnEmptyViewDenies(t *testing.T) {
	v := directory.New(nil, directory.Options{}).View()
	if u, ended := v.User(session("ada@acme.test", "idp-ada")); u != nil || ended {
		t.Error("an empty view knows someone")
	}
	if len(v.Organizations())+len(v.Users(dirA))+len(v.Groups(dirA))+len(v.Mappings(acme).Mappings) != 0 {
		t.Error("an empty view lists something")
	}
}
