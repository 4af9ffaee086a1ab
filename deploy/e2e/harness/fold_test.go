package harness

import (
	"fmt"
	"slices"
	"strings"
)

// fold is what a set of events says of one user or one group, by the rule that
// the program promises: the newest event wins for each thing, a delete is final,
// a removal brings nothing to life.
type fold struct {
	seen, deleted bool
	newest        stamp // whose attributes hold
	is            attributes
	edges         map[string]edge // a user's, by group
}

type edge struct {
	stamp
	present bool
}

func (f *fold) apply(e event) {
	switch e.kind {
	case userDeleted, groupDeleted:
		f.deleted = true
		return
	case userRemoved:
	default:
		f.seen = true
	}
	if f.newest.before(e.stamp) {
		f.newest, f.is = e.stamp, e.is
	}
	if e.user == "" || e.group == "" {
		return
	}
	if f.edges == nil {
		f.edges = map[string]edge{}
	}
	if f.edges[e.group].before(e.stamp) {
		f.edges[e.group] = edge{e.stamp, e.kind == userAdded}
	}
}

func (f *fold) alive() bool { return f.seen && !f.deleted }

// show is a user as it must show, given which groups are there; "absent" if
// it must not.
func (f *fold) show(group func(string) bool) string {
	if !f.alive() {
		return "absent"
	}
	var in []string
	for g, e := range f.edges {
		if e.present && group(g) {
			in = append(in, g)
		}
	}
	slices.Sort(in)
	return fmt.Sprintf("state %s, set by %s, groups [%s]", f.is.state, f.is.title, strings.Join(in, " "))
}

// show is a user as the program shows it, in the same words.
func (s *shown) show() string {
	if s == nil {
		return "absent"
	}
	groups := slices.Sorted(slices.Values(s.Groups))
	return fmt.Sprintf("state %s, set by %s, groups [%s]", s.State, s.JobTitle, strings.Join(groups, " "))
}

// known is what is known to have been said of one user or group: events that
// were answered 200, and events whose answer was lost, which may count or not.
type known struct {
	acknowledged []event
	uncertain    []event
}

// settle looks for a choice of the uncertain events that explains what is
// shown. It fails if there is none: then something acknowledged is missing, or
// something never said is there. What is in every such choice was seen in
// effect and has to stay; what is in none is lost for good.
func (k *known) settle(got string, show func(*fold) string) error {
	var always, ever uint
	found := false
	for choice := range uint(1) << len(k.uncertain) {
		if show(k.fold(choice)) != got {
			continue
		}
		if !found {
			always = choice
		}
		found, always, ever = true, always&choice, ever|choice
	}
	if !found {
		return fmt.Errorf("shown: %s\nacknowledged events come to: %s\n%s", got, show(k.fold(0)), k.tell())
	}
	var open []event
	for i, e := range k.uncertain {
		switch bit := uint(1) << i; {
		case always&bit != 0:
			k.acknowledged = append(k.acknowledged, e)
		case ever&bit != 0:
			open = append(open, e)
		}
	}
	k.uncertain = slices.DeleteFunc(open, k.overtaken)
	return nil
}

// overtaken reports whether it no longer matters if an uncertain event counts,
// because what is acknowledged is newer in all that it says.
func (k *known) overtaken(e event) bool {
	with := k.fold(0)
	without := with.raw()
	with.apply(e)
	return with.raw() == without
}

// raw is all of a fold, also what does not show yet.
func (f *fold) raw() string {
	if f.deleted {
		return "deleted"
	}
	return fmt.Sprint(f.seen, f.newest, f.is, f.edges) // maps print sorted
}

// fold folds what is acknowledged and the chosen ones of what is uncertain.
func (k *known) fold(choice uint) *fold {
	f := &fold{}
	for _, e := range k.acknowledged {
		f.apply(e)
	}
	for i, e := range k.uncertain {
		if choice&(1<<i) != 0 {
			f.apply(e)
		}
	}
	return f
}

func (k *known) tell() string {
	var b strings.Builder
	for _, e := range k.acknowledged {
		fmt.Fprintln(&b, "  200      ", e)
	}
	for _, e := range k.uncertain {
		fmt.Fprintln(&b, "  no answer", e)
	}
	return b.String()
}
