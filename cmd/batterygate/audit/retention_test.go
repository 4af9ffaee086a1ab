package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"battery.app/gate/cmd/batterygate/audit"
)

const day = 24 * time.Hour

var ctx = context.Background()

// past is an audit that grows, is pruned and changes its keys.
type past struct {
	*audit.Log
	st   *memory
	keys []string // the last one is used
	now  time.Time

	head, gone uint64 // what must be
	times      map[uint64]time.Time
}

func newPast(t rapid.TB) *past {
	p := &past{st: newMemory(), keys: []string{"k"}, now: noon, times: map[uint64]time.Time{}}
	p.start(t)
	p.wrote()
	return p
}

// process is another process on the same store.
func (p *past) process() *audit.Log {
	keys := slices.Clone(p.keys)
	return audit.New(audit.Options{
		Store: p.st, MAC: mac(keys[len(keys)-1]), Now: func() time.Time { return p.now }, Log: slog.New(slog.DiscardHandler),
		Check: func(data, got []byte) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return bytes.Equal(mac(k)(data), got) })
		},
	})
}

func (p *past) start(t rapid.TB) {
	t.Helper()
	p.Log = p.process()
	if err := p.Open(ctx, p.head > 0); err != nil {
		t.Fatal(err)
	}
}

func (p *past) wrote() { p.head++; p.times[p.head] = p.now }

func (p *past) act(t rapid.TB, cutShort bool) {
	t.Helper()
	pending, err := p.Begin(ctx, act("token_1", "apps.create", "acme"))
	if err != nil {
		t.Fatal(err)
	}
	p.wrote()
	if cutShort {
		p.start(t)
		return
	}
	p.now = p.now.Add(time.Hour)
	if err := pending.End(ctx, audit.Outcome{Result: audit.Done}); err != nil {
		t.Fatal(err)
	}
	p.wrote()
}

func (p *past) prune(t rapid.TB, kept time.Duration) {
	t.Helper()
	n, err := p.Prune(ctx, kept)
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	for last := p.head; p.gone+want < last && p.times[p.gone+want+1].Before(p.now.Add(-kept).Truncate(day)); {
		want++
	}
	if n != want {
		t.Fatalf("%d pruned, want %d", n, want)
	}
	p.gone += n
	for ; n > 0; n -= min(n, 100) { // each transaction says so
		p.wrote()
	}
}

// whole is a report that a process which starts now must give.
func (p *past) whole(t rapid.TB) audit.Report {
	t.Helper()
	r, err := p.process().Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pruned := uint64(0)
	if r.Pruned != nil {
		pruned = r.Pruned.Seq
	}
	if !r.Intact || r.HeadSeq != p.head || pruned != p.gone || r.Entries != p.head-p.gone {
		t.Fatalf("head %d, pruned %d; found %+v", p.head, p.gone, r)
	}
	return r
}

// run lets things happen, and looks at the whole after each that is no mere act.
func (p *past) run(rt *rapid.T, n int) {
	for range n {
		what := rapid.SampledFrom([]string{"act", "act", "days", "days", "prune", "crash in a pruning", "crash in an act", "new key", "restart", "many"}).Draw(rt, "what")
		switch what {
		case "act":
			p.act(rt, false)
		case "crash in an act":
			p.act(rt, true)
		case "many":
			for range rapid.IntRange(1, 45).Draw(rt, "many") {
				p.act(rt, false)
			}
		case "days":
			p.now = p.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "hours")) * 12 * time.Hour)
		case "prune":
			p.prune(rt, time.Duration(rapid.IntRange(1, 30).Draw(rt, "kept"))*day)
		case "crash in a pruning":
			p.st.crash = true
			if n, err := p.Prune(ctx, day); n != 0 || err != nil && !errors.Is(err, errCrash) {
				rt.Fatal(n, err)
			}
			p.st.crash = false
			p.start(rt)
		case "new key":
			p.keys = append(p.keys, fmt.Sprint("k", len(p.keys)))
			p.start(rt)
		case "restart":
			p.start(rt)
		}
		if what != "act" && what != "days" && what != "many" {
			p.whole(rt)
		}
	}
	p.whole(rt)
}

func TestWhateverHappensTheRestIsProven(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { newPast(rt).run(rt, 7) })
}

