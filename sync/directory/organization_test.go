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
