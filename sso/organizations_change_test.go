package sso_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
	"battery.app/gate/sync/workosapi"
)

const wasHere, wasThere = `acme "Acme" [acme.test]`, `"Acme" [acme.test]`

func TestAnOrganizationIsChangedOnBothSides(t *testing.T) {
	ctx := context.Background()
	c := newCustomers(t)
	c.want(wasHere, wasThere)
	o, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Name: p(" Acme Corp "), Domains: p([]string{"new.test", "acme.test", "new.test"})})
	if err != nil || o.Name != "Acme Corp" || o.Slug != "acme" {
		t.Fatalf("%+v, %v", o, err)
	}
	c.want(`acme "Acme Corp" [acme.test new.test]`, `"Acme Corp" [acme.test new.test]`)
	domains, err := c.Domains(ctx, c.acme)
	raw, _ := json.Marshal(domains)
	if err != nil || len(domains) != 2 || domains[0].State != sso.DomainVerified || domains[1].State != sso.DomainPending || !strings.Contains(string(raw), `"domain":"new.test","state":"pending"`) {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Name: p("Acme")}); err != nil {
		t.Fatal(err)
	}
	c.want(`acme "Acme" [acme.test new.test]`, `"Acme" [acme.test new.test]`)
	if _, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Domains: p([]string{})}); err != nil {
		t.Fatal(err)
	}
	c.want(`acme "Acme" []`, `"Acme" []`)
	before := c.calls.Load()
	if o, err := c.Update(ctx, c.acme, sso.OrganizationPatch{}); err != nil || o.Slug != "acme" {
		t.Errorf("nothing: %+v, %v", o, err)
	}
	for _, slug := range []string{"acme-corp", "acme", "acme-corp", "acme-corp"} { // its own former one again, too
		if o, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Slug: &slug}); err != nil || o.Slug != slug {
			t.Errorf("slug %s: %+v, %v", slug, o, err)
		}
	}
	if c.calls.Load() != before {
		t.Error("WorkOS was asked about what is ours alone")
	}
	if _, err := c.Update(ctx, c.globex, sso.OrganizationPatch{Slug: p("acme")}); !errors.Is(err, sso.ErrSlugTaken) {
		t.Errorf("a former slug of another: %v", err)
	}
	// Whom WorkOS told us of before anybody claimed a slug.
	made, err := c.WorkOS.CreateOrganization(ctx, workosapi.NewOrganization{Name: "Initech"})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.published(c.event("organization.created", made.ID, "Initech"))
	if o, err := c.Update(ctx, made.ID, sso.OrganizationPatch{Slug: p("initech")}); err != nil || o.Slug != "initech" || o.Name != "Initech" {
		t.Errorf("a first slug: %+v, %v", o, err)
	}
}

