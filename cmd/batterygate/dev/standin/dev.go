package standin

import (
	"encoding/json"
	"net/http"
)

func (s *Server) routeDev(mux *http.ServeMux) {
	mux.Handle("POST /_dev/events", s.api(s.postEvent))
	mux.Handle("GET /_dev/world", s.api(s.showWorld))
	mux.Handle("GET /_dev/webhooks", s.api(s.showWebhooks))
	mux.Handle("GET /_dev/faults", s.api(s.showFaults))
	mux.Handle("POST /_dev/faults", s.api(s.addFaults))
	mux.Handle("DELETE /_dev/faults", s.api(s.clearFaults))
}

// showWorld is GET /_dev/world: all of it, for scripts.
func (s *Server) showWorld(*http.Request) (int, any, error) {
	return http.StatusOK, s.World(), nil
}

// showWebhooks is GET /_dev/webhooks: how many events are still on their way.
func (s *Server) showWebhooks(*http.Request) (int, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return http.StatusOK, map[string]int{"pending": len(s.st.pending)}, nil
}

// told is the answer to POST /_dev/events: the event, and how its webhook went.
type told struct {
	Event
	Delivery *Delivery `json:"delivery,omitempty"`
}

// postEvent is POST /_dev/events: an event happens. With ?deliver=1 its webhook
// is sent, in order, and the answer waits for what the receiver answers; without,
// none is sent, as if it were lost. An event whose id is known does not happen
// again, it is only told (and delivered) again, with 200.
func (s *Server) postEvent(r *http.Request) (int, any, error) {
	body, err := readObject(r, "event", "data", "id", "created_at", "context", "object")
	if err != nil {
		return 0, nil, err
	}
	name, data, t, err := readEvent(body)
	if err != nil {
		return 0, nil, err
	}
	deliver := r.URL.Query().Get("deliver") == "1"
	t.silent = !deliver
	status, e, d, err := s.tell(t, name, data)
	if err != nil {
		return 0, nil, err
	}
	out := told{Event: e}
	switch {
	case deliver && d == nil:
		out.Delivery = &Delivery{Error: "no webhook URL is configured"}
	case deliver:
		select {
		case first := <-d.first:
			out.Delivery = &first
		case <-r.Context().Done():
			out.Delivery = &Delivery{Error: "the caller left"}
		}
	}
	return status, out, nil
}

// tell makes the event happen, or finds the one that has this id.
func (s *Server) tell(t terms, name string, data object) (int, Event, *delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.st.events.find(t.id); ok {
		if t.silent || s.opt.WebhookURL == "" {
			return http.StatusOK, l.Event, nil, nil
		}
		return http.StatusOK, l.Event, s.sender.enqueue(l.Event), nil
	}
	e, d, err := s.commitLocked(t, func(st *state, m moment) (change, error) { return st.complete(name, data, m) })
	return http.StatusCreated, e, d, err
}

func readEvent(body object) (name string, data object, t terms, err error) {
	name = body.str("event")
	if name == "" {
		return "", nil, t, invalid(fieldError{Code: "required", Field: "event"})
	}
	if data = body.sub("data"); data == nil {
		if body.has("data") {
			return "", nil, t, invalid(fieldError{Code: "data must be an object", Field: "data"})
		}
		data = object{}
	}
	if body.has("id") {
		if t.id = body.str("id"); t.id == "" || len(t.id) > 128 {
			return "", nil, t, invalid(fieldError{Code: "id must be a string of 1 to 128 characters", Field: "id"})
		}
	}
	if err := optional(body, "created_at", &t.createdAt); err != nil {
		return "", nil, t, err
	}
	if body.has("context") {
		var c map[string]json.RawMessage
		if err := optional(body, "context", &c); err != nil {
			return "", nil, t, err
		}
		if t.context, err = canonical(body["context"]); err != nil {
			return "", nil, t, err
		}
	}
	return name, data, t, nil
}
