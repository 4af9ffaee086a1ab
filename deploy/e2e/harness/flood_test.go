package harness

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// sender is one connection of WorkOS's: it posts its history's events one after
// the other and remembers which were answered 200.
type sender struct {
	history *history
	users   map[string]*known
	groups  map[string]*known
	again   []event // happened, but were not answered: some are sent again

	sent, acknowledged int
}

func newSender(h *history) *sender {
	return &sender{history: h, users: map[string]*known{}, groups: map[string]*known{}}
}

// errAnswered is an answer that WorkOS's side does not expect from a program
// that is alive.
var errAnswered = errors.New("answered")

// flood posts until the program is gone. Only an answer is an error: that the
// connection broke is what the test is about.
func (s *sender) flood(g *gate) error {
	hc := loopback(1)
	defer hc.CloseIdleConnections()
	for {
		batch := s.history.burst()
		if len(s.again) > 0 {
			batch, s.again = append(s.again, batch...), nil
		}
		for i, e := range batch {
			status, err := g.post(hc, e)
			s.sent++
			switch {
			case err != nil:
				s.note(e, false)
				s.giveUp(batch[i:])
				return nil
			case status != http.StatusOK:
				return fmt.Errorf("%w %d to %v", errAnswered, status, e)
			}
			s.acknowledged++
			s.note(e, true)
		}
	}
}

// giveUp is what WorkOS does with events that were not answered: it sends most
// of them again, later, with the same ids. The others never arrive.
func (s *sender) giveUp(events []event) {
	for _, e := range events {
		if s.history.rand.IntN(4) > 0 {
			s.again = append(s.again, e)
		}
	}
}

func (s *sender) note(e event, acknowledged bool) {
	if e.user != "" {
		note(s.users, e.user, e, acknowledged)
	}
	if e.group != "" && !slices.Contains(s.history.groups[:s.history.shared], e.group) {
		note(s.groups, e.group, e, acknowledged)
	}
}

func note(all map[string]*known, id string, e event, acknowledged bool) {
	k := all[id]
	if k == nil {
		k = &known{}
		all[id] = k
	}
	same := func(o event) bool { return o.id == e.id }
	keep := e
	keep.body = nil
	switch {
	case slices.ContainsFunc(k.acknowledged, same):
	case acknowledged:
		k.uncertain = slices.DeleteFunc(k.uncertain, same)
		k.acknowledged = append(k.acknowledged, keep)
	case !slices.ContainsFunc(k.uncertain, same):
		k.uncertain = append(k.uncertain, keep)
	}
}

// check compares everything that the sender knows with what the program shows.
// It takes what it finds out of the two maps: what is left belongs to nobody.
func (s *sender) check(users map[string]*shown, groups map[string]bool) error {
	var errs []error
	for id, k := range s.groups {
		got := "absent"
		if groups[id] {
			got = "there"
		}
		err := k.settle(got, func(f *fold) string {
			if f.alive() {
				return "there"
			}
			return "absent"
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s\n%w", id, err))
		}
	}
	there := func(id string) bool { return groups[id] }
	for id, k := range s.users {
		if err := k.settle(users[id].show(), func(f *fold) string { return f.show(there) }); err != nil {
			errs = append(errs, fmt.Errorf("user %s\n%w", id, err))
		}
		delete(users, id)
	}
	return errors.Join(errs...)
}

// verify reads the directory through the admin API and checks every sender's
// events against it; dev's own users may be there too.
func verify(g *gate, p place, senders []*sender, own map[string]bool) error {
	all, err := list[shown](g, "directories/"+p.directory+"/users")
	if err != nil {
		return err
	}
	users, groups := map[string]*shown{}, map[string]bool{}
	for i := range all {
		users[all[i].ID] = &all[i]
	}
	inThere, err := list[shown](g, "directories/"+p.directory+"/groups")
	if err != nil {
		return err
	}
	for _, x := range inThere {
		groups[x.ID] = true
	}
	var errs []error
	for _, s := range senders {
		errs = append(errs, s.check(users, groups))
	}
	for id := range users {
		if !own[id] {
			errs = append(errs, fmt.Errorf("user %s is there and no event ever said so", id))
		}
	}
	return errors.Join(errs...)
}

// floodAll lets all senders post at once and returns when the program is gone.
func floodAll(g *gate, senders []*sender) error {
	errs := make([]error, len(senders))
	var wg sync.WaitGroup
	for i, s := range senders {
		wg.Go(func() { errs[i] = s.flood(g) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func totals(senders []*sender) (sent, acknowledged, uncertain int) {
	for _, s := range senders {
		sent, acknowledged = sent+s.sent, acknowledged+s.acknowledged
		for _, k := range s.users {
			uncertain += len(k.uncertain)
		}
	}
	return sent, acknowledged, uncertain
}
