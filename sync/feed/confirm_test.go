package feed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// drop makes every list of a path come without the objects that match.
func (s *synced) drop(path string, match func(object map[string]any, q map[string][]string) bool) {
	inner := s.workos.Handler()
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		var page map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &page); err == nil {
			if data, ok := page["data"].([]any); ok {
				page["data"] = slices.DeleteFunc(data, func(o any) bool { return match(o.(map[string]any), r.URL.Query()) })
			}
		}
		raw, _ := json.Marshal(page)
		fail(w, rec.Code, string(raw))
		return true
	})
}

func named(id string) func(map[string]any, map[string][]string) bool {
	return func(o map[string]any, _ map[string][]string) bool { return o["id"] == id }
}

// A list that comes short takes nothing from anyone: what is missing is asked
// for by itself.
func TestWhatAListForgetsIsConfirmedBeforeItIsGone(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := s.workos.World()
	ada, _ := w.User("ada@acme.test")
	eng, _ := w.Group("acme", "Engineering")
	dir, _ := w.Directory("acme")
	conn, _ := w.Connection("acme")
	for _, c := range []struct{ what, path, id string }{
		{"organization", "/organizations", dir.OrganizationID}, {"connection", "/connections", conn.ID},
		{"directory", "/directories", dir.ID}, {"group", "/directory_groups", eng.ID}, {"user", "/directory_users", ada.ID},
	} {
		t.Run(c.what, func(t *testing.T) {
			s.t = t
			s.drop(c.path, named(c.id))
			reconcileAll(s, false)
			s.hinder(nil)
			s.truth()
			if got := s.groups("ada@acme.test"); !slices.Equal(got, []string{"Engineering", "Everyone"}) {
				t.Errorf("ada: %v", got)
			}
		})
	}
	t.Run("membership", func(t *testing.T) {
		s.t = t
		s.drop("/directory_users", func(o map[string]any, q map[string][]string) bool {
			return o["id"] == ada.ID && q["group"] != nil
		})
		reconcileAll(s, false)
		s.hinder(nil)
		s.truth()
	})
}

// Only a 404 to its own id makes a thing gone.
func TestWhatCannotBeConfirmedIsNotGone(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"organization", "connection", "directory", "group", "user"} {
		for _, status := range []int{401, 403, 410, 500} {
			t.Run(fmt.Sprint(kind, " ", status), func(t *testing.T) {
				t.Parallel()
				s := start(t)
				w := s.workos.World()
				ada, _ := w.User("ada@acme.test")
				eng, _ := w.Group("acme", "Engineering")
				conn, _ := w.Connection("acme")
				path, id := "/directory_users", ada.ID
				switch kind {
				case "organization":
					path, id = "/organizations", ada.OrganizationID
				case "connection":
					path, id = "/connections", conn.ID
				case "directory":
					path, id = "/directories", ada.DirectoryID
				case "group":
					path, id = "/directory_groups", eng.ID
				}
				s.drop(path, named(id))
				drops := s.intercept
				s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == path+"/"+id {
						fail(w, status, `{"message":"no"}`)
						return true
					}
					return drops(w, r)
				})
				if _, err := s.c.Reconcile(context.Background(), "", false); err == nil {
					t.Error("no error")
				}
				s.hinder(nil)
				s.truth()
				if got := s.groups("ada@acme.test"); !slices.Equal(got, []string{"Engineering", "Everyone"}) {
					t.Errorf("ada: %v", got)
				}
			})
		}
	}
}

func TestWhatIsGoneIsGone(t *testing.T) {
	t.Parallel()
	for what, event := range map[string]string{"directory": "dsync.deleted", "connection": "connection.deleted", "organization": "organization.deleted"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			ada, _ := s.workos.World().Profile("ada@acme.test")
			gil, _ := s.workos.World().Profile("gil@globex.test")
			s.happen(event, `{"organization":"acme"}`, "created_at", longAgo)
			if s.userOf(ada) == nil {
				t.Fatal("ada is gone already")
			}
			reconcileAll(s, false)
			if u := s.userOf(ada); u != nil {
				t.Errorf("ada is still %+v", u)
			}
			if s.userOf(gil) == nil {
				t.Error("gil is gone too")
			}
		})
	}
}

// The stand-in loses the ends of its lists, with a right form.
func TestListsThatComeShortTakeNothingFromAnyone(t *testing.T) {
	t.Parallel()
	s := start(t)
	inner := s.workos.Handler()
	for _, path := range []string{"/organizations", "/connections", "/directories", "/directory_users", "/directory_groups"} {
		s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			var page struct {
				Data []json.RawMessage `json:"data"`
			}
			if rec.Code != 200 || json.Unmarshal(rec.Body.Bytes(), &page) != nil {
				fail(w, rec.Code, rec.Body.String())
				return true
			}
			raw, _ := json.Marshal(page.Data[:len(page.Data)/2])
			fail(w, 200, `{"object":"list","data":`+string(raw)+`,"list_metadata":{"after":null}}`)
			return true
		})
		// Half of every list, the second too: what is asked for by its id is there.
		if _, err := s.c.Reconcile(context.Background(), "", false); err != nil {
			t.Logf("%s: %v", path, err)
		}
		s.truth()
	}
}
