package standin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

const (
	apiKey   = "sk_test_key"
	clientID = "client_test"
	secret   = "whsec_test"
	redirect = "http://auth.battery.localhost:8080/callback"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is a running stand-in.
type rig struct {
	*standin.Server
	url   string
	clock *clock
}

// start runs a stand-in with the fixed world; more changes its options.
func start(t *testing.T, more ...func(*standin.Options)) *rig {
	t.Helper()
	c := newClock()
	opt := standin.Options{
		APIKey: apiKey, ClientID: clientID, World: standin.DefaultWorld(), Now: c.Now, Backoff: time.Millisecond,
	}
	for _, f := range more {
		f(&opt)
	}
	s, err := standin.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		srv.Close()
	})
	return &rig{Server: s, url: srv.URL, clock: c}
}

// call makes a request with the API key and decodes the answer.
func (r *rig) call(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	status, raw := r.raw(t, method, path, body)
	var out map[string]any
	if len(raw) > 0 && raw[0] == '{' {
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return status, out
}

func (r *rig) raw(t *testing.T, method, path, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, raw
}

// happen posts an event and expects a status.
func (r *rig) happen(t *testing.T, want int, event, data string) map[string]any {
	t.Helper()
	status, out := r.call(t, http.MethodPost, "/_dev/events", `{"event":"`+event+`","data":`+data+`}`)
	if status != want {
		t.Fatalf("%s %s: %d %v, want %d", event, data, status, out, want)
	}
	return out
}

// groupsOf reads a user's groups from the world.
func (r *rig) groupsOf(email string) []string {
	w := r.World()
	u, _ := w.User(email)
	names := []string{}
	for _, m := range w.Memberships {
		for _, g := range w.Groups {
			if m.UserID == u.ID && m.GroupID == g.ID {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// dig walks into decoded JSON.
func dig(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// hook is a webhook receiver that keeps what it was sent.
type hook struct {
	url string

	mu       sync.Mutex
	got      []received
	statuses []int // answers to come; 200 after that
}

type received struct {
	signature, body string
	event           map[string]any
}

func newHook(t *testing.T, statuses ...int) *hook {
	t.Helper()
	h := &hook{statuses: statuses}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil { // broken on purpose
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var event map[string]any
		if err := json.NewDecoder(bytes.NewReader(body)).Decode(&event); err != nil {
			t.Errorf("webhook body: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, received{r.Header.Get("WorkOS-Signature"), string(body), event})
		if len(h.statuses) > 0 {
			w.WriteHeader(h.statuses[0])
			h.statuses = h.statuses[1:]
		}
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

func (h *hook) use(o *standin.Options) { o.WebhookURL, o.WebhookSecret = h.url, secret }

func (h *hook) all() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]received(nil), h.got...)
}

// wait waits until n webhooks arrived.
func (h *hook) wait(t *testing.T, n int) []received {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if got := h.all(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("%d webhooks arrived, want %d", len(h.all()), n)
	return nil
}

func newServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
