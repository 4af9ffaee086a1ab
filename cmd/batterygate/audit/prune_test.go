package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/store"
)

func TestAPruningSaysWhatItDid(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.do(t, act("token_1", "apps.create", "acme"))
	}
	w.now = noon.Add(2 * day)
	w.do(t, act("token_2", "apps.delete", "acme"))
	if n, err := w.Prune(t.Context(), 0); n != 0 || err != nil {
		t.Fatalf("kept for ever: %d %v", n, err)
	}
	if n, err := w.Prune(t.Context(), 2*day); n != 0 || err != nil {
		t.Fatalf("not old enough: %d %v", n, err)
	}
	if n, err := w.Prune(t.Context(), day); n != 6 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	r := verify(t, w.process())
	if !r.Intact || r.Entries != 3 || r.HeadSeq != 9 || r.Pruned == nil {
		t.Fatalf("%+v", r)
	}
	a := *r.Pruned
	a.Hash, a.MAC = "", ""
	if want := (audit.Anchor{V: 1, Seq: 6, Time: noon, Count: 6, At: w.now, Before: noon.Add(12 * time.Hour), Kept: "24h0m0s", Entry: 9}); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
	got, next, err := w.List(t.Context(), audit.Query{})
	if err != nil || next != "" || len(got) != 3 {
		t.Fatalf("%v %q %v", got, next, err)
	}
	if e := got[0]; e.Action != audit.ActionPrune || e.Actor.Kind != "gate" || e.Result != audit.Done || !strings.Contains(string(e.After), `"seq":6`) || got[2].Prev != r.Pruned.Hash {
		t.Errorf("%+v", e)
	}
	if log := w.logged.String(); !strings.Contains(log, `"audit pruned"`) || !strings.Contains(log, `"hash":"`+r.Pruned.Hash+`","count":6`) || !strings.Contains(log, `"audit","seq":9`) {
		t.Errorf("not in the log: %s", log)
	}
}

func TestAPruningIsDoneInBoundedSteps(t *testing.T) {
	p := newPast(t)
	for range 150 {
		p.act(t, false)
	}
	p.now = p.now.Add(10 * day)
	p.prune(t, day) // 301 entries: what the store allows of one transaction is checked there
	if r := p.whole(t); r.Pruned.Count != 1 || p.gone != 301 || r.Entries != 4 {
		t.Errorf("%+v", r)
	}
	p.st.lists = 0
	got, next, err := p.List(ctx, audit.Query{Actor: "nobody"})
	if err != nil || len(got) != 0 || next != "" || p.st.lists != 1 {
		t.Errorf("where nothing is left the list goes on: %v %q %v", got, next, err)
	}
}

// An act can begin before the anchor and end behind it.
func TestAnActMayLieOnBothSidesOfTheAnchor(t *testing.T) {
	p := newPast(t)
	pending, err := p.Begin(ctx, act("token_1", "apps.create", "acme"))
	if err != nil {
		t.Fatal(err)
	}
	p.wrote()
	p.now = p.now.Add(3 * day)
	if err := pending.End(ctx, audit.Outcome{Result: audit.Done}); err != nil {
		t.Fatal(err)
	}
	p.wrote()
	p.prune(t, day)
	if r := p.whole(t); len(r.Open) != 0 || p.gone != 2 {
		t.Errorf("%+v", r)
	}
}

// Who changed an entry must not only have to wait until it is pruned.
func TestWhatIsBrokenIsNotPruned(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(d map[string][]byte)
		says string
	}{
		"an edit": {func(d map[string][]byte) {
			d[entryKey(3)] = bytes.Replace(d[entryKey(3)], []byte("token_1"), []byte("token_2"), 1)
		}, "entry 3"},
		"a gap":         {func(d map[string][]byte) { delete(d, entryKey(4)) }, "entry 4"},
		"first gone":    {func(d map[string][]byte) { delete(d, entryKey(1)) }, "entry 1"},
		"last replaced": {func(d map[string][]byte) { d[entryKey(7)] = d[entryKey(6)] }, "entry 7"},
		"head": {func(d map[string][]byte) {
			d[keys+"head"] = bytes.Replace(d[keys+"head"], []byte(`"seq":7`), []byte(`"seq":5`), 1)
		}, "head"},
		"another head": {func(d map[string][]byte) { // of a copy of the store that went another way
			fork := &past{st: newMemory(), keys: []string{"k"}, now: noon}
			fork.Log = fork.process()
			for range 7 {
				if err := fork.Record(ctx, act("token_9", "apps.create", "acme"), audit.Outcome{Result: audit.Done}); err != nil {
					panic(err)
				}
			}
			d[keys+"head"] = fork.st.data[keys+"head"]
		}, "another hash"},
		"forged head": {func(d map[string][]byte) { cut(d, 5, 7) }, "head's MAC"},
		"spaced head": {func(d map[string][]byte) { d[keys+"head"] = append([]byte(" "), d[keys+"head"]...) }, "head's bytes"},
		"anchor":      {func(d map[string][]byte) { d[keys+"anchor"] = d[entryKey(1)] }, "anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			for range 3 {
				p.act(t, false)
			}
			p.now = p.now.Add(10 * day)
			c.do(p.st.data)
			before := maps.Clone(p.st.data)
			if n, err := p.Prune(ctx, day); n != 0 || !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%d, %v", n, err)
			}
			if !maps.EqualFunc(before, p.st.data, bytes.Equal) {
				t.Error("something was written")
			}
		})
	}
}

