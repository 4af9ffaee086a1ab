package directory_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"pgregory.net/rapid"
)

func (w *world) pair(p ...directory.Pairing) {
	w.t.Helper()
	rev, err := w.d.PutPairings(context.Background(), acme, p, "tester")
	if err != nil {
		w.t.Fatalf("put pairings: %v", err)
	}
	w.follow(rev)
}

// two makes acme with two connections and two directories, in each of which
// somebody has the same e-mail and idp_id.
func two(t *testing.T, o directory.Options) *world {
	w := worldOver(t, openStore(t), o)
	w.settle()
	w.put(directory.Organization{ID: globex, Slug: "globex"})
	w.apply(connection("connection.activated", "conn_B", acme, 20), dirEvent("dsync.activated", "directory_B", acme, 21),
		user("created", person{id: bob, email: "ada@acme.test", idp: "idp-ada", dir: "directory_B"}, 22),
		connection("connection.activated", "conn_G", globex, 23), dirEvent("dsync.activated", dirG, globex, 24))
	return w
}

// spoil makes a stored value unreadable.
func spoil(w *world, key string) {
	w.t.Helper()
	rev, err := w.st.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, []byte(`{"v":99}`)) })
	if err != nil {
		w.t.Fatalf("spoil: %v", err)
	}
	w.follow(rev)
}

// through is ada's session through a connection.
func through(conn string) *authz.Session {
	s := session("ada@acme.test", "idp-ada")
	s.ConnectionID, s.UserID = conn, "prof_"+conn
	return s
}

func TestPairings(t *testing.T) {
	adas, bobs := ada+" active [Engineering] []", bob+" active [] []"
	both := []directory.Pairing{{ConnectionID: connA, DirectoryID: dirA}, {ConnectionID: "conn_B", DirectoryID: "directory_B"}}

	t.Run("say whose people a connection's are, and survive a restart", func(t *testing.T) {
		w := two(t, directory.Options{})
		w.see(through(connA), "nobody")
		w.pair(both...)
		w.see(through(connA), adas)
		w.see(through("conn_B"), bobs)
		w.pair(directory.Pairing{ConnectionID: "conn_B", DirectoryID: dirA}, directory.Pairing{ConnectionID: connA, DirectoryID: dirA})
		w.see(through("conn_B"), adas)
		w.reload()
		w.see(through("conn_B"), adas)
		if got := fmt.Sprint(w.d.View().Pairings(acme)); got != "[{conn_A directory_A} {conn_B directory_A}]" {
			t.Errorf("%v", got)
		}
	})
	t.Run("leave a connection without one without a directory", func(t *testing.T) {
		w := two(t, directory.Options{})
		w.pair(both[0])
		w.see(through(connA), adas)
		w.see(through("conn_B"), "nobody")
		w.see(through("conn_unknown"), "nobody")
		w.see(through(""), "nobody")
	})
	t.Run("replace the automatic rule even where it would hold", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.apply(dirEvent("dsync.activated", "directory_B", acme, 20))
		w.pair(directory.Pairing{ConnectionID: connA, DirectoryID: "directory_B"})
		w.apply(dirEvent("dsync.deactivated", "directory_B", acme, 21))
		w.see(through(connA), "nobody")
		w.pair()
		w.see(through(connA), adas)
		if got := w.d.View().Pairings(acme); got == nil || len(got) != 0 {
			t.Errorf("%v", got)
		}
	})
	t.Run("dangle when a part is deleted, and do not give way to the automatic rule", func(t *testing.T) {
		w := two(t, directory.Options{})
		w.pair(both[0])
		w.apply(connection("connection.deleted", connA, acme, 30), dirEvent("dsync.deleted", "directory_B", acme, 31))
		w.see(through("conn_B"), "nobody") // conn_B and directory_A are alone now
		w.pair(w.d.View().Pairings(acme)...)
		w.pair()
		s := through("conn_B")
		s.IssuedAt = at(2_000_000)
		w.see(s, adas)
	})
	t.Run("do not move who is pinned", func(t *testing.T) {
		w := two(t, directory.Options{})
		w.pair(both...)
		w.pin(acme, "prof_"+connA, ada)
		w.pair(directory.Pairing{ConnectionID: connA, DirectoryID: "directory_B"})
		w.see(through(connA), adas)
		if id, ok := w.d.View().ResolveLink(through(connA)); !ok || id != ada {
			t.Errorf("%s %v", id, ok)
		}
	})
	t.Run("know the connection of an OpenID provider", func(t *testing.T) {
		w := two(t, directory.Options{Connections: map[string]string{acme: "oidc_acme"}})
		w.pair(directory.Pairing{ConnectionID: "oidc_acme", DirectoryID: "directory_B"})
		w.see(through("oidc_acme"), bobs)
		w.see(through(connA), "nobody")
		if _, err := w.d.PutPairings(context.Background(), globex, []directory.Pairing{{ConnectionID: "oidc_acme", DirectoryID: dirG}}, ""); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("another's provider: %v", err)
		}
		// Out of the configuration, and so nobody's.
		gone := worldOver(t, w.st, directory.Options{})
		gone.see(through("oidc_acme"), "nobody")
	})
	t.Run("that cannot be read pair nothing", func(t *testing.T) {
		w := newWorld(t)
		w.settle()
		w.see(through(connA), adas)
		spoil(w, "directory/pairing/"+acme)
		w.see(through(connA), "nobody")
		w.reload()
		w.see(through(connA), "nobody")
		if _, err := w.d.PutPairings(context.Background(), acme, nil, ""); !errors.Is(err, directory.ErrCorrupt) {
			t.Errorf("written over: %v", err)
		}
	})
}