// The one who tampers has the store of every moment there was, and no key.
func TestAnyTamperingWithAPrunedAuditIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPast(rt)
		for range 3 {
			p.act(rt, false)
		}
		p.now = p.now.Add(3 * day)
		p.act(rt, false)
		p.prune(rt, day) // so that there is an anchor
		was := maps.Clone(p.st.data)
		p.run(rt, rapid.IntRange(0, 5).Draw(rt, "more"))
		p.now = p.now.Add(3 * day)
		p.act(rt, false)
		p.prune(rt, day) // and another
		for range 2 {
			p.act(rt, false)
		}
		p.whole(rt)

		d := p.st.data
		left := rapid.Uint64Range(p.gone+1, p.head)
		at, other := left.Draw(rt, "at"), left.Draw(rt, "other")
		how := rapid.SampledFrom([]string{
			"edit", "byte", "drop", "swap", "cut", "no head", "head byte", "head of a number", "everything but the anchor",
			"anchor byte", "anchor words", "no anchor", "older anchor", "older anchor and what it left", "anchor ahead", "anchor ahead, entries gone", "no anchor, entries gone",
			"first entry gone", "entry before the anchor", "entry as anchor", "all gone",
		}).Draw(rt, "how")
		edit := func(k string) {
			i := rapid.IntRange(0, len(d[k])-1).Draw(rt, "index")
			v, c := bytes.Clone(d[k]), rapid.Byte().Draw(rt, "byte")
			if v[i] == c {
				c++
			}
			v[i] = c
			d[k] = v
		}
		k, anchor := entryKey(int(at)), keys+"anchor"
		switch how {
		case "edit":
			d[k] = bytes.Replace(d[k], []byte(`"v":1`), []byte(`"v":2`), 1)
		case "byte":
			edit(k)
		case "drop":
			delete(d, k)
		case "swap":
			if at == other {
				rt.Skip()
			}
			d[k], d[entryKey(int(other))] = d[entryKey(int(other))], d[k]
		case "cut": // with the head of an entry's own words
			if at == p.head {
				rt.Skip()
			}
			cut(d, int(at), int(p.head))
		case "no head":
			delete(d, keys+"head")
		case "head byte":
			edit(keys + "head")
		case "head of a number":
			d[keys+"head"] = bytes.Replace(d[keys+"head"], fmt.Appendf(nil, `"seq":%d`, p.head), fmt.Appendf(nil, `"seq":%d`, p.gone), 1)
		case "everything but the anchor":
			for key := range d {
				if key != anchor {
					delete(d, key)
				}
			}
		case "anchor byte":
			edit(anchor)
		case "anchor words":
			d[anchor] = append([]byte(" "), d[anchor]...)
		case "no anchor":
			delete(d, anchor)
		case "older anchor":
			d[anchor] = was[anchor]
		case "older anchor and what it left":
			for key, v := range was { // everything that was there at either time
				if d[key] == nil || key == anchor {
					d[key] = v
				}
			}
		case "anchor ahead":
			d[anchor] = bytes.Replace(d[anchor], fmt.Appendf(nil, `"seq":%d`, p.gone), fmt.Appendf(nil, `"seq":%d`, at), 1)
			if at == p.gone {
				rt.Skip()
			}
		case "anchor ahead, entries gone":
			for i := p.gone + 1; i <= at; i++ {
				delete(d, entryKey(int(i)))
			}
			d[anchor] = bytes.Replace(d[anchor], fmt.Appendf(nil, `"seq":%d`, p.gone), fmt.Appendf(nil, `"seq":%d`, at), 1)
		case "no anchor, entries gone":
			delete(d, anchor)
			for i := p.gone + 1; i <= at; i++ {
				delete(d, entryKey(int(i)))
			}
		case "first entry gone":
			delete(d, entryKey(int(p.gone+1)))
		case "entry before the anchor":
			d[entryKey(int(rapid.Uint64Range(1, p.gone).Draw(rt, "before")))] = d[k]
		case "entry as anchor":
			d[anchor] = d[k]
		case "all gone":
			clear(d)
			p.Log = p.process()
			if err := p.Open(ctx, true); err != nil {
				rt.Fatal(err)
			}
		}
		r, err := p.process().Verify(ctx)
		if err != nil || r.Intact || r.FirstBroken == 0 || len(r.Faults) == 0 {
			rt.Fatalf("%s at %d of %d to %d was not found: %+v %v", how, at, p.gone+1, p.head, r, err)
		}
		// And it is never pruned away.
		p.now = p.now.Add(1000 * day)
		before := maps.Clone(p.st.data)
		if n, err := p.process().Prune(ctx, day); err == nil && n > 0 {
			if r, err := p.process().Verify(ctx); err != nil || r.Intact {
				rt.Fatalf("%s at %d was pruned away: %+v %v", how, at, r, err)
			}
		} else if err != nil && n == 0 && !maps.EqualFunc(before, p.st.data, bytes.Equal) {
			rt.Fatal("a pruning that failed left something")
		}
	})
}
