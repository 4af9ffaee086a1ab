package feed_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

func adaRemoved(s *synced) string {
	ada, _ := s.workos.World().User("ada@acme.test")
	eng, _ := s.workos.World().Group("acme", "Engineering")
	return fmt.Sprintf(`{"user":{"id":%q},"group":{"id":%q}}`, ada.ID, eng.ID)
}

func noReconcile(o *setup) { o.noReconc = true }

func TestTheFirstStartReadsAWindowBeforeTheFirstReconcile(t *testing.T) {
	s := start(t)
	began := time.Now()
	before := s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", began.Add(-10*time.Minute).UTC().Format(time.RFC3339Nano))
	s.run()
	s.until("the event of ten minutes ago is applied", func() bool { return slices.Equal(s.groups("ada@acme.test"), []string{"Everyone"}) })
	s.until("a full reconcile ran", func() bool { return len(s.asked("/directory_users")) > 0 })
	var first, list time.Time
	for _, c := range s.asked("/organizations") {
		if c.query["limit"][0] == "1" && first.IsZero() {
			first = c.at
		}
		if c.query["limit"][0] != "1" && list.IsZero() {
			list = c.at
		}
	}
	if first.IsZero() || list.Before(first) {
		t.Errorf("the window was fixed at %v, the first list read at %v", first, list)
	}
	asked := s.asked("/events")
	from, err := time.Parse(time.RFC3339Nano, asked[0].query["range_start"][0])
	if off := began.Add(-15 * time.Minute).Sub(from); err != nil || off.Abs() > 2*time.Second {
		t.Errorf("the first page starts at %v", asked[0].query)
	}
	s.until("the cursor is used", func() bool {
		asked := s.asked("/events")
		last := asked[len(asked)-1].query
		return last["after"] != nil && last["after"][0] == before.ID && last["range_start"] == nil
	})
	if c := s.cursor(); c.After != before.ID || !c.At.Equal(before.CreatedAt.Time) {
		t.Errorf("cursor %+v", c)
	}
}

func TestAPageOfAnyLengthIsReadToTheEndAndAnEmptyOneKeepsTheCursor(t *testing.T) {
	s := start(t, noReconcile)
	var last string
	for i := range 230 {
		last = s.happen("dsync.user.updated", fmt.Sprintf(`{"user":"ada@acme.test","job_title":"Engineer %d"}`, i)).ID
	}
	s.run()
	s.until("all events are read", func() bool {
		p := s.c.Status().Poller
		return s.cursor().After == last && p.Cursor == last && p.Events == 230 && !p.CursorAt.IsZero()
	})
	asked := len(s.asked("/events"))
	s.until("more is asked", func() bool { return len(s.asked("/events")) > asked+3 })
	if got := s.cursor().After; got != last {
		t.Errorf("an empty page moved the cursor to %s", got)
	}
	ada, _ := s.workos.World().User("ada@acme.test")
	if u, _ := s.d.View().UserByID(ada.ID); u.JobTitle != "Engineer 229" {
		t.Errorf("%+v", u)
	}
}

// broken is a store whose Updates fail while told to, half of them after they
// seemed to work.
type broken struct {
	store.Store
	failing atomic.Bool
}

var errDisk = errors.New("the disk is full")

func (b *broken) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	if b.failing.Load() {
		return b.Store.Update(ctx, func(tx store.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return errDisk
		})
	}
	return b.Store.Update(ctx, fn)
}

func TestPageAndCursorAreOneTransaction(t *testing.T) {
	var disk *broken
	s := start(t, noReconcile, func(o *setup) {
		o.wrap = func(st store.Store) store.Store { disk = &broken{Store: st}; return disk }
	})
	var mu sync.Mutex
	var changes []store.Change
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	from := s.revision()
	go func() {
		_ = s.st.Watch(ctx, "", from, func(chs []store.Change) error {
			mu.Lock()
			changes = append(changes, chs...)
			mu.Unlock()
			return nil
		})
	}()
	disk.failing.Store(true)
	removed := s.happen("dsync.group.user_removed", adaRemoved(s))
	s.run()
	s.until("it fails", func() bool { return s.c.Status().Poller.Failures > 2 })
	if c := s.cursor(); c.After != "" || s.revision() != from {
		t.Fatalf("the cursor moved without its page: %+v", c)
	}
	if !strings.Contains(s.c.Status().Poller.LastError, errDisk.Error()) {
		t.Errorf("status: %+v", s.c.Status().Poller)
	}
	disk.failing.Store(false)
	s.until("the event is applied", func() bool { return slices.Equal(s.groups("ada@acme.test"), []string{"Everyone"}) })
	s.until("the cursor moved", func() bool { return s.cursor().After == removed.ID })
	mu.Lock()
	defer mu.Unlock()
	for _, ch := range changes {
		var keys []string
		for _, e := range ch.Entries {
			keys = append(keys, e.Key)
		}
		all := strings.Join(keys, " ")
		if strings.Contains(all, "/cursor/") && !strings.Contains(all, "/edge/") && strings.Contains(string(ch.Entries[0].Value), removed.ID) {
			t.Errorf("the cursor was written without the effect: %s", all)
		}
	}
}

