package authzen_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"battery.app/gate/authz"
	"battery.app/gate/authz/authzen"
	"battery.app/gate/authz/decisionlog"
)

// What the decision log keeps of an evaluation is found by who it was about, and
// is enough to evaluate it again.
func TestEvaluationsInTheDecisionLog(t *testing.T) {
	l, err := decisionlog.Open("sqlite:"+filepath.Join(t.TempDir(), "decisions.db"), decisionlog.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = l.Close()
	})

	w := newWorld(t, map[string]string{"records.rego": records})
	w.post(batch, `{"action":{"name":"write"},"resource":{"type":"record","id":"a b"},"context":{"n":1.50},"evaluations":[{"subject":{"type":"user","id":"alice"}},{"subject":{"type":"user","id":"bob"}},{}]}`)
	for _, r := range w.taken() {
		l.Record(r)
	}
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]authz.Result{"alice": authz.Allow, "bob": authz.Deny} {
		page, err := l.Decisions(ctx, decisionlog.Filter{User: user, Path: "/record/", OrganizationID: "org_acme"})
		if err != nil || len(page.Rows) != 1 {
			t.Fatalf("%s: %d rows, %v", user, len(page.Rows), err)
		}
		row, err := l.Decision(ctx, page.Rows[0].ID)
		if err != nil || row.Result != want.String() || row.Method != "write" || row.Path != "/record/a%20b" || row.Gateway != "token_1" || !row.Input.Exact {
			t.Fatalf("%s: %+v, %v", user, row, err)
		}
		var in map[string]any
		if err := json.Unmarshal([]byte(row.Input.Request.Query), &in); err != nil {
			t.Fatal(err)
		}
		e, err := w.engine.Current().(authz.Evaluator).EvaluateAuthZEN(ctx, "org_acme", in, noon)
		if err != nil || e.Decision != (want == authz.Allow) {
			t.Errorf("%s again: %+v, %v", user, e, err)
		}
	}
	page, err := l.Decisions(ctx, decisionlog.Filter{Reason: authz.CodeMalformedRequest})
	if err != nil || len(page.Rows) != 1 {
		t.Errorf("the unreadable one: %d rows, %v", len(page.Rows), err)
	}
}

// A caller writes 256 KiB at most, however many records its words go into: of an
// evaluation that could not be read, a record keeps no more than names it.
func TestRecordsOfUnreadableEvaluationsAreShort(t *testing.T) {
	w := newWorld(t, map[string]string{"records.rego": records})
	long := strings.Repeat("ä", 50<<10)
	items := strings.TrimSuffix(strings.Repeat(`{},`, authzen.MaxBatch), ",")
	for name, body := range map[string]string{
		"subject":  `{"subject":{"type":"user","id":"` + long + `"},"evaluations":[` + items + `]}`,
		"action":   `{"subject":{"type":"user","id":"a"},"action":{"name":"` + long + `"},"evaluations":[` + items + `]}`,
		"resource": `{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"resource":{"type":"record","id":"` + long + `"},"evaluations":[` + items + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.post(batch, body)
			recs := w.taken()
			if len(recs) != authzen.MaxBatch {
				t.Fatalf("%d records", len(recs))
			}
			for _, r := range recs {
				if n := len(r.Session.UserID) + len(r.Method) + len(r.Path) + len(r.Query); n > 4<<10 || !utf8.ValidString(r.Session.UserID+r.Method) {
					t.Fatalf("a record of %d bytes", n)
				}
			}
		})
	}
}
