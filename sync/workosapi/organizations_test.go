package workosapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sync/workosapi"
)

func ptr[T any](v T) *T { return &v }

// The body of an update is what was given and not a byte more: what is there and
// null, or empty, WorkOS takes at its word.
func TestAnUpdateSendsOnlyWhatWasGiven(t *testing.T) {
	const held = `{"id":"org_1","name":"Acme","domains":[
		{"id":"org_domain_1","domain":"acme.test","state":"verified"},{"id":"org_domain_2","domain":"old.test","state":"legacy_verified"},
		{"id":"org_domain_3","domain":"slow.test","state":"pending"},{"id":"org_domain_4","domain":"bad.test","state":"failed"},{"id":"org_domain_5","domain":"mute.test"}]}`
	for name, c := range map[string]struct {
		patch workosapi.OrganizationPatch
		want  string
	}{
		"the name alone":             {workosapi.OrganizationPatch{Name: ptr("Acme & <Co>")}, `{"name":"Acme & <Co>"}`},
		"the external id alone":      {workosapi.OrganizationPatch{ExternalID: ptr("ext")}, `{"external_id":"ext"}`},
		"an external id that goes":   {workosapi.OrganizationPatch{ExternalID: ptr("")}, `{"external_id":null}`},
		"no domains at all":          {workosapi.OrganizationPatch{Domains: ptr([]string{})}, `{"domain_data":[]}`},
		"no domains, as a nil slice": {workosapi.OrganizationPatch{Domains: ptr([]string(nil))}, `{"domain_data":[]}`},
		"verified stays verified, and nothing else becomes it": {
			workosapi.OrganizationPatch{Domains: ptr([]string{"ACME.test", "old.test", "slow.test", "bad.test", "mute.test", "new.test"})},
			`{"domain_data":[{"domain":"ACME.test","state":"verified"},{"domain":"old.test","state":"verified"},{"domain":"slow.test","state":"pending"},` +
				`{"domain":"bad.test","state":"pending"},{"domain":"mute.test","state":"pending"},{"domain":"new.test","state":"pending"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var sent string
			c0 := client(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/organizations/org_1" || r.Header.Get("Authorization") != "Bearer "+apiKey {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				if r.Method == http.MethodPut {
					raw, _ := io.ReadAll(r.Body)
					sent = strings.TrimSpace(string(raw))
				}
				answer(w, 200, held)
			})
			o, err := c0.UpdateOrganization(context.Background(), "org_1", c.patch)
			if err != nil || o.ID != "org_1" || len(o.Domains) != 5 || !o.Claims[1].Verified() || o.Claims[4].Verified() {
				t.Fatalf("%+v, %v", o, err)
			}
			if sent != c.want {
				t.Errorf("sent %s\nwant %s", sent, c.want)
			}
		})
	}
}

func TestWhatCannotBeAnUpdateIsNotSent(t *testing.T) {
	c := client(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("sent %s %s", r.Method, r.URL) })
	ctx := context.Background()
	for name, f := range map[string]func() error{
		"nothing to change": func() error {
			_, err := c.UpdateOrganization(ctx, "org_1", workosapi.OrganizationPatch{})
			return err
		},
		"no name": func() error {
			_, err := c.UpdateOrganization(ctx, "org_1", workosapi.OrganizationPatch{Name: ptr(" ")})
			return err
		},
		"an id that is a path": func() error {
			_, err := c.UpdateOrganization(ctx, "org_1/../org_2", workosapi.OrganizationPatch{Name: ptr("x")})
			return err
		},
		"a delete of all":           func() error { return c.DeleteOrganization(ctx, "") },
		"a delete of a path":        func() error { return c.DeleteOrganization(ctx, "org_1/..") },
		"a domain of nobody":        func() error { _, err := c.CreateOrganizationDomain(ctx, "", "a.test"); return err },
		"a domain without a name":   func() error { _, err := c.CreateOrganizationDomain(ctx, "org_1", ""); return err },
		"a verification of a path":  func() error { _, err := c.VerifyOrganizationDomain(ctx, "org_domain_1/x"); return err },
		"a removal of all domains":  func() error { return c.DeleteOrganizationDomain(ctx, "org_domain_") },
		"a look at what is no id":   func() error { _, err := c.GetOrganizationDomain(ctx, "domain_1"); return err },
		"a list of what is no id":   func() error { _, err := c.ListOrganizationDomains(ctx, "org_%2e"); return err },
		"a domain of a path":        func() error { _, err := c.CreateOrganizationDomain(ctx, "org_1?", "a.test"); return err },
		"a removal by a domain":     func() error { return c.DeleteOrganizationDomain(ctx, "acme.test") },
		"a verification of nothing": func() error { _, err := c.VerifyOrganizationDomain(ctx, ""); return err },
	} {
		if err := f(); !errors.Is(err, workosapi.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An answer of 200 that is not about what was asked must not pass for success.
func TestAnswersToChangesAreReadStrictly(t *testing.T) {
	ctx := context.Background()
	calls := map[string]func(*workosapi.Client) error{
		"update": func(c *workosapi.Client) error {
			_, err := c.UpdateOrganization(ctx, "org_1", workosapi.OrganizationPatch{Name: ptr("x")})
			return err
		},
		"update of domains": func(c *workosapi.Client) error {
			_, err := c.UpdateOrganization(ctx, "org_1", workosapi.OrganizationPatch{Domains: &[]string{"a.test"}})
			return err
		},
		"domains": func(c *workosapi.Client) error { _, err := c.ListOrganizationDomains(ctx, "org_1"); return err },
		"domain":  func(c *workosapi.Client) error { _, err := c.GetOrganizationDomain(ctx, "org_domain_1"); return err },
		"create": func(c *workosapi.Client) error {
			_, err := c.CreateOrganizationDomain(ctx, "org_1", "a.test")
			return err
		},
		"verify": func(c *workosapi.Client) error {
			_, err := c.VerifyOrganizationDomain(ctx, "org_domain_1")
			return err
		},
	}
	for _, body := range []string{``, `null`, `{}`, `[]`, `<html>`, `{"id":"org_2"}`, `{"id":"org_1"`, `{"id":"org_1"} {"id":"org_1"}`,
		`{"id":"org_domain_2","organization_id":"org_2","domain":"a.test"}`, `{"id":"org_domain_9","organization_id":"org_1","domain":"b.test"}`} {
		for name, call := range calls {
			c := client(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, body) })
			if err := call(c); !errors.Is(err, workosapi.ErrUnavailable) {
				t.Errorf("%s, answered with %q: %v", name, body, err)
			}
		}
	}
	for _, domains := range []string{`[{"id":"org_domain_1"}]`, `[{"domain":"a.test"}]`, `[{"id":"org_domain_1","domain":"a.test","organization_id":"org_2"}]`} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"id":"org_1","domains":`+domains+`}`) })
		if d, err := c.ListOrganizationDomains(ctx, "org_1"); !errors.Is(err, workosapi.ErrUnavailable) {
			t.Errorf("%s: %v, %v", domains, d, err)
		}
	}
}

