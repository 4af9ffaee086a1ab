package standin

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// eventList is a page of events: it has an after cursor only.
type eventList struct {
	Object   string  `json:"object"`
	Data     []Event `json:"data"`
	Metadata struct {
		After Nullable `json:"after"`
	} `json:"list_metadata"`
}

// eventQuery is what GET /events was asked for.
type eventQuery struct {
	names        []string
	organization string
	after        string
	start, end   time.Time
	limit        int
}

// listEvents is GET /events: always oldest first, whatever order says
// (workos-node #1610), and without what is younger than EventsDelay.
func (s *Server) listEvents(r *http.Request) (int, any, error) {
	q, err := readEventQuery(r)
	if err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	following, ok := s.st.events.after(q.after)
	if !ok {
		return 0, nil, &problem{status: http.StatusBadRequest, Message: "Invalid cursor: no event '" + q.after + "'."}
	}
	visible := s.opt.Now().Add(-s.opt.EventsDelay)
	out := eventList{Object: "list", Data: []Event{}}
	for _, l := range following {
		if s.opt.EventsDelay > 0 && l.SeenAt.After(visible) {
			break // never skip one that is held back: a cursor would pass it
		}
		if !q.wants(l) {
			continue
		}
		if len(out.Data) == q.limit {
			out.Metadata.After = Nullable(out.Data[q.limit-1].ID)
			break
		}
		out.Data = append(out.Data, l.Event)
	}
	return http.StatusOK, out, nil
}

func (q eventQuery) wants(l logged) bool {
	return contains(q.names, l.Event.Name) &&
		(q.organization == "" || q.organization == l.OrganizationID) &&
		(q.start.IsZero() || !l.Event.CreatedAt.Before(q.start)) &&
		(q.end.IsZero() || !l.Event.CreatedAt.After(q.end))
}

// readEventQuery takes the event names repeated, comma-separated, or as
// events[]: WorkOS's SDKs use one or the other.
func readEventQuery(r *http.Request) (eventQuery, error) {
	v := r.URL.Query()
	q := eventQuery{organization: v.Get("organization_id"), after: v.Get("after"), limit: 10}
	for _, key := range []string{"events", "events[]"} {
		for _, names := range v[key] {
			for name := range strings.SplitSeq(names, ",") {
				if name = strings.TrimSpace(name); name != "" {
					q.names = append(q.names, name)
				}
			}
		}
	}
	if q.names == nil {
		return q, &problem{
			status: http.StatusUnprocessableEntity, Message: "Validation failed.", Errors: []fieldError{{Code: "required", Field: "events"}},
		}
	}
	if raw := v.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > 100 {
			return q, invalid(fieldError{Code: "limit must be an integer between 1 and 100", Field: "limit"})
		}
		q.limit = n
	}
	if q.after != "" && v.Get("range_start") != "" {
		return q, invalid(fieldError{Code: "after and range_start exclude each other", Field: "range_start"})
	}
	for key, into := range map[string]*time.Time{"range_start": &q.start, "range_end": &q.end} {
		if raw := v.Get(key); raw != "" {
			t, err := time.Parse(time.RFC3339Nano, raw)
			if err != nil {
				return q, invalid(fieldError{Code: "must be an ISO 8601 date string", Field: key})
			}
			*into = t
		}
	}
	return q, nil
}
