package authzen_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"battery.app/gate/authz"
)

// TestPublicInteropDecisions answers the decisions that the AuthZEN working
// group publishes, by the policies that ship as examples: both at once, beside
// the gateways' policy.
func TestPublicInteropDecisions(t *testing.T) {
	files := map[string]string{}
	for _, name := range []string{"authzen-gateway", "authzen-todo"} {
		for file, text := range source(t, "examples/"+name).Modules {
			files[file] = text
		}
	}
	w := newWorld(t, files)
	for file, want := range map[string]int{"gateway": 25, "todo": 43} {
		text, err := os.ReadFile("testdata/" + file + "-decisions.json")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Evaluation []struct {
				Request  json.RawMessage `json:"request"`
				Expected bool            `json:"expected"`
			} `json:"evaluation"`
			Evaluations []struct {
				Request  json.RawMessage `json:"request"`
				Expected []struct {
					Decision bool `json:"decision"`
				} `json:"expected"`
			} `json:"evaluations"`
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if n := len(doc.Evaluation) + len(doc.Evaluations); n != want {
			t.Errorf("%s: %d decisions, want %d", file, n, want)
		}
		for i, e := range doc.Evaluation {
			t.Run(fmt.Sprintf("%s/%d", file, i), func(t *testing.T) {
				if got := w.post("/access/v1/evaluation", string(e.Request)).decision(t); got != e.Expected {
					t.Errorf("%s: got %v", e.Request, got)
				}
				if recs := w.taken(); len(recs) != 1 || (recs[0].Result == authz.Allow) != e.Expected {
					t.Errorf("recorded %d", len(recs))
				}
			})
		}
		for i, e := range doc.Evaluations {
			t.Run(fmt.Sprintf("%s/batch %d", file, i), func(t *testing.T) {
				want := ""
				for _, x := range e.Expected {
					want += map[bool]string{true: "t", false: "f"}[x.Decision]
				}
				if got := w.post("/access/v1/evaluations", string(e.Request)).decisions(t); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if recs := w.taken(); len(recs) != len(want) {
					t.Errorf("%d records for %d evaluations", len(recs), len(want))
				}
			})
		}
	}
}
