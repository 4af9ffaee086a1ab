package authzen_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
	"battery.app/gate/authz/engine"
	"battery.app/gate/policies"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

const head = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.authzen_input\npackage battery.authzen\n\n"

// records is the policy of the public certification scenario: its eight rules.
const records = head + `
decision := {"decision": true} if permitted

else := {"decision": false, "context": {"reason": "not permitted"}} if input.resource.type == "record"

permitted if {
	input.resource.type == "record"
	input.action.name == "read"
	input.subject.id in {"alice", "bob"}
}

permitted if {
	input.action.name == "write"
	input.subject.id == "alice"
	not input.resource.properties.status == "archived"
}

permitted if {
	input.action.name == "write"
	input.subject.properties.role == "admin"
	input.resource.properties.status == "archived"
}

permitted if {
	input.action.name == "delete"
	input.subject.id == "alice"
	input.action.properties.soft == true
}
`

// world is the service over the real engine.
type world struct {
	t       testing.TB
	engine  *engine.Engine
	handler http.Handler

	mu       sync.Mutex
	recorded []*authz.Record
}

func (w *world) Record(r *authz.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recorded = append(w.recorded, r)
}

// taken are the records since the last call.
func (w *world) taken() []*authz.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.recorded
	w.recorded = nil
	return out
}

func (w *world) Caller(_ context.Context, _ time.Time, bearer string) (authzen.Caller, error) {
	switch bearer {
	case "good-token":
		return authzen.Caller{ID: "token_1", OrganizationID: "org_acme"}, nil
	case "read-only-token":
		return authzen.Caller{}, authzen.ErrForbidden
	case "outage":
		return authzen.Caller{ID: "token_1"}, errors.New("store is down: secret detail")
	case "nameless":
		return authzen.Caller{}, nil
	}
	return authzen.Caller{}, authzen.ErrUnknownCaller
}

type nobody struct{}

func (nobody) App(string) (*authz.App, bool)                     { return nil, false }
func (nobody) User(*authz.Session) (*authz.User, bool)           { return nil, false }
func (nobody) Stale(string) bool                                 { return false }
func (nobody) RoleMappings(string) (map[string][]string, uint64) { return nil, 0 }

// newWorld serves the shipped policy with these files beside it; none means that
// nothing is published yet.
func newWorld(t testing.TB, files ...map[string]string) *world {
	t.Helper()
	w := &world{t: t, engine: engine.New()}
	for _, f := range files {
		w.publish(f)
	}
	s, err := authzen.New(authzen.Options{Snapshots: w.engine, Callers: w, Recorder: w, BaseURL: "https://gate.test/",
		Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	s.Mount(r)
	w.handler = r
	return w
}

func (w *world) publish(files map[string]string) {
	w.t.Helper()
	src := source(w.t, "authz")
	maps.Copy(src.Modules, files)
	schemas, err := fs.Sub(policies.FS, "schemas")
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := engine.Compile(src, engine.Options{Schemas: schemas, Budget: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine.Publish(p, nobody{}, nobody{}, 7)
}

func source(t testing.TB, dir string) engine.Source {
	t.Helper()
	sub, err := fs.Sub(policies.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := engine.ReadFS(sub)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

type answer struct {
	status int
	header http.Header
	text   string
	body   any
}

// post sends a body with a good token; headers "Name: value" are added, or with
// an empty value removed.
func (w *world) post(path, body string, headers ...string) answer {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer good-token")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	return w.do(r)
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Result().Header, text: rec.Body.String()}
	if err := json.Unmarshal(rec.Body.Bytes(), &a.body); err != nil {
		w.t.Errorf("%d with a body that is no JSON: %s", a.status, a.text)
	}
	return a
}

// decision of a single evaluation; it must be there.
func (a answer) decision(t testing.TB) bool {
	t.Helper()
	object, _ := a.body.(map[string]any)
	d, ok := object["decision"].(bool)
	if !ok || a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Fatalf("no decision: %d %s", a.status, a.text)
	}
	return d
}

// decisions of a batch, as "tft".
func (a answer) decisions(t testing.TB) string {
	t.Helper()
	object, _ := a.body.(map[string]any)
	list, ok := object["evaluations"].([]any)
	if !ok || a.status != 200 || object["decision"] != nil {
		t.Fatalf("no decisions: %d %s", a.status, a.text)
	}
	out := ""
	for _, e := range list {
		d, ok := e.(map[string]any)["decision"].(bool)
		if !ok {
			t.Fatalf("an evaluation without a decision: %s", a.text)
		}
		out += map[bool]string{true: "t", false: "f"}[d]
	}
	return out
}
