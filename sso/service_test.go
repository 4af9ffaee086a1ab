package sso_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"battery.app/gate/sso"
	"battery.app/gate/sync/workosapi"
)

func jwks(t *testing.T, w *world) string {
	t.Helper()
	res := w.browser().get(w.public + "/.well-known/jwks.json")
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, `"crv":"P-256"`) || strings.Contains(res.body, `"d":`) {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	return res.body
}

type noWorkOS struct{}

func (noWorkOS) AuthorizationURL(workosapi.AuthorizationRequest) (string, error) {
	return "", errors.New("no")
}
func (noWorkOS) ProfileByCode(context.Context, string) (workosapi.Profile, error) {
	return workosapi.Profile{}, errors.New("no")
}

func options(w *world) sso.Options {
	public, _ := url.Parse(w.public)
	return sso.Options{PublicURL: public, Apps: func() sso.AppView { return nil }, WorkOS: noWorkOS{}, Directory: w.gone,
		Store: w.store, Keys: w.ring, Sessions: w.sessions, Now: w.now.Now}
}

func TestNew(t *testing.T) {
	w := newWorld(t)
	for s, ok := range map[string]bool{
		"https://auth.example": true, "https://auth.example/": true, "https://auth.example:8443": true,
		"http://localhost:8080": true, "http://auth.battery.localhost": true, "http://127.0.0.1:80": true, "http://127.9.9.9": true, "http://[::1]:8080": true,
		"http://auth.example": false, "http://10.0.0.1": false, "http://localhost.example": false, "http://evil-localhost": false, "http://128.0.0.1": false,
		"https://auth.example/base": false, "https://auth.example?x": false, "https://u@auth.example": false, "ftp://localhost": false, "auth.example": false, "": false,
	} {
		u, _ := url.Parse(s)
		o := options(w)
		o.PublicURL = u
		if _, err := sso.New(context.Background(), o); (err == nil) != ok {
			t.Errorf("public URL %q: %v", s, err)
		}
	}
	o := options(w)
	o.PublicURL = nil
	if _, err := sso.New(context.Background(), o); err == nil {
		t.Error("no public URL is taken")
	}
	o = options(w)
	o.Directory = nil
	if _, err := sso.New(context.Background(), o); err == nil {
		t.Error("no directory is taken")
	}
	if _, err := sso.NewSessions(sso.SessionsOptions{Store: w.store, Keys: w.ring, Published: w.seen.wait}); err == nil {
		t.Error("sessions without limits are taken")
	}
}

func TestFrontPages(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, p := range []string{"/", "/login"} {
		res := b.get(w.public + p)
		if res.StatusCode != http.StatusOK || strings.Contains(res.body, "acme") || !strings.Contains(res.body, "Open the address of the app") {
			t.Errorf("%s: %d %s", p, res.StatusCode, res.body)
		}
	}
	t.Run("before there are apps it says so and fails closed", func(t *testing.T) {
		svc, err := sso.New(context.Background(), options(w))
		if err != nil {
			t.Fatal(err)
		}
		w.engine = newEngine(svc)
		for _, a := range []string{w.public + "/login?app=crm.acme", w.crm + "/.battery/login", w.crm + "/.battery/userinfo"} {
			if res := b.step(a); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: %d", a, res.StatusCode)
			}
		}
	})
}

// records is where organizations are kept, with one slug that gets lost to
// someone else between the look and the claim.
type records struct {
	taken, raced string
	put          []sso.Organization
}

func (r *records) Organizations() []sso.Organization { return r.put }
func (r *records) Organization(id string) (sso.Organization, bool) {
	for _, o := range r.put {
		if o.ID == id {
			return o, true
		}
	}
	return sso.Organization{}, false
}
func (r *records) SlugFree(_ context.Context, slug string) (bool, error) { return slug != r.taken, nil }
func (r *records) Put(_ context.Context, o sso.Organization) error {
	if o.Slug == r.raced {
		return sso.ErrSlugTaken
	}
	r.put = append(r.put, o)
	return nil
}

type creator struct{ made int }

func (c *creator) CreateOrganization(_ context.Context, n workosapi.NewOrganization) (workosapi.Organization, error) {
	if n.Name == "Down" {
		return workosapi.Organization{}, workosapi.ErrUnavailable
	}
	c.made++
	return workosapi.Organization{ID: "org_new", Name: n.Name}, nil
}

func TestOrganizationByDomain(t *testing.T) {
	o := &sso.Organizations{Records: &records{put: []sso.Organization{
		{ID: "org_a", Domains: []string{"acme.test", "Acme.Example"}}, {ID: "org_b", Domains: []string{"both.test"}}, {ID: "org_c", Domains: []string{"both.test", ""}},
	}}}
	for domain, want := range map[string]string{"acme.test": "org_a", "ACME.example": "org_a", "both.test": "", "none.test": "", "": "", "test": "", "x.acme.test": ""} {
		if got, ok := o.ByDomain(domain); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", domain, got, ok)
		}
	}
}

func TestOrganizations(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		in   sso.NewOrganization
		want error
		made int
	}{
		"a good one is made":                  {sso.NewOrganization{Name: " Acme ", Slug: "acme", Domains: []string{"acme.test"}}, nil, 1},
		"a taken slug makes nothing":          {sso.NewOrganization{Name: "Acme", Slug: "taken"}, sso.ErrSlugTaken, 0},
		"a slug lost in between is told":      {sso.NewOrganization{Name: "Acme", Slug: "raced"}, sso.ErrHalfCreated, 1},
		"WorkOS down claims nothing":          {sso.NewOrganization{Name: "Down", Slug: "acme"}, workosapi.ErrUnavailable, 0},
		"no name is refused":                  {sso.NewOrganization{Name: " ", Slug: "acme"}, sso.ErrInvalidOrganization, 0},
		"no slug is refused":                  {sso.NewOrganization{Name: "Acme"}, sso.ErrInvalidOrganization, 0},
		"a slug with a dot is refused":        {sso.NewOrganization{Name: "Acme", Slug: "a.b"}, sso.ErrInvalidOrganization, 0},
		"a slug in capitals is refused":       {sso.NewOrganization{Name: "Acme", Slug: "Acme"}, sso.ErrInvalidOrganization, 0},
		"a slug with outer hyphen is refused": {sso.NewOrganization{Name: "Acme", Slug: "-acme"}, sso.ErrInvalidOrganization, 0},
		"an address is no domain":             {sso.NewOrganization{Name: "Acme", Slug: "acme", Domains: []string{"10.0.0.1"}}, sso.ErrInvalidOrganization, 0},
		"a URL is no domain":                  {sso.NewOrganization{Name: "Acme", Slug: "acme", Domains: []string{"https://acme.test"}}, sso.ErrInvalidOrganization, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, wo := &records{taken: "taken", raced: "raced"}, &creator{}
			o := &sso.Organizations{WorkOS: wo, Records: r}
			got, err := o.Create(ctx, c.in)
			if !errors.Is(err, c.want) || wo.made != c.made {
				t.Fatalf("%+v, %v, made %d", got, err, wo.made)
			}
			if c.want != nil {
				if len(r.put) != 0 {
					t.Fatalf("kept %v", r.put)
				}
				return
			}
			if again, err := o.Get("org_new"); err != nil || again.Slug != "acme" || again.Name != "Acme" || len(o.List()) != 1 {
				t.Fatalf("%+v %v", again, err)
			}
			if _, err := o.Get("org_other"); !errors.Is(err, sso.ErrNoOrganization) {
				t.Fatal(err)
			}
		})
	}
}
