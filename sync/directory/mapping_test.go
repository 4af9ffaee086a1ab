package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

func status(m directory.Mappings) string {
	var out []string
	for _, e := range m.Mappings {
		out = append(out, strings.TrimSpace(or(e.GroupID, e.GroupName)+" "+e.Status+" "+e.BoundTo))
	}
	return strings.Join(out, ", ")
}

// named maps a name to the role editor, and wants to be told a status.
func (w *world) named(name, want string) {
	w.t.Helper()
	out := w.mappings(acme, directory.Mapping{GroupName: name, Roles: []string{"editor"}})
	if got := status(out); got != name+" "+want {
		w.t.Errorf("put: %s; want %s", got, want)
	}
	w.mapped(name + " " + want)
}

func (w *world) mapped(want string) {
	w.t.Helper()
	if got := status(w.d.View().Mappings(acme)); got != want {
		w.t.Errorf("mappings: %s; want %s", got, want)
	}
}

func TestMappingsByName(t *testing.T) {
	sam := session("ada@acme.test", "idp-ada")
	const with, without = ada + " active [Engineering] [editor]", ada + " active [Engineering] []"

	t.Run("bind to the one group that bears the name", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.named("Engineering", "bound "+eng)
		w.see(sam, with)
	})
	t.Run("stay bound to its id when it is renamed or another takes the name", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.named("Engineering", "bound "+eng)
		w.apply(group("updated", eng, "R&D", 20), group("created", "directory_group_2", "Engineering", 21))
		w.see(sam, ada+" active [R&D] [editor]")
		w.named("Engineering", "bound "+eng) // put again: the binding is kept
		w.see(sam, ada+" active [R&D] [editor]")
	})
	t.Run("grant nothing, and say so, while several groups bear it", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(group("created", "directory_group_2", "Engineering", 20))
		w.named("Engineering", "ambiguous")
		w.see(sam, without)
		t.Run("and bind in the event that leaves only one", func(t *testing.T) {
			w.apply(group("deleted", "directory_group_2", "Engineering", 21))
			w.mapped("Engineering bound " + eng)
			w.see(sam, with)
		})
	})
	t.Run("bind when another is renamed away", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(group("created", "directory_group_2", "Engineering", 20))
		w.named("Engineering", "ambiguous")
		w.apply(group("updated", "directory_group_2", "Other", 21))
		w.mapped("Engineering bound " + eng)
	})
	t.Run("bind when another's directory is deleted", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(dirEvent("dsync.activated", "directory_B", acme, 19),
			event("dsync.group.created", 20, groupData("directory_group_2", "Engineering", "directory_B", "")))
		w.named("Engineering", "ambiguous")
		w.apply(dirEvent("dsync.deactivated", "directory_B", acme, 21))
		w.mapped("Engineering ambiguous") // it may come back
		w.apply(dirEvent("dsync.deleted", "directory_B", acme, 22))
		w.mapped("Engineering bound " + eng)
		w.see(sam, with)
	})
	t.Run("dangle until the group arrives, by any event that brings it", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.named("Sales", "dangling")
		w.apply(member("removed", person{id: ada, email: "ada@acme.test", idp: "idp-ada"}, "directory_group_S", "Sales", 20))
		w.mapped("Sales dangling") // a removal brings nothing to life
		w.apply(member("added", person{id: ada, email: "ada@acme.test", idp: "idp-ada"}, "directory_group_S", "Sales", 21))
		w.mapped("Sales bound directory_group_S")
		w.see(sam, ada+" active [Engineering Sales] [editor]")
	})
	t.Run("dangle when their group is deleted, and are not handed to its namesake", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.named("Engineering", "bound "+eng)
		w.apply(group("deleted", eng, "Engineering", 20), group("created", "directory_group_2", "Engineering", 21),
			member("added", person{id: ada, email: "ada@acme.test", idp: "idp-ada"}, "directory_group_2", "Engineering", 22))
		w.mapped("Engineering dangling " + eng)
		w.see(sam, without)
	})
	t.Run("never bind to another organization's group", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.put(directory.Organization{ID: globex, Slug: "globex"})
		w.apply(dirEvent("dsync.activated", dirG, globex, 20), event("dsync.group.created", 21, groupData("directory_group_G", "Staff", dirG, globex)))
		w.named("Staff", "dangling")
		out := w.mappings(acme, directory.Mapping{GroupID: "directory_group_G", Roles: []string{"editor"}})
		if got := status(out); got != "directory_group_G dangling" {
			t.Error(got)
		}
	})
	t.Run("bind all of a list that is longer than one transaction", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		var m []directory.Mapping
		for i := range 250 {
			w.apply(group("created", fmt.Sprintf("directory_group_%d", i), fmt.Sprintf("G%d", i), 100+i))
			m = append(m, directory.Mapping{GroupName: fmt.Sprintf("G%d", i), Roles: []string{"editor"}})
		}
		for _, e := range w.mappings(acme, m...).Mappings {
			if e.Status != directory.StatusBound {
				t.Fatalf("%s is %s", e.GroupName, e.Status)
			}
		}
	})
	t.Run("are never bound again once more groups bear a name than are told apart", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.named("Crowd", "dangling")
		for i := range 60 {
			w.apply(group("created", fmt.Sprintf("directory_group_%d", i), "Crowd", 100+i))
		}
		w.mapped("Crowd bound directory_group_0") // the first was the only one when it came
		w.mappings(acme)
		w.named("Crowd", "ambiguous")
		for i := range 59 {
			w.apply(group("deleted", fmt.Sprintf("directory_group_%d", i), "Crowd", 200+i))
		}
		if got := w.d.View().Mappings(acme).Mappings[0].BoundTo; got != "" {
			t.Errorf("bound to %s", got)
		}
	})
}

func TestMappingsAreReplacedAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.settle()
	sam := session("ada@acme.test", "idp-ada")
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor", "admin", "editor"}}, directory.Mapping{GroupName: "Engineering", Roles: []string{"viewer"}})
	w.see(sam, ada+" active [Engineering] [admin editor viewer]")
	m, version := w.d.View().RoleMappings(acme)
	if fmt.Sprint(m) != fmt.Sprintf("map[%s:[admin editor viewer]]", eng) || version == 0 {
		t.Errorf("role mappings %v at %d", m, version)
	}
	w.apply(group("created", "directory_group_2", "Other", 30))
	if _, same := w.d.View().RoleMappings(acme); same != version {
		t.Error("the version changed without the content")
	}
	w.reload()
	if _, same := w.d.View().RoleMappings(acme); same != version {
		t.Error("the version changed with a reload")
	}
	w.mappings(acme)
	w.see(sam, ada+" active [Engineering] []")
	if m, other := w.d.View().RoleMappings(acme); len(m) != 0 || other == version {
		t.Errorf("role mappings %v at %d", m, other)
	}
	if got := w.d.View().Mappings(acme); got.UpdatedBy != "tester" || !got.UpdatedAt.Equal(w.now) {
		t.Errorf("%+v", got)
	}
}

func TestMappingsThatAreRefused(t *testing.T) {
	role := []string{"editor"}
	long := make([]directory.Mapping, 1001)
	for i := range long {
		long[i] = directory.Mapping{GroupID: fmt.Sprintf("g%d", i), Roles: role}
	}
	for name, c := range map[string]struct {
		org  string
		m    []directory.Mapping
		want error
	}{
		"neither id nor name":      {acme, []directory.Mapping{{Roles: role}}, directory.ErrInvalid},
		"both":                     {acme, []directory.Mapping{{GroupID: eng, GroupName: "E", Roles: role}}, directory.ErrInvalid},
		"no roles":                 {acme, []directory.Mapping{{GroupID: eng}}, directory.ErrInvalid},
		"a role that is a list":    {acme, []directory.Mapping{{GroupID: eng, Roles: []string{"a,b"}}}, directory.ErrInvalid},
		"an upper-case role":       {acme, []directory.Mapping{{GroupID: eng, Roles: []string{"Admin"}}}, directory.ErrInvalid},
		"an empty role":            {acme, []directory.Mapping{{GroupID: eng, Roles: []string{""}}}, directory.ErrInvalid},
		"a role of this program":   {acme, []directory.Mapping{{GroupID: eng, Roles: []string{"battery:operator"}}}, directory.ErrInvalid},
		"a group listed twice":     {acme, []directory.Mapping{{GroupID: eng, Roles: role}, {GroupID: eng, Roles: role}}, directory.ErrInvalid},
		"a path for a group id":    {acme, []directory.Mapping{{GroupID: "../x", Roles: role}}, directory.ErrInvalid},
		"too many":                 {acme, long, directory.ErrInvalid},
		"an unknown organization":  {"org_none", nil, directory.ErrNotFound},
		"no organization":          {"", nil, directory.ErrInvalid},
		"an organization's path":   {"a/b", nil, directory.ErrInvalid},
		"a name that is too large": {acme, []directory.Mapping{{GroupName: strings.Repeat("x", 513), Roles: role}}, directory.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			if _, _, err := w.d.PutMappings(context.Background(), c.org, c.m, "tester"); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestOnlyOperatorsHoldTheRolesOfThisProgram(t *testing.T) {
	st := openStore(t)
	w := worldOver(t, st, directory.Options{Operators: acme})
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"battery:operator"}})
	sam := session("ada@acme.test", "idp-ada")
	w.see(sam, ada+" active [Engineering] [battery:operator]")

	t.Run("and lose them when another organization operates", func(t *testing.T) {
		w := worldOver(t, st, directory.Options{Operators: globex})
		w.see(sam, ada+" active [Engineering] []")
	})
}

