package harness

import (
	"net/http"
	"testing"
	"time"
)

// Kill -9 while the program catches up, again and again: what it has of a page
// and where it goes on reading are written together, so nothing is left out and
// nothing comes twice in a way that shows.
func TestCatchingUpSurvivesKill9(t *testing.T) {
	rounds, events := 6, 600
	if shared.soak {
		rounds, events = 60, 6000
	}
	catchesUp(t)
	g := newGate(t, shared.binary)
	do(t, g.start())
	p := must(g.place("acme"))(t)
	own := map[string]bool{}
	for _, u := range must(list[shown](g, "directories/"+p.directory+"/users"))(t) {
		own[u.ID] = true
	}
	h := newHistory(uint64(time.Now().UnixNano()), p, p.groups["Engineering"], p.groups["Everyone"])
	s := newSender(h)
	began := time.Now()
	for range rounds {
		// WorkOS is not to be read while it happens; a restart forgets that.
		do(t, g.set(weather{rules: []object{{"path_prefix": "/", "status": 503}}}))
		for range events / rounds {
			do(t, happen(g, s, false))
		}
		for range 3 {
			g.kill()
			do(t, g.launch())
			time.Sleep(time.Duration(20+h.rand.IntN(400)) * time.Millisecond)
		}
		g.kill()
		do(t, g.start())
	}
	all := func() error { return verify(g, p, []*sender{s}, own) }
	took, ok := within(patience, func() bool { return all() == nil })
	if !ok {
		t.Fatalf("%v after the last start, events without webhooks are not in effect:\n%v", patience, all())
	}
	ada := must(signIn(g, "crm.acme", "ada@acme.test"))(t)
	if status := must(ada.ask(g, "crm.acme", "/"))(t); status != http.StatusOK {
		t.Errorf("after all that, crm answers ada with %d", status)
	}
	proven(t, "%d events without a webhook, %d kills while catching up: missing=0, caught up %v after the last start, all in %v",
		s.sent, 4*rounds, took.Round(10*time.Millisecond), time.Since(began).Round(time.Second))
}