// cut takes away what lies after at, with the best head that the entry's own
// words make.
func cut(d map[string][]byte, at, head int) {
	for i := at + 1; i <= head; i++ {
		delete(d, entryKey(i))
	}
	_, hash, _ := strings.Cut(string(d[entryKey(at)]), `"hash":"`)
	_, m, _ := strings.Cut(string(d[entryKey(at)]), `"mac":"`)
	d[keys+"head"] = fmt.Appendf(nil, `{"hash":%q,"mac":%q,"seq":%d,"v":1}`, hash[:64], m[:43], at)
}

// twice is an audit that was pruned twice, and what it was in between.
func twice(t *testing.T) (p *past, between map[string][]byte) {
	t.Helper()
	p = newPast(t)
	for range 3 {
		p.act(t, false)
		p.now = p.now.Add(3 * day)
		p.act(t, false)
		if between = maps.Clone(p.st.data); p.gone == 0 {
			p.prune(t, 2*day)
			continue
		}
		p.prune(t, 2*day)
		break
	}
	p.whole(t)
	return p, between
}

func TestAnOlderAnchorDoesNotComeBackWithWhatItLeft(t *testing.T) {
	for name, head := range map[string]func(d map[string][]byte, older []byte){
		"the head as it is": func(map[string][]byte, []byte) {},
		"a head edited to name it": func(d map[string][]byte, older []byte) {
			now, was := regexp.MustCompile(`"pruned":\d+`), regexp.MustCompile(`"entry":(\d+)`).FindSubmatch(older)[1]
			d[keys+"head"] = now.ReplaceAll(d[keys+"head"], append([]byte(`"pruned":`), was...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, between := twice(t)
			d, older := p.st.data, between[keys+"anchor"]
			for k, v := range between {
				if d[k] == nil {
					d[k] = v
				}
			}
			d[keys+"anchor"] = older
			head(d, older)
			if r, err := p.process().Verify(ctx); err != nil || r.Intact {
				t.Errorf("%+v %v", r, err)
			}
			p.now = p.now.Add(100 * day)
			if n, err := p.process().Prune(ctx, day); n != 0 || !errors.Is(err, audit.ErrBroken) {
				t.Errorf("%d %v", n, err)
			}
		})
	}
}

// Of two copies of a store that went two ways, each with a pruning of the same
// number.
func TestAnAnchorOfAnotherPastIsFound(t *testing.T) {
	p := newPast(t)
	for range 3 {
		p.act(t, false)
		p.now = p.now.Add(3 * day)
	}
	fork := &memory{data: maps.Clone(p.st.data)}
	if n, err := p.Prune(ctx, 5*day); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	p.st, fork = fork, p.st
	if n, err := p.process().Prune(ctx, day); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	p.st.data[keys+"anchor"] = fork.data[keys+"anchor"]
	if r, err := p.process().Verify(ctx); err != nil || r.Intact {
		t.Errorf("%+v %v", r, err)
	}
	for k, v := range fork.data { // with what it left
		if p.st.data[k] == nil {
			p.st.data[k] = v
		}
	}
	if r, err := p.process().Verify(ctx); err != nil || r.Intact {
		t.Errorf("%+v %v", r, err)
	}
	p.now = p.now.Add(100 * day)
	if n, err := p.process().Prune(ctx, day); n != 0 || !errors.Is(err, audit.ErrBroken) {
		t.Errorf("%d %v", n, err)
	}
}

func TestADamagedAnchorHidesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(anchor []byte) []byte
		says string
	}{
		"moved ahead": {func(a []byte) []byte {
			return regexp.MustCompile(`"(seq|entry)":\d+`).ReplaceAll(a, []byte(`"$1":1000`))
		}, "anchor"},
		"moved far": {func(a []byte) []byte {
			return bytes.Replace(regexp.MustCompile(`"seq":\d+`).ReplaceAll(a, []byte(`"seq":1000`)), []byte(`"entry":`), []byte(`"entry":1000`), 1)
		}, "anchor's MAC"},
		"other words": {func(a []byte) []byte { return bytes.Replace(a, []byte(`"kept":"48h`), []byte(`"kept":"24h`), 1) }, "anchor's MAC"},
		"a space":     {func(a []byte) []byte { return append([]byte(" "), a...) }, "anchor's bytes"},
		"a member":    {func(a []byte) []byte { return append([]byte(`{"count":7,`), a[1:]...) }, "anchor's bytes"},
		"another key": {func(a []byte) []byte {
			mac := regexp.MustCompile(`"mac":"[^"]*"`)
			return mac.ReplaceAll(a, []byte(`"mac":"AAAA"`))
		}, "anchor's MAC"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := twice(t)
			p.st.data[keys+"anchor"] = c.do(p.st.data[keys+"anchor"])
			r, err := p.process().Verify(ctx)
			if err != nil || r.Intact || r.FirstBroken == 0 || !strings.Contains(strings.Join(r.Faults, "\n"), c.says) {
				t.Errorf("%+v %v", r, err)
			}
			if r.Pruned != nil || !strings.HasPrefix(name, "moved") && (r.Entries != p.head-p.gone || len(r.Missing) > 0) {
				t.Errorf("what lies behind it is not told: %+v", r)
			}
			if got, _, err := p.List(ctx, audit.Query{}); err != nil || uint64(len(got)) != p.head-p.gone {
				t.Errorf("list: %d entries, %v", len(got), err)
			}
			delete(p.st.data, keys+"head")
			if _, err := p.process().Begin(ctx, act("token_1", "apps.create", "acme")); !errors.Is(err, audit.ErrBroken) {
				t.Errorf("a new chain beside it: %v", err)
			}
		})
	}
}

