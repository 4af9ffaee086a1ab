package adminpolicy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"battery.app/gate/authz/authoring"
	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// Push takes in a bundle as a candidate: it is compiled, its tests run, and the
// guard looks at it. Pushing what is there already changes nothing. The oldest
// candidates go when there are too many. Errors: Rejected, ErrLockOut, or of the
// store.
func (s *Service) Push(ctx context.Context, author engine.Actor, bundle []byte) (Version, error) {
	release, err := s.turn(ctx)
	if err != nil {
		return Version{}, err
	}
	defer release()
	src, policy, err := s.compile(bundle)
	if err != nil {
		return Version{}, err
	}
	report, err := authoring.Test(ctx, src, authoring.Options{})
	if err != nil {
		return Version{}, rejected(err)
	}
	if !report.OK() {
		return Version{}, Rejected{Errors: report.Faults}
	}
	if err := s.guard(ctx, policy, author); err != nil {
		return Version{}, err
	}
	revision, err := src.Revision()
	if err != nil {
		return Version{}, err
	}
	record := versionRecord{V: 1, Revision: revision, CreatedAt: s.now().UTC(), Author: nameOf(author), Tests: report.Passed}
	if revision == s.shipped.name {
		record = versionRecord{Revision: revision} // it is there without being stored
	} else if record, err = s.keep(ctx, record, bundle); err != nil {
		return Version{}, err
	}
	active, _, err := s.readActive(ctx)
	if err != nil {
		return Version{}, err
	}
	return s.describe(record, active), nil
}

// turn waits for the one turn to compile that there is.
func (s *Service) turn(ctx context.Context) (release func(), err error) {
	select {
	case s.pushing <- struct{}{}:
		return func() { <-s.pushing }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to compile admin policy: %w", ctx.Err())
	}
}

// keep stores a version, unless it is there, and returns what is stored.
func (s *Service) keep(ctx context.Context, record versionRecord, bundle []byte) (versionRecord, error) {
	entries, _, err := s.store.List(ctx, versionKeys)
	if err != nil {
		return record, fmt.Errorf("list admin policies: %w", err)
	}
	records, kept := s.readable(ctx, entries), record
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		old, err := get(tx, versionKeys+record.Revision)
		if err != nil {
			return err
		}
		if old != nil {
			kept, err = decodeVersion(old)
			return err
		}
		kept = record
		if err := makeRoom(tx, records); err != nil {
			return err
		}
		if err := put(tx, versionKeys+record.Revision, record); err != nil {
			return err
		}
		return put(tx, bundleKeys+record.Revision, bundleRecord{V: 1, Bundle: bundle})
	})
	if err != nil {
		return record, fmt.Errorf("store admin policy: %w", err)
	}
	return kept, nil
}

