package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// What one actor's refusals may add to the audit, which is kept for a year and
// more: any token, however little it may do, and any IT admin of a customer can
// be refused as often as they like.
const (
	refusalsEach = time.Minute
	refusalsKept = 60 // recorded one by one in each such time

	// RefusedAtMost is how many bytes of a request are recorded with a refusal.
	RefusedAtMost = 1 << 10
)

// Refusals counts what actors were refused. The zero value is ready.
type Refusals struct {
	mu    sync.Mutex
	since map[string]time.Time // actor → when its time began
	count map[string]int
}

// Outcome counts one refusal of an actor, and returns how it reads in the audit.
// It is false for one that is to be logged only; the last before those says so.
func (r *Refusals) Outcome(actor string, now time.Time, o Outcome) (Outcome, bool) {
	kept, last := r.note(actor, now)
	if last {
		o.Detail += " This actor was refused often: what else it is refused in this minute is only logged."
	}
	return o, kept
}

// note counts one refusal. kept says that it is to be recorded, last that those
// which follow soon will not be.
func (r *Refusals) note(actor string, now time.Time) (kept, last bool) {
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

// Brief is what is kept of the request of a refused act: itself, if it is short,
// else its hash and length.
func Brief(request any) any {
	raw, err := canonical(request)
	if err != nil || len(raw) <= RefusedAtMost {
		return request
	}
	sum := sha256.Sum256(raw)
	return map[string]any{"sha256": hex.EncodeToString(sum[:]), "length": len(raw)}
}
