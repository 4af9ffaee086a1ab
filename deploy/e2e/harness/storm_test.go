package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// weather is one way in which WorkOS's API misbehaves: rules for the stand-in's
// /_dev/faults, each for a part of the API.
type weather struct {
	name  string
	rules []object
}

// fault is a rule for the whole API: what it answers instead.
func fault(status int, body any, headers object) object {
	return object{"path_prefix": "/", "status": status, "body": body, "headers": headers}
}

// storms are what may come, in any order. A Content-Length that is larger than
// the body makes the server cut the connection in the middle of the page.
var storms = []weather{
	{"429", []object{fault(429, "Ratelimited", object{"Retry-After": "1"})}},
	{"429 without end", []object{fault(429, object{"message": "Too many requests"}, object{"Retry-After": "86400"})}},
	{"500", []object{fault(500, object{"message": "Internal Server Error"}, nil)}},
	{"503, in HTML", []object{fault(503, "<html>down for maintenance</html>", object{"Content-Type": "text/html"})}},
	{"200, in HTML", []object{fault(200, "<html>please log in</html>", object{"Content-Type": "text/html"})}},
	{"401", []object{fault(401, object{"message": "Unauthorized"}, nil)}},
	{"403", []object{fault(403, object{"message": "Forbidden"}, nil)}},
	{"time-outs", []object{{"path_prefix": "/", "delay_ms": 40000}}},
	{"slow", []object{{"path_prefix": "/", "delay_ms": 900}}},
	{"half pages", []object{fault(200, object{"object": "list", "data": []object{}}, object{"Content-Length": "5000"})}},
	{"half pages, really", []object{{"path_prefix": "/", "truncate": true}}},
	{"pages without their last byte", []object{{"path_prefix": "/", "wrong_json": true}}},
	{"resets", []object{{"path_prefix": "/", "reset": true}}},
	{"short lists", []object{{"path_prefix": "/directory_users", "drop": 2}}},
	{"short lists of groups", []object{{"path_prefix": "/directory_groups", "drop": 1}}},
	{"lists in disorder, with doubles", []object{{"path_prefix": "/", "reorder": true, "duplicate": 2}}},
	{"pages without data", []object{fault(200, object{"object": "list"}, nil)}},
	{"data of another kind", []object{fault(200, object{"object": "list", "data": "none", "list_metadata": object{}}, nil)}},
	{"objects without ids", []object{fault(200, object{"object": "list", "data": []object{{}}, "list_metadata": object{"before": nil, "after": nil}}, nil)}},
	{"numbers for ids", []object{fault(200, object{"object": "list", "data": []object{{"id": 7, "event": 8}}, "list_metadata": object{"after": 9}}, nil)}},
	{"lists for objects", []object{fault(200, []int{}, nil)}},
	{"users fail, groups do not", []object{
		{"path_prefix": "/directory_users", "status": 500}, {"path_prefix": "/events", "status": 500, "count": 2}}},
	{"groups fail, users do not", []object{{"path_prefix": "/directory_groups", "status": 502}, {"path_prefix": "/events", "delay_ms": 300}}},
}

// cell is one person at one app, and the answer that must not change.
type cell struct {
	email, app string
	want       int
	person     *person
}

// While WorkOS answers with errors, time-outs, half pages and nonsense, and even
// while it is asked to reconcile, no decision changes. What happened meanwhile
// without any webhook is in effect soon after the storm.
func TestNoStormChangesADecision(t *testing.T) {
	long, catchUp := 30*time.Second, 75*time.Second
	if shared.soak {
		long, catchUp = 5*time.Minute, 2*time.Minute
	}
	catchesUp(t)
	s := must(newStorm(t.TempDir()))(t)
	t.Cleanup(s.gate.kill)
	var order []int // every weather comes before one comes again
	for began := time.Now(); time.Since(began) < long || len(order) > 0; order = order[1:] {
		if len(order) == 0 {
			order = s.history.rand.Perm(len(storms))
		}
		do(t, s.rage(storms[order[0]], 3, 1400*time.Millisecond))
	}
	took, err := s.clear(catchUp)
	do(t, err)
	proven(t, "%v of storm, %d events without a webhook; %d decisions, changed=0; all caught up %v after its end",
		long, s.sent, s.watch.asked, took.Round(100*time.Millisecond))
}

