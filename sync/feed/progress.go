package feed

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"battery.app/gate/sync/workosapi"
)

// Phases of a reconcile.
const (
	phaseWaiting = "waiting" // its turn has not come
	phaseWorld   = "organizations"
	phaseGroups  = "groups"
	phaseUsers   = "users"
	phaseMembers = "members"
	phaseConfirm = "confirming" // what is missing is asked for once more
	phaseApply   = "applying"
)

// Progress is how far a running reconcile has come.
type Progress struct {
	Directory string        `json:"directory"` // empty: the organizations, connections and directories
	DryRun    bool          `json:"dry_run"`
	Phase     string        `json:"phase"`
	Pages     int           `json:"pages"`    // read so far
	Requests  int           `json:"requests"` // sent so far
	Expected  int           `json:"expected"` // requests in all, as far as can be said
	Started   time.Time     `json:"started"`
	Left      time.Duration `json:"left_ns"` // an estimate
}

// perRequest is what a request takes at WorkOS's limit, until it is measured.
const perRequest = time.Second / 3

// tracker is one running reconcile.
type tracker struct {
	now func() time.Time

	mu sync.Mutex
	p  Progress
}

// start tells that its turn has come, and returns when.
func (t *tracker) start() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Started = t.now()
	return t.p.Started
}

func (t *tracker) phase(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Phase = name
}

// expect sets how many requests there will be in all.
func (t *tracker) expect(requests int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Expected = requests
}

// more adds to them.
func (t *tracker) more(requests int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Expected = max(t.p.Expected, t.p.Requests) + requests
}

// watch returns a context whose calls to WorkOS count here.
func (t *tracker) watch(ctx context.Context) context.Context {
	return workosapi.Observe(ctx, workosapi.Observer{
		Request: func() { t.mu.Lock(); t.p.Requests++; t.mu.Unlock() },
		Page:    func(int) { t.mu.Lock(); t.p.Pages++; t.mu.Unlock() },
	})
}

func (t *tracker) progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.p
	p.Expected = max(p.Expected, p.Requests)
	each := perRequest
	if p.Requests >= 5 {
		each = t.now().Sub(p.Started) / time.Duration(p.Requests)
	}
	p.Left = time.Duration(p.Expected-p.Requests) * each
	return p
}

// board is the list of what runs.
type board struct {
	mu      sync.Mutex
	running map[*tracker]struct{}
}

func (b *board) add(t *tracker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		b.running = map[*tracker]struct{}{}
	}
	b.running[t] = struct{}{}
}

func (b *board) remove(t *tracker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, t)
}

func (b *board) all() []Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Progress, 0, len(b.running))
	for t := range b.running {
		out = append(out, t.progress())
	}
	slices.SortFunc(out, func(x, y Progress) int {
		if c := x.Started.Compare(y.Started); c != 0 {
			return c
		}
		return strings.Compare(x.Directory, y.Directory)
	})
	return out
}
