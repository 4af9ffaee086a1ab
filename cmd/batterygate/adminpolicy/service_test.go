package adminpolicy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/store"
)

// What the admin API asks.
var _ interface {
	Decide(context.Context, engine.AdminInput) (authz.Verdict, error)
} = (*adminpolicy.Service)(nil)

func TestTheShippedPolicyIsInForceFromTheStart(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	want, _ := shipped(t).Revision()
	if got := s.inForce(); got != want {
		t.Errorf("in force is %s, want %s", got, want)
	}
	if !s.may(operator, "apps.create") || !s.may(person, "apps.create") || s.may(auditor, "apps.create") || !s.may(auditor, "apps.list") {
		t.Error("it does not decide as the shipped policy does")
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Revision != want || all[0].Status != adminpolicy.StatusActive || !all[0].Shipped {
		t.Errorf("listed %+v, %v", all, err)
	}
	if _, _, err := s.Rollback(t.Context(), operator); !errors.Is(err, adminpolicy.ErrNothingToRollBack) {
		t.Errorf("rolled back: %v", err)
	}
}

func TestBeforeTheStoreIsReadNobodyMayDoAnything(t *testing.T) {
	w := newWorld(t)
	s, err := adminpolicy.New(w.options())
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Decide(t.Context(), engine.AdminInput{Actor: operator, Action: "apps.list"})
	if !errors.Is(err, adminpolicy.ErrNotInForce) || v.Allow {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestAPolicyThatIsShippedBrokenRefusesTheStart(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"what does not compile": "package battery.admin\n\ndecision := {",
		"what locks out":        "package battery.admin\n\ndecision := {\"allow\": false}",
	} {
		o := w.options()
		o.Shipped = engine.Source{Modules: map[string]string{"a.rego": text}}
		if _, err := adminpolicy.New(o); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestPushActivateRollBack(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	first := s.inForce()

	a := s.push(operator, withNotes("a"))
	if a.Status != adminpolicy.StatusCandidate || a.Author != "token:token_op" || a.CreatedAt.IsZero() {
		t.Errorf("pushed %+v", a)
	}
	if s.inForce() != first || s.may(auditor, "notes.a") {
		t.Error("a push alone changed what is in force")
	}
	s.activate(operator, a.Revision)
	if s.inForce() != a.Revision || !s.may(auditor, "notes.a") {
		t.Error("the activated version does not decide")
	}
	b := s.push(person, withNotes("b"))
	s.activate(person, b.Revision)
	if !s.may(auditor, "notes.b") || s.may(auditor, "notes.a") {
		t.Error("the second version does not decide")
	}
	if got, want := s.statuses(), fmt.Sprintf("%s previous, %s active, %s previous", first[:4], b.Revision[:4], a.Revision[:4]); got != want {
		t.Errorf("listed %s, want %s", got, want)
	}

	if v := s.rollback(operator); v.Revision != a.Revision || v.ActivatedBy != "token:token_op" {
		t.Errorf("rolled back to %+v", v)
	}
	if !s.may(auditor, "notes.a") || s.may(auditor, "notes.b") {
		t.Error("rolling back did not bring the first version back")
	}
	if got, want := s.statuses(), fmt.Sprintf("%s previous, %s candidate, %s active", first[:4], b.Revision[:4], a.Revision[:4]); got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	if v := s.rollback(operator); v.Revision != first || !v.Shipped {
		t.Errorf("rolled back to %+v", v)
	}
	if _, _, err := s.Rollback(t.Context(), operator); !errors.Is(err, adminpolicy.ErrNothingToRollBack) {
		t.Errorf("got %v", err)
	}

	t.Run("the shipped one can be activated by its revision", func(t *testing.T) {
		s.activate(operator, b.Revision)
		s.activate(operator, first)
		if s.may(auditor, "notes.b") || !s.may(auditor, "apps.list") {
			t.Error("the shipped policy does not decide")
		}
		if v := s.rollback(operator); v.Revision != b.Revision {
			t.Errorf("rolled back to %+v", v)
		}
	})
	t.Run("activating what is active changes nothing", func(t *testing.T) {
		before := s.statuses()
		s.activate(operator, b.Revision)
		if s.statuses() != before {
			t.Errorf("was %s, is %s", before, s.statuses())
		}
	})
}

func TestPushingTwiceIsPushingOnce(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	a := s.push(operator, withNotes("a"))
	again := s.push(person, withNotes("a"))
	if again != a {
		t.Errorf("%+v became %+v", a, again)
	}
	src := shipped(t)
	v := s.push(operator, src.Modules["decision.rego"])
	if all, _ := s.List(t.Context()); !v.Shipped || v.Status != adminpolicy.StatusActive || len(all) != 2 {
		t.Errorf("the shipped policy was pushed as %+v, and there are %d", v, len(all))
	}
}

func TestUnknownRevisions(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	for _, revision := range []string{"", "0123456789abcdef", "shipped/../x", strings.Repeat("a", 2000), "0123456789abcde\x00"} {
		if _, _, err := s.Activate(t.Context(), operator, revision); !errors.Is(err, adminpolicy.ErrNoVersion) {
			t.Errorf("%.20q: %v", revision, err)
		}
	}
}

func TestVersionsOutliveARestart(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	a, b := s.push(operator, withNotes("a")), s.push(operator, withNotes("b"))
	s.activate(operator, a.Revision)
	s.activate(operator, b.Revision)
	before := s.statuses()
	w.restart()
	s = w.service(w.options())
	if s.inForce() != b.Revision || s.statuses() != before || !s.may(auditor, "notes.b") {
		t.Errorf("%s became %s", before, s.statuses())
	}
	if v := s.rollback(operator); v.Revision != a.Revision || !s.may(auditor, "notes.a") {
		t.Errorf("rolled back to %+v", v)
	}
}

func TestEveryReplicaFollows(t *testing.T) {
	w := newWorld(t)
	one, two := w.service(w.options()), w.service(w.options())
	a := one.push(operator, withNotes("a"))
	v, at, err := two.Activate(t.Context(), operator, a.Revision) // pushed there, activated here
	if err != nil || v.Author != a.Author {
		t.Fatal(v, err)
	}
	one.wait(at)
	two.wait(at)
	if !one.may(auditor, "notes.a") || !two.may(auditor, "notes.a") {
		t.Error("a replica did not follow")
	}
	_, at, err = one.Rollback(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	two.wait(at)
	if two.may(auditor, "notes.a") {
		t.Error("a replica did not roll back")
	}
	t.Run("activations at once leave one in force everywhere", func(t *testing.T) {
		b := two.push(operator, withNotes("b"))
		errs := make(chan error, 8)
		for i := range 8 {
			go func() {
				s, revision := one, a.Revision
				if i%2 == 0 {
					s, revision = two, b.Revision
				}
				_, _, err := s.Activate(context.Background(), operator, revision)
				errs <- err
			}()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		_, at, err := w.store.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		one.wait(at)
		two.wait(at)
		if one.inForce() != two.inForce() || one.may(auditor, "notes.a") != two.may(auditor, "notes.a") {
			t.Errorf("%s and %s", one.statuses(), two.statuses())
		}
	})
}

func TestOldCandidatesGoAndTheRestStays(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	active := s.push(operator, withNotes("active"))
	s.activate(operator, active.Revision)
	next := s.push(operator, withNotes("next"))
	s.activate(operator, next.Revision)
	oldest := s.push(operator, withNotes("oldest"))
	for i := range 40 {
		s.push(operator, withNotes(fmt.Sprint("n", i)))
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 33 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	if _, _, err := s.Activate(t.Context(), operator, oldest.Revision); !errors.Is(err, adminpolicy.ErrNoVersion) {
		t.Errorf("the oldest candidate is still there: %v", err)
	}
	entries, _, _ := w.store.List(t.Context(), "admin-policy/bundle/")
	if len(entries) != 32 {
		t.Errorf("%d bundles are stored", len(entries))
	}
	if v := s.rollback(operator); v.Revision != active.Revision {
		t.Errorf("rolled back to %+v", v)
	}
}

// Nobody can make the list of activations grow without end, and its end is the
// shipped policy.
func TestRollingBackEndsAtTheShippedPolicy(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	first := s.inForce()
	a, b := s.push(operator, withNotes("a")), s.push(operator, withNotes("b"))
	for range 20 {
		s.activate(operator, a.Revision)
		s.activate(operator, b.Revision)
	}
	for i := range 18 {
		if v := s.rollback(operator); v.Shipped {
			if i != 16 || s.inForce() != first {
				t.Errorf("the shipped policy came after %d", i)
			}
			return
		}
	}
	t.Error("the shipped policy never came")
}

func TestBreakGlassIsNotPutToThePolicy(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	v := s.push(operator, "package battery.admin\n\ndecision := {\"allow\": true}")
	s.activate(operator, v.Revision)
	if !s.may(auditor, "anything.at-all") || s.may(breakGlass, "apps.list") {
		t.Error("a policy that allows everything decided over break-glass")
	}
}

// A version that passed at its push may not compile after an upgrade: here the
// settings have another type.
func TestAnActiveVersionThatNoLongerCompilesDeniesEverything(t *testing.T) {
	w := newWorld(t)
	text := everything("x") + "\ndecision := {\"allow\": true} if input.action == data.battery.settings.open_action\n"
	o := w.options()
	o.Engine.Settings["open_action"] = "notes.read"
	s := w.service(o)
	good := s.push(operator, withNotes("good"))
	s.activate(operator, good.Revision)
	bad := s.push(operator, text)
	s.activate(operator, bad.Revision)
	if !s.may(auditor, "notes.read") {
		t.Fatal("the version does not decide")
	}
	worse := s.push(operator, text+"# and another\n")
	s.activate(operator, worse.Revision)

	w.restart()
	s = w.service(w.options()) // whose settings lack open_action
	for _, actor := range []engine.Actor{operator, person, auditor, breakGlass} {
		v, err := s.Decide(t.Context(), engine.AdminInput{Actor: actor, Action: "apps.list"})
		if !errors.Is(err, adminpolicy.ErrNotInForce) || v.Allow {
			t.Errorf("%s: %+v, %v", actor.ID, v, err)
		}
	}
	if revision, err := s.InForce(); revision != worse.Revision || !errors.Is(err, adminpolicy.ErrNotInForce) {
		t.Errorf("in force: %s, %v", revision, err)
	}
	for _, want := range []string{"level=ERROR", worse.Revision, "token create --break-glass", "policy admin rollback", "open_action"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, w.log)
		}
	}
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if (v.Revision == worse.Revision) != (v.Problem != "") {
			t.Errorf("listed %+v", v)
		}
	}
	var rejected adminpolicy.Rejected
	if _, _, err := s.Activate(t.Context(), breakGlass, bad.Revision); !errors.As(err, &rejected) {
		t.Errorf("activated what does not compile: %v", err)
	}
	if v := s.rollback(breakGlass); v.Revision != good.Revision {
		t.Errorf("rolled back to %+v, not over the one that does not compile either", v)
	}
	if !s.may(operator, "apps.list") {
		t.Error("the rolled back version does not decide")
	}
}

// What the store says, but nobody can read, is no policy.
func TestWhatCannotBeReadDenies(t *testing.T) {
	for name, write := range map[string]func(store.Tx, string) error{
		"a record of a later release": func(tx store.Tx, _ string) error {
			return tx.Put("admin-policy/active/current", []byte(`{"v": 2, "revision": "shipped"}`))
		},
		"a record that is no JSON":     func(tx store.Tx, _ string) error { return tx.Put("admin-policy/active/current", []byte("x")) },
		"an empty record":              func(tx store.Tx, _ string) error { return tx.Put("admin-policy/active/current", nil) },
		"a bundle that is gone":        func(tx store.Tx, r string) error { return tx.Delete("admin-policy/bundle/" + r) },
		"a bundle that is no JSON":     func(tx store.Tx, r string) error { return tx.Put("admin-policy/bundle/"+r, []byte("x")) },
		"a bundle of a later release":  func(tx store.Tx, r string) error { return tx.Put("admin-policy/bundle/"+r, []byte(`{"v": 2}`)) },
		"a bundle of another revision": func(tx store.Tx, r string) error { return tx.Put("admin-policy/bundle/"+r, otherBundle) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.service(w.options())
			a := s.push(operator, withNotes("a"))
			s.activate(operator, a.Revision)
			if _, err := w.store.Update(t.Context(), func(tx store.Tx) error { return write(tx, a.Revision) }); err != nil {
				t.Fatal(err)
			}
			w.restart()
			s = w.service(w.options())
			if s.may(operator, "apps.list") || s.may(auditor, "notes.a") {
				t.Fatal("something is allowed")
			}
			if _, err := s.List(t.Context()); err != nil {
				t.Errorf("the versions cannot be listed: %v", err)
			}
			if v := s.rollback(breakGlass); !v.Shipped || !s.may(operator, "apps.list") {
				t.Errorf("rolled back to %+v", v)
			}
		})
	}
}

var otherBundle = []byte(`{"v": 1, "bundle": "` + allowAll + `"}`)

// allowAll is a bundle of one file, in which everything is allowed.
const allowAll = "H4sIAAAAAAACA+3NQQrCMBSE4axzitADlKBBoeBhnm0owdpImiIi3t3QjdB9deH/beYxs3hSJ99HtSlbHJxbslhnGfefe+mP1u2UseoL5ilLKi/Vf7pJe5Hem7Pk7NOjlu4aRq0734YpxNE0J/OsZBjivWpMTrN/aQUAAAAAAAAAAAAAAAAA+L03ZQvwEgAoAAA="
