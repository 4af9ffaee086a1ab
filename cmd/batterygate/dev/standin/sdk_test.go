package standin_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/workos/workos-go/v4/pkg/directorysync"
	"github.com/workos/workos-go/v4/pkg/events"
	"github.com/workos/workos-go/v4/pkg/organizations"
	"github.com/workos/workos-go/v4/pkg/portal"
	"github.com/workos/workos-go/v4/pkg/sso"
	"github.com/workos/workos-go/v4/pkg/webhooks"
	"github.com/workos/workos-go/v4/pkg/workos_errors"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// The stand-in is driven here by WorkOS's own Go SDK, which no one here wrote.

func TestSDKSignIn(t *testing.T) {
	r := start(t)
	ctx := context.Background()
	c := &sso.Client{APIKey: apiKey, ClientID: clientID, Endpoint: r.url}
	acme, _ := r.World().Organization("acme")
	signIn := func(t *testing.T, hint string) url.Values {
		t.Helper()
		u, err := c.GetAuthorizationURL(sso.GetAuthorizationURLOpts{Organization: acme.ID, RedirectURI: redirect, State: "st/at=e&", LoginHint: hint})
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get(u.String())
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		to, err := res.Location()
		if res.StatusCode != http.StatusFound || err != nil || to.Scheme+"://"+to.Host+to.Path != redirect {
			t.Fatalf("%d %v %v", res.StatusCode, to, err)
		}
		if to.Query().Get("state") != "st/at=e&" {
			t.Errorf("state = %q", to.Query().Get("state"))
		}
		return to.Query()
	}
	t.Run("a directory user signs in at once with login_hint", func(t *testing.T) {
		back := signIn(t, "ADA@acme.test")
		got, err := c.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: back.Get("code")})
		if err != nil {
			t.Fatal(err)
		}
		w := r.World()
		u, _ := w.User("ada@acme.test")
		p, _ := w.Profile("ada@acme.test")
		conn, _ := w.Connection("acme")
		if got.Profile.ID != p.ID || got.Profile.IdpID != u.IdpID || got.Profile.OrganizationID != acme.ID || got.Profile.ConnectionID != conn.ID ||
			got.Profile.Email != "ada@acme.test" || got.Profile.ConnectionType != sso.OktaSAML {
			t.Errorf("profile = %+v", got.Profile)
		}
		again, err := c.GetProfile(ctx, sso.GetProfileOpts{AccessToken: got.AccessToken})
		if err != nil || again.ID != p.ID {
			t.Errorf("%+v %v", again, err)
		}
		_, err = c.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: back.Get("code")})
		var he workos_errors.HTTPError
		if !errors.As(err, &he) || he.Code != 400 {
			t.Errorf("a code used twice: %v", err)
		}
		r.clock.Add(11 * time.Minute)
		if _, err := c.GetProfile(ctx, sso.GetProfileOpts{AccessToken: got.AccessToken}); err == nil {
			t.Error("the access token outlives its time")
		}
	})
	t.Run("a code older than ten minutes is refused", func(t *testing.T) {
		back := signIn(t, "ada@acme.test")
		r.clock.Add(10 * time.Minute)
		if _, err := c.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: back.Get("code")}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("one who is inactive signs in: that is for policy", func(t *testing.T) {
		if back := signIn(t, "eve@acme.test"); back.Get("code") == "" {
			t.Errorf("back with %v", back)
		}
	})
	t.Run("one whom the directory does not know signs in under the organization's domain", func(t *testing.T) {
		first, err := c.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: signIn(t, "new@acme.test").Get("code")})
		if err != nil {
			t.Fatal(err)
		}
		if _, known := r.World().User("new@acme.test"); known || first.Profile.ID == "" || first.Profile.OrganizationID != acme.ID {
			t.Errorf("profile = %+v, in the directory: %v", first.Profile, known)
		}
		second, err := c.GetProfileAndToken(ctx, sso.GetProfileAndTokenOpts{Code: signIn(t, "New@acme.test").Get("code")})
		if err != nil || second.Profile.ID != first.Profile.ID {
			t.Errorf("another profile the second time: %+v %v", second.Profile, err)
		}
		u := r.happen(t, http.StatusCreated, "dsync.user.created", `{"email":"new@acme.test"}`)
		if dig(u, "data", "idp_id") != first.Profile.IdpID {
			t.Errorf("the directory user has idp_id %v, the profile %s", dig(u, "data", "idp_id"), first.Profile.IdpID)
		}
	})
	for _, hint := range []string{"gil@globex.test", "x@evil.test", "x@evil.test@acme.test", "acme.test", "Ada <ada@acme.test>", "x@sub.acme.test"} {
		t.Run("nobody else does: "+hint, func(t *testing.T) {
			if back := signIn(t, hint); back.Get("error") != "access_denied" || back.Get("code") != "" {
				t.Errorf("back with %v", back)
			}
		})
	}
	t.Run("connections are listed and read", func(t *testing.T) {
		l, err := c.ListConnections(ctx, sso.ListConnectionsOpts{OrganizationID: acme.ID})
		if err != nil || len(l.Data) != 1 || l.Data[0].State != sso.Active || l.Data[0].Domains[0].Domain != "acme.test" {
			t.Fatalf("%+v %v", l, err)
		}
		one, err := c.GetConnection(ctx, sso.GetConnectionOpts{Connection: l.Data[0].ID})
		if err != nil || one.ID != l.Data[0].ID {
			t.Errorf("%+v %v", one, err)
		}
		if err := c.DeleteConnection(ctx, sso.DeleteConnectionOpts{Connection: one.ID}); err != nil {
			t.Fatal(err)
		}
		if back := signIn(t, "ada@acme.test"); back.Get("error") != "connection_invalid" {
			t.Errorf("back with %v", back)
		}
	})
}

