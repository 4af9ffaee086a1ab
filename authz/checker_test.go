package authz_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"battery.app/gate/authz"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var crm = &authz.App{ID: "crm.acme", OrganizationID: "org_acme", Hosts: []string{"crm.acme.test", "other.test:9000"}, Scheme: "https", Ports: []string{"8000"}}

// world is a Snapshots, a Snapshot, a Sessions and a Recorder that answer what
// a test says.
type world struct {
	none     bool
	session  *authz.Session
	why      string
	user     *authz.User
	ended    bool
	verdict  authz.Verdict
	err      error
	panics   bool
	query    bool
	asked    []*authz.Input
	recorded []*authz.Record
}

func (w *world) Current() authz.Snapshot {
	if w.none {
		return nil
	}
	return w
}

func (w *world) App(host string) (*authz.App, bool) {
	return crm, host == "crm.acme.test" || host == "other.test"
}
func (w *world) User(*authz.Session) (*authz.User, bool) { return w.user, w.ended }
func (w *world) Stale(string) bool                       { return false }
func (w *world) ReadsQuery() bool                        { return w.query }
func (w *world) PolicyRevision() string                  { return "p1" }
func (w *world) DataRevision() uint64                    { return 7 }
func (w *world) Record(r *authz.Record)                  { w.recorded = append(w.recorded, r) }

func (w *world) Evaluate(_ context.Context, in *authz.Input) (authz.Verdict, error) {
	w.asked = append(w.asked, in)
	if w.panics {
		panic("policy blew up")
	}
	return w.verdict, w.err
}

func (w *world) Session(time.Time, *authz.App, string, []string) (*authz.Session, string) {
	return w.session, w.why
}

func check(t *testing.T, w *world, req *authz.Request) (*authz.Decision, *authz.Record) {
	t.Helper()
	c := &authz.Checker{Snapshots: w, Sessions: w, Recorder: w, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return now }}
	d := c.Check(t.Context(), req)
	if len(w.recorded) != 1 {
		t.Fatalf("%d records for one request", len(w.recorded))
	}
	r := w.recorded[0]
	if r.ID != d.ID || r.Result != d.Result() || r.Status != d.Status() {
		t.Errorf("the record says %v %d, the decision %v %d", r.Result, r.Status, d.Result(), d.Status())
	}
	return d, r
}

func request() *authz.Request {
	return &authz.Request{Dialect: authz.Dialect{Name: "forward-auth"}, Method: "GET", Scheme: "https", Host: "crm.acme.test", Path: "/", Navigation: true}
}

func TestAnswerTable(t *testing.T) {
	session := &authz.Session{ID: "s", UserID: "prof_1", OrganizationID: "org_acme"}
	allow := authz.Verdict{Allow: true, Reasons: []authz.Reason{{Code: "role"}}, Roles: []string{"editor"}}
	deny := authz.Verdict{Reasons: []authz.Reason{{Code: "no_allowed_role"}}}
	anonymous := authz.Verdict{Reasons: []authz.Reason{{Code: "no_session"}}}
	for name, tc := range map[string]struct {
		world  world
		edit   func(*authz.Request)
		result authz.Result
		status int
		code   string
		asked  bool
	}{
		"allowed": {world: world{session: session, verdict: allow}, result: authz.Allow, status: 200, code: "role", asked: true},
		"denied":  {world: world{session: session, verdict: deny}, status: 403, code: "no_allowed_role", asked: true},
		"nobody, navigation": {world: world{why: authz.CodeNoSession, verdict: anonymous},
			result: authz.Challenge, status: 302, code: "no_session", asked: true},
		"nobody, fetch": {world: world{why: authz.CodeNoSession, verdict: anonymous},
			edit: func(r *authz.Request) { r.Navigation = false }, result: authz.Challenge, status: 401, code: "no_session", asked: true},
		"nobody, nginx never gets a redirect": {world: world{why: authz.CodeNoSession, verdict: anonymous},
			edit: func(r *authz.Request) { r.Dialect.NoRedirect = true }, result: authz.Challenge, status: 401, code: "no_session", asked: true},
		"nobody, public app":  {world: world{why: authz.CodeNoSession, verdict: allow}, result: authz.Allow, status: 200, code: "role", asked: true},
		"expired session":     {world: world{why: authz.CodeSessionExpired, verdict: anonymous}, result: authz.Challenge, status: 302, code: "session_expired", asked: true},
		"deleted user":        {world: world{session: session, ended: true, verdict: anonymous}, result: authz.Challenge, status: 302, code: "session_revoked", asked: true},
		"nobody and no words": {world: world{}, result: authz.Challenge, status: 302, code: "no_session", asked: true},
		"unknown host":        {edit: func(r *authz.Request) { r.Host = "x.test" }, status: 403, code: "unknown_host"},
		"unregistered port":   {edit: func(r *authz.Request) { r.Port = "8443" }, status: 403, code: "unknown_host"},
		"gateway's port":      {world: world{session: session, verdict: allow}, edit: func(r *authz.Request) { r.Port = "8000" }, result: authz.Allow, status: 200, code: "role", asked: true},
		"host entry with a port is not the bare host": {edit: func(r *authz.Request) { r.Host = "other.test" }, status: 403, code: "unknown_host"},
		"route bound to another app":                  {edit: func(r *authz.Request) { r.AppID = "wiki.acme" }, status: 403, code: "unknown_host"},
		"ambiguous path":                              {edit: func(r *authz.Request) { r.Ambiguous = true }, status: 403, code: "ambiguous_path"},
		"malformed": {edit: func(r *authz.Request) { r.Fault = &authz.Fault{Code: authz.CodeMalformedRequest, Malformed: true} },
			status: 400, code: "malformed_request"},
		"malformed, nginx": {edit: func(r *authz.Request) {
			r.Dialect.No400 = true
			r.Fault = &authz.Fault{Code: authz.CodeMalformedRequest, Malformed: true}
		}, status: 403, code: "malformed_request"},
		"untrusted peer":   {edit: func(r *authz.Request) { r.Fault = &authz.Fault{Code: authz.CodeUntrustedPeer} }, status: 403, code: "untrusted_peer"},
		"reserved path":    {edit: func(r *authz.Request) { r.Answered = &authz.Answered{Status: 302, Code: authz.CodeReservedPath} }, status: 302, code: "reserved_path"},
		"reserved, 200":    {edit: func(r *authz.Request) { r.Answered = &authz.Answered{Status: 200, Code: authz.CodeReservedPath} }, status: 403, code: "reserved_path"},
		"policy error":     {world: world{session: session, err: errors.New("boom")}, status: 403, code: "policy_error", asked: true},
		"policy timeout":   {world: world{session: session, err: authz.ErrPolicyTimeout}, status: 403, code: "policy_timeout", asked: true},
		"policy undefined": {world: world{err: authz.ErrPolicyUndefined}, status: 403, code: "policy_undefined", asked: true},
		"policy error that says allow": {world: world{session: session, verdict: allow, err: errors.New("boom")},
			status: 403, code: "policy_error", asked: true},
		"panic":       {world: world{session: session, panics: true}, status: 403, code: "policy_error", asked: true},
		"no snapshot": {world: world{none: true}, status: 403, code: "policy_error"},
	} {
		t.Run(name, func(t *testing.T) {
			w, req := tc.world, request()
			if tc.edit != nil {
				tc.edit(req)
			}
			d, r := check(t, &w, req)
			if d.Result() != tc.result || d.Status() != tc.status || d.Code() != tc.code {
				t.Errorf("got %v %d %q, want %v %d %q", d.Result(), d.Status(), d.Code(), tc.result, tc.status, tc.code)
			}
			if (len(w.asked) > 0) != tc.asked {
				t.Errorf("policy asked: %v, want %v", len(w.asked) > 0, tc.asked)
			}
			if !w.none && (r.PolicyRevision != "p1" || r.DataRevision != 7) {
				t.Errorf("revisions %q, %d", r.PolicyRevision, r.DataRevision)
			}
		})
	}
}

