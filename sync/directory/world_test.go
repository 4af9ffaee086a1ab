package directory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"battery.app/gate/sync/directory"
)

// listed is the small world as the REST API lists it.
func listed(ms int) directory.RemoteWorld {
	return directory.RemoteWorld{
		Watermark:     at(ms),
		Organizations: []directory.RemoteOrganization{{ID: acme, Name: "Acme"}},
		Connections:   []directory.RemoteConnection{{ID: connA, OrganizationID: acme, State: "active", Type: "OktaSAML", Name: "C"}},
		Directories:   []directory.RemoteDirectory{{ID: dirA, OrganizationID: acme, State: "linked", Type: "okta scim v2.0", Name: "D"}},

		OrganizationsComplete: true, ConnectionsComplete: true, DirectoriesComplete: true,
	}
}

func (w *world) list(r directory.RemoteWorld, changes, pending string) {
	w.t.Helper()
	dry := w.d.CompareOrganizations(r)
	d, err := w.d.ApplyOrganizations(context.Background(), r)
	if err != nil {
		w.t.Fatalf("apply organizations: %v", err)
	}
	w.catchUp()
	if told(d.Changes) != changes || told(d.Pending) != pending {
		w.t.Errorf("the lists changed %q, pending %q; want %q, %q", told(d.Changes), told(d.Pending), changes, pending)
	}
	if told(dry.Changes) != told(d.Changes) || told(dry.Pending) != told(d.Pending) {
		w.t.Errorf("the dry run said %+v, and it did %+v", dry, d)
	}
}

func TestTheListsMakeTheWorld(t *testing.T) {
	w := newWorld(t)
	w.list(listed(100), "add connection conn_A, add directory directory_A, add organization org_ACME", "")
	w.list(listed(200), "", "")
	v := w.d.View()
	if o, ok := v.Organization(acme); !ok || o.Name != "Acme" || len(v.Connections(acme)) != 1 || !v.Directories(acme)[0].Linked {
		t.Errorf("%+v", o)
	}
	w.put(directory.Organization{ID: acme, Slug: "acme", Name: "Acme"})
	w.list(listed(300), "", "")
}

// The REST API says linked and unlinked where events say active and inactive.
func TestTheTwoVocabulariesAreOne(t *testing.T) {
	w := newWorld(t)
	w.settle()
	r := listed(100)
	w.list(r, "", "")
	r = listed(200)
	r.Directories[0].State = "unlinked"
	w.list(r, "update directory directory_A", "")
	w.see(session(adaP.email, adaP.idp), "nobody")
	w.want(directory.OutcomeStale, dirEvent("dsync.activated", dirA, acme, 199))
	w.apply(dirEvent("dsync.activated", dirA, acme, 250))
	w.list(listed(300), "", "")
	if s := w.d.View().Directories(acme)[0].State; s != "active" {
		t.Errorf("state %s", s)
	}
}

func TestWhatALIstMissesIsGoneOnlyIfItsOwnReadSaysSo(t *testing.T) {
	for _, c := range []struct {
		kind, id, sees string
		drop           func(*directory.RemoteWorld)
		back           directory.Event
	}{
		{"directory", dirA, "ended", func(r *directory.RemoteWorld) { r.Directories = nil }, dirEvent("dsync.activated", dirA, acme, 150)},
		{"connection", connA, "ended", func(r *directory.RemoteWorld) { r.Connections = nil }, connection("connection.activated", connA, acme, 150)},
		{"organization", acme, "ended", func(r *directory.RemoteWorld) { r.Organizations = nil }, organization("updated", acme, 10_000_000)},
	} {
		t.Run(c.kind, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			base := 100
			if c.kind == "organization" {
				base = 5_000_000 // an operator put it at 3,600,000
			}
			w.now = at(20_000_000)
			s := session(adaP.email, adaP.idp, 50)
			was := ada + " active [Engineering] []"
			missing := listed(base)
			c.drop(&missing)
			w.list(missing, "", "remove "+c.kind+" "+c.id)
			w.see(s, was)
			short := missing
			short.Watermark = at(base + 1)
			short.OrganizationsComplete, short.ConnectionsComplete, short.DirectoriesComplete = false, false, false
			short.Gone = []string{c.id}
			w.list(short, "", "")
			w.see(s, was)
			missing.Watermark, missing.Gone = at(base+2), []string{c.id}
			w.list(missing, "remove "+c.kind+" "+c.id, "")
			w.see(s, c.sees)
			w.apply(c.back)
			w.see(s, was)
		})
	}
}