func TestWhatCannotBeReadGrantsNothing(t *testing.T) {
	sam := session("ada@acme.test", "idp-ada")
	for key, want := range map[string]string{
		"directory/organization/" + acme:                "ended",
		"directory/connection/" + connA:                 "ended",
		"directory/directory/" + dirA:                   "nobody",
		"directory/user/" + ada:                         "nobody",
		"directory/group/" + eng:                        ada + " active [] []",
		"directory/edge/" + ada + "/" + eng:             ada + " active [] []",
		"directory/mapping/" + acme:                     ada + " active [Engineering] []",
		"directory/link/" + acme + "/" + "prof_idp-ada": "nobody",
	} {
		for what, raw := range map[string]string{"garbage": "{", "another version": `{"v":2,"seen":true,"present":true,"stamp":{"at":1}}`} {
			t.Run(key+" "+what, func(t *testing.T) {
				w := newWorld(t)
				w.settle()
				w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
				w.see(sam, ada+" active [Engineering] [editor]")
				rev, err := w.st.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, []byte(raw)) })
				if err != nil {
					t.Fatal(err)
				}
				w.follow(rev)
				w.see(sam, want)
				w.reload()
				w.see(sam, want)
			})
		}
	}
	t.Run("and is not written over by events", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		if _, err := w.st.Update(context.Background(), func(tx store.Tx) error { return tx.Put("directory/user/"+ada, []byte("{")) }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.try(user("updated", person{id: ada}, 50)); !errors.Is(err, directory.ErrCorrupt) {
			t.Errorf("error %v, want ErrCorrupt", err)
		}
	})
}

func TestMappingsAreReplacedOnlyAsTheyWereSeen(t *testing.T) {
	w := newWorld(t)
	w.settle()
	admin := directory.Mapping{GroupID: eng, Roles: []string{"admin", "editor"}}
	editor := directory.Mapping{GroupID: eng, Roles: []string{"editor"}}
	w.mappings(acme, admin)
	// Somebody saw admin; an operator takes it away; what was seen must not come back.
	w.mappings(acme, editor)
	_, _, err := w.d.ReplaceMappings(context.Background(), acme, []directory.Mapping{admin}, []directory.Mapping{admin, {GroupID: "directory_group_2", Roles: []string{"member"}}}, "session:1")
	if !errors.Is(err, directory.ErrChanged) {
		t.Fatalf("replaced what was not there: %v", err)
	}
	w.see(session("ada@acme.test", "idp-ada"), ada+" active [Engineering] [editor]")
	for name, before := range map[string][]directory.Mapping{
		"nothing":            nil,
		"other roles":        {admin},
		"another group":      {{GroupID: "directory_group_2", Roles: []string{"editor"}}},
		"the same by name":   {{GroupName: "Engineering", Roles: []string{"editor"}}},
		"one more":           {editor, {GroupID: "directory_group_2", Roles: []string{"editor"}}},
		"nobody's role left": {{GroupID: eng}},
	} {
		if _, _, err := w.d.ReplaceMappings(context.Background(), acme, before, nil, "session:1"); !errors.Is(err, directory.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := w.d.ReplaceMappings(context.Background(), acme, []directory.Mapping{editor}, nil, "session:1"); err != nil {
		t.Errorf("as it was seen: %v", err)
	}
	if _, _, err := w.d.ReplaceMappings(context.Background(), acme, nil, []directory.Mapping{editor}, "session:1"); err != nil {
		t.Errorf("nothing, as it was seen: %v", err)
	}
}
