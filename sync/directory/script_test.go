package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"

	"battery.app/gate/store"
	"battery.app/gate/sync/directory"
	"pgregory.net/rapid"
)

// act is one thing that happens to our copy. It prints as a line.
type act struct {
	kind   string // event, page, read, world
	events []int  // of the log
	moment int
	margin int // ms between the watermark and the moment of a reading
	crash  int // updates after which the store fails once; 0: it does not
	lost   bool
	lag    bool // the View has not followed when the next one happens
	short  bool // the reading leaves out what omits says
	omits  []bool
}

// script is a history and how it was delivered.
type script struct {
	h    *history
	acts []act
}

func (s script) String() string {
	var b strings.Builder
	b.WriteString("\nwhat happened:\n")
	for i, ev := range s.h.events {
		fmt.Fprintf(&b, "  %2d  %4dms  %s\n", i, ev.CreatedAt.Sub(epoch0).Milliseconds(), tell(ev))
	}
	b.WriteString("how it came:\n")
	for _, a := range s.acts {
		fmt.Fprintf(&b, "  %s\n", a.String())
	}
	return b.String()
}

func (a act) String() string {
	out := a.kind
	switch a.kind {
	case "event", "page":
		out += fmt.Sprint(" ", a.events)
	default:
		out += fmt.Sprintf(" after step %d, watermark %dms earlier", a.moment, a.margin)
	}
	if a.short {
		out += fmt.Sprint(", leaving out ", a.omits)
	}
	if a.crash > 0 {
		out += fmt.Sprintf(", the store fails at update %d (lost: %v)", a.crash, a.lost)
	}
	if a.lag {
		out += ", the view lags"
	}
	return out
}

// tell is an event in a line.
func tell(ev directory.Event) string {
	var d struct {
		ID, State, Name, Email string
		User, Group            struct{ ID, State string }
	}
	_ = json.Unmarshal(ev.Data, &d)
	return strings.Join(strings.Fields(strings.Join([]string{ev.Type, d.ID, d.Email, d.Name, d.State, d.User.ID, d.User.State, d.Group.ID}, " ")), " ")
}

// deliveries draws how a history comes: events by webhook in any order, some
// lost, some twice or more; pages of the log; readings at random points, with
// watermarks before the moment they show; a store that fails now and then.
func deliveries(rt *rapid.T, h *history) []act {
	var acts []act
	n := len(h.events)
	for i := range n {
		for range rapid.SampledFrom([]int{1, 1, 1, 0, 2, 3}).Draw(rt, "copies") {
			acts = append(acts, act{kind: "event", events: []int{i}})
		}
	}
	for range rapid.IntRange(0, 2).Draw(rt, "early pages") {
		from := rapid.IntRange(0, n-1).Draw(rt, "from")
		acts = append(acts, act{kind: "page", events: span(from, min(n, from+rapid.IntRange(1, 9).Draw(rt, "many")))})
	}
	rand.New(rand.NewSource(rapid.Int64().Draw(rt, "order"))).Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	margin := rapid.IntRange(0, 70).Draw(rt, "margin") * h.unit
	for range rapid.IntRange(0, 4).Draw(rt, "readings") {
		a := act{kind: rapid.SampledFrom([]string{"read", "read", "read", "world"}).Draw(rt, "what"),
			moment: rapid.IntRange(0, len(h.moments)-1).Draw(rt, "moment"), margin: margin}
		acts = slices.Insert(acts, rapid.IntRange(0, len(acts)).Draw(rt, "where"), a)
	}
	// What is missing comes in the end: by reading the whole log again, or alone.
	missing := span(0, n)
	if rapid.Bool().Draw(rt, "only what was lost") {
		for _, a := range acts {
			missing = slices.DeleteFunc(missing, func(i int) bool { return slices.Contains(a.events, i) })
		}
	}
	for len(missing) > 0 {
		to := min(len(missing), rapid.IntRange(1, 30).Draw(rt, "page"))
		acts = append(acts, act{kind: "page", events: missing[:to]})
		missing = missing[to:]
	}
	for i := range acts {
		if rapid.IntRange(0, 14).Draw(rt, "fails") == 0 {
			acts[i].crash, acts[i].lost = rapid.IntRange(1, 4).Draw(rt, "update"), rapid.Bool().Draw(rt, "lost")
		}
		acts[i].lag = rapid.IntRange(0, 3).Draw(rt, "lags") == 0
	}
	return acts
}

func span(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// unlike is where two dumps differ.
func unlike(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	out := "the view shows"
	for _, line := range a {
		if !slices.Contains(b, line) && !strings.HasPrefix(line, "mappings ") {
			out += "\n  " + line
		}
	}
	out += "\nand not"
	for _, line := range b {
		if !slices.Contains(a, line) && !strings.HasPrefix(line, "mappings ") {
			out += "\n  " + line
		}
	}
	return out
}

// flaky is a store that fails once when it is told to: before or after the
// commit, as a crash would.
type flaky struct {
	store.Store
	left int
	lost bool
}

var errFlaky = errors.New("the store failed")

func (f *flaky) arm(updates int, lost bool) { f.left, f.lost = updates, lost }

func (f *flaky) Update(ctx context.Context, fn func(store.Tx) error) (uint64, error) {
	if f.left > 0 {
		if f.left--; f.left == 0 {
			if !f.lost {
				if _, err := f.Store.Update(ctx, fn); err != nil {
					return 0, err
				}
			}
			return 0, errFlaky
		}
	}
	return f.Store.Update(ctx, fn)
}