func TestPairingsThatAreRefused(t *testing.T) {
	w := two(t, directory.Options{})
	w.apply(connection("connection.activated", "conn_gone", acme, 30), connection("connection.deleted", "conn_gone", acme, 31),
		dirEvent("dsync.activated", "directory_gone", acme, 32), dirEvent("dsync.deleted", "directory_gone", acme, 33))
	kept := directory.Pairing{ConnectionID: connA, DirectoryID: dirA}
	w.pair(kept)
	many := []directory.Pairing{}
	for i := range 51 {
		many = append(many, directory.Pairing{ConnectionID: fmt.Sprintf("conn_%d", i), DirectoryID: dirA})
	}
	for name, c := range map[string]struct {
		org  string
		list []directory.Pairing
		want error
	}{
		"a connection twice":          {acme, []directory.Pairing{{connA, dirA}, {connA, "directory_B"}}, directory.ErrInvalid},
		"the same pair twice":         {acme, []directory.Pairing{{connA, dirA}, {connA, dirA}}, directory.ErrInvalid},
		"no directory":                {acme, []directory.Pairing{{connA, ""}}, directory.ErrInvalid},
		"no connection":               {acme, []directory.Pairing{{"", dirA}}, directory.ErrInvalid},
		"an id that is a path":        {acme, []directory.Pairing{{"conn/A", dirA}}, directory.ErrInvalid},
		"too many":                    {acme, many, directory.ErrInvalid},
		"an organization that is not": {"org_none", nil, directory.ErrNotFound},
		"an organization's bad id":    {"a/b", nil, directory.ErrInvalid},
		"an unknown connection":       {acme, []directory.Pairing{{"conn_none", dirA}}, directory.ErrNotFound},
		"an unknown directory":        {acme, []directory.Pairing{{connA, "directory_none"}}, directory.ErrNotFound},
		"another's connection":        {acme, []directory.Pairing{{"conn_G", dirA}}, directory.ErrNotFound},
		"another's directory":         {acme, []directory.Pairing{{connA, dirG}}, directory.ErrNotFound},
		"a deleted connection":        {acme, []directory.Pairing{{"conn_gone", dirA}}, directory.ErrNotFound},
		"a deleted directory":         {acme, []directory.Pairing{{connA, "directory_gone"}}, directory.ErrNotFound},
		"a good one and a bad one":    {acme, []directory.Pairing{{"conn_B", "directory_B"}, {connA, dirG}}, directory.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.d.PutPairings(context.Background(), c.org, c.list, ""); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if got := w.d.View().Pairings(acme); len(got) != 1 || got[0] != kept {
				t.Errorf("now %v", got)
			}
		})
	}
	t.Run("a deleted organization has none", func(t *testing.T) {
		w.apply(organization("deleted", acme, 40))
		if _, err := w.d.PutPairings(context.Background(), acme, nil, ""); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("error %v", err)
		}
		if got := w.d.View().Pairings(acme); len(got) != 0 {
			t.Errorf("%v", got)
		}
	})
}

