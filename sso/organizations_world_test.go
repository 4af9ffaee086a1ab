package sso_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sso"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// What the fakes of the tests of Create lack.
func (r *records) SlugOwner(string) (string, bool)   { return "", false }
func (r *records) AppsUnder(string, string) []string { return nil }
func (r *records) Change(context.Context, string, sso.OrganizationChange) error {
	return errors.ErrUnsupported
}
func (r *records) Remove(context.Context, string) error             { return errors.ErrUnsupported }
func (c *creator) DeleteOrganization(context.Context, string) error { return errors.ErrUnsupported }
func (c *creator) UpdateOrganization(context.Context, string, workosapi.OrganizationPatch) (workosapi.Organization, error) {
	return workosapi.Organization{}, errors.ErrUnsupported
}
func (c *creator) ListOrganizationDomains(context.Context, string) ([]workosapi.OrganizationDomain, error) {
	return nil, errors.ErrUnsupported
}

// customers is the service over a WorkOS that speaks its API and a directory
// over a real store.
type customers struct {
	*sso.Organizations
	t     *testing.T
	d     *directory.Directory
	st    *boltstore.Store
	world *standin.Server

	acme, globex string
	apps         map[string][]string // slug → apps with hosts under it

	lost   error        // what keeping a change here comes to, if not nil
	racing string       // a slug that looks free and is not
	calls  atomic.Int32 // requests that change something at WorkOS
	answer func(http.ResponseWriter, *http.Request) bool
	agreed func() // called when WorkOS has answered
}

func newCustomers(t *testing.T) *customers {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	c := &customers{t: t, st: st, d: directory.New(st, directory.Options{ViewWait: -1}), apps: map[string][]string{}}
	if c.world, err = standin.New(standin.Options{APIKey: "sk_test", ClientID: "client_1", World: standin.DefaultWorld()}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			c.calls.Add(1)
		}
		if c.answer != nil && c.answer(w, r) {
			return
		}
		c.world.Handler().ServeHTTP(w, r)
		if c.agreed != nil && r.Method != http.MethodGet {
			c.agreed()
		}
	}))
	t.Cleanup(srv.Close)
	api, err := workosapi.New(workosapi.Options{APIKey: "sk_test", ClientID: "client_1", Endpoint: srv.URL, HTTPClient: &http.Client{Timeout: 2 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	c.Organizations = &sso.Organizations{WorkOS: api, Records: keeper{c}}
	for _, o := range c.world.World().Organizations {
		if err := c.Put(context.Background(), sso.Organization{ID: o.ID, Slug: o.Slug, Name: o.Name, Domains: []string{o.Domains[0].Domain}}); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := c.d.View().OrganizationBySlug("acme")
	g, _ := c.d.View().OrganizationBySlug("globex")
	c.acme, c.globex = a.ID, g.ID
	return c
}

func (c *customers) published(_ uint64, err error) error {
	entries, _, listed := c.st.List(context.Background(), directory.Prefix)
	if listed != nil {
		c.t.Fatal(listed)
	}
	c.d.Load(entries)
	switch {
	case errors.Is(err, directory.ErrSlugTaken):
		return fmt.Errorf("%w: %w", sso.ErrSlugTaken, err)
	case errors.Is(err, directory.ErrNotFound):
		return fmt.Errorf("%w: %w", sso.ErrNoOrganization, err)
	}
	return err
}

// keeper is customers as the service's records: what it is for, Organizations,
// is also the name of the service.
type keeper struct{ *customers }

func (k keeper) Organizations() []sso.Organization {
	var out []sso.Organization
	for _, o := range k.d.View().Organizations() {
		out = append(out, sso.Organization(o))
	}
	return out
}

func (c *customers) Organization(id string) (sso.Organization, bool) {
	o, ok := c.d.View().Organization(id)
	return sso.Organization(o), ok
}
func (c *customers) SlugFree(ctx context.Context, slug string) (bool, error) {
	return c.d.SlugFree(ctx, slug)
}
func (c *customers) SlugOwner(slug string) (string, bool) {
	id, _, ok := c.d.View().SlugOwner(slug)
	return id, ok && slug != c.racing
}
func (c *customers) AppsUnder(id, slug string) []string {
	if id != c.acme {
		return nil
	}
	return c.apps[slug]
}
func (c *customers) Put(ctx context.Context, o sso.Organization) error {
	return c.published(c.d.PutOrganization(ctx, directory.Organization(o)))
}
func (c *customers) Change(ctx context.Context, id string, ch sso.OrganizationChange) error {
	if c.lost != nil {
		return c.lost
	}
	out := directory.OrganizationChange{Slug: ch.Slug}
	if ch.Details != nil {
		out.Details = &directory.OrganizationDetails{Name: ch.Details.Name, Domains: ch.Details.Domains}
	}
	return c.published(c.d.ChangeOrganization(ctx, id, out))
}
func (c *customers) Remove(ctx context.Context, id string) error {
	if c.lost != nil {
		return c.lost
	}
	return c.published(c.d.RemoveOrganization(ctx, id))
}

// here and there are acme as each side has it.
func (c *customers) here() string {
	o, ok := c.d.View().Organization(c.acme)
	if !ok {
		return "gone"
	}
	return fmt.Sprintf("%s %q %v", o.Slug, o.Name, o.Domains)
}

func (c *customers) there() string {
	for _, o := range c.world.World().Organizations {
		if o.ID == c.acme {
			names := []string{}
			for _, d := range o.Domains {
				names = append(names, d.Domain)
			}
			return fmt.Sprintf("%q %v", o.Name, names)
		}
	}
	return "gone"
}

func (c *customers) want(here, there string) {
	c.t.Helper()
	if c.here() != here || c.there() != there {
		c.t.Errorf("here %s, at WorkOS %s; want %s and %s", c.here(), c.there(), here, there)
	}
}

func p[T any](v T) *T { return &v }

func (c *customers) event(typ, id, name string) (uint64, error) {
	data, _ := json.Marshal(map[string]any{"id": id, "name": name, "domains": []any{}})
	a, err := c.d.ApplyEvent(context.Background(), directory.Event{ID: "event_" + strings.ReplaceAll(typ, ".", "_"), Type: typ, CreatedAt: time.Now(), Data: data})
	return a.Revision, err
}

func answers(method string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}
