package oracles_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/workos/workos-go/v7"
)

// client is WorkOS's Go client, of the generation after the gate's. It reaches
// the stand-in through the judge. It retries nothing unless it is told to.
func client(s *standIn, retries int) *workos.Client {
	return workos.NewClient(s.APIKey, workos.WithBaseURL(s.judged), workos.WithClientID(s.ClientID), workos.WithMaxRetries(retries))
}

// collect reads an iterator to its end.
func collect[T any](t *testing.T, it *workos.Iterator[T], id func(*T) string) (ids []string) {
	t.Helper()
	for it.Next() {
		ids = append(ids, id(it.Current()))
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func two() workos.PaginationParams {
	limit, order := 2, "asc"
	return workos.PaginationParams{Limit: &limit, Order: &order}
}

func TestGoClientReadsTheDirectory(t *testing.T) {
	s, ctx := start(t), context.Background()
	c := client(s, 5)
	directory, everyone := s.id(t, "directories", "name", "Acme Directory"), s.id(t, "groups", "name", "Everyone")
	dirs := collect(t, c.DirectorySync().List(ctx, &workos.DirectorySyncListParams{PaginationParams: two()}), func(d *workos.Directory) string {
		if d.State != "linked" {
			t.Errorf("a directory is %s", d.State)
		}
		return d.ID
	})
	groups := collect(t, c.DirectorySync().ListGroups(ctx, &workos.DirectorySyncListGroupsParams{PaginationParams: two(), Directory: &directory}),
		func(g *workos.DirectoryGroup) string { return g.ID })
	user := func(u *workos.DirectoryUserWithGroups) string {
		if u.Groups == nil || len(u.Groups) != 0 || u.Email == nil || u.DirectoryID != directory {
			t.Errorf("%+v", u)
		}
		return u.ID
	}
	users := collect(t, c.DirectorySync().ListUsers(ctx, &workos.DirectorySyncListUsersParams{PaginationParams: two(), Directory: &directory}), user)
	members := collect(t, c.DirectorySync().ListUsers(ctx, &workos.DirectorySyncListUsersParams{PaginationParams: two(), Group: &everyone}), user)
	for name, c := range map[string][2][]string{
		"directories": {dirs, s.ids(t, "directories", "", "")}, "groups": {groups, s.ids(t, "groups", "directory_id", directory)},
		"users": {users, s.ids(t, "users", "directory_id", directory)}, "members": {members, s.ids(t, "users", "directory_id", directory)},
	} {
		if !slices.Equal(c[0], c[1]) {
			t.Errorf("%s: %v, want %v", name, c[0], c[1])
		}
	}
	one, err := c.DirectorySync().GetUser(ctx, users[0])
	if err != nil || one.ID != users[0] || one.State != "active" {
		t.Errorf("%+v %v", one, err)
	}
	if g, err := c.DirectorySync().GetGroup(ctx, everyone); err != nil || g.Name != "Everyone" {
		t.Errorf("%+v %v", g, err)
	}
	if err := c.DirectorySync().Delete(ctx, directory); err != nil {
		t.Error(err)
	}
	if _, err := c.DirectorySync().Get(ctx, directory); statusOf(err) != 404 {
		t.Errorf("%v", err)
	}
}

// statusOf is the status of the answer that an error stands for; 0 if none.
func statusOf(err error) int {
	var api *workos.APIError
	if errors.As(err, &api) {
		return api.StatusCode
	}
	return 0
}

func TestGoClientIsLimited(t *testing.T) {
	s, ctx := start(t), context.Background()
	directory := s.id(t, "directories", "name", "Acme Directory")
	var last error
	for range 10 {
		it := client(s, 0).DirectorySync().ListUsers(ctx, &workos.DirectorySyncListUsersParams{Directory: &directory})
		for it.Next() {
		}
		if last = it.Err(); last != nil {
			break
		}
	}
	if statusOf(last) != http.StatusTooManyRequests {
		t.Errorf("%v", last)
	}
}

func TestGoClientReadsEvents(t *testing.T) {
	s, ctx := start(t), context.Background()
	for _, e := range told {
		s.happen(t, 201, e[0], e[1])
	}
	var want []string
	for _, h := range s.hook.wait(t, len(told)) {
		want = append(want, h.Body)
	}
	var types []string
	for _, e := range told {
		types = append(types, e[0])
	}
	limit := 5
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	it := client(s, 0).Events().List(ctx, &workos.EventsListParams{PaginationParams: workos.PaginationParams{Limit: &limit}, Events: types, RangeStart: &since})
	n := 0
	for it.Next() {
		e := it.Current()
		if n >= len(want) || !strings.Contains(want[n], e.ID) || e.Event != told[n][0] || len(e.Data) == 0 {
			t.Fatalf("event %d is %s %s", n, e.Event, e.ID)
		}
		n++
		if n == limit {
			break // the client sends after and range_start together, which WorkOS refuses
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	after := it.Cursor()
	if after == nil {
		t.Fatal("no cursor")
	}
	rest := client(s, 0).Events().List(ctx, &workos.EventsListParams{PaginationParams: workos.PaginationParams{Limit: &limit, After: after}, Events: types})
	for rest.Next() {
		if e := rest.Current(); n >= len(want) || !strings.Contains(want[n], e.ID) || e.Event != told[n][0] {
			t.Fatalf("event %d is %s %s", n, e.Event, e.ID)
		}
		n++
	}
	if err := rest.Err(); err != nil || n != len(told) {
		t.Errorf("%d events, want %d: %v", n, len(told), err)
	}
}

func TestGoClientVerifiesWebhooks(t *testing.T) {
	s := start(t)
	for _, e := range told {
		s.happen(t, 201, e[0], e[1])
	}
	verifier := workos.NewWebhookVerifier(secret)
	for i, h := range s.hook.wait(t, len(told)) {
		e, err := verifier.ConstructEvent(h.Signature, h.Body)
		if err != nil || e.Event != told[i][0] || e.Object != "event" {
			t.Errorf("%s: %+v %v", told[i][0], e, err)
		}
		if _, err := verifier.ConstructEvent(h.Signature, h.Body+" "); err == nil {
			t.Error("another body was accepted")
		}
		if _, err := workos.NewWebhookVerifier("another").ConstructEvent(h.Signature, h.Body); err == nil {
			t.Error("another secret was accepted")
		}
	}
}

func TestGoClientSignsIn(t *testing.T) {
	s, ctx := start(t), context.Background()
	c := client(s, 0)
	got, err := c.SSO().GetProfileAndToken(ctx, &workos.SSOGetProfileAndTokenParams{Code: code(t, s, asAda(t, s))})
	if err != nil {
		t.Fatal(err)
	}
	if got.Profile.Email != "ada@acme.test" || got.TokenType != "Bearer" || got.ExpiresIn <= 0 || got.Profile.OrganizationID == nil {
		t.Errorf("%+v", got)
	}
	mine := workos.NewClient(got.AccessToken, workos.WithBaseURL(s.judged), workos.WithMaxRetries(0))
	again, err := mine.SSO().GetProfile(ctx)
	if err != nil || !reflect.DeepEqual(again, got.Profile) {
		t.Errorf("%+v %v", again, err)
	}
	var failed *workos.APIError
	if _, err := c.SSO().GetProfileAndToken(ctx, &workos.SSOGetProfileAndTokenParams{Code: "used"}); !errors.As(err, &failed) || failed.ErrorCode != "invalid_grant" {
		t.Errorf("%v", err)
	}
	connections := collect(t, c.SSO().ListConnections(ctx, &workos.SSOListConnectionsParams{}), func(c *workos.Connection) string { return c.ID })
	if !sameSet(connections, s.ids(t, "connections", "", "")) {
		t.Errorf("%v", connections)
	}
}

func TestGoClientWritesOrganizations(t *testing.T) {
	s, ctx := start(t), context.Background()
	c := client(s, 0)
	made, err := c.Organizations().Create(ctx, &workos.OrganizationsCreateParams{Name: "Hooli"})
	if err != nil {
		t.Fatal(err)
	}
	name := "Hooli XYZ"
	written, err := c.Organizations().Update(ctx, made.ID, &workos.OrganizationsUpdateParams{Name: &name})
	if err != nil || written.Name != name {
		t.Errorf("%+v %v", written, err)
	}
	domain, err := c.OrganizationDomains().Create(ctx, &workos.OrganizationDomainsCreateParams{Domain: "hooli.test", OrganizationID: made.ID})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.OrganizationDomains().Verify(ctx, domain.ID); err != nil || fmt.Sprint(*d.State) != "verified" {
		t.Errorf("%+v %v", d, err)
	}
	_, err = c.Organizations().Create(ctx, &workos.OrganizationsCreateParams{Name: ""})
	var refused *workos.UnprocessableEntityError
	if !errors.As(err, &refused) || !strings.Contains(refused.RawBody, `"field":"name"`) || refused.RequestID == "" { // the client fills no FieldErrors
		t.Errorf("%v", err)
	}
	if err := c.Organizations().Delete(ctx, made.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Organizations().Get(ctx, made.ID); statusOf(err) != 404 {
		t.Errorf("%v", err)
	}
}