// An event is delivered by webhook before the Events API shows it, and so is
// the next; the cursor must not pass the first.
func TestTheCursorNeverMovesByWhatAWebhookBrought(t *testing.T) {
	s := start(t, noReconcile, func(o *setup) { o.EventsDelay = 700 * time.Millisecond })
	s.run()
	s.until("it polls", func() bool { return len(s.asked("/events")) > 1 })
	lost := s.happen("dsync.group.user_removed", adaRemoved(s)) // its webhook is lost
	seen := s.happen("dsync.user.updated", `{"user":"bob@acme.test","job_title":"Lead"}`)
	s.apply(seen) // and this one's comes at once
	s.c.Delivered(directory.Event{ID: seen.ID, Type: seen.Name, CreatedAt: seen.CreatedAt.Time})
	held := time.Now()
	s.until("a few polls see nothing", func() bool { return len(s.asked("/events")) > 6 })
	if time.Since(held) > 600*time.Millisecond {
		t.Skip("too slow a machine to look into the delay")
	}
	if c := s.cursor(); c.After != "" {
		t.Fatalf("the cursor moved to %s", c.After)
	}
	s.until("the lost removal is applied", func() bool { return slices.Equal(s.groups("ada@acme.test"), []string{"Everyone"}) })
	s.until("the cursor follows", func() bool { return s.cursor().After == seen.ID })
	for _, c := range s.asked("/events") {
		if after := c.query["after"]; after != nil && after[0] != seen.ID && after[0] != lost.ID {
			t.Errorf("asked after %v", after)
		}
	}
}

func setCursor(s *synced, id string, at time.Time) {
	s.t.Helper()
	res, err := s.d.ApplyPage(context.Background(), directory.Page{Cursor: id, CursorAt: at})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(context.Background(), res.Revision); err != nil {
		s.t.Fatal(err)
	}
}

func TestACursorThatCannotBeFollowedIsGivenUpAndAllIsReadAnew(t *testing.T) {
	t.Run("because WorkOS does not know it", func(t *testing.T) {
		s := start(t)
		setCursor(s, "event_forgotten", time.Now().Add(-time.Hour))
		resumes(t, s)
	})
	t.Run("because it is too old", func(t *testing.T) {
		var old atomic.Bool
		old.Store(true)
		s := start(t, func(o *setup) {
			o.dirNow = func() time.Time {
				if old.Load() {
					return time.Now().Add(-26 * 24 * time.Hour)
				}
				return time.Now()
			}
		})
		known := s.workos.World().Events()
		setCursor(s, known[len(known)-1].ID, time.Now().Add(-26*24*time.Hour))
		old.Store(false)
		resumes(t, s)
	})
}

func TestACursorThatCannotBeReadIsGivenUp(t *testing.T) {
	s := start(t)
	setCursor(s, "event_any", time.Now())
	if _, err := s.st.Update(context.Background(), func(tx store.Tx) error {
		return tx.Put("directory/cursor/events", []byte("garbage"))
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.d.Cursor(context.Background()); !errors.Is(err, directory.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	resumes(t, s)
}

// resumes expects the reset, what was lost to be healed, and events to go on.
func resumes(t *testing.T, s *synced) {
	t.Helper()
	s.happen("dsync.group.user_removed", adaRemoved(s), "created_at", "2026-01-01T00:00:00Z") // long ago: in no window
	s.run()
	s.until("the full reconcile heals what was lost", func() bool { return slices.Equal(s.groups("ada@acme.test"), []string{"Everyone"}) })
	s.until("events go on", func() bool { return s.c.Status().Poller.Failures == 0 && !s.c.Status().Poller.LastPoll.IsZero() })
	next := s.happen("dsync.user.updated", `{"user":"bob@acme.test","job_title":"Lead"}`)
	s.until("the cursor follows", func() bool { return s.cursor().After == next.ID })
	if n := s.counted()["battery.sync.restarts"]; n != 1 {
		t.Errorf("%d restarts", n)
	}
}

func TestAnEventThatCannotBeReadIsPutAsideAndItsDirectoryRead(t *testing.T) {
	s := start(t)
	s.run()
	s.until("the first reconcile is over", func() bool { return s.counted()["battery.sync.reconciles ok"] >= 2 })
	ada, _ := s.workos.World().User("ada@acme.test")
	asked := len(s.asked("/directory_users"))
	var once sync.Once
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		handled := false
		if r.URL.Path == "/events" {
			once.Do(func() {
				handled = true
				at := time.Now().UTC().Format(time.RFC3339Nano)
				fail(w, 200, `{"object":"list","data":[`+
					`{"id":"event_1","event":"dsync.user.updated","created_at":"yesterday","data":{"id":"x","directory_id":"`+ada.DirectoryID+`"}},`+
					`{"id":"event_2","event":"dsync.user.updated","created_at":"`+at+`","data":{"id":"half a user","directory_id":"`+ada.DirectoryID+`"}},`+
					`7],"list_metadata":{"after":null}}`)
			})
		}
		return handled
	})
	s.until("the cursor passed them", func() bool { return s.cursor().After == "event_2" })
	dead, err := s.d.DeadLetters(context.Background())
	if err != nil || len(dead) != 3 {
		t.Fatalf("%d dead letters, %v", len(dead), err)
	}
	s.until("they are counted", func() bool {
		return s.c.Status().Poller.DeadLetters == 3 && s.counted()["battery.sync.dead_letters"] == 3
	})
	s.hinder(nil)
	s.until("the directory is read anew", func() bool { return len(s.asked("/directory_users")) > asked })
}

func TestAWebhookIsFollowedByPolls(t *testing.T) {
	s := start(t, noReconcile, func(o *setup) {
		o.feed.PollEvery = time.Hour
		o.feed.WakeAfter = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}
	})
	s.run()
	s.until("the first poll", func() bool { return len(s.asked("/events")) == 1 })
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	flood := began.Add(150 * time.Millisecond)
	last := began
	for time.Now().Before(flood) { // thousands share the polls
		last = time.Now()
		s.c.Wake()
		time.Sleep(100 * time.Microsecond)
	}
	time.Sleep(1200 * time.Millisecond)
	polls := s.asked("/events")[1:]
	if len(polls) < 3 || len(polls) > 8 {
		t.Fatalf("%d polls after a flood of webhooks", len(polls))
	}
	if d := polls[0].at.Sub(began); d < 90*time.Millisecond || d > 400*time.Millisecond {
		t.Errorf("the first poll came after %v", d)
	}
	if d := polls[len(polls)-1].at.Sub(last); d < 690*time.Millisecond || d > 1100*time.Millisecond {
		t.Errorf("the last poll came %v after the last webhook", d)
	}
}

