package feed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
)

const longAgo = "2026-01-01T00:00:00Z" // in no events window

func reconcileAll(s *synced, dry bool) []directory.Difference {
	s.t.Helper()
	diffs, err := s.c.Reconcile(context.Background(), "", dry)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.logs.tail())
	}
	return diffs
}

// changes are all changes of a kind and an operation, over all differences.
func changes(diffs []directory.Difference, kind, op string) (out []directory.Change) {
	for _, d := range diffs {
		for _, ch := range d.Changes {
			if ch.Kind == kind && ch.Op == op {
				out = append(out, ch)
			}
		}
	}
	return out
}

func TestAnEmptyDirectoryIsFilledByTheFirstReconcile(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *setup) { o.empty = true })
	s.run()
	s.until("the whole world is known", func() bool { return s.untruth() == "" })
	if got := len(s.d.View().Organizations()); got != 2 {
		t.Errorf("%d organizations", got)
	}
	s.until("both directories are fresh", func() bool {
		fresh := 0
		for _, d := range s.c.Status().Directories {
			if f := d.Freshness; !f.LastReconcile.IsZero() && !f.LastPoll.IsZero() && f.LastReconcileError == "" {
				fresh++
			}
		}
		return fresh == 2
	})
}

// What neither a webhook nor the Events API's window brings, a reconcile does.
func TestWhatWasLostOnBothWaysIsHealed(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
	s.happen("dsync.user.deleted", `{"user":"bob@acme.test"}`, "created_at", longAgo)
	s.happen("dsync.user.created", `{"email":"zoe@acme.test","organization":"acme"}`, "created_at", longAgo)
	s.happen("dsync.group.user_added", `{"user":"zoe@acme.test","group":"Engineering"}`, "created_at", longAgo)
	if s.untruth() == "" {
		t.Fatal("nothing is lost")
	}
	s.run()
	s.until("all is as WorkOS has it", func() bool { return s.untruth() == "" })
	if u := s.user("bob@acme.test"); u != nil {
		t.Errorf("bob is still %+v", u)
	}
}

func TestAnOutageOfWebhooksIsHealedByThePoller(t *testing.T) {
	t.Parallel()
	s := start(t, noReconcile)
	s.run()
	s.happen("dsync.group.user_removed", adaRemoved(s))
	s.happen("dsync.user.created", `{"email":"zoe@acme.test","organization":"acme"}`)
	s.happen("dsync.group.user_added", `{"user":"zoe@acme.test","group":"Engineering"}`)
	s.happen("dsync.user.deleted", `{"user":"bob@acme.test"}`)
	s.until("all is as WorkOS has it", func() bool { return s.untruth() == "" })
}

func TestADryRunTellsAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	reconcileAll(s, false) // whatever a first one has to write
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
	s.happen("dsync.user.created", `{"email":"zoe@acme.test","organization":"acme"}`, "created_at", longAgo)
	s.happen("organization.created", `{"name":"Initech"}`, "created_at", longAgo)
	before := s.revision()
	dry := reconcileAll(s, true)
	if len(changes(dry, "edge", "remove")) != 1 || len(changes(dry, "user", "add")) != 1 || len(changes(dry, "organization", "add")) != 1 {
		t.Fatalf("dry: %+v", dry)
	}
	if after := s.revision(); after != before {
		t.Fatalf("a dry run wrote revisions %d to %d", before, after)
	}
	if got := s.groups("ada@acme.test"); len(got) != 2 {
		t.Fatalf("a dry run changed %v", got)
	}
	wet := reconcileAll(s, false)
	if len(changes(wet, "edge", "remove")) != 1 || len(changes(wet, "user", "add")) != 1 || len(changes(wet, "organization", "add")) != 1 {
		t.Errorf("wet: %+v", wet)
	}
	s.truth() // Reconcile returns when it is published
	for _, d := range reconcileAll(s, true) {
		if len(d.Changes) > 0 {
			t.Errorf("still to change: %+v", d)
		}
	}
}

