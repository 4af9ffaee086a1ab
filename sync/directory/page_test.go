package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
)

// page is a page of the Events API after a cursor.
func page(after string, events ...directory.Event) directory.Page {
	p := directory.Page{Events: events, After: after}
	if n := len(events); n > 0 {
		p.Cursor, p.CursorAt = events[n-1].ID, events[n-1].CreatedAt
	}
	return p
}

func (w *world) page(p directory.Page) directory.PageResult {
	w.t.Helper()
	res, err := w.d.ApplyPage(context.Background(), p)
	if err != nil {
		w.t.Fatalf("apply page: %v", err)
	}
	w.catchUp()
	return res
}

func (w *world) cursor() string {
	w.t.Helper()
	c, err := w.d.Cursor(context.Background())
	if err != nil {
		w.t.Fatalf("cursor: %v", err)
	}
	return c.After
}

// many are events of n users, each created and added to a group.
func many(n int) []directory.Event {
	var out []directory.Event
	for i := range n {
		p := person{id: fmt.Sprintf("directory_user_%d", i), email: fmt.Sprintf("u%d@acme.test", i), idp: fmt.Sprint(i)}
		out = append(out, user("created", p, 1000+2*i), member("added", p, eng, "Engineering", 1001+2*i))
	}
	return out
}

func TestAPageMovesTheCursorWithItsEvents(t *testing.T) {
	w := newWorld(t)
	w.settle()
	if w.cursor() != "" {
		t.Error("there is a cursor before any page")
	}
	_, before, _ := w.st.List(context.Background(), "none")
	few := many(5)
	res := w.page(page("", few...))
	if res.Outcomes[directory.OutcomeApplied] != 10 || res.Revision != before+1 {
		t.Errorf("%+v, before %d", res, before)
	}
	c, _ := w.d.Cursor(context.Background())
	if c.After != few[9].ID || !c.At.Equal(few[9].CreatedAt) || !c.Moved.Equal(w.now) {
		t.Errorf("%+v", c)
	}
	if res = w.page(page("", few...)); res.Outcomes[directory.OutcomeDuplicate] != 5 || res.Outcomes[directory.OutcomeStale] != 5 {
		t.Errorf("again: %+v", res) // a created user was changed by the membership's event
	}
	w.page(directory.Page{After: c.After})
	if w.cursor() != c.After {
		t.Error("an empty page moved the cursor")
	}
}

func TestAFailingStoreLosesNoEventOfAPage(t *testing.T) {
	events := many(100)
	for n := 1; ; n++ {
		for _, lost := range []bool{true, false} {
			f := &flaky{Store: openStore(t)}
			w := worldOver(t, f, directory.Options{})
			w.settle()
			f.arm(n, lost)
			_, err := w.d.ApplyPage(context.Background(), page("", events...))
			f.arm(0, false)
			if err == nil {
				if n < 4 {
					t.Errorf("200 events went into %d transactions", n-1)
				}
				return
			}
			// Everything up to the cursor is in effect.
			w.reload()
			at := slices.IndexFunc(events, func(ev directory.Event) bool { return ev.ID == w.cursor() })
			if got := len(w.d.View().Users(dirA)) - 1; got != (at+2)/2 {
				t.Fatalf("update %d failed: cursor at event %d, %d users", n, at, got)
			}
			w.page(page(w.cursor(), events[at+1:]...))
			if got := len(w.d.View().GroupMembers(eng)); got != 101 || w.cursor() != events[199].ID {
				t.Fatalf("update %d failed: %d members in the end", n, got)
			}
		}
	}
}

func TestAFullPageOfTheLargestEventsIsTaken(t *testing.T) {
	w := newWorld(t)
	w.settle()
	var events []directory.Event
	for i := range directory.MaxPage {
		data := person{id: fmt.Sprintf("directory_user_%d", i), email: fmt.Sprintf("u%d@acme.test", i)}.data()
		data["custom_attributes"] = map[string]any{"x": string(slices.Repeat([]byte("y"), 100<<10))}
		events = append(events, event("dsync.user.created", 1000+i, data))
	}
	w.page(page("", events...))
	if n := len(w.d.View().Users(dirA)); n != 1+directory.MaxPage {
		t.Errorf("%d users", n)
	}
}