// Each kind of weather alone, long enough that every way of catching up meets
// it: none leaves anything behind that outlasts it.
func TestNoKindOfWeatherLasts(t *testing.T) {
	catchesUp(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slowest, slowestIn := time.Duration(0), ""
	turn := make(chan struct{}, 8) // so many gates at once
	for i, w := range storms {
		home := filepath.Join(t.TempDir(), fmt.Sprint(i))
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			took, err := pass(home, w)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", w.name, err)
			} else if took > slowest {
				slowest, slowestIn = took, w.name
			}
		})
	}
	wg.Wait()
	if !t.Failed() {
		proven(t, "%d kinds; no decision changed; the longest to catch up after one: %v (%s)", len(storms), slowest.Round(100*time.Millisecond), slowestIn)
	}
}

// pass lets one kind of weather pass over a new gate.
func pass(home string, w weather) (time.Duration, error) {
	if err := os.Mkdir(home, 0o700); err != nil {
		return 0, err
	}
	s, err := newStorm(home)
	if s != nil {
		defer s.gate.kill()
	}
	if err != nil {
		return 0, err
	}
	if err := s.rage(w, 40, 6*time.Second); err != nil {
		return 0, err
	}
	return s.clear(75 * time.Second)
}

// storm is a gate that catches up, and what happens at WorkOS meanwhile.
type storm struct {
	*sender
	gate   *gate
	place  place
	own    map[string]bool // users that were there from the start
	watch  *watcher
	asking chan struct{} // full while an operator's reconcile is under way
}

// newStorm starts a gate and the watch over its decisions.
func newStorm(home string) (*storm, error) {
	g := &gate{binary: shared.binary, home: home}
	s := &storm{gate: g, own: map[string]bool{}, asking: make(chan struct{}, 1)}
	if err := g.start(); err != nil {
		return s, err
	}
	p, err := g.place("acme")
	if err != nil {
		return s, err
	}
	users, err := list[shown](g, "directories/"+p.directory+"/users")
	if err != nil {
		return s, err
	}
	for _, u := range users {
		s.own[u.ID] = true
	}
	s.place = p
	s.sender = newSender(newHistory(uint64(time.Now().UnixNano()), p, p.groups["Engineering"], p.groups["Everyone"]))
	s.watch, err = watchDecisions(g)
	return s, err
}

// rage lets a weather come, some events happen in it, and asks to
// reconcile, as an operator would.
func (s *storm) rage(w weather, events int, long time.Duration) error {
	s.watch.during(w.name)
	if err := s.gate.set(w); err != nil {
		return err
	}
	for range events {
		if err := happen(s.gate, s.sender, s.history.rand.IntN(6) == 0); err != nil {
			return err
		}
	}
	select {
	case s.asking <- struct{}{}:
		go func() { // it may fail, and take long
			_ = call(http.MethodPost, s.gate.AdminURL+"/api/v1/directories/"+s.place.directory+"/reconcile", s.gate.AdminToken, nil, nil)
			<-s.asking
		}()
	default:
	}
	time.Sleep(long)
	return nil
}