func TestOneDirectoryCanBeReconciledAlone(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
	s.happen("dsync.user.deleted", `{"user":"gil@globex.test"}`, "created_at", longAgo)
	diffs, err := s.c.Reconcile(context.Background(), acme.ID, false)
	if err != nil || len(diffs) != 1 || diffs[0].Directory != acme.ID {
		t.Fatalf("%+v, %v", diffs, err)
	}
	if got := s.groups("ada@acme.test"); !slices.Equal(got, []string{"Everyone"}) {
		t.Errorf("ada: %v", got)
	}
	if s.user("gil@globex.test") == nil {
		t.Error("another directory was reconciled too")
	}
	if _, err := s.c.Reconcile(context.Background(), "directory_none", false); !errors.Is(err, feed.ErrNoDirectory) {
		t.Errorf("got %v", err)
	}
}

func TestOneDirectoryIsNeverReadTwiceAtOnceAndItsProgressIsSeen(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *setup) { o.timeout = time.Minute }) // its requests are held, for as long as a busy machine takes to look
	acme, _ := s.workos.World().Directory("acme")
	var inside, most, reads atomic.Int32
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // a test that fails must not keep the stand-in from stopping
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/directory_groups" && r.URL.Query().Get("directory") == acme.ID {
			reads.Add(1)
			most.Store(max(most.Load(), inside.Add(1)))
			<-release
			inside.Add(-1)
		}
		return false
	})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err != nil {
				t.Error(err)
			}
		})
	}
	s.until("one reads and two wait", func() bool {
		var phases []string
		for _, p := range s.c.Status().Reconciling {
			phases = append(phases, p.Phase)
			if p.Directory != acme.ID || p.Started.IsZero() || p.Phase == "groups" && (p.Requests < 2 || p.Expected <= p.Requests || p.Left <= 0) {
				return false
			}
		}
		slices.Sort(phases)
		return slices.Equal(phases, []string{"groups", "waiting", "waiting"})
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.c.Reconcile(ctx, acme.ID, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waits can leave: %v", err)
	}
	free()
	wg.Wait()
	if most.Load() != 1 || reads.Load() != 3 {
		t.Errorf("%d at once, %d reads", most.Load(), reads.Load())
	}
	if n := len(s.c.Status().Reconciling); n != 0 {
		t.Errorf("%d still on the board", n)
	}
}

func TestMembersAreReadTheCheaperWay(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	count := func() (byGroup, byUser int) {
		for _, c := range s.asked("/directory_users") {
			if c.query["group"] != nil {
				byGroup++
			}
		}
		for _, c := range s.asked("/directory_groups") {
			if c.query["user"] != nil {
				byUser++
			}
		}
		return byGroup, byUser
	}
	if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err != nil {
		t.Fatal(err)
	}
	if g, u := count(); g != 3 || u != 0 { // 3 groups, 4 users
		t.Errorf("by group %d, by user %d", g, u)
	}
	for i := range 4 {
		s.happen("dsync.group.created", fmt.Sprintf(`{"name":"G%d","organization":"acme"}`, i))
	}
	s.happen("dsync.group.user_added", `{"user":"bob@acme.test","group":"G2"}`, "created_at", longAgo)
	if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err != nil {
		t.Fatal(err)
	}
	if g, u := count(); g != 3 || u != 4 { // 7 groups, 4 users
		t.Errorf("by group %d, by user %d", g, u)
	}
	s.truth()
}

func TestReconcilesComeAgain(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *setup) { o.feed.ReconcileEvery = 300 * time.Millisecond })
	s.run()
	s.until("several full reconciles", func() bool { return s.counted()["battery.sync.reconciles ok"] >= 6 })
	if next := s.c.Status().NextFull; next.IsZero() {
		t.Error("it is not told when the next one is")
	}
	if s.counted()["battery.sync.reconcile.duration"] < 6 {
		t.Errorf("%v", s.counted())
	}
}

