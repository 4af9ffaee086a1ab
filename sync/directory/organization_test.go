package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"battery.app/gate/sync/directory"
)

func TestSlugsAreGivenOnce(t *testing.T) {
	w := newWorld(t)
	free := func(slug string) bool {
		ok, err := w.d.SlugFree(context.Background(), slug)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !free("acme") || free("A") || free("") {
		t.Error("before: acme is not free, or what is no slug is")
	}
	put := func(id, slug string) error {
		_, err := w.d.PutOrganization(context.Background(), directory.Organization{ID: id, Slug: slug, Name: id})
		w.reload()
		return err
	}
	for _, c := range []struct {
		name, id, slug string
		want           error
	}{
		{"an organization needs one", acme, "", directory.ErrInvalid},
		{"it is given", acme, "acme", nil},
		{"it is given again to the same", acme, "acme", nil},
		{"an empty one keeps it", acme, "", nil},
		{"it cannot change", acme, "acme2", directory.ErrSlugFixed},
		{"nor be taken", globex, "acme", directory.ErrSlugTaken},
		{"upper case is none", globex, "Globex", directory.ErrInvalid},
		{"a dot is none", globex, "a.b", directory.ErrInvalid},
		{"an edge hyphen is none", globex, "globex-", directory.ErrInvalid},
		{"nor a leading one", globex, "-globex", directory.ErrInvalid},
		{"64 are too long", globex, strings.Repeat("a", 64), directory.ErrInvalid},
		{"63 are not", globex, strings.Repeat("a", 63), nil},
		{"an id is not a path", "a/b", "ab", directory.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := put(c.id, c.slug); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	t.Run("and never again after a deletion", func(t *testing.T) {
		w.apply(organization("deleted", acme, 10))
		if free("acme") {
			t.Error("the slug is free again")
		}
		if err := put("org_NEW", "acme"); !errors.Is(err, directory.ErrSlugTaken) {
			t.Errorf("error %v", err)
		}
		if err := put(acme, "acme"); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("error %v", err)
		}
		if _, ok := w.d.View().OrganizationBySlug("acme"); ok {
			t.Error("a deleted organization answers to its slug")
		}
	})
}

func TestOrganizationsFromBothSides(t *testing.T) {
	w := newWorld(t)
	w.apply(organization("created", acme, 10))
	if o, ok := w.d.View().Organization(acme); !ok || o.Slug != "" || o.Name != "N"+acme || fmt.Sprint(o.Domains) != "[acme.test]" {
		t.Errorf("from an event: %+v %v", o, ok)
	}
	w.put(directory.Organization{ID: acme, Slug: "acme", Name: "Acme", Domains: []string{"ACME.test", "acme.test"}})
	if o, ok := w.d.View().OrganizationBySlug("acme"); !ok || o.ID != acme || o.Name != "Acme" || fmt.Sprint(o.Domains) != "[acme.test]" {
		t.Errorf("from an operator: %+v %v", o, ok)
	}
	w.want(directory.OutcomeStale, organization("updated", acme, 20)) // older than the operator's word
	w.apply(organization("updated", acme, 3_700_000))
	if o, _ := w.d.View().OrganizationBySlug("acme"); o.Name != "N"+acme {
		t.Errorf("a later event: %+v", o)
	}
	w.put(directory.Organization{ID: globex, Slug: "globex"})
	if all := w.d.View().Organizations(); len(all) != 2 || all[0].ID != acme || all[1].ID != globex {
		t.Errorf("%+v", all)
	}
}

func TestASlugIsChangedAndTheOldOneStaysTaken(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.settle()
	w.apply(event("organization_domain.created", 7, map[string]any{"id": "org_domain_1", "organization_id": acme, "domain": "late.test", "state": "pending"}))
	change := func(id string, c directory.OrganizationChange) error {
		rev, err := w.d.ChangeOrganization(ctx, id, c)
		if err == nil {
			w.follow(rev)
		}
		return err
	}
	before, _ := w.d.View().Organization(acme)
	if err := change(acme, directory.OrganizationChange{Slug: "acme-corp"}); err != nil {
		t.Fatal(err)
	}
	w.put(directory.Organization{ID: globex, Slug: "globex"})
	now, _ := w.d.View().Organization(acme)
	if now.Slug != "acme-corp" || now.Name != before.Name || fmt.Sprint(now.Domains) != fmt.Sprint(before.Domains) {
		t.Errorf("%+v, before %+v", now, before)
	}
	if _, ok := w.d.View().OrganizationBySlug("acme"); ok {
		t.Error("the old slug still names it")
	}
	for slug, want := range map[string]string{"acme-corp": acme + " true true", "acme": acme + " false true", "globex": globex + " true true", "none": " false false"} {
		if id, current, ok := w.d.View().SlugOwner(slug); fmt.Sprintf("%s %v %v", id, current, ok) != want {
			t.Errorf("%s: %q %v %v, want %s", slug, id, current, ok, want)
		}
	}
	for name, c := range map[string]struct {
		id     string
		change directory.OrganizationChange
		want   error
	}{
		"another's old slug":       {globex, directory.OrganizationChange{Slug: "acme"}, directory.ErrSlugTaken},
		"another's slug":           {globex, directory.OrganizationChange{Slug: "acme-corp"}, directory.ErrSlugTaken},
		"a bad slug":               {globex, directory.OrganizationChange{Slug: "a.b"}, directory.ErrInvalid},
		"too long a name":          {globex, directory.OrganizationChange{Details: &directory.OrganizationDetails{Name: strings.Repeat("n", 5000)}}, directory.ErrInvalid},
		"one that is not known":    {"org_none", directory.OrganizationChange{Slug: "none"}, directory.ErrNotFound},
		"an id that is none":       {"a/b", directory.OrganizationChange{}, directory.ErrInvalid},
		"its own old slug, again":  {acme, directory.OrganizationChange{Slug: "acme"}, nil},
		"its name and its domains": {acme, directory.OrganizationChange{Details: &directory.OrganizationDetails{Name: "A", Domains: []string{"A.test", "a.test", ""}}}, nil},
	} {
		if err := change(c.id, c.change); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if now, _ = w.d.View().Organization(acme); now.Name != "A" || fmt.Sprint(now.Domains) != "[a.test]" || now.Slug != "acme" {
		t.Errorf("%+v", now)
	}
	w.want(directory.OutcomeStale, organization("updated", acme, 20)) // WorkOS's echo of an older change
	w.reload()
	if again, _ := w.d.View().Organization(acme); fmt.Sprint(again) != fmt.Sprint(now) {
		t.Errorf("%+v, before the restart %+v", again, now)
	}
}

func TestARemovedOrganizationIsAsDeletedByWorkOS(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.settle()
	s := session("ada@acme.test", "idp-ada", 50)
	w.see(s, ada+" active [Engineering] []")
	remove := func(id string) error {
		rev, err := w.d.RemoveOrganization(ctx, id)
		if err == nil {
			w.follow(rev)
		}
		return err
	}
	if w.d.View().OrganizationGone(acme) || w.d.View().OrganizationGone("org_none") {
		t.Error("gone before it is")
	}
	if err := remove(acme); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		w.see(s, "ended")
		later := *s
		later.IssuedAt = w.now.Add(1)
		w.see(&later, "ended")
		if _, ok := w.d.View().Organization(acme); ok || !w.d.View().OrganizationGone(acme) || len(w.d.View().Directories(acme)) != 0 {
			t.Errorf("%s: it is still there", when)
		}
		if free, err := w.d.SlugFree(ctx, "acme"); err != nil || free {
			t.Errorf("%s: its slug is free: %v %v", when, free, err)
		}
		if id, current, ok := w.d.View().SlugOwner("acme"); id != acme || current || !ok {
			t.Errorf("%s: slug of %q %v %v", when, id, current, ok)
		}
	}
	check("at once")
	for name, ev := range map[string]directory.Event{
		"WorkOS's own, dated a little before": organization("deleted", acme, 3_599_990),
		"the same again":                      organization("deleted", acme, 3_599_990),
		"one dated after":                     organization("deleted", acme, 3_600_020),
		"an update that comes late":           organization("updated", acme, 3_599_980),
		"an update dated after":               organization("updated", acme, 3_700_000),
	} {
		if o, err := w.try(ev); err != nil || o == directory.OutcomeDead {
			t.Errorf("%s: %v %v", name, o, err)
		}
		check(name)
	}
	if err := remove(acme); err != nil {
		t.Errorf("again: %v", err)
	}
	w.reload()
	check("after a restart")
	if err := remove("a/b"); !errors.Is(err, directory.ErrInvalid) {
		t.Errorf("a bad id: %v", err)
	}
	// One that was never heard of: its creation comes late, and is too late.
	if err := remove("org_LATE"); err != nil {
		t.Error(err)
	}
	w.want(directory.OutcomeStale, organization("created", "org_LATE", 10))
	if _, ok := w.d.View().Organization("org_LATE"); ok {
		t.Error("a late creation brought it back")
	}
}

// A reading that was begun before a removal here, or finds what WorkOS has not
// finished deleting, changes nothing.
func TestAReadingDoesNotBringARemovedOrganizationBack(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.settle()
	rev, err := w.d.RemoveOrganization(ctx, acme)
	if err != nil {
		t.Fatal(err)
	}
	w.follow(rev)
	read := func(ms int, listed bool) {
		t.Helper()
		r := directory.RemoteWorld{Watermark: at(ms), Started: at(ms), OrganizationsComplete: true, ConnectionsComplete: true, DirectoriesComplete: true,
			Connections: []directory.RemoteConnection{{ID: connA, OrganizationID: acme, State: "active"}},
			Directories: []directory.RemoteDirectory{{ID: dirA, OrganizationID: acme, State: "linked"}}}
		if listed {
			r.Organizations = []directory.RemoteOrganization{{ID: acme, Name: "Acme"}}
		}
		w.now = at(ms + 60_000)
		if _, err := w.d.ApplyOrganizations(ctx, r); err != nil {
			t.Fatalf("reading of %d: %v", ms, err)
		}
		w.reload()
		if _, ok := w.d.View().Organization(acme); ok {
			t.Errorf("the reading of %d brought it back", ms)
		}
		w.see(session("ada@acme.test", "idp-ada", 50), "ended")
	}
	read(3_590_000, true)  // of before
	read(3_600_000, true)  // of the same time
	read(3_700_000, true)  // WorkOS is not done yet
	read(7_300_000, false) // now it is
	read(10_900_000, false)
}