func TestAChangeThatIsNotMade(t *testing.T) {
	down := func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	for name, c := range map[string]struct {
		patch  sso.OrganizationPatch
		answer func(http.ResponseWriter, *http.Request) bool
		apps   []string
		want   error
		says   string
		asks   bool // WorkOS
	}{
		"no name":                {patch: sso.OrganizationPatch{Name: p("  ")}, want: sso.ErrInvalidOrganization},
		"a long name":            {patch: sso.OrganizationPatch{Name: p(strings.Repeat("n", 201))}, want: sso.ErrInvalidOrganization},
		"no slug":                {patch: sso.OrganizationPatch{Slug: p("")}, want: sso.ErrInvalidOrganization},
		"a slug with a dot":      {patch: sso.OrganizationPatch{Slug: p("a.b")}, want: sso.ErrInvalidOrganization},
		"a URL for a domain":     {patch: sso.OrganizationPatch{Domains: p([]string{"https://acme.test"})}, want: sso.ErrInvalidOrganization},
		"a domain in capitals":   {patch: sso.OrganizationPatch{Domains: p([]string{"Acme.test"})}, want: sso.ErrInvalidOrganization},
		"one bad part of three":  {patch: sso.OrganizationPatch{Name: p("N"), Slug: p("n"), Domains: p([]string{"10.0.0.1"})}, want: sso.ErrInvalidOrganization},
		"another's slug":         {patch: sso.OrganizationPatch{Name: p("N"), Slug: p("globex")}, want: sso.ErrSlugTaken},
		"apps under the slug":    {patch: sso.OrganizationPatch{Name: p("N"), Slug: p("n")}, apps: []string{"crm.acme", "wiki.acme"}, want: sso.ErrSlugInUse, says: "crm.acme, wiki.acme"},
		"WorkOS down":            {patch: sso.OrganizationPatch{Name: p("N"), Slug: p("n")}, answer: down, want: workosapi.ErrUnavailable, says: "nothing was changed here; send it again", asks: true},
		"a domain of another's":  {patch: sso.OrganizationPatch{Domains: p([]string{"globex.test"})}, want: sso.ErrInvalidOrganization, says: "WorkOS refuses it", asks: true},
		"an answer about others": {patch: sso.OrganizationPatch{Name: p("N")}, want: workosapi.ErrUnavailable, asks: true, answer: answers(http.MethodPut, 200, `{"id":"org_other","name":"N"}`)},
		"an answer of nothing":   {patch: sso.OrganizationPatch{Name: p("N")}, want: workosapi.ErrUnavailable, asks: true, answer: answers(http.MethodPut, 200, `{}`)},
		"a page of somebody":     {patch: sso.OrganizationPatch{Name: p("N")}, want: workosapi.ErrUnavailable, asks: true, answer: answers(http.MethodPut, 200, `<html>`)},
		"gone at WorkOS":         {patch: sso.OrganizationPatch{Name: p("N"), Slug: p("n")}, want: sso.ErrNoOrganization, says: "WorkOS has it no more", asks: true, answer: answers(http.MethodPut, 404, `{}`)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCustomers(t)
			w.answer, w.apps["acme"] = c.answer, c.apps
			_, err := w.Update(context.Background(), w.acme, c.patch)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if asked := w.calls.Load() > 0; asked != c.asks {
				t.Errorf("WorkOS was asked: %v", asked)
			}
			w.want(wasHere, wasThere)
			if free, err := w.SlugFree(context.Background(), "n"); !free || err != nil {
				t.Error("a slug was claimed all the same")
			}
		})
	}
	t.Run("of nobody", func(t *testing.T) {
		w := newCustomers(t)
		if _, err := w.Update(context.Background(), "org_none", sso.OrganizationPatch{Name: p("N")}); !errors.Is(err, sso.ErrNoOrganization) || w.calls.Load() != 0 {
			t.Errorf("%v", err)
		}
		if _, err := w.Domains(context.Background(), "org_none"); !errors.Is(err, sso.ErrNoOrganization) {
			t.Errorf("%v", err)
		}
	})
}

func TestAChangeMadeByHalf(t *testing.T) {
	ctx := context.Background()
	t.Run("that could not be kept is told, and sent again is whole", func(t *testing.T) {
		c := newCustomers(t)
		patch := sso.OrganizationPatch{Name: p("New"), Slug: p("new")}
		c.lost = errors.New("the disk is full")
		if _, err := c.Update(ctx, c.acme, patch); !errors.Is(err, sso.ErrHalfUpdated) || !errors.Is(err, c.lost) || !strings.Contains(err.Error(), "send it again") {
			t.Fatalf("%v", err)
		}
		c.want(wasHere, `"New" [acme.test]`)
		c.lost = nil
		if _, err := c.Update(ctx, c.acme, patch); err != nil {
			t.Fatal(err)
		}
		c.want(`new "New" [acme.test]`, `"New" [acme.test]`)
	})
	t.Run("whose slug is lost to another meanwhile is told", func(t *testing.T) {
		c := newCustomers(t)
		c.racing = "globex"
		if _, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Name: p("New"), Slug: p("globex")}); !errors.Is(err, sso.ErrHalfUpdated) || !errors.Is(err, sso.ErrSlugTaken) {
			t.Errorf("%v", err)
		}
		c.want(wasHere, `"New" [acme.test]`)
		if _, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Slug: p("globex")}); !errors.Is(err, sso.ErrSlugTaken) || errors.Is(err, sso.ErrHalfUpdated) {
			t.Errorf("the slug alone: %v", err)
		}
	})
	t.Run("does not come of a client that hangs up", func(t *testing.T) {
		c := newCustomers(t)
		gone, hangUp := context.WithCancel(ctx)
		c.Organizations.WorkOS = hangsUp{c.Organizations.WorkOS, hangUp}
		if _, err := c.Update(gone, c.acme, sso.OrganizationPatch{Name: p("New")}); err != nil || gone.Err() == nil {
			t.Fatalf("%v", err)
		}
		c.want(`acme "New" [acme.test]`, `"New" [acme.test]`)
		if err := c.Delete(gone, c.acme); err == nil { // WorkOS is not even asked any more
			t.Error("a request that is over deleted something")
		}
		c.want(`acme "New" [acme.test]`, `"New" [acme.test]`)
	})
}

// hangsUp is a WorkOS whose client goes away while it answers.
type hangsUp struct {
	sso.WorkOSOrganizations
	hangUp func()
}