func TestADirtyDirectoryIsReadSoon(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	s.run()
	s.until("the first reconcile is over", func() bool { return s.counted()["battery.sync.reconciles ok"] >= 2 })
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", longAgo)
	if _, err := s.d.MarkDirty(context.Background(), acme.ID, "a test says so"); err != nil {
		t.Fatal(err)
	}
	s.until("it is healed", func() bool { return s.untruth() == "" })
	s.until("it is no longer dirty", func() bool { return len(s.d.View().DirtyDirectories()) == 0 })
	if n := s.counted()["battery.sync.reconciles ok"]; n > 4 {
		t.Errorf("%d reconciles", n)
	}
}

func TestANewDirectoryIsReadWhenTheListsAreDirty(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run()
	s.until("the first reconcile is over", func() bool { return s.counted()["battery.sync.reconciles ok"] >= 2 })
	org := s.happen("organization.created", `{"name":"Initech"}`, "created_at", longAgo)
	var o struct{ ID string }
	if err := json.Unmarshal(org.Data, &o); err != nil {
		t.Fatal(err)
	}
	s.happen("dsync.activated", fmt.Sprintf(`{"organization_id":%q}`, o.ID), "created_at", longAgo)
	dir, _ := s.workos.World().Directory(o.ID)
	s.happen("dsync.user.created", fmt.Sprintf(`{"email":"kim@initech.test","directory_id":%q}`, dir.ID), "created_at", longAgo)
	if s.untruth() == "" {
		t.Fatal("it is known already")
	}
	if _, err := s.d.MarkDirty(context.Background(), "", "a test says so"); err != nil {
		t.Fatal(err)
	}
	s.until("its users are known", func() bool { return s.untruth() == "" })
}

// Which directory's data is too old can be watched from outside.
func TestStalenessIsAMetricOfEachDirectory(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	s := start(t, func(set *setup) {
		set.staleness = time.Hour
		set.dirNow = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	for _, c := range []struct {
		later time.Duration
		want  int64
	}{{0, 0}, {2 * time.Hour, 1}} {
		s.d.NotePoll(time.Now())
		ahead.Store(int64(c.later))
		counted := s.counted()
		for _, slug := range []string{"acme", "globex"} {
			dir, _ := s.workos.World().Directory(slug)
			if got, ok := counted["battery.sync.stale "+dir.ID+" "+string(dir.OrganizationID)]; !ok || got != c.want {
				t.Errorf("%s, %v after it was read: stale is %d, told %v; want %d", slug, c.later, got, ok, c.want)
			}
		}
	}
}

// Many removals that only a reconcile found are not made at once.
func TestAMassRemovalThatAReconcileFindsIsHeld(t *testing.T) {
	t.Parallel()
	s := start(t)
	acme, _ := s.workos.World().Directory("acme")
	for i := range 15 {
		s.apply(s.happen("dsync.user.created", fmt.Sprintf(`{"email":"u%d@acme.test","organization":"acme"}`, i), "created_at", longAgo))
	}
	for i := range 15 {
		s.happen("dsync.user.deleted", fmt.Sprintf(`{"user":"u%d@acme.test"}`, i), "created_at", "2026-01-02T00:00:00Z")
	}
	before := len(s.d.View().Users(acme.ID))
	diffs, err := s.c.Reconcile(context.Background(), acme.ID, false)
	if err != nil || len(diffs) != 1 || len(diffs[0].Held) != 15 {
		t.Fatalf("%+v, %v", diffs, err)
	}
	if n := len(s.d.View().Users(acme.ID)); n != before {
		t.Errorf("%d users of %d are left", n, before)
	}
	if n := s.counted()["battery.sync.held"]; n != 15 {
		t.Errorf("battery.sync.held is %d", n)
	}
	rev, err := s.d.Approve(context.Background(), acme.ID, "an operator")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.wait(context.Background(), rev); err != nil {
		t.Fatal(err)
	}
	if _, err := s.c.Reconcile(context.Background(), acme.ID, false); err != nil {
		t.Fatal(err)
	}
	s.truth()
}
