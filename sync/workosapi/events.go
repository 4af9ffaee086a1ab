package workosapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// ErrCursorRejected: the Events API does not know the event that EventQuery.After
// names. It keeps events for some weeks (30 to 90 days, by page of its
// documentation), so events may be lost between that one and the oldest kept.
var ErrCursorRejected = errors.New("workos: the events cursor is not known")

// EventQuery asks for events, oldest first: those behind the event After, or
// those made between RangeStart and RangeEnd, or all that WorkOS still has.
type EventQuery struct {
	Types        []string // at least one; others are not told
	After        string   // id of an event; excludes RangeStart
	RangeStart   time.Time
	RangeEnd     time.Time
	Limit        int    // 1 to 100; 0 is 100
	Organization string // only this organization's; "" is all
}

// RawEvent is one event, each decoded on its own: one that is damaged costs
// itself, not its page.
type RawEvent struct {
	ID           string
	Type         string
	CreatedAt    time.Time       // the zero time if it cannot be read
	CreatedAtRaw string          // as WorkOS wrote it
	Data         json.RawMessage // the object, by type
	Raw          json.RawMessage // the whole event
	DecodeError  error           // what of it cannot be read; nil if all can
}

// EventPage is one answer of the Events API.
type EventPage struct {
	Events []RawEvent
	// Last is the id of the last event that has one, for the next After; empty
	// if there is none, and then the cursor stays where it is. It is not what
	// the answer calls "after", which is null on the last page.
	Last string
	// More is true if there may be more events now.
	More bool
	// ServerTime is WorkOS's clock, from the answer's Date header to the second;
	// the zero time if it has none.
	ServerTime time.Time
}

// ListEvents reads one page of events. WorkOS holds new events back for a few
// seconds, so an id that a webhook brought must never become After: events
// between the two would be skipped. Raw: the SDK fails a whole page over one
// timestamp. Errors: ErrCursorRejected, ErrRateLimited, ErrUnavailable,
// ErrInvalid, or another *APIError.
func (c *Client) ListEvents(ctx context.Context, e EventQuery) (EventPage, error) {
	const op = "list events"
	q, limit, err := e.values()
	if err != nil {
		return EventPage{}, fmt.Errorf("%s: %w", op, err)
	}
	var p page[json.RawMessage]
	header, err := c.get(ctx, "/events", q, &p)
	if err != nil {
		var api *APIError
		if errors.As(err, &api) && e.After != "" && api.refusesCursor() {
			return EventPage{}, fmt.Errorf("%s: %w: %w", op, ErrCursorRejected, api)
		}
		return EventPage{}, fail(op, err)
	}
	if err := p.check(); err != nil {
		return EventPage{}, fmt.Errorf("%s: %w", op, err)
	}
	out := EventPage{More: len(*p.Data) >= limit || p.Metadata.After != "", ServerTime: serverTime(header)}
	for _, raw := range *p.Data {
		ev := readEvent(raw)
		if ev.ID != "" {
			out.Last = ev.ID
		}
		out.Events = append(out.Events, ev)
	}
	if len(out.Events) > 0 && out.Last == "" {
		return EventPage{}, fmt.Errorf("%s: %w: no event has an id", op, ErrUnavailable)
	}
	if len(out.Events) == 0 {
		out.More = false
	}
	if f := observer(ctx).Page; f != nil {
		f(len(out.Events))
	}
	return out, nil
}

func (e *EventQuery) values() (q url.Values, limit int, err error) {
	q, limit = url.Values{}, e.Limit
	if limit == 0 {
		limit = pageSize
	}
	switch {
	case len(e.Types) == 0 || slices.Contains(e.Types, ""):
		return nil, 0, fmt.Errorf("%w: the types of event are required", ErrInvalid)
	case limit < 1 || limit > pageSize:
		return nil, 0, fmt.Errorf("%w: a page holds 1 to %d events", ErrInvalid, pageSize)
	case e.After != "" && !e.RangeStart.IsZero():
		return nil, 0, fmt.Errorf("%w: a cursor and a start exclude each other", ErrInvalid)
	case e.Organization != "":
		if err := checkID(prefixOrganization, e.Organization); err != nil {
			return nil, 0, err
		}
		q.Set("organization_id", e.Organization)
	}
	q["events"] = e.Types // repeated, as WorkOS's own SDKs send it
	q.Set("limit", strconv.Itoa(limit))
	if e.After != "" {
		q.Set("after", e.After)
	}
	for name, t := range map[string]time.Time{"range_start": e.RangeStart, "range_end": e.RangeEnd} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
		}
	}
	return q, limit, nil
}

// What a RawEvent's DecodeError says. None repeats the event's own bytes.
var (
	errEventShape = errors.New("the event is not an object")
	errEventID    = errors.New("the event has no usable id")
	errEventType  = errors.New("the event has no usable type")
	errEventTime  = errors.New("the event has no usable created_at")
	errEventData  = errors.New("the event's data is not an object")
)

func readEvent(raw json.RawMessage) RawEvent {
	ev := RawEvent{Raw: raw}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		ev.DecodeError = errEventShape
		return ev
	}
	ev.ID, ev.Type, ev.CreatedAtRaw = text(fields["id"]), text(fields["event"]), text(fields["created_at"])
	ev.CreatedAt, ev.Data = parseTime(ev.CreatedAtRaw), fields["data"]
	if len(ev.ID) > 128 {
		ev.ID = ""
	}
	switch {
	case ev.ID == "":
		ev.DecodeError = errEventID
	case ev.Type == "" || len(ev.Type) > 128:
		ev.DecodeError = errEventType
	case ev.CreatedAt.IsZero():
		ev.DecodeError = errEventTime
	case len(ev.Data) == 0 || ev.Data[0] != '{':
		ev.DecodeError = errEventData
	}
	return ev
}

// text is a JSON string's value, or empty.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// refusesCursor reports whether an answer to a query with a cursor is about the
// cursor. WorkOS does not document what an unknown one gives; where the answer
// names the fields it refuses, it must be one of them.
func (e *APIError) refusesCursor() bool {
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return true
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return len(e.Fields) == 0 || slices.Contains(e.Fields, "after")
	}
	return false
}

// ServerTime is WorkOS's clock to the second, by the Date header of a small
// call. What is read afterwards is no older.
func (c *Client) ServerTime(ctx context.Context) (time.Time, error) {
	const op = "ask for the time"
	var p page[json.RawMessage]
	header, err := c.get(ctx, "/organizations", url.Values{"limit": {"1"}}, &p)
	if err != nil {
		return time.Time{}, fail(op, err)
	}
	if err := p.check(); err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", op, err)
	}
	t := serverTime(header)
	if t.IsZero() {
		return t, fmt.Errorf("%s: %w: the answer has no Date", op, ErrUnavailable)
	}
	return t, nil
}

func serverTime(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// RetryAfter is how long WorkOS asked to wait with the next call, by an error
// of this package; 0 if it did not say.
func RetryAfter(err error) time.Duration {
	var api *APIError
	if errors.As(err, &api) {
		return api.RetryAfter
	}
	return 0
}
