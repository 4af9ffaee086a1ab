package feed_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

// Random histories while everything runs: some webhooks come, late, twice and in
// any order, others never; WorkOS fails now and then; the poller reads behind
// the hold-back; reconciles read in the middle of it. In the end the directory
// says what WorkOS says. SEED repeats a history.
func TestWhateverIsLostInTheEndAllIsTrue(t *testing.T) {
	t.Parallel()
	rounds, events := 2, 60
	if soak(0, 1) > 0 {
		rounds, events = 40, 300
	}
	seed := rand.Uint64()
	if fixed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed, rounds = fixed, 1
	}
	for i := range rounds {
		t.Run(fmt.Sprintf("SEED=%d", seed+uint64(i)), func(t *testing.T) {
			history(t, rand.New(rand.NewPCG(seed+uint64(i), 1)), events)
		})
	}
}

func history(t *testing.T, rnd *rand.Rand, events int) {
	s := start(t, func(o *setup) {
		o.EventsDelay, o.timeout = 150*time.Millisecond, 300*time.Millisecond
		o.feed.ReconcileEvery, o.feed.DirtyEvery = 250*time.Millisecond, 50*time.Millisecond
	})
	s.run()
	var late []standin.Event
	for i := range events {
		e := s.anything(rnd, i)
		if rnd.IntN(3) > 0 { // a third of the webhooks never come
			late = append(late, e)
		}
		for rnd.IntN(2) == 0 && len(late) > 0 { // the others do, some time
			s.apply(late[rnd.IntN(len(late))])
			s.c.Wake()
		}
		switch rnd.IntN(12) {
		case 0:
			s.hinder(func(w http.ResponseWriter, r *http.Request) bool { storm(w, r); return true })
		case 1, 2, 3:
			s.hinder(nil)
		}
		time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
	}
	s.hinder(nil)
	s.until("all is as WorkOS has it", func() bool { return s.untruth() == "" })
	time.Sleep(300 * time.Millisecond) // and it stays so
	s.truth()
}

// anything makes one thing happen in Acme's directory that can.
func (s *synced) anything(rnd *rand.Rand, i int) standin.Event {
	w := s.workos.World()
	dir, _ := w.Directory("acme")
	var users []standin.User
	for _, u := range w.Users {
		if u.DirectoryID == dir.ID {
			users = append(users, u)
		}
	}
	var groups []standin.Group
	for _, g := range w.Groups {
		if g.DirectoryID == dir.ID {
			groups = append(groups, g)
		}
	}
	if len(users) < 2 || rnd.IntN(8) == 0 {
		return s.happen("dsync.user.created", fmt.Sprintf(`{"email":"u%d@acme.test","organization":"acme"}`, i))
	}
	if len(groups) < 2 || rnd.IntN(12) == 0 {
		return s.happen("dsync.group.created", fmt.Sprintf(`{"name":"G%d","organization":"acme"}`, i))
	}
	u, g := users[rnd.IntN(len(users))], groups[rnd.IntN(len(groups))]
	member := fmt.Sprintf(`{"user":{"id":%q},"group":{"id":%q}}`, u.ID, g.ID)
	switch rnd.IntN(10) {
	case 0:
		return s.happen("dsync.user.deleted", fmt.Sprintf(`{"id":%q}`, u.ID))
	case 1:
		return s.happen("dsync.group.deleted", fmt.Sprintf(`{"id":%q}`, g.ID))
	case 2, 3:
		state := []string{"active", "inactive"}[rnd.IntN(2)]
		return s.happen("dsync.user.updated", fmt.Sprintf(`{"id":%q,"state":%q}`, u.ID, state))
	case 4, 5, 6:
		return s.happen("dsync.group.user_removed", member)
	}
	return s.happen("dsync.group.user_added", member)
}