func TestADeleteIsTriedAgainAndGoneIsNotFound(t *testing.T) {
	var calls atomic.Int32
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodDelete || r.URL.Path != "/organizations/org_1" || r.ContentLength > 0 {
			t.Errorf("%s %s with %d bytes", r.Method, r.URL, r.ContentLength)
		}
		switch calls.Add(1) {
		case 1:
			answer(w, 503, `{}`)
		case 2:
			w.WriteHeader(202)
		default:
			answer(w, 404, `{"message":"Organization not found"}`)
		}
	})
	ctx := context.Background()
	if err := c.DeleteOrganization(ctx, "org_1"); err != nil || calls.Load() != 2 {
		t.Fatalf("%v after %d calls", err, calls.Load())
	}
	if err := c.DeleteOrganization(ctx, "org_1"); !errors.Is(err, workosapi.ErrNotFound) || calls.Load() != 3 {
		t.Fatalf("%v after %d calls", err, calls.Load())
	}
	for status, want := range map[int]error{500: workosapi.ErrUnavailable, 302: workosapi.ErrUnavailable, 429: workosapi.ErrRateLimited} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			answer(w, status, `{}`)
		})
		if err := c.DeleteOrganization(ctx, "org_1"); !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// The stand-in refuses whatever the API's description does not have, so this is
