package e2e

import (
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// patience bounds every wait; reaching it is a failure, never a result.
const patience = program.Patience

// eventually polls until ok or until patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("gave up waiting: %s", what)
}
