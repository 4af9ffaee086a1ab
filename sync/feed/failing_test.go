package feed_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sync/feed"
)

func TestAReadThatFailsAnywhereChangesNothing(t *testing.T) {
	t.Parallel()
	half := `{"object":"list","data":[{"id":"directory_us`
	acmes, _ := standin.DefaultWorld().Organization("acme")
	other := func(org string) string { // well formed, but of another directory
		return fmt.Sprintf(`{"object":"list","data":[{"id":"directory_user_X","directory_id":"directory_OTHER","organization_id":%q,"state":"active"}],"list_metadata":{"after":null}}`, org)
	}
	for name, answer := range map[string]func(w http.ResponseWriter){
		"401":                    func(w http.ResponseWriter) { fail(w, 401, `{"message":"Unauthorized"}`) },
		"403":                    func(w http.ResponseWriter) { fail(w, 403, `{"message":"Forbidden"}`) },
		"404":                    func(w http.ResponseWriter) { fail(w, 404, `{"message":"Not Found"}`) },
		"500":                    func(w http.ResponseWriter) { fail(w, 500, `{}`) },
		"429":                    func(w http.ResponseWriter) { w.Header().Set("Retry-After", "60"); fail(w, 429, `"Ratelimited"`) },
		"half":                   func(w http.ResponseWriter) { fail(w, 200, half) },
		"{}":                     func(w http.ResponseWriter) { fail(w, 200, `{}`) },
		"hang-up":                func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"another organization's": func(w http.ResponseWriter) { fail(w, 200, other("org_OTHER")) },
		"another directory's":    func(w http.ResponseWriter) { fail(w, 200, other(acmes.ID)) },
	} {
		for _, where := range []string{"/directory_groups", "/directory_users", "group", "/directories/"} {
			if strings.HasPrefix(name, "another") && where == "/directories/" || name == "hang-up" && where != "/directory_users" {
				continue
			}
			t.Run(name+" at "+where, func(t *testing.T) {
				t.Parallel()
				s := start(t)
				acme, _ := s.workos.World().Directory("acme")
				s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
				s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
					q := r.URL.Query()
					hit := r.URL.Path == where && q.Get("directory") == acme.ID || where == "group" && q.Get("group") != "" ||
						where == "/directories/" && r.URL.Path == where+acme.ID
					if hit {
						answer(w)
					}
					return hit
				})
				before := s.groups("ada@acme.test")
				if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err == nil {
					t.Fatal("no error")
				}
				if got := s.groups("ada@acme.test"); !slices.Equal(got, before) {
					t.Errorf("%v became %v", before, got)
				}
				s.until("the failure is noted", func() bool { return s.d.View().Freshness(acme.ID).LastReconcileError != "" })
				if strings.Contains(s.logs.String(), apiKey) {
					t.Error("the key is logged")
				}
				s.hinder(nil)
				reconcileAll(s, false)
				s.truth()
				s.until("that it went well is noted", func() bool { return s.d.View().Freshness(acme.ID).LastReconcileError == "" })
			})
		}
	}
}

func TestADirectoryThatIsNotLinkedIsNotRead(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	for _, state := range []string{"unlinked", "validating", "deleting", "invalid_credentials"} {
		s.rewrite("/directories", acme.ID, "state", state)
		asked := len(s.asked("/directory_groups"))
		if _, err := s.c.Reconcile(context.Background(), acme.ID, false); !errors.Is(err, feed.ErrNotLinked) {
			t.Errorf("%s: %v", state, err)
		}
		if len(s.asked("/directory_groups")) != asked {
			t.Errorf("%s: it was read", state)
		}
		if _, err := s.c.Reconcile(context.Background(), "", false); err != nil {
			t.Errorf("%s: the others fail with it: %v", state, err)
		}
	}
	s.hinder(nil)
	reconcileAll(s, false)
	s.truth()
}

// rewrite changes a field of one object in a list.
func (s *synced) rewrite(path, id, field, to string) {
	s.drop(path, func(o map[string]any, _ map[string][]string) bool {
		if o["id"] == id {
			o[field] = to
		}
		return false
	})
}

func TestADirectoryUnlinkedWhileItIsReadIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/directories/"+acme.ID:
			fail(w, 200, fmt.Sprintf(`{"id":%q,"organization_id":%q,"state":"deleting"}`, acme.ID, acme.OrganizationID))
		case strings.HasPrefix(r.URL.Path, "/directory_") && r.URL.Query().Get("directory") == acme.ID:
			fail(w, 200, `{"object":"list","data":[],"list_metadata":{"after":null}}`)
		case strings.HasPrefix(r.URL.Path, "/directory_users/"), strings.HasPrefix(r.URL.Path, "/directory_groups/"):
			fail(w, 404, `{"message":"Not Found"}`)
		default:
			return false
		}
		return true
	})
	if _, err := s.c.Reconcile(context.Background(), acme.ID, false); !errors.Is(err, feed.ErrNotLinked) {
		t.Fatalf("got %v", err)
	}
	s.hinder(nil)
	s.truth()
}

func TestADirectoryThatFailsIsTriedAgainAlone(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *setup) { o.feed.FirstBackoff = 5 * time.Millisecond })
	acme, _ := s.workos.World().Directory("acme")
	globex, _ := s.workos.World().Directory("globex")
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/directory_groups" || r.URL.Query().Get("directory") != acme.ID {
			return false
		}
		fail(w, 500, `{}`)
		return true
	})
	reads := func(dir string) (n int) {
		for _, c := range s.asked("/directory_groups") {
			if d := c.query["directory"]; d != nil && d[0] == dir {
				n++
			}
		}
		return n
	}
	s.run()
	s.until("the one is tried several times", func() bool { return reads(acme.ID) > 3 })
	if n := reads(globex.ID); n != 1 {
		t.Errorf("the other was read %d times", n)
	}
	s.hinder(nil)
	s.until("it is healed", func() bool { return s.untruth() == "" })
}

// The list of directories is older than the reading; what it says of one must
// not win over an event that came between.
func TestAReadingDoesNotTellWhatTheListSaidBefore(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	s.rewrite("/directories", acme.ID, "name", "As It Was Called")
	list, times := s.intercept, 0
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/organizations" && r.URL.Query().Get("limit") == "1" {
			if times++; times == 2 { // the reading begins in another second than the lists
				time.Sleep(1100 * time.Millisecond)
			}
		}
		return list(w, r)
	})
	if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err != nil {
		t.Fatal(err)
	}
	if d, _ := s.d.View().Directory(acme.ID); d.Name != acme.Name {
		t.Errorf("it is called %q, not %q", d.Name, acme.Name)
	}
}
