package authzen_test

import (
	"context"
	"log/slog"
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
}

func (p *patient) Current() authz.Snapshot { return p }

func (p *patient) EvaluateAuthZEN(ctx context.Context, _ string, _ map[string]any, _ time.Time) (authz.Evaluation, error) {
	at, _ := ctx.Deadline()
	p.deadlines = append(p.deadlines, at)
	return authz.Evaluation{Decision: true}, nil
}

// A batch has seconds, and they are bounded. With no more than the time of one
// decision, its end would be denied although nothing in it is slow.
func TestABatchHasMoreTimeThanOneDecision(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	p := &patient{Evaluator: w.engine.Current().(authz.Evaluator)}
	s, err := authzen.New(authzen.Options{Snapshots: p, Callers: w, Recorder: w, BaseURL: "https://gate.test", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	s.Mount(r)
	w.handler = r
	begin := time.Now()
	items := strings.TrimSuffix(strings.Repeat(`{},`, authzen.MaxBatch), ",")
	w.post(batch, strings.TrimSuffix(ask("alice", "read", "1"), "}")+`,"evaluations":[`+items+`]}`)
	if len(p.deadlines) != authzen.MaxBatch {
		t.Fatalf("%d evaluations", len(p.deadlines))
	}
	for _, at := range p.deadlines {
		if at != p.deadlines[0] || at.Sub(begin) < 4*time.Second || at.After(time.Now().Add(time.Minute)) {
			t.Fatalf("it may last until %v after the request began", at.Sub(begin))
		}
	}
}