func TestABatchOfLargeEntriesIsSmaller(t *testing.T) {
	p := newPast(t)
	for range 50 {
		a := act("token_1", "apps.create", "acme")
		a.Request = strings.Repeat("x", 60<<10)
		if err := p.Record(ctx, a, audit.Outcome{Result: audit.Done}); err != nil {
			t.Fatal(err)
		}
	}
	p.now = p.now.Add(3 * day)
	if n, err := p.Prune(ctx, day); n != 51 || err != nil {
		t.Fatal(n, err)
	}
	if r := verify(t, p.process()); !r.Intact || r.Entries != 2 {
		t.Errorf("%d batches", r.Entries)
	}
}

func TestEntriesOfTheFutureStopAPruning(t *testing.T) {
	p := newPast(t)
	p.act(t, false)
	p.now = p.now.Add(1000 * day) // a clock that was set wrongly, for a while
	p.act(t, false)
	p.now = noon.Add(30 * day)
	p.act(t, false)
	p.now = p.now.Add(10 * day)
	p.prune(t, day)
	if p.gone != 3 {
		t.Errorf("%d are gone", p.gone)
	}
	p.whole(t)
}

func TestAPruningDoesNotDisturbWhoVerifies(t *testing.T) {
	p := newPast(t)
	for range 300 {
		p.act(t, false)
	}
	p.now = p.now.Add(20 * day)
	var wg sync.WaitGroup
	other := p.process()
	wg.Go(func() {
		if n, err := other.Prune(ctx, day); n != 601 || err != nil {
			t.Error(n, err)
		}
	})
	for range 10 {
		if r, err := p.Verify(ctx); err != nil && !errors.Is(err, audit.ErrBusy) || err == nil && !r.Intact {
			t.Errorf("%+v %v", r.Faults, err)
		}
	}
	wg.Wait()
	if r := verify(t, p.process()); !r.Intact || r.Pruned.Seq != 601 {
		t.Errorf("%+v", r)
	}
}