func TestWebhooksDoNotHurryAFailingPoller(t *testing.T) {
	s := start(t, noReconcile, func(o *setup) { o.feed.WakeAfter = []time.Duration{time.Millisecond} })
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "30")
		fail(w, http.StatusTooManyRequests, `"Ratelimited"`)
		return true
	})
	s.run()
	s.until("it failed", func() bool { return s.c.Status().Poller.Failures > 0 })
	for range 200 {
		s.c.Wake()
		time.Sleep(time.Millisecond)
	}
	if n := len(s.asked("/organizations")) + len(s.asked("/events")); n != 1 {
		t.Errorf("%d requests though WorkOS asked for 30 s", n)
	}
	if p := s.c.Status().Poller; time.Until(p.NextAttempt) < 25*time.Second || p.LastError == "" {
		t.Errorf("status %+v", p)
	}
}

func TestTypesThatWorkOSNoLongerKnowsAreLeftOut(t *testing.T) {
	s := start(t, noReconcile)
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" && slices.Contains(r.URL.Query()["events"], "dsync.deactivated") {
			fail(w, 422, `{"message":"Validation failed.","errors":[{"field":"events","code":"unknown event"}]}`)
			return true
		}
		return refuseLists(w, r)
	})
	s.run()
	removed := s.happen("dsync.group.user_removed", adaRemoved(s))
	s.until("events are read all the same", func() bool { return s.cursor().After == removed.ID })
}

func TestWhatOneWayMissedIsCounted(t *testing.T) {
	s := start(t, noReconcile, func(o *setup) { o.feed.MatchWithin = 200 * time.Millisecond })
	s.run()
	s.until("it polls", func() bool { return len(s.asked("/events")) > 0 })
	both := s.happen("dsync.user.updated", `{"user":"ada@acme.test","job_title":"A"}`)
	s.c.Delivered(directory.Event{ID: both.ID, CreatedAt: time.Now()})
	s.c.Delivered(directory.Event{ID: both.ID, CreatedAt: time.Now()})
	s.happen("dsync.user.updated", `{"user":"ada@acme.test","job_title":"B"}`) // no webhook
	s.c.Delivered(directory.Event{ID: "event_that_events_api_never_shows", CreatedAt: time.Now()})
	s.until("both are counted", func() bool {
		c := s.counted()
		return c["battery.sync.missed webhook"] == 1 && c["battery.sync.missed events"] == 1
	})
	time.Sleep(300 * time.Millisecond)
	if c := s.counted(); c["battery.sync.missed webhook"] != 1 || c["battery.sync.missed events"] != 1 {
		t.Errorf("counted %v", c)
	}
}

func TestLagGrowsWhileWorkOSCannotBeRead(t *testing.T) {
	s := start(t, noReconcile)
	s.run()
	s.until("a poll went well", func() bool { return !s.c.Status().Poller.LastPoll.IsZero() })
	if lag := s.counted()["battery.sync.lag"]; lag > 1000 {
		t.Errorf("lag %d ms", lag)
	}
	s.hinder(func(w http.ResponseWriter, r *http.Request) bool { fail(w, 500, `{}`); return true })
	s.until("the lag grows", func() bool { return s.counted()["battery.sync.lag"] > 1000 })
	if s.counted()["battery.sync.polls unavailable"] == 0 {
		t.Errorf("%v", s.counted())
	}
	s.hinder(nil)
	s.until("it shrinks", func() bool { return s.counted()["battery.sync.lag"] < 1000 })
}
