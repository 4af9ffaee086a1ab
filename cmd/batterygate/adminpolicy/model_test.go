package adminpolicy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/adminpolicy"
)

// Whatever is activated and rolled back, on whichever of two replicas and over
// restarts: both answer from what a plain stack says, and none is ever without a
// policy. One walk, long with SOAK=1.
func TestActivationsAreAStack(t *testing.T) {
	steps, seed := 40, uint64(time.Now().UnixNano())
	if os.Getenv("SOAK") != "" {
		steps = 3000
	}
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	replicas := []*service{w.service(w.options()), w.service(w.options())}
	names := []string{replicas[0].inForce()}
	for i := range 3 {
		names = append(names, replicas[0].push(operator, withNotes(fmt.Sprint("v", i))).Revision)
	}
	active, stack := names[0], []string{}
	for range steps {
		s := replicas[dice.IntN(2)]
		switch n := dice.IntN(10); {
		case n < 5:
			revision := names[dice.IntN(len(names))]
			s.activate(operator, revision)
			if revision != active {
				stack, active = append(stack, active), revision
			}
			stack = stack[max(0, len(stack)-16):]
		case n < 9 && len(stack) == 0 && active == names[0]:
			if _, _, err := s.Rollback(t.Context(), operator); !errors.Is(err, adminpolicy.ErrNothingToRollBack) {
				t.Fatalf("rolled back from nothing: %v", err)
			}
		case n < 9:
			if len(stack) == 0 { // the walk went deeper than what is kept
				stack = []string{names[0]}
			}
			active, stack = stack[len(stack)-1], stack[:len(stack)-1]
			if v := s.rollback(operator); v.Revision != active {
				t.Fatalf("rolled back to %s, want %s", v.Revision, active)
			}
		default:
			w.restart()
			replicas = []*service{w.service(w.options()), w.service(w.options())}
		}
		_, at, err := w.store.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range replicas {
			s.wait(at)
			if got := s.inForce(); got != active {
				t.Fatalf("in force is %s, want %s", got, active)
			}
			if may := s.may(auditor, "notes.v1"); may != (active == names[2]) {
				t.Fatalf("under %d it answers %v", slices.Index(names, active), may)
			}
		}
	}
}
