package authzen_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
)

// patient notes until when each evaluation may last.
type patient struct {
	authz.Evaluator
	deadlines []time.Time
	during    func() // if set: happens during an evaluation
	cancelled bool   // an evaluation was
}

func (p *patient) Current() authz.Snapshot { return p }

func (p *patient) EvaluateAuthZEN(ctx context.Context, _ string, _ map[string]any, _ time.Time) (authz.Evaluation, error) {
	at, _ := ctx.Deadline()
	p.deadlines = append(p.deadlines, at)
	if p.during != nil {
		p.during()
	}
	p.cancelled = p.cancelled || ctx.Err() != nil
	return authz.Evaluation{Decision: true}, nil
}

// over serves the world's records and callers over another evaluator.
func (w *world) over(p *patient) {
	w.t.Helper()
	p.Evaluator = w.engine.Current().(authz.Evaluator)
	s, err := authzen.New(authzen.Options{Snapshots: p, Callers: w, Recorder: w, BaseURL: "https://gate.test", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	r := gin.New()
	s.Mount(r)
	w.handler = r
}

// fullBatch asks the same MaxBatch times.
func fullBatch() string {
	items := strings.TrimSuffix(strings.Repeat(`{},`, authzen.MaxBatch), ",")
	return strings.TrimSuffix(ask("alice", "read", "1"), "}") + `,"evaluations":[` + items + `]}`
}

// A batch has seconds, and they are bounded. With no more than the time of one
// decision, its end would be denied although nothing in it is slow.
func TestABatchHasMoreTimeThanOneDecision(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	p := &patient{}
	w.over(p)
	begin := time.Now()
	w.post(batch, fullBatch())
	if len(p.deadlines) != authzen.MaxBatch {
		t.Fatalf("%d evaluations", len(p.deadlines))
	}
	for _, at := range p.deadlines {
		if at != p.deadlines[0] || at.Sub(begin) < 4*time.Second || at.After(time.Now().Add(time.Minute)) {
			t.Fatalf("it may last until %v after the request began", at.Sub(begin))
		}
	}
}

// A caller that hangs up leaves what is being evaluated alone, so that no record
// says that a good policy failed; and nothing more is evaluated for nobody.
func TestACallerHangsUp(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	ctx, hangUp := context.WithCancel(t.Context())
	p := &patient{during: hangUp}
	w.over(p)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, batch, strings.NewReader(fullBatch()))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer good-token")
	if a := w.do(r); a.status != 400 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if recs := w.taken(); len(p.deadlines) != 1 || p.cancelled || len(recs) != 1 || recs[0].Result != authz.Allow {
		t.Errorf("%d evaluations, cancelled %v, %d records", len(p.deadlines), p.cancelled, len(recs))
	}
}
