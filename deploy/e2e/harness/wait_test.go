package harness

import (
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// patience bounds every wait; reaching it is a failure, never a result.
const patience = program.Patience

// within polls until ok or until the time is over, and reports how long it took.
func within(d time.Duration, ok func() bool) (time.Duration, bool) {
	began := time.Now()
	for {
		if ok() {
			return time.Since(began), true
		}
		if time.Since(began) > d {
			return time.Since(began), false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// must ends the test where a step that is not under test fails.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// do is must for a step that has no result.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
