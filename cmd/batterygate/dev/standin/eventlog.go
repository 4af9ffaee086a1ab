package standin

import "slices"

// keptEvents bounds the log. WorkOS keeps 30 days; this is room for the story
// of a world of 10,000 users.
const keptEvents = 100_000

// eventLog is what happened, oldest first.
type eventLog struct {
	list  []logged
	place map[string]int // by id: its place since the beginning of the log
	gone  int            // how many were cut off at the beginning
}

func (l *eventLog) add(e logged) {
	if l.place == nil {
		l.place = map[string]int{}
	}
	l.place[e.Event.ID] = l.gone + len(l.list)
	l.list = append(l.list, e)
	if len(l.list) > keptEvents+keptEvents/4 { // seldom, because it moves them all
		l.cut(len(l.list) - keptEvents)
	}
}

func (l *eventLog) cut(n int) {
	for _, e := range l.list[:n] {
		delete(l.place, e.Event.ID)
	}
	l.list, l.gone = slices.Clone(l.list[n:]), l.gone+n
}

// find finds an event; never for the empty id.
func (l *eventLog) find(id string) (logged, bool) {
	i, ok := l.place[id]
	if !ok || id == "" {
		return logged{}, false
	}
	return l.list[i-l.gone], true
}

// after lists the events that follow the one with this id; all of them for "".
func (l *eventLog) after(id string) ([]logged, bool) {
	if id == "" {
		return l.list, true
	}
	i, ok := l.place[id]
	if !ok {
		return nil, false
	}
	return l.list[i-l.gone+1:], true
}