func TestADeletedDirectoryIsBackOnlyAfterTwoLists(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.list(listed(5), "", "")
	gone := dirEvent("dsync.deleted", dirA, acme, 10)
	w.apply(gone)
	w.list(listed(100), "", "undelete directory directory_A")
	missing := listed(150)
	missing.Directories = nil
	w.list(missing, "", "")
	w.list(listed(200), "", "undelete directory directory_A")
	w.see(session(adaP.email, adaP.idp, 5000), "nobody")
	w.list(listed(300), "undelete directory directory_A", "")
	w.want(directory.OutcomeStale, gone)
	w.see(session(adaP.email, adaP.idp), ada+" active [Engineering] []")
}

func TestListsAreCheckedAndInOrder(t *testing.T) {
	w := newWorld(t)
	w.settle()
	r := listed(200)
	w.list(r, "", "")
	if _, err := w.d.ApplyOrganizations(context.Background(), listed(100)); !errors.Is(err, directory.ErrOldReading) {
		t.Errorf("%v", err)
	}
	r = listed(300)
	r.Directories[0].ID = "../x"
	if _, err := w.d.ApplyOrganizations(context.Background(), r); !errors.Is(err, directory.ErrMalformed) {
		t.Errorf("%v", err)
	}
	r = listed(400)
	r.Directories[0].OrganizationID = globex
	w.list(r, "", "") // it stays where it is
	if d := w.d.View().Directories(acme); len(d) != 1 {
		t.Errorf("%+v", d)
	}
	if _, err := w.d.MarkDirty(context.Background(), "", "an operator asked"); err != nil {
		t.Fatal(err)
	}
	w.catchUp()
	r = listed(500)
	r.Started, r.ConnectionsComplete = w.now, false
	w.list(r, "", "")
	if !w.d.View().DirtyOrganizations() {
		t.Error("a list that is not whole took the mark away")
	}
	r.Watermark, r.ConnectionsComplete = at(600), true
	w.list(r, "", "")
	if w.d.View().DirtyOrganizations() {
		t.Error("the mark stays")
	}
}

func domainEvent(what, id, domain string, ms int) directory.Event {
	data := map[string]any{"object": "organization_domain", "id": id, "organization_id": acme, "domain": domain, "state": "verified"}
	if what == "verification_failed" {
		data = map[string]any{"reason": "x", "organization_domain": data}
	}
	return event("organization_domain."+what, ms, data)
}

func TestDomainsFollowTheirEvents(t *testing.T) {
	w := newWorld(t)
	w.apply(event("organization.created", 10, map[string]any{"id": acme, "name": "Acme", "domains": []any{map[string]any{"domain": "acme.test"}}}))
	domains := func() []string { o, _ := w.d.View().Organization(acme); return o.Domains }
	w.apply(domainEvent("created", "org_domain_1", "Acme.dev", 20), domainEvent("verification_failed", "org_domain_2", "acme.io", 21))
	if got := domains(); !slices.Equal(got, []string{"acme.test", "acme.dev", "acme.io"}) {
		t.Errorf("%v", got)
	}
	w.apply(domainEvent("deleted", "org_domain_1", "acme.dev", 30), domainEvent("deleted", "org_domain_3", "acme.test", 31))
	w.want(directory.OutcomeStale, domainEvent("updated", "org_domain_1", "acme.dev", 40))
	if got := domains(); !slices.Equal(got, []string{"acme.io"}) {
		t.Errorf("%v", got)
	}
	if d := w.d.View().Domains(acme); len(d) != 1 || d[0] != (directory.Domain{ID: "org_domain_2", Domain: "acme.io", State: "verified"}) {
		t.Errorf("%+v", d)
	}
	w.reload()
	if got := domains(); !slices.Equal(got, []string{"acme.io"}) {
		t.Errorf("after a restart: %v", got)
	}
}

