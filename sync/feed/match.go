package feed

import (
	"sync"
	"time"
)

// maxUnmatched bounds what is remembered of events known from one way alone.
const maxUnmatched = 50_000

// matcher finds events that came by one way and not by the other: those a
// webhook brought that the Events API does not show within a time, and those of
// the Events API that no webhook brought. The facts are the same either way;
// the count tells an operator that the webhook endpoint, or the list of event
// types it is subscribed to, is broken.
type matcher struct {
	within time.Duration
	missed func(way string, n int)

	mu       sync.Mutex
	began    time.Time // events from before cannot be judged
	webhooks map[string]time.Time
	events   map[string]time.Time
	matched  map[string]time.Time // seen on both ways; a webhook may come twice
}

// The two ways, as the metric's label.
const (
	wayWebhook = "webhook"
	wayEvents  = "events"
)

func newMatcher(began time.Time, within time.Duration, missed func(string, int)) *matcher {
	return &matcher{within: within, missed: missed, began: began,
		webhooks: map[string]time.Time{}, events: map[string]time.Time{}, matched: map[string]time.Time{}}
}

// webhook tells of a delivery. One of long ago, sent again, was judged then.
func (m *matcher) webhook(id string, created, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if created.Before(m.began) || now.Sub(created) > m.within {
		return
	}
	m.seen(id, now, m.webhooks, m.events)
}

// event tells of an event read from the Events API.
func (m *matcher) event(id string, created, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if created.Before(m.began) {
		return
	}
	m.seen(id, now, m.events, m.webhooks)
}

func (m *matcher) seen(id string, now time.Time, here, there map[string]time.Time) {
	if _, ok := m.matched[id]; ok {
		return
	}
	if _, ok := there[id]; ok {
		delete(there, id)
		if len(m.matched) < maxUnmatched {
			m.matched[id] = now
		}
		return
	}
	if _, ok := here[id]; !ok && len(here) < maxUnmatched {
		here[id] = now
	}
}

// head tells that the Events API was read to its end at now: what was known
// long before then, and on one way alone, was missed on the other.
func (m *matcher) head(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report(wayEvents, m.webhooks, now)
	m.report(wayWebhook, m.events, now)
	for id, at := range m.matched {
		if now.Sub(at) > 2*m.within {
			delete(m.matched, id)
		}
	}
}

func (m *matcher) report(way string, waiting map[string]time.Time, now time.Time) {
	n := 0
	for id, at := range waiting {
		if now.Sub(at) > m.within {
			delete(waiting, id)
			n++
		}
	}
	if n > 0 {
		m.missed(way, n)
	}
}
