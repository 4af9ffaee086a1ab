package oracles_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	root   = "../../.." // of the repository
	secret = "whsec_oracles"
)

// npm is where tools.sh installed the packages.
func npm(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(filepath.Join(root, ".tools/oracles/node_modules", path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("%v\nrun `make tools` first", err)
	}
	return full
}

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "serve")
	build := exec.Command("go", "build", "-o", out, "./cmd/batterygate/dev/standin/serve")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in: %w\n%s", err, said)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if out, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(out))
	}
	os.Exit(code)
}

// standIn is a running stand-in, and the proxy before it that judges.
type standIn struct {
	URL      string `json:"url"`
	APIKey   string `json:"api_key"`
	ClientID string `json:"client_id"`

	judged string // the address of the judging proxy
	judge  *judge
	hook   *hook
}

// start runs the stand-in with the fixed world and a webhook receiver.
func start(t *testing.T, flags ...string) *standIn {
	t.Helper()
	out, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{hook: newHook(t)}
	flags = append([]string{"-events-delay=0", "-webhook-url=" + s.hook.url, "-webhook-secret=" + secret}, flags...)
	run := exec.Command(out, flags...)
	run.Stderr = os.Stderr
	stdout, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the stand-in did not say that it is ready: %v", err)
	}
	if err := json.Unmarshal(line, s); err != nil {
		t.Fatal(err)
	}
	s.judge = newJudge(t, s.URL)
	srv := httptest.NewServer(s.judge)
	t.Cleanup(srv.Close)
	s.judged = srv.URL
	return s
}

// call makes a request through the judge and expects a status; 0 expects any.
func (s *standIn) call(t *testing.T, want int, method, path, body string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, s.judged+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.APIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want != 0 && res.StatusCode != want {
		t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, res.StatusCode, raw, want)
	}
	_ = json.Unmarshal(raw, &answer)
	return res.StatusCode, answer
}

// happen makes an event happen, sends its webhook, and returns the event.
func (s *standIn) happen(t *testing.T, want int, event, data string) map[string]any {
	t.Helper()
	_, out := s.call(t, want, http.MethodPost, "/_dev/events?deliver=1", `{"event":"`+event+`","data":`+data+`}`)
	return out
}

// world reads the stand-in's world.
func (s *standIn) world(t *testing.T) map[string]any {
	t.Helper()
	_, w := s.call(t, 200, http.MethodGet, "/_dev/world", "")
	return w
}

// id finds an object of the world whose field has a value, and returns its id.
func (s *standIn) id(t *testing.T, kind, field, value string) string {
	t.Helper()
	all, _ := s.world(t)[kind].([]any)
	for _, one := range all {
		if o, ok := one.(map[string]any); ok && o[field] == value {
			return o["id"].(string)
		}
	}
	t.Fatalf("no %s with %s %q", kind, field, value)
	return ""
}

// hook receives webhooks.
type hook struct {
	url string

	mu  sync.Mutex
	got []webhook
}

type webhook struct{ Signature, Body string }

func newHook(t *testing.T) *hook {
	h := &hook{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, webhook{r.Header.Get("WorkOS-Signature"), string(body)})
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

func (h *hook) all() []webhook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]webhook(nil), h.got...)
}

// wait waits until n webhooks arrived.
func (h *hook) wait(t *testing.T, n int) []webhook {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got := h.all(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("%d webhooks arrived, want %d", len(h.all()), n)
	return nil
}