// The promise behind pairings: whoever administers one identity provider of a
// customer, and asserts whatever they like there, is never anyone of a directory
// that it is not paired with.
func TestNobodyCrossesAPairing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		folder, err := os.MkdirTemp(memory(), "pairing")
		if err != nil {
			rt.Fatalf("%v", err)
		}
		defer func() { _ = os.RemoveAll(folder) }()
		st, err := boltstore.Open(filepath.Join(folder, "battery.db"), boltstore.Options{})
		if err != nil {
			rt.Fatalf("%v", err)
		}
		defer func() { _ = st.Close() }()
		w := worldOver(rt, st, directory.Options{Connections: map[string]string{acme: "oidc_acme"}})
		w.put(directory.Organization{ID: acme, Slug: "acme"})

		dirs, conns := []string{"directory_0", "directory_1", "directory_2"}, []string{"conn_0", "conn_1", "oidc_acme", "conn_none"}
		ms := 1
		tick := func() int { ms++; return ms }
		dirLive, connLive := map[string]bool{}, map[string]bool{"oidc_acme": true}
		people := map[string][]person{}
		for _, id := range dirs {
			w.apply(dirEvent("dsync.activated", id, acme, tick()))
			dirLive[id] = true
			for n := range rapid.IntRange(0, 3).Draw(rt, "people") {
				p := person{id: fmt.Sprintf("directory_user_%s_%d", id, n), dir: id,
					email: fmt.Sprintf("u%d@acme.test", rapid.IntRange(0, 2).Draw(rt, "email")), idp: fmt.Sprintf("idp%d", rapid.IntRange(0, 2).Draw(rt, "idp"))}
				w.apply(user("created", p, tick()))
				people[id] = append(people[id], p)
			}
		}
		for _, id := range conns[:2] {
			w.apply(connection("connection.activated", id, acme, tick()))
			connLive[id] = true
		}
		paired := map[string]string{}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "op") {
			case 0:
				id := rapid.SampledFrom(dirs).Draw(rt, "directory")
				dirLive[id] = !dirLive[id]
				w.apply(dirEvent(map[bool]string{true: "dsync.activated", false: "dsync.deactivated"}[dirLive[id]], id, acme, tick()))
			case 1:
				id := rapid.SampledFrom(conns[:2]).Draw(rt, "connection")
				connLive[id] = !connLive[id]
				w.apply(connection(map[bool]string{true: "connection.activated", false: "connection.deactivated"}[connLive[id]], id, acme, tick()))
			default:
				paired = map[string]string{}
				var list []directory.Pairing
				for _, id := range conns[:3] {
					if n := rapid.IntRange(-1, len(dirs)-1).Draw(rt, "with"); n >= 0 {
						paired[id] = dirs[n]
						list = append(list, directory.Pairing{ConnectionID: id, DirectoryID: dirs[n]})
					}
				}
				w.pair(list...)
			}
			check := func(when string) {
				for _, conn := range conns {
					for i := range 9 {
						s := session(fmt.Sprintf("U%d@acme.test", i%3), fmt.Sprintf("idp%d", i/3))
						s.ConnectionID, s.UserID = conn, fmt.Sprintf("prof_%s_%d", conn, i)
						got, want := w.who(s), expectPaired(s, paired, people, dirLive, connLive)
						if got != want {
							rt.Fatalf("%s, %s through %s with pairings %v: %s; want %s", when, s.Email+" "+s.IdpID, conn, paired, got, want)
						}
					}
				}
			}
			check("followed")
			w.reload()
			check("reloaded")
		}
	})
}

// expectPaired is the rule in the plainest way.
func expectPaired(s *authz.Session, paired map[string]string, people map[string][]person, dirLive, connLive map[string]bool) string {
	if s.ConnectionID != "conn_none" && !connLive[s.ConnectionID] {
		return "ended"
	}
	dir := paired[s.ConnectionID]
	if len(paired) == 0 {
		var live []string
		for _, id := range keys(dirLive) {
			if dirLive[id] {
				live = append(live, id)
			}
		}
		// The configured connection counts while WorkOS has none that is live, and
		// WorkOS's own never while one is configured.
		if len(live) == 1 && s.ConnectionID == "oidc_acme" && !connLive["conn_0"] && !connLive["conn_1"] {
			dir = live[0]
		}
	}
	if !dirLive[dir] {
		return "nobody"
	}
	var byIdp, byMail []person
	for _, p := range people[dir] {
		if p.idp == s.IdpID {
			byIdp = append(byIdp, p)
		}
		if p.email == lower(s.Email) {
			byMail = append(byMail, p)
		}
	}
	found := byMail
	if len(byIdp) > 0 {
		found = byIdp
		agrees := len(byMail) == 0
		for _, p := range byMail {
			agrees = agrees || p.id == byIdp[0].id
		}
		if !agrees {
			return "nobody"
		}
	}
	if len(found) != 1 {
		return "nobody"
	}
	return found[0].id + " active [] []"
}

// Whoever decided by a list that is out of date would trust a connection again
// that somebody took the trust from.
func TestPairingsAreReplacedOnlyIfTheyAreStillThose(t *testing.T) {
	w := two(t, directory.Options{})
	replace := func(before, next []directory.Pairing) error {
		rev, err := w.d.ReplacePairings(context.Background(), acme, before, next, "session:1")
		if err == nil {
			w.follow(rev)
		}
		return err
	}
	a, b := directory.Pairing{ConnectionID: connA, DirectoryID: dirA}, directory.Pairing{ConnectionID: "conn_B", DirectoryID: "directory_B"}
	if err := replace(nil, []directory.Pairing{b, a}); err != nil {
		t.Fatal(err)
	}
	for name, before := range map[string][]directory.Pairing{"none": nil, "a part": {a}, "another": {a, {ConnectionID: "conn_B", DirectoryID: dirA}}} {
		if err := replace(before, []directory.Pairing{a}); !errors.Is(err, directory.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := replace(w.d.View().Pairings(acme), []directory.Pairing{}); err != nil {
		t.Error(err)
	}
	if err := replace([]directory.Pairing{}, []directory.Pairing{a}); err != nil || len(w.d.View().Pairings(acme)) != 1 {
		t.Error(err, w.d.View().Pairings(acme))
	}
}
