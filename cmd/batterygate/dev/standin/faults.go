package standin

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fault is a rule for API calls and pages: those whose path starts with
// PathPrefix (and whose method is Method, if set). Count is for how many
// requests; 0 means until cleared. What goes wrong, in this order:
type fault struct {
	PathPrefix string `json:"path_prefix"`
	Method     string `json:"method,omitempty"`
	Count      int    `json:"count,omitempty"`

	DelayMS int  `json:"delay_ms,omitempty"` // the answer is late; the call has not happened before
	Reset   bool `json:"reset,omitempty"`    // the connection is reset; the call never happens

	Status  int               `json:"status,omitempty"` // this is answered in place of the call
	Body    json.RawMessage   `json:"body,omitempty"`   // with this, any JSON, sent as it is
	Headers map[string]string `json:"headers,omitempty"`

	Drop      int  `json:"drop,omitempty"`      // the last so many objects of a list are missing
	Duplicate int  `json:"duplicate,omitempty"` // the first so many are there twice
	Reorder   bool `json:"reorder,omitempty"`   // they come last to first

	WrongJSON bool `json:"wrong_json,omitempty"` // the body's last byte is missing; all else is as if it were whole
	Truncate  bool `json:"truncate,omitempty"`   // the connection is closed after half of the body
}

// does says whether the rule makes anything go wrong.
func (f fault) does() bool {
	return f.DelayMS > 0 || f.Status != 0 || f.Reset || f.reshapes()
}

// reshapes says whether the rule needs the answer's body.
func (f fault) reshapes() bool {
	return f.Drop > 0 || f.Duplicate > 0 || f.Reorder || f.WrongJSON || f.Truncate
}

func (f fault) sound() bool {
	return (f.Status == 0 || f.Status >= 200 && f.Status <= 599) && min(f.Count, f.DelayMS, f.Drop, f.Duplicate) >= 0
}

type faultTable struct {
	mu       sync.Mutex
	rules    []fault
	webhooks webhookFaults
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
		if sleep(r.Context(), time.Duration(rule.DelayMS)*time.Millisecond) {
			rule.answer(w, r, next)
		}
	})
}

// answer answers as the rule says.
func (f fault) answer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	switch {
	case f.Reset:
		reset(w)
		return
	case f.Status == 0 && !f.reshapes():
		next.ServeHTTP(w, r)
		return
	}
	rec := &recorder{header: w.Header(), status: http.StatusOK}
	if f.Status == 0 {
		next.ServeHTTP(rec, r)
	} else {
		f.refuse(rec)
	}
	body := f.reshape(rec.body.Bytes())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.status)
	if f.Truncate {
		body = body[:len(body)/2] // less than was announced, so the server closes the connection
	}
	_, _ = w.Write(body)
}

// refuse is the answer in place of the call.
func (f fault) refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for k, v := range f.Headers {
		w.Header().Set(k, v)
	}
	w.WriteHeader(f.Status)
	if f.Body != nil {
		_, _ = w.Write(f.Body)
		return
	}
	_, _ = w.Write(must(compact(map[string]string{"message": http.StatusText(f.Status)})))
}

// reshape makes a list another one, and breaks the JSON if that is asked for.
func (f fault) reshape(body []byte) []byte {
	var l struct {
		Object   string            `json:"object"`
		Data     []json.RawMessage `json:"data"`
		Metadata json.RawMessage   `json:"list_metadata,omitempty"`
	}
	if (f.Drop > 0 || f.Duplicate > 0 || f.Reorder) && json.Unmarshal(body, &l) == nil && l.Object == "list" {
		l.Data = l.Data[:len(l.Data)-min(f.Drop, len(l.Data))]
		l.Data = append(l.Data, l.Data[:min(f.Duplicate, len(l.Data))]...)
		if f.Reorder {
			slices.Reverse(l.Data)
		}
		body = must(compact(l))
	}
	if f.WrongJSON && len(body) > 0 {
		body = body[:len(body)-1]
	}
	return body
}

// reset drops the connection so that the caller sees a reset, not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server closes the connection, silently
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// faultFields are what POST /_dev/faults takes: a rule, or webhook faults, or both.
var faultFields = [...]string{
	"path_prefix", "method", "count", "delay_ms", "reset", "status", "body", "headers",
	"drop", "duplicate", "reorder", "wrong_json", "truncate", "webhooks",
}

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
	if !rule.sound() {
		return 0, nil, unprocessable("status must be 200 to 599; numbers must not be negative")
	}
	if hooks != nil && !hooks.sound() {
		return 0, nil, unprocessable("webhooks: numbers must not be negative")
	}
	if rule.PathPrefix == "" && (hooks == nil || len(body) > 1) {
		return 0, nil, unprocessable("path_prefix is required for a fault of API calls")
	}
	if rule.PathPrefix != "" && !rule.does() {
		return 0, nil, unprocessable("nothing goes wrong by this fault: it has neither a status, a delay nor any other")
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
