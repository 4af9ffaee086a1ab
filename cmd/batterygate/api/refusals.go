package api

import (
	"sync"
	"time"

	"battery.app/gate/cmd/batterygate/audit"
)

// What one actor's refusals may add to the audit, which is kept for good: any
// token, however little it may do, can be refused as often as it likes.
const (
	refusalsEach  = time.Minute
	refusalsKept  = 60      // recorded one by one in each such time
	refusedAtMost = 1 << 10 // bytes of a body that is recorded with a refusal
)

// refusals counts what actors were refused. The zero value is ready.
type refusals struct {
	mu    sync.Mutex
	since map[string]time.Time // actor → when its time began
	count map[string]int
}

// note counts one refusal. kept says that it is to be recorded, last that those
// which follow soon will not be.
func (r *refusals) note(actor string, now time.Time) (kept, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.since, r.count = map[string]time.Time{}, map[string]int{}
	}
	for id, at := range r.since { // as many as were refused lately: few
		if now.Sub(at) >= refusalsEach || now.Before(at) {
			delete(r.since, id)
			delete(r.count, id)
		}
	}
	if _, ok := r.since[actor]; !ok {
		r.since[actor] = now
	}
	r.count[actor]++
	return r.count[actor] <= refusalsKept, r.count[actor] == refusalsKept
}

// lastRefusal says in the audit that it will not show all that follows.
func lastRefusal(o audit.Outcome) audit.Outcome {
	o.Detail += " This actor was refused often: what else it is refused in this minute is only logged."
	return o
}
