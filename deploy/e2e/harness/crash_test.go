package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Kill -9 at any moment of a flood from 8 connections, also while starting: on
// the same data, everything that was answered 200 is in effect, nothing is there
// that was not said, and sessions hold.
func TestWhatWasAnsweredSurvivesKill9(t *testing.T) {
	rounds := 8
	if shared.soak {
		rounds = 120
	}
	c := newCrash(t, shared.binary)
	for round := range rounds {
		if err := c.round(t, 1200*time.Millisecond); err != nil {
			t.Fatalf("round %d: acknowledged events are lost, or others came from nowhere:\n%v", round, err)
		}
	}
	sent, acknowledged, open := totals(c.senders)
	if acknowledged < 100*rounds {
		t.Errorf("only %d events were acknowledged in %d rounds: that was no flood", acknowledged, rounds)
	}
	proven(t, "rounds=%d (%d killed again while starting) sent=%d acknowledged=%d open=%d lost=0, slowest restart %v, all in %v",
		rounds, c.early, sent, acknowledged, open, c.slowest.Round(time.Millisecond), time.Since(c.began).Round(time.Second))
}

// The same harness finds a store that forgets every fiftieth commit, which shows
// in nothing until the restart.
func TestTheCrashHarnessFindsALostCommit(t *testing.T) {
	binary, err := mutant("forgets", "store/boltstore/store.go", "(*bolt.Tx).Commit,",
		"func(tx *bolt.Tx) error { if tx.ID()%50 == 0 { return tx.Rollback() }; return tx.Commit() },")
	do(t, err)
	c := newCrash(t, binary)
	for range 5 {
		if err := c.round(t, 600*time.Millisecond); err != nil {
			proven(t, "it does, in round %d", c.rounds)
			t.Log(err)
			return
		}
	}
	t.Error("five rounds over a store that forgets commits, and nothing was found missing: the harness is blind")
}

// crash is a gate that is killed again and again, and what it was told.
type crash struct {
	gate    *gate
	place   place
	own     map[string]bool // users that were there from the start
	ada     *person
	senders []*sender
	rand    *rand.Rand

	began   time.Time
	rounds  int
	early   int           // starts that were killed, too
	slowest time.Duration // restart
}

func newCrash(t *testing.T, binary string) *crash {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := &crash{gate: newGate(t, binary, "--catch-up=false"), own: map[string]bool{}, rand: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	do(t, c.gate.start())
	c.place = must(c.gate.place("acme"))(t)
	for _, u := range must(list[shown](c.gate, "directories/"+c.place.directory+"/users"))(t) {
		c.own[u.ID] = true
	}
	c.ada = must(signIn(c.gate, "crm.acme", "ada@acme.test"))(t)
	for i := range uint64(8) {
		c.senders = append(c.senders, newSender(newHistory(seed+i, c.place, c.place.groups["Engineering"], c.place.groups["Everyone"])))
	}
	return c
}

// round floods, kills within longest, starts again and looks. The error says
// what is not as it was promised; whatever else fails ends the test.
func (c *crash) round(t *testing.T, longest time.Duration) error {
	t.Helper()
	c.rounds++
	time.AfterFunc(50*time.Millisecond+time.Duration(c.rand.Int64N(int64(longest))), c.gate.proc.Kill)
	err := floodAll(c.gate, c.senders)
	c.gate.kill()
	do(t, err)
	if c.rand.IntN(4) == 0 {
		c.early++
		do(t, c.gate.launch())
		time.Sleep(time.Duration(c.rand.IntN(150)) * time.Millisecond)
		c.gate.kill()
	}
	again := time.Now()
	do(t, c.gate.start())
	c.slowest = max(c.slowest, time.Since(again))
	err = verify(c.gate, c.place, c.senders, c.own)
	status := must(c.ada.ask(c.gate, "crm.acme", fmt.Sprintf("/round-%d", c.rounds)))(t)
	if status != 200 {
		err = errors.Join(err, fmt.Errorf("ada's session did not survive: crm answers %d", status))
	}
	return err
}
