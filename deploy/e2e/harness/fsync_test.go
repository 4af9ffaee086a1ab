package harness

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Between the arrival of a webhook and its 200, the store's file is written and
// then synced, and nothing is written to it between the sync and the 200.
func TestAnEventIsOnTheDiskBeforeThe200(t *testing.T) {
	faults, n := syncFaults(t, shared.binary)
	for _, f := range faults {
		t.Error(f)
	}
	if len(faults) == 0 {
		proven(t, "%d webhooks, each written and synced before its 200", n)
	}
}

// Take the sync out, and the test above fails.
func TestTheMissingSyncIsNoticed(t *testing.T) {
	faults, n := syncFaults(t, must(withoutSync())(t))
	if len(faults) != n {
		t.Errorf("a store that never syncs answered %d webhooks, and only %d were found out", n, len(faults))
	}
	proven(t, "a build without the sync is found out, %d times of %d", len(faults), n)
}

// syncFaults lets a build take webhooks one by one and says for which of them
// the disk did not have it when the 200 left.
func syncFaults(t *testing.T, binary string) (faults []string, n int) {
	t.Helper()
	n = 25
	g := newGate(t, binary, "--catch-up=false")
	do(t, g.start())
	p := must(g.place("acme"))(t)
	stop := trace(t, g)
	r, hc := rand.New(rand.NewPCG(1, 1)), loopback(1)
	for i := range n {
		now := time.Now()
		e := newEvent(r, p, userCreated, ulid(r, "directory_user_", now), "", attributes{state: "active"}, now)
		if status := must(g.post(hc, e))(t); status != http.StatusOK {
			t.Fatalf("webhook %d: %d", i, status)
		}
	}
	calls := stop()
	seen := webhooks(calls)
	if len(seen) != n {
		t.Fatalf("strace shows %d webhooks that were answered 200; %d were sent", len(seen), n)
	}
	for _, a := range seen {
		if f := syncFault(calls, a); f != "" {
			faults = append(faults, f)
		}
	}
	return faults, n
}

// syncFault looks at one webhook that was alone on its way.
func syncFault(calls []step, a answered) string {
	written, synced := 0, 0
	for _, c := range calls {
		if !strings.HasSuffix(c.file, "/battery.db") || c.begin < a.came || c.begin > a.reply {
			continue
		}
		switch c.name {
		case "pwrite64", "pwritev", "pwritev2", "write", "writev":
			if !c.over(a.reply) {
				return fmt.Sprintf("%s: the 200 left while the store's file was being written", a.event)
			}
			written = max(written, c.end)
		case "fdatasync", "fsync":
			if c.over(a.reply) && c.begin > written {
				synced = c.begin
			}
		}
	}
	switch {
	case written == 0:
		return fmt.Sprintf("%s: answered 200 before anything was written to the store's file", a.event)
	case synced < written:
		return fmt.Sprintf("%s: answered 200 without a completed fdatasync or fsync after the last write", a.event)
	}
	return ""
}
