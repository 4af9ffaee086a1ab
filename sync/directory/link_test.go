package directory_test

import (
	"context"
	"errors"
	"testing"

	"battery.app/gate/sync/directory"
)

func TestLinking(t *testing.T) {
	cy := func(id, email, idp string) person { return person{id: id, email: email, idp: idp} }
	u := func(id string) string { return "directory_user_" + id }
	line := func(id string) string { return u(id) + " active [] []" }
	for _, c := range []struct {
		name       string
		evs        []directory.Event
		email, idp string
		want       string
	}{
		{"by idp_id", []directory.Event{user("created", cy(u("1"), "", "7"), 10)}, "x@acme.test", "7", line("1")},
		{"by e-mail, whatever its case", []directory.Event{user("created", cy(u("1"), "Cy@Acme.test", "8"), 10)}, "cY@acme.TEST", "7", line("1")},
		{"by idp_id and e-mail that agree", []directory.Event{user("created", cy(u("1"), "cy@acme.test", "7"), 10)}, "cy@acme.test", "7", line("1")},
		{"nobody when they disagree", []directory.Event{user("created", cy(u("1"), "cy@acme.test", "1"), 10), user("created", cy(u("2"), "", "7"), 11)}, "cy@acme.test", "7", "nobody"},
		{"nobody when several have the e-mail", []directory.Event{user("created", cy(u("1"), "cy@acme.test", "1"), 10), user("created", cy(u("2"), "cy@acme.test", "2"), 11)}, "cy@acme.test", "7", "nobody"},
		{"nobody when several have the idp_id", []directory.Event{user("created", cy(u("1"), "", "7"), 10), user("created", cy(u("2"), "", "7"), 11)}, "cy@acme.test", "7", "nobody"},
		{"the idp_id decides among several of the same e-mail", []directory.Event{user("created", cy(u("1"), "cy@acme.test", "7"), 10), user("created", cy(u("2"), "cy@acme.test", "2"), 11)}, "cy@acme.test", "7", line("1")},
		{"nobody without an e-mail or idp_id", []directory.Event{user("created", cy(u("1"), "", ""), 10)}, "", "", "nobody"},
		{"nobody known", nil, "cy@acme.test", "7", "nobody"},
		{"nobody in another organization", []directory.Event{dirEvent("dsync.activated", dirG, globex, 9), user("created", person{id: u("1"), email: "cy@acme.test", idp: "7", dir: dirG, org: globex}, 10)}, "cy@acme.test", "7", "nobody"},
		{"nobody while two connections are live", []directory.Event{user("created", cy(u("1"), "", "7"), 10), connection("connection.activated", "conn_2", acme, 11)}, "", "7", "nobody"},
		{"again when one of them is deactivated", []directory.Event{user("created", cy(u("1"), "", "7"), 10), connection("connection.activated", "conn_2", acme, 11), connection("connection.deactivated", "conn_2", acme, 12)}, "", "7", line("1")},
		{"nobody while two directories are live", []directory.Event{user("created", cy(u("1"), "", "7"), 10), dirEvent("dsync.activated", "directory_2", acme, 11)}, "", "7", "nobody"},
		{"again when one of them is deleted", []directory.Event{user("created", cy(u("1"), "", "7"), 10), dirEvent("dsync.activated", "directory_2", acme, 11), dirEvent("dsync.deleted", "directory_2", acme, 12)}, "", "7", line("1")},
		{"an inactive user is found", []directory.Event{user("created", person{id: u("1"), idp: "7", state: "inactive"}, 10)}, "", "7", u("1") + " inactive [] []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.settle()
			w.put(directory.Organization{ID: globex, Slug: "globex"})
			w.apply(c.evs...)
			s := session(c.email, c.idp)
			w.see(s, c.want)
			id, ok := w.d.View().ResolveLink(s)
			if ok != (c.want != "nobody") || (ok && id != u("1")) {
				t.Errorf("ResolveLink: %q %v", id, ok)
			}
		})
	}
}

func TestSessionsOfAnotherPlace(t *testing.T) {
	w := newWorld(t)
	w.settle()
	s := session("ada@acme.test", "idp-ada")
	s.ConnectionID = "conn_unknown"
	w.see(s, "nobody")
	s.ConnectionID = ""
	w.see(s, "nobody")
	s = session("ada@acme.test", "idp-ada")
	s.OrganizationID = "org_unknown"
	w.see(s, "nobody")
	w.put(directory.Organization{ID: globex, Slug: "globex"})
	s.OrganizationID = globex // with acme's connection
	w.see(s, "nobody")
	w.pin(acme, s.UserID, ada)
	w.see(s, "nobody")
	if u, ended := w.d.View().User(nil); u != nil || ended {
		t.Error("no session")
	}
}

