package adminpolicy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/adminpolicy"
	"battery.app/gate/store"
)

// between is a store in which something happens right after a key was read.
type between struct {
	store.Store
	prefix string
	then   func()
}

func (b *between) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := b.Store.Get(ctx, key)
	if then := b.then; then != nil && strings.HasPrefix(key, b.prefix) {
		b.then = nil
		then()
	}
	return e, err
}

// Two operators at once: what the second rolls back from is not what it looked at.
func TestARollbackThatIsOvertakenChangesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	a, b := s.push(operator, withNotes("a")), s.push(operator, withNotes("b"))
	s.activate(operator, a.Revision)
	slow := w.options()
	slow.Store = &between{Store: w.store, prefix: "admin-policy/active/", then: func() { s.activate(operator, b.Revision) }}
	late, err := adminpolicy.New(slow)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := late.Rollback(t.Context(), operator); !errors.Is(err, adminpolicy.ErrChanged) {
		t.Errorf("got %v", err)
	}
	if s.inForce() != b.Revision {
		t.Error("the overtaken rollback changed what is in force")
	}
	if v := s.rollback(operator); v.Revision != a.Revision {
		t.Errorf("rolled back to %+v", v)
	}
}

// A candidate may be deleted, for want of room, while it is looked at.
func TestWhatGoesWhileItIsActivatedIsNotActivated(t *testing.T) {
	w := newWorld(t)
	s := w.service(w.options())
	first := s.inForce()
	a := s.push(operator, withNotes("a"))
	slow := w.options()
	slow.Store = &between{Store: w.store, prefix: "admin-policy/bundle/", then: func() {
		_, err := w.store.Update(context.Background(), func(tx store.Tx) error { return tx.Delete("admin-policy/bundle/" + a.Revision) })
		if err != nil {
			t.Error(err)
		}
	}}
	late, err := adminpolicy.New(slow)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := late.Activate(t.Context(), operator, a.Revision); !errors.Is(err, adminpolicy.ErrNoVersion) {
		t.Errorf("got %v", err)
	}
	if s.inForce() != first {
		t.Error("it is in force")
	}
}