// An audit that was opened is never empty: empty means deleted.
func TestADeletedAuditIsNotAnEmptyOne(t *testing.T) {
	w := newWorld(t)
	if err := w.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := w.process().Open(t.Context(), true); err != nil { // the next start
		t.Fatal(err)
	}
	got, _, err := w.List(t.Context(), audit.Query{})
	if err != nil || len(got) != 1 || got[0].Action != audit.ActionBegin || got[0].Lost || got[0].Actor.Kind != "gate" {
		t.Fatalf("%+v %v", got, err)
	}
	w.do(t, act("token_1", "apps.create", "acme"))
	w.write(t, map[string][]byte{keys + "head": nil, entryKey(1): nil, entryKey(2): nil, entryKey(3): nil})

	// The process that ran all the while.
	if r := verify(t, w.Log); r.Intact || r.FirstBroken != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := w.Begin(t.Context(), act("token_1", "apps.create", "acme")); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("a new chain was begun in its place: %v", err)
	}
	// One that starts now, and all after it.
	for range 2 {
		next := w.process()
		if err := next.Open(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		r := verify(t, next)
		if r.Intact || r.FirstBroken != 1 || !strings.Contains(strings.Join(r.Faults, "\n"), "deleted") {
			t.Errorf("%+v", r)
		}
		if err := next.Record(t.Context(), act("token_1", "apps.create", "acme"), audit.Outcome{Result: audit.Done}); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(w.logged.String(), "the audit was deleted"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestAnOpenAuditFindsWhatIsTakenAwayFromItsStartOn(t *testing.T) {
	w := newWorld(t)
	w.do(t, act("token_1", "apps.create", "acme"))
	older := w.raw(t, keys+"head")
	w.do(t, act("token_1", "apps.delete", "acme"))
	next := w.process() // writes nothing itself
	if err := next.Open(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	w.write(t, map[string][]byte{keys + "head": older, entryKey(3): nil, entryKey(4): nil})
	if r := verify(t, next); r.Intact || r.FirstBroken != 3 {
		t.Errorf("%+v", r)
	}
}

func TestAHeadlessAuditStartsAndIsNotContinued(t *testing.T) {
	for name, c := range map[string]struct {
		prune bool
		gone  []string
	}{
		"entries without a head":            {false, []string{keys + "head"}},
		"an anchor without a head":          {true, []string{keys + "head", entryKey(4), entryKey(5)}},
		"pruned entries, no head or anchor": {true, []string{keys + "head", keys + "anchor"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.act(t, false)
			if p.now = p.now.Add(3 * day); c.prune {
				p.act(t, false)
				p.prune(t, day)
			}
			for _, k := range c.gone {
				delete(p.st.data, k)
			}
			logged := &bytes.Buffer{}
			next := audit.New(audit.Options{Store: p.st, MAC: mac("k"), Log: slog.New(slog.NewJSONHandler(logged, nil))})
			if err := next.Open(ctx, true); err != nil || !strings.Contains(logged.String(), "cannot be continued") {
				t.Fatalf("%v %s", err, logged)
			}
			if _, err := next.Begin(ctx, act("token_1", "apps.create", "acme")); !errors.Is(err, audit.ErrBroken) {
				t.Errorf("begin: %v", err)
			}
			if r, err := next.Verify(ctx); err != nil || r.Intact {
				t.Errorf("%+v %v", r, err)
			}
			// Nor by a process that has not opened it, as long as anything is there to see.
			if _, err := p.process().Begin(ctx, act("token_1", "apps.create", "acme")); !errors.Is(err, audit.ErrBroken) && name != "pruned entries, no head or anchor" {
				t.Errorf("begin, not opened: %v", err)
			}
		})
	}
}

func TestWithoutAKeyAPruningIsStillTiedToTheChain(t *testing.T) {
	p := newPast(t)
	plain := audit.New(audit.Options{Store: p.st, Now: func() time.Time { return p.now }, Log: slog.New(slog.DiscardHandler)})
	p.act(t, false)
	p.now = p.now.Add(3 * day)
	if n, err := plain.Prune(ctx, day); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if r, err := plain.Verify(ctx); err != nil || !r.Intact || r.Keyed {
		t.Fatalf("%+v %v", r, err)
	}
	p.st.data[keys+"anchor"] = bytes.Replace(p.st.data[keys+"anchor"], []byte(`"count":3`), []byte(`"count":2`), 1)
	if r, err := plain.Verify(ctx); err != nil || r.Intact {
		t.Errorf("%+v %v", r, err)
	}
}

var _ store.Store = (*memory)(nil)