// makeRoom deletes the oldest candidates while there are too many versions.
func makeRoom(tx store.Tx, records []versionRecord) error {
	over := len(records) + 1 - maxVersions
	if over <= 0 {
		return nil
	}
	value, err := get(tx, activeKey)
	if err != nil {
		return err
	}
	active, err := decodeActive(value)
	if err != nil {
		return err // which may go is not known
	}
	slices.SortFunc(records, func(a, b versionRecord) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, r := range records {
		if over <= 0 || active.holds(r.Revision) {
			continue
		}
		if err := errors.Join(tx.Delete(versionKeys+r.Revision), tx.Delete(bundleKeys+r.Revision)); err != nil {
			return err
		}
		over--
	}
	return nil
}

// Activate puts a version in force. It is compiled and guarded again, because
// settings, or the program, may be others than at its push. It returns the
// store's revision from which on it decides. The version that is active already
// stays so. Errors: ErrNoVersion, Rejected, ErrLockOut, or of the store.
func (s *Service) Activate(ctx context.Context, author engine.Actor, revision string) (Version, uint64, error) {
	name := revision
	if revision == s.shipped.name {
		name = shippedName
	}
	release, err := s.turn(ctx)
	if err != nil {
		return Version{}, 0, err
	}
	defer release()
	record, policy, err := s.find(ctx, name)
	if err != nil {
		return Version{}, 0, err
	}
	if err := s.guard(ctx, policy, author); err != nil {
		return Version{}, 0, err
	}
	var active activeRecord
	at, err := s.store.Update(ctx, func(tx store.Tx) error {
		if name != shippedName {
			switch there, err := get(tx, bundleKeys+name); {
			case err != nil:
				return err
			case there == nil: // deleted since it was found
				return ErrNoVersion
			}
		}
		value, err := get(tx, activeKey)
		if err != nil {
			return err
		}
		if active, err = decodeActive(value); err == nil && active.Revision == name {
			return nil
		}
		active = active.pushed(name, s.now(), nameOf(author))
		return put(tx, activeKey, active)
	})
	if err != nil {
		return Version{}, 0, fmt.Errorf("activate admin policy: %w", err)
	}
	s.log.InfoContext(ctx, "admin policy activated", "revision", record.Revision, "actor", nameOf(author))
	return s.describe(record, active), at, nil
}

// Rollback puts the version in force that was before this one. One that cannot
// be used any more is passed over for the one before it; under all of them lies
// the shipped policy. Errors: ErrNothingToRollBack, ErrLockOut, ErrChanged, or of
// the store.
func (s *Service) Rollback(ctx context.Context, author engine.Actor) (Version, uint64, error) {
	release, err := s.turn(ctx)
	if err != nil {
		return Version{}, 0, err
	}
	defer release()
	active, stored, err := s.readActive(ctx)
	if err != nil {
		return Version{}, 0, err
	}
	next, record, policy, err := s.before(ctx, active)
	if err != nil {
		return Version{}, 0, err
	}
	if err := s.guard(ctx, policy, author); err != nil {
		return Version{}, 0, fmt.Errorf("%w (the shipped policy, %s, can be activated instead)", err, s.shipped.name)
	}
	next.At, next.By = s.now().UTC(), nameOf(author)
	value, err := json.Marshal(next)
	if err != nil {
		return Version{}, 0, fmt.Errorf("encode which admin policy is active: %w", err)
	}
	at, err := s.store.Update(ctx, func(tx store.Tx) error {
		now, err := get(tx, activeKey)
		if err != nil {
			return err
		}
		if (now == nil) != (stored == nil) || !bytes.Equal(now, stored) {
			return ErrChanged
		}
		return tx.Put(activeKey, value)
	})
	if err != nil {
		return Version{}, 0, fmt.Errorf("roll back admin policy: %w", err)
	}
	s.log.InfoContext(ctx, "admin policy rolled back", "from", active.Revision, "to", record.Revision, "actor", nameOf(author))
	return s.describe(record, next), at, nil
}

// before is the record with the last usable version of its stack in force.
func (s *Service) before(ctx context.Context, active activeRecord) (activeRecord, versionRecord, *engine.AdminPolicy, error) {
	if active.Revision == shippedName && len(active.Previous) == 0 {
		return activeRecord{}, versionRecord{}, nil, ErrNothingToRollBack
	}
	for i := len(active.Previous) - 1; i >= 0; i-- {
		name := active.Previous[i]
		record, policy, err := s.find(ctx, name)
		if err == nil {
			return activeRecord{V: 1, Revision: name, Previous: active.Previous[:i]}, record, policy, nil
		}
		if gone := ctx.Err(); gone != nil {
			return activeRecord{}, versionRecord{}, nil, fmt.Errorf("roll back admin policy: %w", gone)
		}
		s.log.WarnContext(ctx, "an earlier admin policy cannot be used; looking further back", "revision", name, "error", err)
	}
	return activeRecord{V: 1, Revision: shippedName}, versionRecord{Revision: s.shipped.name}, s.shipped.policy, nil
}
