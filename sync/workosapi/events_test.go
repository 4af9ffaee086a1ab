package workosapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sync/workosapi"
)

var eventTypes = []string{"dsync.user.created", "dsync.user.deleted"}

func event(id, created, data string) string {
	return fmt.Sprintf(`{"object":"event","id":%q,"event":"dsync.user.created","created_at":%q,"data":%s}`, id, created, data)
}

func eventPage(after string, events ...string) string {
	return `{"object":"list","data":[` + strings.Join(events, ",") + `],"list_metadata":{"after":` + after + `}}`
}

func TestEventsAreAskedForAsTheAPIWants(t *testing.T) {
	var got url.Values
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Query()
		if r.URL.Path != "/events" || r.Header.Get("Authorization") != "Bearer "+apiKey {
			t.Errorf("%s %s", r.URL.Path, r.Header)
		}
		answer(w, 200, eventPage("null"))
	})
	at := time.Date(2026, 1, 15, 13, 0, 0, 5e6, time.FixedZone("", 3600))
	for _, q := range []workosapi.EventQuery{
		{Types: eventTypes, After: "event_1"},
		{Types: eventTypes, RangeStart: at, RangeEnd: at.Add(time.Hour), Limit: 7, Organization: "org_1"},
	} {
		page, err := c.ListEvents(context.Background(), q)
		if err != nil || len(page.Events) != 0 || page.Last != "" || page.More || time.Since(page.ServerTime).Abs() > time.Minute {
			t.Fatalf("%+v, %v", page, err)
		}
		want := url.Values{"events": eventTypes, "limit": {"100"}, "after": {"event_1"}}
		if q.After == "" {
			want = url.Values{"events": eventTypes, "limit": {"7"}, "organization_id": {"org_1"},
				"range_start": {"2026-01-15T12:00:00.005Z"}, "range_end": {"2026-01-15T13:00:00.005Z"}}
		}
		if got.Encode() != want.Encode() {
			t.Errorf("asked %s, want %s", got.Encode(), want.Encode())
		}
	}
	for name, q := range map[string]workosapi.EventQuery{
		"no types":           {},
		"an empty type":      {Types: []string{""}},
		"a cursor and start": {Types: eventTypes, After: "event_1", RangeStart: at},
		"a page of 101":      {Types: eventTypes, Limit: 101},
		"no organization id": {Types: eventTypes, Organization: "acme"},
	} {
		if _, err := c.ListEvents(context.Background(), q); !errors.Is(err, workosapi.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADamagedEventCostsItselfAlone(t *testing.T) {
	good := event("event_1", "2026-01-15T12:00:00.000Z", `{"id":"x"}`)
	for name, damaged := range map[string]string{
		"no object": `"event"`, "null": `null`,
		"a time that is none":   event("event_2", "yesterday", `{}`),
		"a time of number":      `{"id":"event_2","event":"dsync.user.created","created_at":5,"data":{}}`,
		"a list of data":        event("event_2", "2026-01-15T12:00:00.000Z", `[]`),
		"no data":               `{"id":"event_2","event":"dsync.user.created","created_at":"2026-01-15T12:00:00.000Z"}`,
		"no id":                 event("", "2026-01-15T12:00:00.000Z", `{}`),
		"an id that is far off": event(strings.Repeat("x", 200), "2026-01-15T12:00:00.000Z", `{}`),
		"no type":               `{"id":"event_2","created_at":"2026-01-15T12:00:00.000Z","data":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				answer(w, 200, eventPage(`"event_3"`, good, damaged, event("event_3", "2023-04-28 20:05:31.093", `{}`)))
			})
			page, err := c.ListEvents(context.Background(), workosapi.EventQuery{Types: eventTypes})
			if err != nil || len(page.Events) != 3 || page.Last != "event_3" || !page.More {
				t.Fatalf("%+v, %v", page, err)
			}
			if page.Events[0].DecodeError != nil || page.Events[2].DecodeError != nil || page.Events[2].CreatedAt.Year() != 2023 {
				t.Errorf("the others: %+v", page.Events)
			}
			if bad := page.Events[1]; bad.DecodeError == nil || string(bad.Raw) != damaged {
				t.Errorf("got %+v", bad)
			}
		})
	}
}

func TestAnAnswerThatIsNotAPageIsNotAnEmptyPage(t *testing.T) {
	half := eventPage("null", event("event_1", "2026-01-15T12:00:00.000Z", `{}`))
	for name, body := range map[string]string{
		"an object": `{}`, "null": `null`, "null data": `{"data":null,"list_metadata":{"after":null}}`,
		"no metadata": `{"object":"list","data":[]}`, "another object": `{"object":"error","data":[],"list_metadata":{}}`,
		"a string": `"Ratelimited"`, "html": `<html>`, "nothing": ``, "half a page": half[:len(half)-20], "two": half + half,
		"events without ids": eventPage("null", `{}`, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 200, body) })
			ctx := context.Background()
			if page, err := c.ListEvents(ctx, workosapi.EventQuery{Types: eventTypes, After: "event_0"}); !errors.Is(err, workosapi.ErrUnavailable) {
				t.Errorf("events: %+v, %v", page, err)
			}
			for what, list := range lists(c) {
				if err := list(ctx); !errors.Is(err, workosapi.ErrUnavailable) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if name != "events without ids" {
				if at, err := c.ServerTime(ctx); !errors.Is(err, workosapi.ErrUnavailable) {
					t.Errorf("time: %v, %v", at, err)
				}
			}
		})
	}
}

// lists are the calls whose empty answer would remove things.
func lists(c *workosapi.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"organizations":  func(ctx context.Context) error { _, err := c.ListOrganizations(ctx); return err },
		"connections":    func(ctx context.Context) error { _, err := c.ListConnections(ctx, ""); return err },
		"directories":    func(ctx context.Context) error { _, err := c.ListDirectories(ctx, ""); return err },
		"groups":         func(ctx context.Context) error { _, err := c.ListDirectoryGroups(ctx, "directory_1"); return err },
		"groups of user": func(ctx context.Context) error { _, err := c.ListGroupsOfUser(ctx, "directory_user_1"); return err },
		"users": func(ctx context.Context) error {
			_, err := c.ListDirectoryUsers(ctx, workosapi.UserQuery{Directory: "directory_1"})
			return err
		},
	}
}

func TestOneObjectIsTheOneAskedFor(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"another's":   {`{"id":"somebody_else"}`, workosapi.ErrUnavailable},
		"none":        {`{}`, workosapi.ErrUnavailable},
		"unreadable":  {`<html>`, workosapi.ErrUnavailable},
		"a not found": {"", workosapi.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			api := client(t, func(w http.ResponseWriter, r *http.Request) {
				if c.body == "" {
					answer(w, 404, `{"message":"Not Found"}`)
					return
				}
				answer(w, 200, c.body)
			})
			for what, get := range map[string]func() error{
				"organization": func() error { _, err := api.GetOrganization(ctx, "org_1"); return err },
				"connection":   func() error { _, err := api.GetConnection(ctx, "conn_1"); return err },
				"directory":    func() error { _, err := api.GetDirectory(ctx, "directory_1"); return err },
				"group":        func() error { _, err := api.GetDirectoryGroup(ctx, "directory_group_1"); return err },
				"user":         func() error { _, err := api.GetDirectoryUser(ctx, "directory_1", "directory_user_1"); return err },
			} {
				if err := get(); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
			}
		})
	}
}

func TestARejectedCursorIsToldFromOtherRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		after    string
		status   int
		body     string
		rejected bool
	}{
		"400 with a cursor":        {"event_1", 400, `{"message":"Invalid cursor"}`, true},
		"404 with a cursor":        {"event_1", 404, `{"message":"Not Found"}`, true},
		"422 about after":          {"event_1", 422, `{"message":"Validation failed.","errors":[{"code":"x","field":"after"}]}`, true},
		"422 about the types":      {"event_1", 422, `{"message":"Validation failed.","errors":[{"code":"x","field":"events"}]}`, false},
		"400 without a cursor":     {"", 400, `{"message":"Invalid"}`, false},
		"401 is about the API key": {"event_1", 401, `{"message":"Unauthorized"}`, false},
		"429 is about the pace":    {"event_1", 429, `"Ratelimited"`, false},
		"500 is about nothing":     {"event_1", 500, `{}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := client(t, func(w http.ResponseWriter, r *http.Request) { answer(w, c.status, c.body) })
			_, err := api.ListEvents(context.Background(), workosapi.EventQuery{Types: eventTypes, After: c.after})
			if err == nil || errors.Is(err, workosapi.ErrCursorRejected) != c.rejected {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestRetryAfterIsToldToTheCaller(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "90")
		answer(w, 429, `"Ratelimited"`)
	})
	_, err := c.ListEvents(context.Background(), workosapi.EventQuery{Types: eventTypes})
	if !errors.Is(err, workosapi.ErrRateLimited) || workosapi.RetryAfter(err) != 90*time.Second {
		t.Fatalf("got %v", err)
	}
}

func TestAnotherAttemptIsPacedLikeTheFirst(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 4 {
			answer(w, 429, `"Ratelimited"`)
			return
		}
		answer(w, 200, `{"data":[],"list_metadata":{"after":null}}`)
	}))
	defer srv.Close()
	c, err := workosapi.New(workosapi.Options{APIKey: apiKey, ClientID: "c", Endpoint: srv.URL, DirectoryUsersRate: 1.5})
	if err != nil {
		t.Fatal(err)
	}
	requests, pages, began := 0, 0, time.Now()
	ctx := workosapi.Observe(context.Background(), workosapi.Observer{
		Request: func() { requests++ }, Page: func(int) { pages++ },
	})
	if _, err := c.ListDirectoryUsers(ctx, workosapi.UserQuery{Directory: "directory_1"}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 1900*time.Millisecond { // three more turns at 1.5/s
		t.Errorf("four attempts in %v", took)
	}
	if requests != 4 || pages != 1 {
		t.Errorf("observed %d requests and %d pages", requests, pages)
	}
}

