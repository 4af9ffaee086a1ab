package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"battery.app/gate/store"
)

// Outcomes of ApplyEvent.
const (
	OutcomeApplied   = "applied"   // at least one register changed
	OutcomeStale     = "stale"     // all it says is older than what is known
	OutcomeDuplicate = "duplicate" // it was applied before
	OutcomeIgnored   = "ignored"   // its type means nothing here
)

// Applied is what an event did. Who waits for a View that has Revision sees the
// event's effect.
type Applied struct {
	Outcome  string
	Revision uint64
}

// maxAhead is how far ahead of our clock an event may be dated; beyond, it
// counts as of its first receipt (design: the register rule).
const maxAhead = 5 * time.Minute

// ApplyEvent merges an event into the registers, durably and in one Update. It
// is idempotent and does not depend on order. An event whose parts are missing
// or disagree gives an error wrapping ErrMalformed, and nothing is written; any
// other error is the store's, or ErrCorrupt, and the event should be sent again.
func (d *Directory) ApplyEvent(ctx context.Context, ev Event) (Applied, error) {
	write, err := plan(&ev)
	if err != nil {
		return Applied{}, err
	}
	if write == nil {
		return Applied{Outcome: OutcomeIgnored}, nil
	}
	if err := ev.check(); err != nil {
		return Applied{}, err
	}
	received := d.now().UnixMilli()
	var o outcome
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		at, err := receive(tx, &ev, received)
		if err != nil {
			return err
		}
		o, err = write(&writer{tx: tx, at: at})
		return err
	})
	if err != nil {
		return Applied{}, fmt.Errorf("apply event: %w", err)
	}
	return Applied{Outcome: [...]string{stale: OutcomeStale, duplicate: OutcomeDuplicate, applied: OutcomeApplied}[o], Revision: rev}, nil
}

// receive says when an event counts. The stamp of one dated too far ahead is
// kept under its id, so that copies that come later do not move it.
func receive(tx store.Tx, ev *Event, received int64) (moment, error) {
	at := moment{stamp: stamp{At: ev.CreatedAt.UnixMilli(), ID: ev.ID}, received: received}
	first, err := get[receiptRecord](tx, receiptKey(ev.ID))
	switch {
	case err != nil:
		return at, err
	case first.known():
		at.At = first.At
	case at.At > received+maxAhead.Milliseconds():
		at.At = received
		err = put(tx, receiptKey(ev.ID), receiptRecord{V: version, At: received})
	}
	return at, err
}

// writer is one event's turn inside a transaction.
type writer struct {
	tx store.Tx
	at moment
}

// intent is what an event means for an object that it carries.
type intent int

const (
	mention intent = iota // brings news of it, but never to life: user_removed
	create                // may bring it to life
	remove                // ends it
)

// plan decodes an event's data, all of it before any transaction begins, and
// returns what to write: nil for a type that means nothing here.
func plan(ev *Event) (func(*writer) (outcome, error), error) {
	switch ev.Type {
	case typeDirectoryActivated:
		return planLinked(ev, directoryKey, create, "")
	case typeDirectoryDeactivated:
		return planLinked(ev, directoryKey, create, "inactive")
	case typeDirectoryDeleted:
		return planLinked(ev, directoryKey, remove, "")
	case typeConnectionActivated:
		return planLinked(ev, connectionKey, create, "")
	case typeConnectionDeactivated:
		return planLinked(ev, connectionKey, create, "inactive")
	case typeConnectionDeleted:
		return planLinked(ev, connectionKey, remove, "")
	case typeUserCreated, typeUserUpdated:
		return planUser(ev, create)
	case typeUserDeleted:
		return planUser(ev, remove)
	case typeGroupCreated, typeGroupUpdated:
		return planGroup(ev, create)
	case typeGroupDeleted:
		return planGroup(ev, remove)
	case typeGroupUserAdded:
		return planMembership(ev, create)
	case typeGroupUserRemoved:
		return planMembership(ev, mention)
	case typeOrganizationCreated, typeOrganizationUpdated:
		return planOrganization(ev, create)
	case typeOrganizationDeleted:
		return planOrganization(ev, remove)
	}
	return nil, nil
}

// payload is a decoded data object that can say whether it is whole.
type payload[T any] interface {
	*T
	check() error
}

func read[T any, P payload[T]](ev *Event) (P, error) {
	p := P(new(T))
	if err := json.Unmarshal(ev.Data, p); err != nil {
		return nil, malformed("the event's data is not of its type")
	}
	return p, p.check()
}

// planLinked plans a connection's or directory's event. state overrides the
// payload's: WorkOS sends the state before a deactivation in some of them.
func planLinked(ev *Event, key func(string) string, how intent, state string) (func(*writer) (outcome, error), error) {
	p, err := read[linkedPayload](ev)
	if err != nil {
		return nil, err
	}
	switch {
	case state != "":
		p.State = state
	case p.State == "":
		p.State = active
	}
	isDirectory := ev.Type == typeDirectoryDeleted
	return func(w *writer) (outcome, error) {
		o, err := w.linked(key(p.ID), p, how)
		if err == nil && o == applied && isDirectory {
			err = w.bindAll(p.OrganizationID)
		}
		return o, err
	}, nil
}

func planUser(ev *Event, how intent) (func(*writer) (outcome, error), error) {
	p, err := read[userPayload](ev)
	if err != nil {
		return nil, err
	}
	return func(w *writer) (outcome, error) {
		if err := w.belongs(p.DirectoryID, p.OrganizationID); err != nil {
			return stale, err
		}
		_, o, err := w.user(p, how)
		return o, err
	}, nil
}

func planGroup(ev *Event, how intent) (func(*writer) (outcome, error), error) {
	p, err := read[groupPayload](ev)
	if err != nil {
		return nil, err
	}
	return func(w *writer) (outcome, error) {
		if err := w.belongs(p.DirectoryID, p.OrganizationID); err != nil {
			return stale, err
		}
		_, o, err := w.group(p, how)
		return o, err
	}, nil
}

func planMembership(ev *Event, how intent) (func(*writer) (outcome, error), error) {
	p, err := read[membershipPayload](ev)
	if err != nil {
		return nil, err
	}
	return func(w *writer) (outcome, error) { return w.membership(p, how) }, nil
}

func planOrganization(ev *Event, how intent) (func(*writer) (outcome, error), error) {
	p, err := read[organizationPayload](ev)
	if err != nil {
		return nil, err
	}
	return func(w *writer) (outcome, error) { return w.organization(p, how) }, nil
}
