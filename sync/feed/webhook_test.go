package feed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/store"
	"battery.app/gate/store/boltstore"
	"battery.app/gate/sync/directory"
	"battery.app/gate/sync/feed"
	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// gate is a webhook endpoint over a real store, whose View follows the store.
type gate struct {
	t      *testing.T
	st     store.Store
	d      *directory.Directory
	srv    *httptest.Server
	reader *sdkmetric.ManualReader
	logs   *bytes.Buffer

	mu        sync.Mutex
	published uint64
	changed   chan struct{}
	stuck     bool // nothing is published
}

func newGate(t *testing.T) *gate {
	t.Helper()
	gin.SetMode(gin.TestMode)
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "battery.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, st: st, reader: sdkmetric.NewManualReader(), logs: &bytes.Buffer{}, changed: make(chan struct{})}
	now := func() time.Time { return noon }
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	g.d = directory.New(st, directory.Options{Now: now, Log: quiet})
	w, err := feed.NewWebhooks(feed.Options{
		Secrets: [][]byte{secret, older}, Directory: g.d, Published: g.wait, Now: now,
		Log:   slog.New(slog.NewTextHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(g.reader)).Meter("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := gin.New()
	w.Mount(engine)
	g.srv = httptest.NewServer(engine)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.follow(ctx) }()
	t.Cleanup(func() { g.srv.Close(); cancel(); <-done; _ = st.Close() })
	return g
}

func (g *gate) follow(ctx context.Context) {
	_ = g.st.Watch(ctx, directory.Prefix, 0, func(changes []store.Change) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, ch := range changes {
			g.d.Apply(ch)
			g.published = ch.Revision
		}
		close(g.changed)
		g.changed = make(chan struct{})
		return nil
	})
}

// wait is Options.Published.
func (g *gate) wait(ctx context.Context, revision uint64) error {
	for {
		g.mu.Lock()
		stuck, seen, changed := g.stuck, g.published >= revision, g.changed
		g.mu.Unlock()
		if stuck {
			return errors.New("not published in time")
		}
		if seen {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type reply struct {
	status int
	kind   string
	body   string
}

func (g *gate) post(body, header string) reply {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodPost, g.srv.URL+"/webhooks/workos", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if header != "" {
		req.Header.Set("WorkOS-Signature", header)
	}
	return g.do(req)
}

func (g *gate) do(req *http.Request) reply {
	g.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header.Get("Content-Type"), string(raw)}
}

func (g *gate) send(body string) reply {
	g.t.Helper()
	return g.post(body, signed(secret, noon, []byte(body)))
}

func (g *gate) revision() uint64 {
	g.t.Helper()
	_, rev, err := g.st.List(context.Background(), "")
	if err != nil {
		g.t.Fatal(err)
	}
	return rev
}

func envelope(id, typ, created, data string) string {
	return fmt.Sprintf(`{"object":"event","id":%q,"event":%q,"created_at":%q,"data":%s}`, id, typ, created, data)
}

const (
	created  = "2026-01-15T11:59:00.000Z"
	userData = `{"id":"directory_user_ADA","directory_id":"directory_A","organization_id":"org_ACME","idp_id":"7","email":"ada@acme.test","state":"active"}`
)

var userCreated = envelope("event_1", "dsync.user.created", created, userData)

func TestAnswers(t *testing.T) {
	big := envelope("event_1", "dsync.user.created", created, `{"x":"`+strings.Repeat("x", feed.MaxBody)+`"}`)
	bad := envelope("event_1", "dsync.user.created", created, `{"id":"directory_user_SECRETWORD"}`)
	for _, c := range []struct {
		name, body string
		header     string // "": a good one
		status     int
		written    bool
	}{
		{"a genuine event", userCreated, "", 200, true},
		{"a genuine event by the older secret", userCreated, signed(older, noon, []byte(userCreated)), 200, true},
		{"a type that means nothing here is counted", envelope("event_2", "user.created", created, `{"id":"x"}`), "", 200, true},
		{"a signature by another secret", userCreated, signed([]byte("whsec_of_someone_else"), noon, []byte(userCreated)), 401, false},
		{"a signature of another body", userCreated, signed(secret, noon, []byte(bad)), 401, false},
		{"a stale signature", userCreated, signed(secret, noon.Add(-4*time.Minute), []byte(userCreated)), 401, false},
		{"a signature of the future", userCreated, signed(secret, noon.Add(4*time.Minute), []byte(userCreated)), 401, false},
		{"no signature", userCreated, "none", 401, false},
		{"a malformed signature", userCreated, "t,v1=x", 400, false},
		{"garbage that is not signed", `{"SECRETWORD`, "t=1,v1=" + strings.Repeat("0", 64), 401, false},
		{"signed garbage", `{"SECRETWORD`, "", 400, false},
		{"a signed event without its parts", bad, "", 400, false},
		{"a signed event without a time", envelope("event_1", "dsync.user.created", "SECRETWORD", userData), "", 400, false},
		{"an empty body", "", "", 400, false},
		{"a body that is too large", big, "", 413, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t)
			before := g.revision()
			header := c.header
			switch header {
			case "":
				header = signed(secret, noon, []byte(c.body))
			case "none":
				header = ""
			}
			got := g.post(c.body, header)
			if got.status != c.status {
				t.Fatalf("status %d, want %d: %s", got.status, c.status, got.body)
			}
			if written := g.revision() != before; written != c.written {
				t.Errorf("written: %v, want %v", written, c.written)
			}
			if strings.Contains(got.body+g.logs.String(), "SECRETWORD") {
				t.Errorf("the input is repeated: %s %s", got.body, g.logs)
			}
			if strings.Contains(g.logs.String(), "whsec") {
				t.Error("a secret is logged")
			}
			if c.status != 200 {
				isProblem(t, got)
			}
		})
	}
}

func isProblem(t *testing.T, r reply) {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.kind != "application/problem+json" ||
		p["status"] != float64(r.status) || p["title"] != http.StatusText(r.status) || p["type"] != "about:blank" || p["detail"] == "" {
		t.Errorf("not a problem: %s %s", r.kind, r.body)
	}
}

func TestTwoSignatureHeadersAreRefused(t *testing.T) {
	g := newGate(t)
	req, _ := http.NewRequest(http.MethodPost, g.srv.URL+"/webhooks/workos", strings.NewReader(userCreated))
	req.Header.Add("WorkOS-Signature", signed(secret, noon, []byte(userCreated)))
	req.Header.Add("WorkOS-Signature", signed(secret, noon, []byte(userCreated)))
	if got := g.do(req); got.status != http.StatusBadRequest {
		t.Errorf("status %d", got.status)
	}
}

func TestTheNextDecisionSeesWhatWasAnswered(t *testing.T) {
	g := newGate(t)
	if _, err := g.d.PutOrganization(context.Background(), directory.Organization{ID: "org_ACME", Slug: "acme"}); err != nil {
		t.Fatal(err)
	}
	s := &authz.Session{OrganizationID: "org_ACME", ConnectionID: "conn_A", IdpID: "7", Email: "ada@acme.test", IssuedAt: noon.Add(-time.Hour)}
	ok := func(body, outcome string) {
		t.Helper()
		if got := g.send(body); got.status != 200 || got.body != `{"outcome":"`+outcome+`"}` {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	ok(envelope("event_a", "connection.activated", created, `{"id":"conn_A","organization_id":"org_ACME","state":"active"}`), "applied")
	ok(envelope("event_b", "dsync.activated", created, `{"id":"directory_A","organization_id":"org_ACME","state":"active"}`), "applied")
	ok(userCreated, "applied")
	ok(userCreated, "duplicate")
	for i := range 40 {
		what, want := "user_added", 1
		if i%2 == 1 {
			what, want = "user_removed", 0
		}
		at := noon.Add(time.Duration(i) * time.Second).Format(time.RFC3339Nano)
		ok(envelope(fmt.Sprintf("event_%02d", i), "dsync.group."+what, at, `{"directory_id":"directory_A","user":`+userData+
			`,"group":{"id":"directory_group_E","directory_id":"directory_A","organization_id":"org_ACME","name":"Engineering"}}`), "applied")
		if u, ended := g.d.View().User(s); u == nil || ended || len(u.Groups) != want {
			t.Fatalf("after %s %d: %+v, ended %v", what, i, u, ended)
		}
	}
	ok(envelope("event_z", "dsync.user.deleted", created, userData), "applied")
	if u, ended := g.d.View().User(s); u != nil || !ended {
		t.Errorf("after the deletion: %+v, ended %v", u, ended)
	}
}

func TestWhatIsNotEnforcedIsAskedForAgain(t *testing.T) {
	t.Run("when it is not published in time", func(t *testing.T) {
		g := newGate(t)
		g.mu.Lock()
		g.stuck = true
		g.mu.Unlock()
		got := g.send(userCreated)
		if got.status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", got.status)
		}
		isProblem(t, got)
		g.mu.Lock()
		g.stuck = false
		g.mu.Unlock()
		if got := g.send(userCreated); got.status != 200 || got.body != `{"outcome":"duplicate"}` {
			t.Errorf("again: %d %s", got.status, got.body)
		}
	})
	t.Run("when the store fails", func(t *testing.T) {
		g := newGate(t)
		if err := g.st.Close(); err != nil {
			t.Fatal(err)
		}
		got := g.send(userCreated)
		if got.status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", got.status)
		}
		isProblem(t, got)
	})
}

func TestDeliveriesAreCountedByKnownTypesOnly(t *testing.T) {
	g := newGate(t)
	g.send(userCreated)
	g.send(userCreated)
	g.send(envelope("event_9", "made.up.by.someone", created, `{}`))
	g.post(envelope("event_9", "never.seen", created, `{}`), "t=1,v1="+strings.Repeat("0", 64))
	var rm metricdata.ResourceMetrics
	if err := g.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	var enforced uint64
	for _, m := range rm.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				typ, _ := p.Attributes.Value(attribute.Key("type"))
				outcome, _ := p.Attributes.Value(attribute.Key("outcome"))
				got[m.Name+" "+typ.AsString()+" "+outcome.AsString()] = p.Value
			}
		case metricdata.Histogram[float64]:
			if m.Name != "battery.webhook.enforced" || m.Unit != "s" {
				t.Errorf("histogram %s in %s", m.Name, m.Unit)
			}
			enforced = data.DataPoints[0].Count
		}
	}
	want := map[string]int64{
		"battery.webhooks dsync.user.created applied": 1, "battery.webhooks dsync.user.created duplicate": 1,
		"battery.webhooks other ignored": 1, "battery.webhooks  signature_wrong": 1,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || enforced != 2 {
		t.Errorf("counted %v, want %v; enforced %d, want 2", got, want, enforced)
	}
}

func TestWeakSetUpsAreRefused(t *testing.T) {
	d := directory.New(nil, directory.Options{})
	published := func(context.Context, uint64) error { return nil }
	for name, o := range map[string]feed.Options{
		"no secret":               {Directory: d, Published: published},
		"a short secret":          {Directory: d, Published: published, Secrets: [][]byte{secret, []byte("123456789012345")}},
		"no directory":            {Published: published, Secrets: [][]byte{secret}},
		"no snapshot to wait for": {Directory: d, Secrets: [][]byte{secret}},
	} {
		if w, err := feed.NewWebhooks(o); err == nil || w != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
