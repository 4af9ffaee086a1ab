package standin

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// fault is a rule for API calls and pages: those whose path starts with
// PathPrefix (and whose method is Method, if set) are delayed, and answered with
// Status if it is set. Count is for how many requests; 0 means until cleared.
type fault struct {
	PathPrefix string            `json:"path_prefix"`
	Method     string            `json:"method,omitempty"`
	Status     int               `json:"status,omitempty"`
	Count      int               `json:"count,omitempty"`
	DelayMS    int               `json:"delay_ms,omitempty"`
	Body       json.RawMessage   `json:"body,omitempty"` // any JSON; sent as it is
	Headers    map[string]string `json:"headers,omitempty"`
}

// webhookFaults are what goes wrong with webhooks: the next Drop are lost, the
// next Duplicate are sent twice, each is late by DelayMS, and with Reorder every
// two are swapped.
type webhookFaults struct {
	Drop      int  `json:"drop"`
	Duplicate int  `json:"duplicate"`
	DelayMS   int  `json:"delay_ms"`
	Reorder   bool `json:"reorder"`
}

type faultTable struct {
	mu       sync.Mutex
	rules    []fault
	webhooks webhookFaults
}

func (f *faultTable) webhook() webhookFaults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.webhooks
}

// oneWebhook is what goes wrong with one webhook.
type oneWebhook struct {
	drop, duplicate bool
	delay           time.Duration
}

func (f *faultTable) takeWebhook() oneWebhook {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := oneWebhook{delay: time.Duration(f.webhooks.DelayMS) * time.Millisecond}
	switch {
	case f.webhooks.Drop > 0:
		f.webhooks.Drop--
		out.drop = true
	case f.webhooks.Duplicate > 0:
		f.webhooks.Duplicate--
		out.duplicate = true
	}
	return out
}

// take finds the first rule for a request and counts it down.
func (f *faultTable) take(r *http.Request) (fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, rule := range f.rules {
		if !strings.HasPrefix(r.URL.Path, rule.PathPrefix) || rule.Method != "" && rule.Method != r.Method {
			continue
		}
		if rule.Count == 1 {
			f.rules = append(f.rules[:i:i], f.rules[i+1:]...)
		} else if rule.Count > 1 {
			f.rules[i].Count--
		}
		return rule, true
	}
	return fault{}, false
}

// wrap lets the rules loose on everything but /_dev.
func (f *faultTable) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_dev/") {
			next.ServeHTTP(w, r)
			return
		}
		rule, ok := f.take(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		if !sleep(r.Context(), time.Duration(rule.DelayMS)*time.Millisecond) {
			return
		}
		if rule.Status == 0 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for k, v := range rule.Headers {
			w.Header().Set(k, v)
		}
		w.WriteHeader(rule.Status)
		if body := rule.Body; body != nil {
			_, _ = w.Write(body)
		} else {
			_, _ = w.Write(must(compact(map[string]string{"message": http.StatusText(rule.Status)})))
		}
	})
}

// faultFields are what POST /_dev/faults takes: a rule, or webhook faults, or both.
var faultFields = [...]string{"path_prefix", "method", "status", "count", "delay_ms", "body", "headers", "webhooks"}

// addFaults is POST /_dev/faults. Rules add up; webhook faults are replaced.
func (s *Server) addFaults(r *http.Request) (int, any, error) {
	body, err := readObject(r, faultFields[:]...)
	if err != nil {
		return 0, nil, err
	}
	var hooks *webhookFaults
	if err := optional(body, "webhooks", &hooks); err != nil {
		return 0, nil, err
	}
	rule, err := read[fault](body.without("webhooks"))
	if err != nil {
		return 0, nil, err
	}
	if rule.Status != 0 && (rule.Status < 200 || rule.Status > 599) || rule.Count < 0 || rule.DelayMS < 0 {
		return 0, nil, unprocessable("status must be 200 to 599; count and delay_ms must not be negative")
	}
	if hooks != nil && (hooks.Drop < 0 || hooks.Duplicate < 0 || hooks.DelayMS < 0) {
		return 0, nil, unprocessable("webhooks: drop, duplicate and delay_ms must not be negative")
	}
	if rule.PathPrefix == "" && (hooks == nil || len(body) > 1) {
		return 0, nil, unprocessable("path_prefix is required for a fault of API calls")
	}
	if rule.PathPrefix != "" && rule.Status == 0 && rule.DelayMS == 0 {
		return 0, nil, unprocessable("a fault of API calls needs a status or delay_ms")
	}
	s.faults.mu.Lock()
	if rule.PathPrefix != "" {
		s.faults.rules = append(s.faults.rules, rule)
	}
	if hooks != nil {
		s.faults.webhooks = *hooks
	}
	s.faults.mu.Unlock()
	return s.showFaults(r)
}

func (s *Server) showFaults(*http.Request) (int, any, error) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	rules := append([]fault{}, s.faults.rules...)
	return http.StatusOK, map[string]any{"faults": rules, "webhooks": s.faults.webhooks}, nil
}

func (s *Server) clearFaults(*http.Request) (int, any, error) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules, s.faults.webhooks = nil, webhookFaults{}
	return http.StatusNoContent, nil, nil
}
