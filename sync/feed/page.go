package feed

import (
	"context"
	"fmt"
	"time"

	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/workosapi"
)

// apply applies a page and moves the cursor behind it, in transactions that each
// do both: ApplyPage splits what does not fit one. A page that ends what there
// is goes there even if it is empty: it makes the directory fresh.
func (p *poller) apply(ctx context.Context, cur directory.Cursor, page workosapi.EventPage, began time.Time) error {
	in := p.page(cur, page.Events)
	if !page.More {
		in.Head = began
	}
	res, err := p.o.Directory.ApplyPage(ctx, in)
	if err != nil {
		return fmt.Errorf("apply events: %w", err)
	}
	if in.Cursor != "" {
		cur = directory.Cursor{After: in.Cursor, At: in.CursorAt, Moved: p.o.Now()}
	}
	p.applied(ctx, cur, in, res)
	return nil
}

// page makes the events what the directory takes. What cannot be decoded is a
// dead letter: it is kept, its directory is read anew, and the feed goes on.
func (p *poller) page(cur directory.Cursor, events []workosapi.RawEvent) directory.Page {
	out := directory.Page{After: cur.After, CursorAt: cur.At}
	for _, raw := range events {
		if raw.ID != "" {
			out.Cursor = raw.ID
		}
		if raw.CreatedAt.After(out.CursorAt) {
			out.CursorAt = raw.CreatedAt
		}
		ev, err := directory.ParseEvent(raw.Raw)
		if raw.DecodeError != nil {
			err = raw.DecodeError
		}
		if err != nil {
			out.Dead = append(out.Dead, deadLetter(raw, err, p.o.Now()))
			continue
		}
		out.Events = append(out.Events, ev)
	}
	return out
}

// deadLetter is an event that cannot be read. The directory finds out what it
// is about.
func deadLetter(raw workosapi.RawEvent, why error, now time.Time) directory.DeadLetter {
	return directory.DeadLetter{
		ID: raw.ID, Type: raw.Type, CreatedAt: raw.CreatedAt, Raw: raw.Raw, Reason: why.Error(), ReceivedAt: now,
	}
}

// applied keeps the count of a page that is in the store.
func (p *poller) applied(ctx context.Context, cur directory.Cursor, page directory.Page, res directory.PageResult) {
	now := p.o.Now()
	for _, ev := range page.Events {
		p.match.event(ev.ID, ev.CreatedAt, now)
	}
	dead := int64(res.Outcomes[directory.OutcomeDead])
	p.mu.Lock()
	p.st.Cursor, p.st.CursorAt = cur.After, cur.At
	p.st.Events += int64(len(page.Events) + len(page.Dead))
	p.st.DeadLetters += dead
	if page.Head.IsZero() && cur.At.After(p.known) && cur.At.Before(now) {
		p.known = cur.At
	}
	p.mu.Unlock()
	if dead > 0 {
		p.m.dead.Add(ctx, dead)
		p.o.Log.ErrorContext(ctx, "events could not be read; what they are about will be", "events", dead)
	}
}