// The stand-in speaks WorkOS's API; what is read from it is what it holds.
func TestTheStandInIsReadWhole(t *testing.T) {
	s, err := standin.New(standin.Options{APIKey: apiKey, ClientID: "client_1", World: standin.DefaultWorld()})
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s.Handler().ServeHTTP)
	ctx, world := context.Background(), s.World()
	dirs, err := c.ListDirectories(ctx, "")
	if err != nil || len(dirs) != len(world.Directories) || dirs[0].Users+dirs[1].Users != len(world.Users) {
		t.Fatalf("%+v, %v", dirs, err)
	}
	ada, _ := world.User("ada@acme.test")
	u, err := c.GetDirectoryUser(ctx, ada.DirectoryID, ada.ID)
	if err != nil || u.Email != "ada@acme.test" || u.DirectoryID != ada.DirectoryID || u.State != "active" {
		t.Errorf("%+v, %v", u, err)
	}
	groups, err := c.ListGroupsOfUser(ctx, ada.ID)
	if err != nil || len(groups) != 2 {
		t.Errorf("%+v, %v", groups, err)
	}
	seen := 0
	for q := (workosapi.EventQuery{Types: []string{"dsync.user.created", "dsync.group.user_added"}, Limit: 3}); ; {
		page, err := c.ListEvents(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Events)
		if !page.More {
			break
		}
		q.After = page.Last
	}
	if seen != len(world.Users)+len(world.Memberships) {
		t.Errorf("%d events", seen)
	}
	if _, err := c.ListEvents(ctx, workosapi.EventQuery{Types: eventTypes, After: "event_never"}); !errors.Is(err, workosapi.ErrCursorRejected) {
		t.Errorf("got %v", err)
	}
	if at, err := c.ServerTime(ctx); err != nil || time.Since(at).Abs() > 2*time.Second {
		t.Errorf("%v, %v", at, err)
	}
}
