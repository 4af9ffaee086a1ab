package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxPage is how many events surely fit one transaction of the store. A
// membership event reads nine keys (receipt, what was read of the directory, the
// directory, user, group, edge, and three of the index by name) and writes six;
// one that cannot be applied marks at most 32 directories. ApplyPage takes
// larger pages and splits them.
const MaxPage = layerKeys / 9

// ErrCursorMoved: the page does not follow the stored cursor; another poller
// moved it. Read it and go on from there.
var ErrCursorMoved = errors.New("the cursor was moved by another")

// Page is one step of the Events API: events in the order they were read, what
// could not be read of them, and the cursor after all of them.
type Page struct {
	Events   []Event
	Dead     []DeadLetter
	After    string    // the cursor it was read after; if set and another is stored: ErrCursorMoved
	Cursor   string    // the id of the page's last event; empty: the cursor stays
	CursorAt time.Time // created_at of the event that Cursor names
	Head     time.Time // when it was read, if nothing came after it; else zero
}

// PageResult counts what the page's events did, by outcome.
type PageResult struct {
	Outcomes map[string]int
	Revision uint64 // wait for it to see their effect
}

// Cursor is how far the Events API was read. Only ApplyPage and ResetCursor
// move it: an event's id that a webhook brought says nothing about what the
// Events API showed before it.
type Cursor struct {
	After string    // the id of the last event read; empty: none
	At    time.Time // its created_at
	Moved time.Time // when the cursor was last moved
}

type cursorRecord struct {
	V     int    `json:"v"`
	After string `json:"after,omitempty"`
	At    int64  `json:"at,omitempty"`
	Moved int64  `json:"moved,omitempty"`
	Head  int64  `json:"head,omitempty"` // when the Events API was last read to its end
}

func (r cursorRecord) known() bool { return r.V == version }

func cursorKey() string { return Prefix + "cursor/events" }

// headEvery is how often that the Events API was read to its end is written
// down, if nothing else is.
const headEvery = time.Minute

// ApplyPage merges the events of a page and moves the cursor behind them, in one
// transaction. A page that does not fit one is taken in several, each of which
// moves the cursor behind the events it holds. An event that cannot be applied
// becomes a dead letter in the same transaction. Errors: ErrCursorMoved,
// ErrCorrupt, or the store's; then the same page can be applied again.
func (d *Directory) ApplyPage(ctx context.Context, p Page) (PageResult, error) {
	now := d.now().UnixMilli()
	steps := len(p.Dead) + len(p.Events)
	did := make([]string, steps)
	writes := make([]func(*writer) (outcome, error), len(p.Events))
	reasons := make([]error, len(p.Events))
	for i := range p.Events {
		if reasons[i] = p.Events[i].check(); reasons[i] == nil {
			writes[i], reasons[i] = d.planEvent(&p.Events[i])
		}
	}
	view := d.View()
	// Dead letters go first, and move nothing: the cursor never passes an event
	// that is neither applied nor put aside.
	step := func(l *layer, i int) (err error) {
		w := &writer{tx: l, at: moment{received: now}}
		if i < len(p.Dead) {
			did[i] = OutcomeDead
			return w.buryLetter(view, p.Dead[i], now)
		}
		ev := &p.Events[i-len(p.Dead)]
		did[i], err = d.applyOrBury(l, view, ev, writes[i-len(p.Dead)], reasons[i-len(p.Dead)], now)
		return err
	}
	rev, err := d.inParts(ctx, steps, step, func(l *layer, done int) error { return p.advance(l, done, now) })
	if err != nil {
		return PageResult{}, fmt.Errorf("apply page: %w", err)
	}
	if !p.Head.IsZero() {
		d.NotePoll(p.Head)
	}
	out := PageResult{Outcomes: map[string]int{}, Revision: rev}
	for i, o := range did {
		if out.Outcomes[o]++; o == OutcomeDead && i >= len(p.Dead) {
			ev := &p.Events[i-len(p.Dead)]
			d.log.Error("an event could not be applied and was put aside", "event", clip(ev.ID, 128), "type", clip(ev.Type, 128))
		}
	}
	return out, nil
}

