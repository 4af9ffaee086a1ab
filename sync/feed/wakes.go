package feed

import "time"

// wakes plans polls at fixed delays after a webhook. Many webhooks in a row
// share them: for each delay one poll is planned at a time, the soonest, and
// after it one for the last webhook that came meanwhile.
type wakes struct {
	after []time.Duration
	due   []time.Time // by after; zero: none is planned
	last  time.Time   // of the last webhook
}

func newWakes(after []time.Duration) wakes {
	return wakes{after: after, due: make([]time.Time, len(after))}
}

// add plans for a webhook at t.
func (w *wakes) add(t time.Time) {
	w.last = t
	for i, d := range w.after {
		if w.due[i].IsZero() {
			w.due[i] = t.Add(d)
		}
	}
}

// next is when the next poll is due; the zero time if none is planned.
func (w *wakes) next() time.Time {
	var next time.Time
	for _, t := range w.due {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// polled tells that a poll began at t: what was due is done.
func (w *wakes) polled(t time.Time) {
	for i, due := range w.due {
		if due.IsZero() || due.After(t) {
			continue
		}
		w.due[i] = time.Time{}
		if again := w.last.Add(w.after[i]); again.After(t) {
			w.due[i] = again
		}
	}
}