func (h hangsUp) UpdateOrganization(ctx context.Context, id string, p workosapi.OrganizationPatch) (workosapi.Organization, error) {
	defer h.hangUp()
	return h.WorkOSOrganizations.UpdateOrganization(ctx, id, p)
}

func TestAnOrganizationIsDeletedOnBothSides(t *testing.T) {
	ctx := context.Background()
	session := func(c *customers) *authz.Session {
		return &authz.Session{ID: "s", UserID: "prof_1", OrganizationID: c.acme, ConnectionID: "conn_1", IssuedAt: time.Now()}
	}
	t.Run("and its sessions end", func(t *testing.T) {
		c := newCustomers(t)
		s := session(c)
		if _, ended := c.d.View().User(s); ended {
			t.Fatal("ended before")
		}
		if err := c.Delete(ctx, c.acme); err != nil {
			t.Fatal(err)
		}
		c.want("gone", "gone")
		if _, ended := c.d.View().User(s); !ended {
			t.Error("its session goes on")
		}
		if free, err := c.SlugFree(ctx, "acme"); free || err != nil {
			t.Error("its slug is free")
		}
		if err := c.published(c.event("organization.deleted", c.acme, "Acme")); err != nil {
			t.Error(err)
		}
		c.want("gone", "gone")
		if err := c.Delete(ctx, c.acme); !errors.Is(err, sso.ErrNoOrganization) {
			t.Errorf("again: %v", err)
		}
		if _, err := c.Update(ctx, c.acme, sso.OrganizationPatch{Name: p("Back")}); !errors.Is(err, sso.ErrNoOrganization) {
			t.Errorf("a change of it: %v", err)
		}
		if _, err := c.Update(ctx, c.globex, sso.OrganizationPatch{Slug: p("acme")}); !errors.Is(err, sso.ErrSlugTaken) {
			t.Errorf("its slug for another: %v", err)
		}
	})
	t.Run("also where WorkOS has it no more", func(t *testing.T) {
		c := newCustomers(t)
		if err := c.WorkOS.DeleteOrganization(ctx, c.acme); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(ctx, c.acme); err != nil {
			t.Fatal(err)
		}
		c.want("gone", "gone")
	})
	t.Run("also where only WorkOS has it", func(t *testing.T) {
		c := newCustomers(t)
		made, err := c.WorkOS.CreateOrganization(ctx, workosapi.NewOrganization{Name: "Left over"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
		_ = c.published(c.event("organization.created", made.ID, "Left over")) // which was under way
		if _, ok := c.d.View().Organization(made.ID); ok {
			t.Error("it came back")
		}
	})
	t.Run("or on neither, while WorkOS does not agree", func(t *testing.T) {
		for status, want := range map[int]error{500: workosapi.ErrUnavailable, 403: nil, 302: workosapi.ErrUnavailable} {
			c := newCustomers(t)
			c.answer = answers(http.MethodDelete, status, `{}`)
			err := c.Delete(ctx, c.acme)
			if err == nil || (want != nil && !errors.Is(err, want)) || !strings.Contains(err.Error(), "nothing was deleted here; try again") {
				t.Errorf("%d: %v", status, err)
			}
			c.want(wasHere, wasThere)
			if _, ended := c.d.View().User(session(c)); ended {
				t.Error("its session ended")
			}
		}
	})
	t.Run("in the end, if it could not be kept at first", func(t *testing.T) {
		c := newCustomers(t)
		c.lost = errors.New("the disk is full")
		if err := c.Delete(ctx, c.acme); !errors.Is(err, sso.ErrHalfDeleted) || !errors.Is(err, c.lost) {
			t.Fatalf("%v", err)
		}
		c.want(wasHere, "gone")
		c.lost = nil
		if err := c.Delete(ctx, c.acme); err != nil {
			t.Fatal(err)
		}
		c.want("gone", "gone")
	})
	t.Run("never the operators' own, nor what is no id", func(t *testing.T) {
		c := newCustomers(t)
		c.Operators = c.acme
		if err := c.Delete(ctx, c.acme); !errors.Is(err, sso.ErrOperators) {
			t.Errorf("%v", err)
		}
		for _, id := range []string{"", "org_", "org_none", "org_x/../" + c.globex, "acme", c.acme + "?"} {
			if err := c.Delete(ctx, id); !errors.Is(err, sso.ErrNoOrganization) {
				t.Errorf("%q: %v", id, err)
			}
		}
		c.want(wasHere, wasThere)
		if _, ok := c.d.View().Organization(c.globex); !ok {
			t.Error("globex went instead")
		}
	})
}