// applyOrBury applies one event of a page, or puts it aside.
func (d *Directory) applyOrBury(l *layer, v *View, ev *Event, write func(*writer) (outcome, error), reason error, now int64) (string, error) {
	if reason == nil {
		o, err := d.applyTo(l, ev, write, SourceEvents)
		if err == nil {
			return o.String(), nil
		}
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCorrupt) {
			return "", err
		}
		reason = err
	}
	l.drop() // nothing of it may stay
	w := &writer{tx: l, at: moment{received: now}}
	return OutcomeDead, w.buryLetter(v, letter(ev, reason), now)
}

// letter is the dead letter of an event.
func letter(ev *Event, reason error) DeadLetter {
	raw, err := json.Marshal(struct {
		ID        string          `json:"id"`
		Event     string          `json:"event"`
		CreatedAt time.Time       `json:"created_at"`
		Data      json.RawMessage `json:"data"`
	}{ev.ID, ev.Type, ev.CreatedAt, ev.Data})
	if err != nil { // the data is not JSON
		raw = ev.Data
	}
	return DeadLetter{ID: ev.ID, Type: ev.Type, CreatedAt: ev.CreatedAt, Raw: raw, Reason: reason.Error()}
}

// advance moves the cursor behind the first done steps of the page.
func (p *Page) advance(l *layer, done int, now int64) error {
	r, err := get[cursorRecord](l, cursorKey())
	if errors.Is(err, ErrCorrupt) { // an unreadable cursor is no cursor
		r, err = cursorRecord{}, nil
	}
	if err != nil {
		return err
	}
	events := done - len(p.Dead)
	whole := events == len(p.Events)
	if p.After != "" && r.After != p.After && !p.holds(r.After) {
		return ErrCursorMoved
	}
	old := r
	switch {
	case whole && p.Cursor != "":
		r.After, r.At = p.Cursor, p.CursorAt.UnixMilli()
	case !whole && events > 0 && validID(p.Events[events-1].ID):
		r.After, r.At = p.Events[events-1].ID, p.Events[events-1].CreatedAt.UnixMilli()
	}
	if r.After != old.After {
		r.Moved = now
	}
	if head := p.Head.UnixMilli(); whole && !p.Head.IsZero() && (r.After != old.After || head >= r.Head+headEvery.Milliseconds()) {
		r.Head = max(r.Head, head)
	}
	if r == old {
		return nil
	}
	r.V = version
	return put(l, cursorKey(), r)
}

// holds reports whether the cursor stands within this page: an earlier try got
// that far.
func (p *Page) holds(cursor string) bool {
	for i := range p.Events {
		if p.Events[i].ID == cursor {
			return true
		}
	}
	return cursor == p.Cursor && cursor != ""
}

// Cursor is the stored cursor; the zero value if there is none.
func (d *Directory) Cursor(ctx context.Context) (Cursor, error) {
	r, err := get[cursorRecord](reader{ctx, d.store}, cursorKey())
	if err != nil {
		return Cursor{}, fmt.Errorf("read cursor: %w", err)
	}
	return Cursor{After: r.After, At: instant(r.At), Moved: instant(r.Moved)}, nil
}

// ResetCursor forgets the cursor, after WorkOS rejected it or it became too old
// to be followed. What was missed must then be read: every directory, and the
// list of them, is marked.
func (d *Directory) ResetCursor(ctx context.Context) error {
	dirs := []string{worldDirty}
	d.View().directories.Root().Walk(func(id []byte, n *linkedNode) bool {
		if n.rec.alive() {
			dirs = append(dirs, string(id))
		}
		return false
	})
	now := d.now().UnixMilli()
	_, err := d.inParts(ctx, len(dirs), func(l *layer, i int) error {
		return (&writer{tx: l, at: moment{received: now}}).soil(dirs[i], "the cursor was lost")
	}, func(l *layer, done int) error {
		if done < len(dirs) {
			return nil
		}
		return l.Delete(cursorKey())
	})
	if err != nil {
		return fmt.Errorf("reset cursor: %w", err)
	}
	return nil
}