// clear ends the storm and waits until all that happened is in effect. It fails
// if that takes too long, or if any decision changed at any time.
func (s *storm) clear(patience time.Duration) (time.Duration, error) {
	if err := s.gate.set(weather{}); err != nil {
		return 0, err
	}
	s.watch.during("the time after")
	all := func() error { return verify(s.gate, s.place, []*sender{s.sender}, s.own) }
	took, ok := within(patience, func() bool { return all() == nil })
	changed := s.watch.stop()
	switch {
	case len(changed) > 0:
		return took, fmt.Errorf("decisions changed:\n%s\n%s", strings.Join(changed, "\n"), s.gate.proc.Tail())
	case !ok:
		return took, fmt.Errorf("%v after the storm, events without webhooks are not in effect:\n%w\n%s", patience, all(), s.gate.proc.Tail())
	case s.watch.asked < 100:
		return took, fmt.Errorf("only %d decisions were asked for: nothing was shown", s.watch.asked)
	}
	return took, nil
}

// catchesUp skips the test, loudly, if the program has no way but webhooks.
func catchesUp(t *testing.T) {
	t.Helper()
	g := newGate(t, shared.binary)
	do(t, g.start())
	defer g.kill()
	var state struct {
		CatchUp bool `json:"catch_up"`
	}
	if err := call(http.MethodGet, g.AdminURL+"/api/v1/sync", g.AdminToken, nil, &state); err != nil || !state.CatchUp {
		notProven(t, fmt.Sprintf("this build does not catch up with WorkOS (%v)", err))
	}
}

// set replaces the stand-in's faults.
func (g *gate) set(w weather) error {
	if err := call(http.MethodDelete, g.WorkOSURL+"/_dev/faults", g.WorkOSAPIKey, nil, nil); err != nil {
		return err
	}
	for _, rule := range w.rules {
		if err := call(http.MethodPost, g.WorkOSURL+"/_dev/faults", g.WorkOSAPIKey, rule, nil); err != nil {
			return err
		}
	}
	return nil
}

// happen makes the history's next event happen at WorkOS, mostly without a
// webhook.
func happen(g *gate, s *sender, deliver bool) error {
	if now := time.Now(); now.After(s.history.clock) {
		s.history.clock = now // otherwise it goes on counting: no two events have one time
	}
	e := s.history.next()
	path := "/_dev/events"
	if deliver {
		path += "?deliver=1"
	}
	s.sent++
	if err := callRaw(http.MethodPost, g.WorkOSURL+path, g.WorkOSAPIKey, e.body, nil); err != nil {
		return fmt.Errorf("%v: %w", e, err)
	}
	s.note(e, true)
	return nil
}

// watcher asks for the same decisions over and over.
type watcher struct {
	mu      sync.Mutex
	weather string
	asked   int
	changed []string
	quit    chan struct{}
	done    chan struct{}
}

// watchDecisions signs everybody in and begins to ask. The answers are those of
// dev's world, which no history touches.
func watchDecisions(g *gate) (*watcher, error) {
	cells := []*cell{
		{"ada@acme.test", "crm.acme", 200, nil}, {"bob@acme.test", "crm.acme", 403, nil}, {"bob@acme.test", "wiki.acme", 200, nil},
		{"root@acme.test", "crm.acme", 200, nil}, {"eve@acme.test", "wiki.acme", 403, nil}, {"gil@globex.test", "desk.globex", 200, nil},
	}
	for _, c := range cells {
		var err error
		if c.person, err = signIn(g, c.app, c.email); err != nil {
			return nil, err
		}
	}
	w := &watcher{weather: "the time before", quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for n := 0; ; n++ {
			select {
			case <-w.quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			c := cells[n%len(cells)]
			got, err := c.person.ask(g, c.app, "/storm")
			w.saw(c, got, err)
		}
	}()
	return w, nil
}

func (w *watcher) saw(c *cell, got int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if err == nil && got == c.want {
		return
	}
	what := fmt.Sprintf("%s at %s, during %s: %d instead of %d (%v)", c.email, c.app, w.weather, got, c.want, err)
	if !slices.Contains(w.changed, what) {
		w.changed = append(w.changed, what)
	}
}

func (w *watcher) during(weather string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.weather = weather
}

// stop ends the watch and returns what changed.
func (w *watcher) stop() []string {
	close(w.quit)
	<-w.done
	return w.changed
}
