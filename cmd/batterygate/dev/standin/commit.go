package standin

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// moment is when something happens: at is its date, ms what its ids are made of.
type moment struct {
	at Time
	ms int64
}

func (m moment) id(prefix string) string { return newID(prefix, m.ms) }

// change is something that is about to happen: the event's complete payload,
// and what it does to the world.
type change struct {
	name    string
	payload any
	apply   func()
}

// terms are what the one who makes an event happen may fix. The zero value
// leaves all to the stand-in.
type terms struct {
	id        string
	createdAt Time
	context   json.RawMessage
	silent    bool // no webhook
}

// commit makes one event happen: it lets build describe the change against the
// world as it is, applies it, appends the event to the log, saves, and hands
// the event to the webhook sender. All under one lock, so that the order of the
// world, of /events and of the webhooks is one order. Where saving fails the
// caller gets an error although the running stand-in knows of the event.
func (s *Server) commit(t terms, build func(*state, moment) (change, error)) (Event, *delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commitLocked(t, build)
}

func (s *Server) commitLocked(t terms, build func(*state, moment) (change, error)) (Event, *delivery, error) {
	m := moment{ms: s.st.time.next(s.opt.Now())}
	m.at = Time{time.UnixMilli(m.ms).UTC()}
	seen := m.at
	if !t.createdAt.IsZero() {
		m.at = t.createdAt
	}
	c, err := build(s.st, m)
	if err != nil {
		return Event{}, nil, err
	}
	data, err := compact(c.payload)
	if err != nil {
		return Event{}, nil, fmt.Errorf("event %s: %w", c.name, err)
	}
	e := Event{Object: "event", ID: t.id, Name: c.name, Data: data, CreatedAt: m.at, Context: t.context}
	if e.ID == "" {
		e.ID = m.id("event_")
	}
	if e.Context == nil {
		e.Context = json.RawMessage("{}")
	}
	if c.apply != nil {
		c.apply()
	}
	l := logged{Event: e, OrganizationID: organizationOf(c.name, data), SeenAt: seen}
	s.st.events.add(l)
	send := !t.silent && s.opt.WebhookURL != ""
	if send {
		s.st.pending = append(s.st.pending, e.ID)
	}
	if err := s.save(journalEntry[op]{Event: &l, Pending: send}); err != nil {
		return Event{}, nil, err
	}
	if !send {
		return e, nil, nil
	}
	return e, s.sender.enqueue(e), nil
}

// delivered forgets a webhook that came through, or was given up.
func (s *Server) delivered(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.st.pending, id)
	if i < 0 {
		return
	}
	s.st.pending = slices.Delete(s.st.pending, i, i+1)
	if err := s.save(journalEntry[op]{Done: id}); err != nil {
		s.opt.Log.Error("webhook delivered, but not noted", "event", id, "err", err)
	}
}
