package directory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
)

// The ids of the tests' small world.
const (
	acme   = "org_ACME"
	globex = "org_GLOBEX"
	dirA   = "directory_A"
	dirG   = "directory_G"
	connA  = "conn_A"
	ada    = "directory_user_ADA"
	bob    = "directory_user_BOB"
	eng    = "directory_group_ENG"
	all    = "directory_group_ALL"
)

// epoch0 is the time of the world's beginning; events are given in ms after it.
var epoch0 = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return epoch0.Add(time.Duration(ms) * time.Millisecond) }

// tb is what testing.TB and *rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// world is a directory over a real store whose View follows the store's Watch.
type world struct {
	t    tb
	st   store.Store
	d    *directory.Directory
	now  time.Time
	lags bool // the View follows only when it is told to

	mu   sync.Mutex
	seen uint64
}

// followed is a store whose every commit is in a world's View when it returns,
// as where Watch is fast.
type followed struct {
	store.Store
	w *world
}

func (f followed) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	rev, err := f.Store.Update(ctx, fn)
	if err == nil && !f.w.lags {
		f.w.follow(rev)
	}
	return rev, err
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOver(t, openStore(t), directory.Options{})
}

func openStore(t testing.TB) store.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func worldOver(t tb, st store.Store, o directory.Options) *world {
	t.Helper()
	w := &world{t: t, st: st, now: at(3_600_000)}
	o.Now = func() time.Time { return w.now }
	if o.ViewWait == 0 {
		o.ViewWait = -1 // these Views follow at once, or not at all
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	w.d = directory.New(followed{st, w}, o)
	w.reload()
	return w
}

// reload builds the View from the whole of the store.
func (w *world) reload() {
	w.t.Helper()
	entries, rev, err := w.st.List(context.Background(), directory.Prefix)
	if err != nil {
		w.t.Fatalf("list: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.d.Load(entries)
	w.seen = rev
}

// follow applies every change up to a revision.
func (w *world) follow(rev uint64) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if rev <= w.seen {
		return
	}
	done := errors.New("done")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := w.st.Watch(ctx, directory.Prefix, w.seen, func(changes []store.Change) error {
		for _, ch := range changes {
			w.d.Apply(ch)
			w.seen = ch.Revision
		}
		if w.seen >= rev {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		w.t.Fatalf("watch: %v", err)
	}
}

func (w *world) try(ev directory.Event) (string, error) {
	w.t.Helper()
	a, err := w.d.ApplyEvent(context.Background(), ev)
	if err == nil {
		w.follow(a.Revision)
	}
	return a.Outcome, err
}

// apply applies events and wants each of them to be taken.
func (w *world) apply(evs ...directory.Event) {
	w.t.Helper()
	for _, ev := range evs {
		if o, err := w.try(ev); err != nil || o != directory.OutcomeApplied {
			w.t.Fatalf("apply %s %s: outcome %q, error %v", ev.Type, ev.ID, o, err)
		}
	}
}

func (w *world) want(outcome string, ev directory.Event) {
	w.t.Helper()
	if o, err := w.try(ev); err != nil || o != outcome {
		w.t.Fatalf("%s %s: outcome %q, error %v; want %q", ev.Type, ev.ID, o, err, outcome)
	}
}

func (w *world) put(o directory.Organization) {
	w.t.Helper()
	rev, err := w.d.PutOrganization(context.Background(), o)
	if err != nil {
		w.t.Fatalf("put organization: %v", err)
	}
	w.follow(rev)
}

func (w *world) mappings(org string, m ...directory.Mapping) directory.Mappings {
	w.t.Helper()
	out, rev, err := w.d.PutMappings(context.Background(), org, m, "tester")
	if err != nil {
		w.t.Fatalf("put mappings: %v", err)
	}
	w.follow(rev)
	return out
}

func (w *world) pin(org, profile, user string) {
	w.t.Helper()
	rev, err := w.d.PinLink(context.Background(), org, profile, user)
	if err != nil {
		w.t.Fatalf("pin: %v", err)
	}
	w.follow(rev)
}

// settle makes acme, its connection and directory, with ada in Engineering.
func (w *world) settle() {
	w.t.Helper()
	w.put(directory.Organization{ID: acme, Slug: "acme", Name: "Acme"})
	w.apply(connection("connection.activated", connA, acme, 1), dirEvent("dsync.activated", dirA, acme, 2),
		group("created", eng, "Engineering", 3), group("created", all, "Everyone", 4),
		user("created", person{id: ada, email: "ada@acme.test", idp: "idp-ada"}, 5), member("added", person{id: ada, email: "ada@acme.test", idp: "idp-ada"}, eng, "Engineering", 6))
}

type person struct{ id, email, idp, state, dir, org string }

func (p person) data() map[string]any {
	return map[string]any{
		"object": "directory_user", "id": p.id, "directory_id": or(p.dir, dirA), "organization_id": or(p.org, acme),
		"email": p.email, "idp_id": p.idp, "state": or(p.state, "active"), "first_name": "F", "last_name": nil,
		"raw_attributes": map[string]any{"secret": "x"}, "custom_attributes": map[string]any{"department": "R&D"},
		"role": map[string]any{"slug": "member"}, "roles": []any{map[string]any{"slug": "member"}},
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func event(typ string, ms int, data any) directory.Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	sum := 0
	for _, c := range raw {
		sum = (sum*31 + int(c)) % 1_000_000
	}
	return directory.Event{ID: fmt.Sprintf("event_%08d_%s_%d", ms, strings.ReplaceAll(typ, ".", "_"), sum), Type: typ, CreatedAt: at(ms), Data: raw}
}

func user(what string, p person, ms int) directory.Event {
	return event("dsync.user."+what, ms, p.data())
}

func groupData(id, name, dir, org string) map[string]any {
	return map[string]any{"object": "directory_group", "id": id, "name": name, "idp_id": name,
		"directory_id": or(dir, dirA), "organization_id": or(org, acme)}
}

func group(what, id, name string, ms int) directory.Event {
	return event("dsync.group."+what, ms, groupData(id, name, "", ""))
}

func member(what string, p person, gid, gname string, ms int) directory.Event {
	return event("dsync.group.user_"+what, ms, map[string]any{
		"directory_id": or(p.dir, dirA), "user": p.data(), "group": groupData(gid, gname, p.dir, p.org)})
}

func dirEvent(typ, id, org string, ms int) directory.Event {
	return event(typ, ms, map[string]any{"object": "directory", "id": id, "organization_id": org, "state": "active", "name": "D", "type": "okta scim v2.0"})
}

func connection(typ, id, org string, ms int) directory.Event {
	return event(typ, ms, map[string]any{"object": "connection", "id": id, "organization_id": org, "state": "active", "name": "C", "connection_type": "OktaSAML"})
}

func organization(what, id string, ms int) directory.Event {
	return event("organization."+what, ms, map[string]any{"object": "organization", "id": id, "name": "N" + id, "domains": []any{map[string]any{"domain": "Acme.test"}}})
}

// session is one of acme, issued in the world's far future unless ms says when.
func session(email, idp string, ms ...int) *authz.Session {
	s := &authz.Session{ID: "s", UserID: "prof_" + or(idp, "x"), Email: email, IdpID: idp, OrganizationID: acme, ConnectionID: connA, IssuedAt: at(1_000_000)}
	if len(ms) > 0 {
		s.IssuedAt = at(ms[0])
	}
	return s
}

// who says in a line what policies see of a session's user.
func (w *world) who(s *authz.Session) string {
	u, ended := w.d.View().User(s)
	switch {
	case ended && u != nil:
		return "ended with a user"
	case ended:
		return "ended"
	case u == nil:
		return "nobody"
	}
	names := []string{}
	for _, g := range u.Groups {
		names = append(names, g.Name)
	}
	return fmt.Sprintf("%s %s %v %v", u.ID, u.State, names, u.Roles)
}

func (w *world) see(s *authz.Session, want string) {
	w.t.Helper()
	if got := w.who(s); got != want {
		w.t.Errorf("session %s/%s: %s; want %s", s.Email, s.IdpID, got, want)
	}
}

// dump is all that a View shows, as text, for the given sessions.
func dump(v *directory.View, sessions []*authz.Session) string {
	var b bytes.Buffer
	show := func(what string, x any) {
		raw, err := json.Marshal(x)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s %s\n", what, raw)
	}
	for _, o := range v.Organizations() {
		show("organization", o)
		bySlug, ok := v.OrganizationBySlug(o.Slug)
		show("by slug", []any{bySlug, ok})
		show("connections", v.Connections(o.ID))
		show("mappings", v.Mappings(o.ID).Mappings)
		m, _ := v.RoleMappings(o.ID)
		show("roles", m)
		for _, d := range v.Directories(o.ID) {
			show("directory", d)
			show("users", v.Users(d.ID))
			for _, g := range v.Groups(d.ID) {
				show("group", g)
				show("members", v.GroupMembers(g.ID))
			}
		}
	}
	for _, s := range sessions {
		u, ended := v.User(s)
		id, ok := v.ResolveLink(s)
		show("session "+s.ID, []any{u, ended, id, ok})
	}
	return b.String()
}

func sorted(s []string) []string { sort.Strings(s); return s }