func TestMaxPageFitsOneTransaction(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupName: "G3", Roles: []string{"editor"}})
	var events []directory.Event
	for i := range directory.MaxPage { // nothing in common, and every group gets its name
		p := person{id: fmt.Sprintf("directory_user_%d", i), email: fmt.Sprintf("u%d@acme.test", i), dir: fmt.Sprintf("directory_%d", i)}
		ev := member("added", p, fmt.Sprintf("directory_group_%d", i), fmt.Sprintf("G%d", i), 1000+i)
		ev.CreatedAt = w.now.Add(time.Hour) // dated ahead: its receipt is kept as well
		events = append(events, ev)
	}
	_, before, _ := w.st.List(context.Background(), "none")
	if res := w.page(page("", events...)); res.Revision != before+1 || res.Outcomes[directory.OutcomeApplied] != directory.MaxPage {
		t.Errorf("%+v, %d before", res, before)
	}
}

func TestWhatCannotBeAppliedIsPutAsideAndItsDirectoryReadAnew(t *testing.T) {
	w := newWorld(t)
	w.settle()
	good := many(2)
	bad := event("dsync.user.updated", 1500, map[string]any{"id": "bad/../id", "directory_id": dirA, "organization_id": acme})
	foreign := user("created", person{id: "directory_user_F", org: globex}, 1501)
	p := page("", good[0], bad, good[1], foreign, good[2])
	p.Dead = []directory.DeadLetter{
		{ID: "event_dead", Type: "dsync.user.created", Raw: []byte(`{"id":"event_dead","created_at":"never","data":{"directory_id":"directory_A"}}`), Reason: "no created_at"},
		{ID: "", Type: "", Raw: slices.Repeat([]byte("x"), 100<<10), Reason: "not JSON"},
	}
	res := w.page(p)
	if res.Outcomes[directory.OutcomeDead] != 4 || res.Outcomes[directory.OutcomeApplied] != 3 {
		t.Errorf("%+v", res)
	}
	if w.cursor() != good[2].ID {
		t.Error("the feed stands still")
	}
	letters, err := w.d.DeadLetters(context.Background())
	if err != nil || len(letters) != 4 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	for _, l := range letters {
		if len(l.Raw) > 16<<10 || l.Reason == "" || l.ReceivedAt.IsZero() {
			t.Errorf("%+v", l)
		}
		if l.ID == bad.ID && (l.DirectoryID != dirA || l.OrganizationID != acme || !l.CreatedAt.Equal(bad.CreatedAt)) {
			t.Errorf("%+v", l)
		}
	}
	v := w.d.View()
	if dirs := v.DirtyDirectories(); !slices.Equal(dirs, []string{dirA}) || !v.DirtyOrganizations() || !v.Freshness(dirA).Dirty {
		t.Errorf("to be read anew: %v, the list of organizations: %v", dirs, v.DirtyOrganizations())
	}
	select {
	case <-w.d.Dirty():
	default:
		t.Error("nobody was told")
	}
	if _, ok := v.UserByID("directory_user_F"); ok {
		t.Error("a user of another organization was made")
	}
	w.page(p) // once more: the same letters
	if letters, _ := w.d.DeadLetters(context.Background()); len(letters) != 4 {
		t.Errorf("%d letters after the second time", len(letters))
	}
}