// With the API key of another environment, WorkOS knows nothing of what is here.
func TestAWorldThatVanishesIsHeld(t *testing.T) {
	c := newCrew(t, 20, 0)
	nothing := directory.RemoteWorld{OrganizationsComplete: true, ConnectionsComplete: true, DirectoriesComplete: true, Gone: []string{acme, connA, dirA}}
	read := func(ms int, r directory.RemoteWorld, changes int, held string) {
		t.Helper()
		r.Watermark = at(ms)
		dry := c.d.CompareOrganizations(r)
		d, err := c.d.ApplyOrganizations(context.Background(), r)
		if err != nil || len(d.Changes) != changes || told(d.Held) != held || told(dry.Held) != held || len(dry.Changes) != changes {
			t.Errorf("at %d: %+v, dry %+v, error %v", ms, d, dry, err)
		}
		c.catchUp()
	}
	both := "remove connection conn_A, remove directory directory_A, remove organization org_ACME"
	c.now = at(20_000_000)
	read(4_000_000, nothing, 0, both)
	s := c.session(0)
	c.see(s, c.people[0].id+" active [Everyone] []")
	if v := c.d.View(); v.MayOpen(s) || !v.HeldUser(c.people[3].id) || v.Freshness(dirA).Held == 0 {
		t.Error("a session may open")
	}
	read(4_000_100, listed(0), 1, "") // its name
	if v := c.d.View(); !v.MayOpen(s) || v.Freshness(dirA).Held != 0 {
		t.Error("the hold outlives its reason")
	}
	read(4_000_200, nothing, 0, both)
	if _, err := c.d.Approve(context.Background(), connA, "root"); err != nil {
		t.Fatal(err)
	}
	c.catchUp()
	read(4_000_300, nothing, 1, "remove directory directory_A, remove organization org_ACME")
	c.see(s, "ended")
	c.now = c.now.Add(24 * time.Hour)
	read(4_000_400, nothing, 2, "")
	if _, ok := c.d.View().Organization(acme); ok {
		t.Error("the organization stays")
	}
}

func TestALateEventAddsNothingToWhatAListConfirmed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.put(directory.Organization{ID: acme, Slug: "acme", Name: "Acme"})
	w.apply(dirEvent("dsync.deactivated", dirA, acme, 30), connection("connection.deactivated", connA, acme, 31))
	r := listed(100)
	r.Directories[0].State, r.Connections[0].State = "unlinked", "inactive"
	w.list(r, "", "")
	w.want(directory.OutcomeStale, dirEvent("dsync.activated", dirA, acme, 50))
	w.want(directory.OutcomeStale, connection("connection.activated", connA, acme, 51))
	if v := w.d.View(); v.Directories(acme)[0].Linked || v.Connections(acme)[0].State != "inactive" {
		t.Error("an overtaken event opened what was closed since")
	}
	if _, err := w.try(connection("connection.activated", "conn_OLD", acme, 60)); err != nil {
		t.Fatal(err)
	}
	if n := len(w.d.View().Connections(acme)); n != 1 {
		t.Errorf("%d connections: an overtaken event made one that the list did not have", n)
	}
	w.apply(dirEvent("dsync.activated", dirA, acme, 100), connection("connection.activated", "conn_OLD", acme, 101))
	if n := len(w.d.View().Connections(acme)); n != 2 || !w.d.View().Directories(acme)[0].Linked {
		t.Error("a later event did nothing")
	}
}