// also a test of what is sent.
func TestAnOrganizationsLifeAtTheStandIn(t *testing.T) {
	s, err := standin.New(standin.Options{APIKey: apiKey, ClientID: "client_1", World: standin.DefaultWorld()})
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := client(t, s.Handler().ServeHTTP), context.Background()
	made, err := c.CreateOrganization(ctx, workosapi.NewOrganization{Name: "Initech", Domains: []string{"initech.test"}, ExternalID: "ini"})
	if err != nil {
		t.Fatal(err)
	}
	states := func() string {
		list, err := c.ListOrganizationDomains(ctx, made.ID)
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, d := range list {
			out = append(out, d.Domain+"="+d.State)
		}
		return fmt.Sprint(out)
	}
	list, err := c.ListOrganizationDomains(ctx, made.ID)
	if err != nil || len(list) != 1 || list[0].State != workosapi.DomainPending {
		t.Fatalf("%+v, %v", list, err)
	}
	if d, err := c.VerifyOrganizationDomain(ctx, list[0].ID); err != nil || !d.Verified() {
		t.Fatalf("%+v, %v", d, err)
	}
	second, err := c.CreateOrganizationDomain(ctx, made.ID, "initech.example")
	if err != nil || second.State != workosapi.DomainPending || second.VerificationToken == "" || second.OrganizationID != made.ID {
		t.Fatalf("%+v, %v", second, err)
	}
	if got, err := c.GetOrganizationDomain(ctx, second.ID); err != nil || got != second {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := c.CreateOrganizationDomain(ctx, made.ID, "acme.test"); err == nil || errors.Is(err, workosapi.ErrUnavailable) {
		t.Errorf("another's domain: %v", err)
	}
	o, err := c.UpdateOrganization(ctx, made.ID, workosapi.OrganizationPatch{Name: ptr("Initrode")})
	if err != nil || o.Name != "Initrode" || o.ExternalID != "ini" || states() != "[initech.test=verified initech.example=pending]" {
		t.Fatalf("a name: %+v, %v, %s", o, err, states())
	}
	o, err = c.UpdateOrganization(ctx, made.ID, workosapi.OrganizationPatch{Domains: ptr([]string{"initech.test", "third.test"})})
	if err != nil || o.Name != "Initrode" || states() != "[initech.test=verified third.test=pending]" {
		t.Fatalf("domains: %+v, %v, %s", o, err, states())
	}
	_, err = c.UpdateOrganization(ctx, made.ID, workosapi.OrganizationPatch{Domains: ptr([]string{"acme.test"})})
	if api := (*workosapi.APIError)(nil); !errors.As(err, &api) || api.Status != http.StatusConflict {
		t.Errorf("another's domain: %v", err)
	}
	if list, err = c.ListOrganizationDomains(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, workosapi.ErrNotFound} {
		if err := c.DeleteOrganizationDomain(ctx, list[1].ID); !errors.Is(err, want) {
			t.Errorf("delete domain: %v, want %v", err, want)
		}
	}
	if o, err = c.UpdateOrganization(ctx, made.ID, workosapi.OrganizationPatch{Domains: &[]string{}, ExternalID: ptr("")}); err != nil || len(o.Domains) != 0 || o.ExternalID != "" {
		t.Errorf("all away: %+v, %v", o, err)
	}
	for _, want := range []error{nil, workosapi.ErrNotFound} {
		if err := c.DeleteOrganization(ctx, made.ID); !errors.Is(err, want) {
			t.Errorf("delete: %v, want %v", err, want)
		}
	}
	if _, err := c.UpdateOrganization(ctx, made.ID, workosapi.OrganizationPatch{Name: ptr("x")}); !errors.Is(err, workosapi.ErrNotFound) {
		t.Errorf("update of what is gone: %v", err)
	}
	if _, err := c.ListOrganizationDomains(ctx, made.ID); !errors.Is(err, workosapi.ErrNotFound) {
		t.Errorf("domains of what is gone: %v", err)
	}
}