func TestAReadingTakesTheMarkAwayThatWasThereBeforeItBegan(t *testing.T) {
	w := newWorld(t)
	w.settle()
	if _, err := w.d.MarkDirty(context.Background(), dirA, "an operator asked"); err != nil {
		t.Fatal(err)
	}
	w.catchUp()
	r := seen(3_600_000-60_000, []person{adaP}, adaInEng)
	r.Started = w.now.Add(-time.Second) // begun before the mark
	w.read(r)
	if len(w.d.View().DirtyDirectories()) != 1 {
		t.Error("the mark is gone, and nothing was read since")
	}
	r.Started, r.Watermark = w.now, r.Watermark.Add(time.Second)
	w.read(r)
	if len(w.d.View().DirtyDirectories()) != 0 {
		t.Error("the mark stays")
	}
	if _, err := w.d.MarkDirty(context.Background(), "directory_none", ""); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestOppositeEventsOfOneTimeWantAReading(t *testing.T) {
	w := newWorld(t)
	w.settle()
	if _, err := w.try(member("removed", adaP, eng, "Engineering", 6)); err != nil {
		t.Fatal(err)
	}
	w.see(session(adaP.email, adaP.idp), ada+" active [] []")
	if dirs := w.d.View().DirtyDirectories(); len(dirs) != 1 {
		t.Errorf("dirty: %v", dirs)
	}
}

// An event can arrive by webhook before the Events API shows it, and before
// others that are older. A cursor that followed the webhook would skip those.
func TestTheHoldBackRaceLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.mappings(acme, directory.Mapping{GroupID: eng, Roles: []string{"editor"}})
	log := []directory.Event{
		user("created", bobP, 100),
		member("added", bobP, eng, "Engineering", 110),
		user("updated", person{id: bob, email: bobP.email, idp: bobP.idp, state: "inactive"}, 120),
		member("removed", adaP, eng, "Engineering", 130),
	}
	w.page(page("", log[0]))
	held := w.cursor()
	w.apply(log[3]) // delivered, and not shown yet
	if w.cursor() != held {
		t.Fatal("a webhook moved the cursor")
	}
	w.page(directory.Page{After: held, Head: w.now})
	if w.cursor() != held {
		t.Fatal("an empty page moved the cursor")
	}
	w.page(page(held, log[1], log[2])) // older ones show up
	w.page(page(log[2].ID, log[3]))
	w.see(session(bobP.email, bobP.idp), bob+" inactive [Engineering] []")
	w.see(session(adaP.email, adaP.idp), ada+" active [] []")
	if w.cursor() != log[3].ID {
		t.Error("the cursor is not at the end")
	}
}

func TestTwoPollersDoNotMoveOneCursorBack(t *testing.T) {
	w := newWorld(t)
	w.settle()
	log := many(3)
	w.page(page("", log[:2]...))
	w.page(page(log[1].ID, log[2:4]...))
	if _, err := w.d.ApplyPage(context.Background(), page(log[1].ID, log[2], log[3])); err != nil {
		t.Errorf("the same page again: %v", err)
	}
	_, err := w.d.ApplyPage(context.Background(), page(log[0].ID, log[1]))
	if !errors.Is(err, directory.ErrCursorMoved) || w.cursor() != log[3].ID {
		t.Errorf("%v, cursor %s", err, w.cursor())
	}
}

func TestALostCursorWantsEverythingRead(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.page(page("", many(1)...))
	if err := w.d.ResetCursor(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.catchUp()
	if v := w.d.View(); w.cursor() != "" || len(v.DirtyDirectories()) != 1 || !v.DirtyOrganizations() {
		t.Errorf("cursor %q, dirty %v %v", w.cursor(), v.DirtyDirectories(), v.DirtyOrganizations())
	}
}

func TestACorruptRegisterDoesNotStopTheFeed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	rev, err := w.st.Update(context.Background(), func(tx store.Tx) error {
		return errors.Join(tx.Put("directory/user/directory_user_0", []byte("{")), tx.Put("directory/read/"+dirA, []byte("[")))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.follow(rev)
	log := many(2)
	res := w.page(page("", log...))
	if res.Outcomes[directory.OutcomeDead] != 2 || res.Outcomes[directory.OutcomeApplied] != 2 || w.cursor() != log[3].ID {
		t.Errorf("%+v, cursor %s", res, w.cursor())
	}
}

func TestEventsThatChangeNothingAreCountedWithinBounds(t *testing.T) {
	w := newWorld(t)
	w.settle()
	before := dump(w.d.View(), nil)
	raw := json.RawMessage(`{"id":"x"}`)
	for i := range 300 {
		ev := directory.Event{ID: fmt.Sprint("event_", i), Type: fmt.Sprint("novel.", i), CreatedAt: at(i + 1), Data: raw}
		w.want(directory.OutcomeIgnored, ev)
	}
	w.want(directory.OutcomeIgnored, directory.Event{ID: "event_odd", Type: "a/b\x00c", CreatedAt: at(1), Data: raw})
	w.want(directory.OutcomeApplied, directory.Event{ID: "event_s1", Type: "session.revoked", CreatedAt: at(1), Data: raw})
	if n := len(w.d.View().Counted()); n > 258 {
		t.Errorf("%d types are counted one by one", n)
	}
	if after := dump(w.d.View(), nil); after != before {
		t.Error(unlike(after, before))
	}
}