func TestSDKOrganizations(t *testing.T) {
	r := start(t)
	ctx := context.Background()
	c := &organizations.Client{APIKey: apiKey, Endpoint: r.url}
	made, err := c.CreateOrganization(ctx, organizations.CreateOrganizationOpts{
		Name: "Initech", DomainData: []organizations.OrganizationDomainData{{Domain: "initech.test", State: organizations.Verified}},
		ExternalID: "initech", IdempotencyKey: "k1", Metadata: map[string]string{"tier": "gold"},
	})
	if err != nil || made.Domains[0].Domain != "initech.test" || made.ExternalID != "initech" || made.Metadata["tier"] != "gold" {
		t.Fatalf("%+v %v", made, err)
	}
	t.Run("a repeated create makes nothing new", func(t *testing.T) {
		again, err := c.CreateOrganization(ctx, organizations.CreateOrganizationOpts{
			Name: "Initech", DomainData: []organizations.OrganizationDomainData{{Domain: "initech.test", State: organizations.Verified}},
			ExternalID: "initech", IdempotencyKey: "k1", Metadata: map[string]string{"tier": "gold"},
		})
		if err != nil || again.ID != made.ID {
			t.Errorf("%+v %v", again, err)
		}
	})
	t.Run("is found by id, external id and domain", func(t *testing.T) {
		byID, err := c.GetOrganization(ctx, organizations.GetOrganizationOpts{Organization: made.ID})
		if err != nil || byID.Name != "Initech" {
			t.Errorf("%+v %v", byID, err)
		}
		byExternal, err := c.GetOrganizationByExternalID(ctx, organizations.GetOrganizationByExternalIDOpts{ExternalID: "initech"})
		if err != nil || byExternal.ID != made.ID {
			t.Errorf("%+v %v", byExternal, err)
		}
		l, err := c.ListOrganizations(ctx, organizations.ListOrganizationsOpts{Domains: []string{"initech.test", "none.test"}})
		if err != nil || len(l.Data) != 1 || l.Data[0].ID != made.ID {
			t.Errorf("%+v %v", l, err)
		}
	})
	t.Run("the SDK's update is refused, as WorkOS refuses it", func(t *testing.T) {
		_, err := c.UpdateOrganization(ctx, organizations.UpdateOrganizationOpts{Organization: made.ID, Name: "X"})
		var he workos_errors.HTTPError
		if !errors.As(err, &he) || he.Code != 422 {
			t.Errorf("%v", err)
		}
	})
	t.Run("the SDK's delete works, for all its capital letter", func(t *testing.T) {
		if err := c.DeleteOrganization(ctx, organizations.DeleteOrganizationOpts{Organization: made.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetOrganization(ctx, organizations.GetOrganizationOpts{Organization: made.ID}); err == nil {
			t.Error("it is still there")
		}
	})
	t.Run("roles", func(t *testing.T) {
		acme, _ := r.World().Organization("acme")
		l, err := c.ListOrganizationRoles(ctx, organizations.ListOrganizationRolesOpts{OrganizationID: acme.ID})
		if err != nil || len(l.Data) != 3 {
			t.Errorf("%+v %v", l, err)
		}
	})
	t.Run("portal links", func(t *testing.T) {
		acme, _ := r.World().Organization("acme")
		p := &portal.Client{APIKey: apiKey, Endpoint: r.url}
		link, err := p.GenerateLink(ctx, portal.GenerateLinkOpts{Organization: acme.ID, Intent: portal.SSO})
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get(link)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%v %v", res, err)
		}
		res.Body.Close()
		if _, err := p.GenerateLink(ctx, portal.GenerateLinkOpts{Organization: "org_none", Intent: portal.SSO}); err == nil {
			t.Error("a link for an unknown organization")
		}
	})
}

func TestSDKDirectories(t *testing.T) {
	r := start(t)
	ctx := context.Background()
	c := &directorysync.Client{APIKey: apiKey, Endpoint: r.url}
	w := r.World()
	dir, _ := w.Directory("acme")
	everyone, _ := w.Group("acme", "Everyone")
	ada, _ := w.User("ada@acme.test")
	t.Run("every user is seen once, page by page, in either order", func(t *testing.T) {
		for _, order := range []directorysync.Order{directorysync.Asc, directorysync.Desc} {
			var seen []string
			after := ""
			for {
				r.clock.Add(time.Second)
				l, err := c.ListUsers(ctx, directorysync.ListUsersOpts{Directory: dir.ID, Limit: 3, Order: order, After: after})
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range l.Data {
					seen = append(seen, u.Email)
					if u.Groups == nil || len(u.Groups) != 0 {
						t.Errorf("groups of %s = %v", u.Email, u.Groups)
					}
				}
				if after = l.ListMetadata.After; after == "" {
					break
				}
			}
			want := []string{"ada@acme.test", "bob@acme.test", "eve@acme.test", "root@acme.test"}
			if order == directorysync.Desc {
				slices.Reverse(want)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("%s: %v", order, seen)
			}
		}
	})
	t.Run("members by group, groups by user", func(t *testing.T) {
		r.clock.Add(time.Second)
		l, err := c.ListUsers(ctx, directorysync.ListUsersOpts{Group: everyone.ID})
		if err != nil || len(l.Data) != 4 {
			t.Errorf("%d %v", len(l.Data), err)
		}
		g, err := c.ListGroups(ctx, directorysync.ListGroupsOpts{User: ada.ID, Order: directorysync.Asc})
		if err != nil || len(g.Data) != 2 || g.Data[0].Name != "Engineering" || g.Data[1].Name != "Everyone" {
			t.Errorf("%+v %v", g.Data, err)
		}
		all, err := c.ListGroups(ctx, directorysync.ListGroupsOpts{Directory: dir.ID})
		if err != nil || len(all.Data) != 3 {
			t.Errorf("%+v %v", all.Data, err)
		}
	})
	t.Run("single objects", func(t *testing.T) {
		u, err := c.GetUser(ctx, directorysync.GetUserOpts{User: ada.ID})
		if err != nil || u.Email != "ada@acme.test" || u.State != directorysync.Active || u.DirectoryID != dir.ID {
			t.Errorf("%+v %v", u, err)
		}
		g, err := c.GetGroup(ctx, directorysync.GetGroupOpts{Group: everyone.ID})
		if err != nil || g.Name != "Everyone" {
			t.Errorf("%+v %v", g, err)
		}
		d, err := c.GetDirectory(ctx, directorysync.GetDirectoryOpts{Directory: dir.ID})
		if err != nil || d.State != directorysync.Linked || d.OrganizationID != dir.OrganizationID {
			t.Errorf("%+v %v", d, err)
		}
	})
	t.Run("the fifth request for users in a second is refused", func(t *testing.T) {
		r.clock.Add(10 * time.Second)
		for i := range 5 {
			_, err := c.ListUsers(ctx, directorysync.ListUsersOpts{Directory: dir.ID})
			var he workos_errors.HTTPError
			if refused := errors.As(err, &he) && he.Code == 429 && he.RawBody == `"Ratelimited"`; refused != (i == 4) {
				t.Errorf("request %d: %v", i+1, err)
			}
		}
		other, _ := w.Directory("globex")
		if _, err := c.ListUsers(ctx, directorysync.ListUsersOpts{Directory: other.ID}); err != nil {
			t.Errorf("another directory: %v", err)
		}
		r.clock.Add(time.Second)
		if _, err := c.ListUsers(ctx, directorysync.ListUsersOpts{Group: everyone.ID}); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
	t.Run("a deleted directory takes its users along", func(t *testing.T) {
		if err := c.DeleteDirectory(ctx, directorysync.DeleteDirectoryOpts{Directory: dir.ID}); err != nil {
			t.Fatal(err)
		}
		if l, err := c.ListDirectories(ctx, directorysync.ListDirectoriesOpts{}); err != nil || len(l.Data) != 1 {
			t.Errorf("%+v %v", l, err)
		}
		if _, err := c.GetUser(ctx, directorysync.GetUserOpts{User: ada.ID}); err == nil {
			t.Error("ada is still there")
		}
	})
}

func TestSDKEvents(t *testing.T) {
	r := start(t, func(o *standin.Options) { o.EventsDelay = 3 * time.Second })
	ctx := context.Background()
	c := &events.Client{APIKey: apiKey, Endpoint: r.url}
	r.clock.Add(3 * time.Second)
	names := []string{events.DirectoryUserCreated, events.DirectoryGroupUserAdded}
	t.Run("pages run from the oldest to the newest, and the cursor is the last id", func(t *testing.T) {
		var seen []string
		after := ""
		for {
			l, err := c.ListEvents(ctx, events.ListEventsOpts{Events: names, Limit: 4, After: after})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l.Data {
				seen = append(seen, e.ID)
			}
			if after = l.ListMetadata.After; after == "" {
				break
			}
		}
		if len(seen) != 5+7 || !slices.IsSorted(seen) {
			t.Errorf("%d events, sorted: %v", len(seen), slices.IsSorted(seen))
		}
	})
	t.Run("new events are held back, then shown", func(t *testing.T) {
		r.happen(t, 201, "dsync.group.user_added", `{"user":"bob@acme.test","group":"Engineering"}`)
		opts := events.ListEventsOpts{Events: names, RangeStart: r.clock.Now().Add(-time.Hour).Format(time.RFC3339)}
		if l, err := c.ListEvents(ctx, opts); err != nil || len(l.Data) != 0 {
			t.Errorf("at once: %+v %v", l, err)
		}
		r.clock.Add(4 * time.Second)
		l, err := c.ListEvents(ctx, opts)
		if err != nil || len(l.Data) != 1 || l.Data[0].Event != "dsync.group.user_added" {
			t.Errorf("later: %+v %v", l, err)
		}
	})
	t.Run("by organization", func(t *testing.T) {
		globex, _ := r.World().Organization("globex")
		l, err := c.ListEvents(ctx, events.ListEventsOpts{Events: append(names, "organization.created"), OrganizationId: globex.ID})
		if err != nil || len(l.Data) != 3 {
			t.Errorf("%+v %v", l, err)
		}
	})
	t.Run("no event names, no answer", func(t *testing.T) {
		_, err := c.ListEvents(ctx, events.ListEventsOpts{})
		var he workos_errors.HTTPError
		if !errors.As(err, &he) || he.Code != 422 || len(he.FieldErrors) != 1 || he.FieldErrors[0].Field != "events" {
			t.Errorf("%+v", err)
		}
	})
}

func TestSDKWebhooks(t *testing.T) {
	h := newHook(t)
	r := start(t, h.use)
	status, out := r.call(t, http.MethodPost, "/_dev/events?deliver=1", `{"event":"dsync.user.updated","data":{"email":"bob@acme.test","job_title":"R&D <lead>"}}`)
	if status != 201 || dig(out, "delivery", "status") != 200.0 || dig(out, "delivery", "attempts") != 1.0 {
		t.Fatalf("%d %v", status, out)
	}
	got := h.wait(t, 1)[0]
	v := webhooks.NewClient(secret)
	v.SetNow(r.clock.Now)
	if body, err := v.ValidatePayload(got.signature, got.body); err != nil || body != got.body {
		t.Errorf("the SDK does not accept %q: %v", got.signature, err)
	}
	if _, err := v.ValidatePayload(got.signature, got.body+" "); err == nil {
		t.Error("the SDK accepts another body")
	}
}