func TestTheZeroDecisionDenies(t *testing.T) {
	for name, d := range map[string]*authz.Decision{"nil": nil, "zero": {}, "made elsewhere": {ID: "x", Roles: []string{"admin"}}} {
		if d.Result() != authz.Deny || d.Status() != http.StatusForbidden {
			t.Errorf("%s: %v %d", name, d.Result(), d.Status())
		}
	}
}

func TestAnEndedSessionIsNotTheUsersAnyMore(t *testing.T) {
	w := &world{session: &authz.Session{ID: "s"}, user: &authz.User{ID: "u"}, ended: true, verdict: authz.Verdict{Reasons: []authz.Reason{{Code: "no_session"}, {Code: "extra"}}}}
	d, r := check(t, w, request())
	if d.Session != nil || d.User != nil || r.Session != nil || w.asked[0].Session != nil || w.asked[0].User != nil {
		t.Error("the ended session or its user is still there")
	}
	if len(d.Reasons) != 2 || d.Reasons[0].Code != authz.CodeSessionRevoked || d.Reasons[1].Code != "extra" {
		t.Errorf("reasons = %v", d.Reasons)
	}
}

func TestAQueryThePolicyDoesNotReadIsNotRecorded(t *testing.T) {
	for _, reads := range []bool{false, true} {
		req := request()
		req.Query = "secret=1"
		_, r := check(t, &world{query: reads}, req)
		if (r.Query != "") != reads {
			t.Errorf("policy reads the query: %v; recorded %q", reads, r.Query)
		}
	}
}

func TestSegments(t *testing.T) {
	for path, want := range map[string][]string{"/": nil, "/a": {"a"}, "/a/b/": {"a", "b"}} {
		got := authz.Segments(path)
		if len(got) != len(want) {
			t.Errorf("%q → %v", path, got)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q → %v", path, got)
			}
		}
	}
}

func TestEveryDecisionIsMeasuredAndTraced(t *testing.T) {
	reader := metric.NewManualReader()
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tel, err := authz.NewTelemetry(tp.Tracer("t"), metric.NewMeterProvider(metric.WithReader(reader)).Meter("t"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{session: &authz.Session{ID: "s"}, verdict: authz.Verdict{Allow: true}}
	c := &authz.Checker{Snapshots: w, Sessions: w, Recorder: w, Telemetry: tel, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	c.Check(t.Context(), request())

	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, m := range rm.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "battery.decisions" {
			for _, p := range sum.DataPoints {
				app, _ := p.Attributes.Value(attribute.Key("app"))
				result, _ := p.Attributes.Value(attribute.Key("result"))
				found = found || (p.Value == 1 && app.AsString() == "crm.acme" && result.AsString() == "allow")
			}
		}
	}
	if !found {
		t.Error("battery.decisions has no point for crm.acme, allow")
	}
	ended := spans.Ended()
	if len(ended) != 1 || w.recorded[0].TraceID != ended[0].SpanContext().TraceID().String() {
		t.Error("the decision has no span, or the record not its trace id")
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func clock() time.Time { return now }
