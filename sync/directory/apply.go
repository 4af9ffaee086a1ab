package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"battery.app/gate/store"
)

// Outcomes of ApplyEvent.
const (
	OutcomeApplied   = "applied"   // at least one register changed
	OutcomeStale     = "stale"     // all it says is older than what is known
	OutcomeDuplicate = "duplicate" // it was applied before
	OutcomeIgnored   = "ignored"   // its type means nothing here: it was only counted
	OutcomeDead      = "dead"      // of a page: it cannot be applied, and was put aside
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
	write, err := d.planEvent(&ev)
	if err != nil {
		return Applied{}, err
	}
	if err := ev.check(); err != nil {
		return Applied{}, err
	}
	var o outcome
	rev, err := d.inParts(ctx, 1, func(l *layer, _ int) (err error) {
		o, err = d.applyTo(l, &ev, write, SourceWebhook)
		return err
	}, nil)
	if err != nil {
		return Applied{}, fmt.Errorf("apply event: %w", err)
	}
	return Applied{Outcome: o.String(), Revision: rev}, nil
}

// inParts runs n steps in as few transactions as hold them, in order. A
// transaction ends with end(layer, how many steps are done), which has the
// reserve to itself; a step may run more than once. If it fails, what earlier
// transactions wrote stays: steps must be idempotent.
func (d *Directory) inParts(ctx context.Context, n int, step func(*layer, int) error, end func(*layer, int) error) (rev uint64, err error) {
	for done, first := 0, true; first || done < n; first = false {
		next := done
		rev, err = d.store.Update(ctx, func(tx store.Tx) error {
			l := newLayer(tx)
			for next = done; next < n; next++ {
				err := step(l, next)
				if err == nil {
					err = l.keep()
				}
				if errors.Is(err, errFull) && next > done {
					l.drop()
					break
				}
				if err != nil {
					return err
				}
			}
			if end != nil {
				l.unbounded = true
				if err := end(l, next); err != nil {
					return err
				}
				if err := l.keep(); err != nil {
					return err
				}
			}
			return l.flush(tx)
		})
		if err != nil {
			return rev, err
		}
		done = next
	}
	return rev, nil
}

// applyTo merges one event, as a step of a transaction.
func (d *Directory) applyTo(l *layer, ev *Event, write func(*writer) (outcome, error), source string) (outcome, error) {
	at, err := receive(l, ev, d.now().UnixMilli())
	if err != nil {
		return stale, err
	}
	return write(&writer{tx: l, at: at, source: source})
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

// writer is one event's turn, or one fact's of a reading, inside a transaction.
type writer struct {
	tx     store.Tx
	at     moment
	edges  int64  // like at.floor, for memberships
	source string // how it came, for Why
}

// intent is what an event means for an object that it carries.
type intent int

const (
	mention intent = iota // brings news of it, but never to life: user_removed
	create                // may bring it to life
	remove                // ends it
)

// planEvent decodes an event's data, all of it before any transaction begins,
// and returns what to write.
func (d *Directory) planEvent(ev *Event) (func(*writer) (outcome, error), error) {
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
	return d.planOther(ev)
}

// planOther plans the events that are not about the directory's own objects.
func (d *Directory) planOther(ev *Event) (func(*writer) (outcome, error), error) {
	switch ev.Type {
	case typeDomainCreated, typeDomainUpdated, typeDomainVerified, typeDomainFailed:
		return planDomain(ev, create)
	case typeDomainDeleted:
		return planDomain(ev, remove)
	case typeRoleCreated, typeRoleUpdated, typeOrgRoleCreated, typeOrgRoleUpdated:
		return d.planRole(ev, true)
	case typeRoleDeleted, typeOrgRoleDeleted:
		return d.planRole(ev, false)
	case typeMembershipCreated, typeMembershipUpdated, typeMembershipDeleted,
		typeSessionRevoked, typeTokenCreated, typeTokenRevoked:
		return d.planCount(ev, applied), nil
	}
	return d.planCount(ev, ignored), nil
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