func TestPinnedLinks(t *testing.T) {
	line := ada + " active [Engineering] []"
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	ctx := context.Background()

	t.Run("hold when the e-mail moves to someone else", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		s := session("ada@acme.test", "other")
		w.see(s, line)
		w.pin(acme, s.UserID, ada)
		moved := p
		moved.email = "ada.new@acme.test"
		w.apply(user("updated", moved, 20), user("created", person{id: bob, email: "ada@acme.test", idp: "b"}, 21))
		w.see(s, line)
		w.reload()
		w.see(s, line)
	})
	t.Run("hold where the automatic link is off", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		s := session("ada@acme.test", "idp-ada")
		w.pin(acme, s.UserID, ada)
		w.apply(dirEvent("dsync.activated", "directory_2", acme, 20), connection("connection.activated", "conn_2", acme, 21))
		w.see(s, line)
	})
	t.Run("count for nothing while their directory does not", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		s := session("ada@acme.test", "idp-ada")
		w.pin(acme, s.UserID, ada)
		w.apply(dirEvent("dsync.deactivated", dirA, acme, 20))
		w.see(s, "nobody")
	})
	t.Run("are kept against another login and changed by an operator", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(user("created", person{id: bob, email: "bob@acme.test", idp: "b"}, 20))
		w.pin(acme, "prof_1", ada)
		w.pin(acme, "prof_1", ada)
		if _, err := w.d.PinLink(ctx, acme, "prof_1", bob); !errors.Is(err, directory.ErrPinned) {
			t.Errorf("error %v, want ErrPinned", err)
		}
		rev, err := w.d.Relink(ctx, acme, "prof_1", bob)
		if err != nil {
			t.Fatal(err)
		}
		w.follow(rev)
		s := session("ada@acme.test", "idp-ada")
		s.UserID = "prof_1"
		w.see(s, bob+" active [] []")
	})
	t.Run("give way when their user is deleted", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		s := session("ada@acme.test", "idp-ada")
		s.UserID = "prof_1"
		if w.d.View().Pinned(s) {
			t.Error("pinned before it was")
		}
		w.pin(acme, "prof_1", ada)
		if !w.d.View().Pinned(s) {
			t.Error("not pinned")
		}
		defer func() {
			if !w.d.View().Pinned(s) {
				t.Error("not pinned again")
			}
		}()
		w.apply(user("deleted", p, 20), user("created", person{id: bob, email: "ada@acme.test", idp: "idp-ada"}, 21))
		if w.d.View().Pinned(s) {
			t.Error("pinned to a deleted user")
		}
		w.pin(acme, "prof_1", bob)
	})
	t.Run("are refused for who is not there", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.put(directory.Organization{ID: globex, Slug: "globex"})
		for _, c := range []struct {
			org, profile, user string
			want               error
		}{
			{acme, "p", "directory_user_none", directory.ErrNotFound},
			{globex, "p", ada, directory.ErrNotFound},
			{"org_none", "p", ada, directory.ErrNotFound},
			{acme, "p/q", ada, directory.ErrInvalid},
			{acme, "", ada, directory.ErrInvalid},
		} {
			if _, err := w.d.PinLink(ctx, c.org, c.profile, c.user); !errors.Is(err, c.want) {
				t.Errorf("%v: error %v", c, err)
			}
		}
	})
}

func TestADeletedUsersSessionsEndAndAreNeverRebound(t *testing.T) {
	p := person{id: ada, email: "ada@acme.test", idp: "idp-ada"}
	again := person{id: "directory_user_ADA2", email: "ada@acme.test", idp: "idp-ada2"}
	line2 := again.id + " active [] []"
	for _, pinned := range []bool{false, true} {
		name := map[bool]string{true: "pinned", false: "by match"}[pinned]
		start := func(t *testing.T) *world {
			w := newWorld(t)
			w.settle()
			if pinned {
				w.pin(acme, "prof_idp-ada", ada)
			}
			w.see(session("ada@acme.test", "idp-ada", 50), ada+" active [Engineering] []")
			return w
		}
		t.Run("the user is deleted, "+name, func(t *testing.T) {
			w := start(t)
			w.apply(user("deleted", p, 100))
			for ms, want := range map[int]string{50: "ended", 100: "ended", 101: "nobody"} {
				w.see(session("ada@acme.test", "idp-ada", ms), want)
			}
			w.apply(user("created", again, 200))
			for ms, want := range map[int]string{50: "ended", 100: "ended", 101: line2, 300: line2} {
				w.see(session("ada@acme.test", "idp-ada", ms), want)
			}
			w.reload()
			w.see(session("ada@acme.test", "idp-ada", 50), "ended")
			w.see(session("ada@acme.test", "idp-ada", 300), line2)
		})
		t.Run("the deletion comes late, "+name, func(t *testing.T) {
			w := start(t)
			w.apply(user("created", again, 200))
			w.apply(user("deleted", p, 100)) // received an hour after
			w.see(session("ada@acme.test", "idp-ada", 50), "ended")
			w.see(session("ada@acme.test", "idp-ada", 300), line2)
		})
		t.Run("a second delete does not end newer sessions, "+name, func(t *testing.T) {
			w := start(t)
			w.apply(user("deleted", p, 100), user("created", again, 200))
			w.want(directory.OutcomeStale, user("deleted", p, 400))
			w.see(session("ada@acme.test", "idp-ada", 300), line2)
		})
		t.Run("the directory is deleted, "+name, func(t *testing.T) {
			w := start(t)
			w.apply(dirEvent("dsync.deleted", dirA, acme, 100), dirEvent("dsync.activated", "directory_2", acme, 150))
			again := again
			again.dir = "directory_2"
			w.apply(user("created", again, 200))
			w.see(session("ada@acme.test", "idp-ada", 50), "ended")
			w.see(session("ada@acme.test", "idp-ada", 300), line2)
		})
	}
	t.Run("a deletion dated ahead ends no session issued after it was received", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		now := 3_600_000
		w.apply(user("deleted", p, now+60_000), user("created", again, now+61_000))
		w.see(session("ada@acme.test", "idp-ada", now), "ended")
		w.see(session("ada@acme.test", "idp-ada", now+1), line2)
	})
}
