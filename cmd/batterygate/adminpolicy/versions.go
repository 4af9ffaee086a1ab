package adminpolicy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// What a Version's Status may be.
const (
	StatusActive    = "active"    // in force
	StatusPrevious  = "previous"  // was in force, and Rollback may come back to it
	StatusCandidate = "candidate" // waits to be activated
)

// Version is one version of the admin policy as it is shown.
type Version struct {
	Revision    string    `json:"revision"` // of its source, whatever the settings are
	Status      string    `json:"status"`
	Shipped     bool      `json:"shipped"`               // it comes with the program
	CreatedAt   time.Time `json:"created_at,omitzero"`   // zero for the shipped one
	Author      string    `json:"author"`                // kind:id; empty for the shipped one
	Tests       int       `json:"tests"`                 // cases that passed at the push
	ActivatedAt time.Time `json:"activated_at,omitzero"` // of the active one, unless it was from the start
	ActivatedBy string    `json:"activated_by,omitempty"`
	Problem     string    `json:"problem,omitempty"` // why the active one cannot be used here
}

// List returns every version, the shipped one first and then the newest.
func (s *Service) List(ctx context.Context) ([]Version, error) {
	entries, _, err := s.store.List(ctx, versionKeys)
	if err != nil {
		return nil, fmt.Errorf("list admin policies: %w", err)
	}
	active, _, err := s.readActive(ctx)
	if err != nil {
		return nil, err
	}
	out := []Version{s.describe(versionRecord{Revision: s.shipped.name}, active)}
	for _, r := range s.readable(ctx, entries) {
		if r.Revision != s.shipped.name { // pushed before it came with the program
			out = append(out, s.describe(r, active))
		}
	}
	slices.SortStableFunc(out[1:], func(a, b Version) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, nil
}

// readable are the records of entries. One that cannot be read (a later release
// wrote it) stays where it is and is not shown.
func (s *Service) readable(ctx context.Context, entries []store.Entry) (out []versionRecord) {
	for _, e := range entries {
		r, err := decodeVersion(e.Value)
		if err != nil {
			s.log.ErrorContext(ctx, "a version of the admin policy cannot be read", "key", e.Key, "error", err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// describe shows a record by what is active.
func (s *Service) describe(r versionRecord, active activeRecord) Version {
	v := Version{
		Revision: r.Revision, Status: StatusCandidate, Shipped: r.Revision == s.shipped.name,
		CreatedAt: r.CreatedAt, Author: r.Author, Tests: r.Tests,
	}
	is := func(name string) bool { return name == r.Revision || v.Shipped && name == shippedName }
	switch {
	case is(active.Revision):
		v.Status, v.ActivatedAt, v.ActivatedBy = StatusActive, active.At, active.By
		if in := s.current.Load(); in != nil && in.name == r.Revision && in.problem != nil {
			v.Problem = in.problem.Error()
		}
	case slices.ContainsFunc(active.Previous, is):
		v.Status = StatusPrevious
	}
	return v
}

// readActive returns the record and its stored form. One that cannot be read is
// a zero record, which holds no version, so that it can be replaced.
func (s *Service) readActive(ctx context.Context) (activeRecord, []byte, error) {
	e, err := s.store.Get(ctx, activeKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.Value = nil
	case err != nil:
		return activeRecord{}, nil, fmt.Errorf("read which admin policy is active: %w", err)
	case e.Value == nil:
		e.Value = []byte{}
	}
	record, err := decodeActive(e.Value)
	if err != nil {
		s.log.ErrorContext(ctx, "which admin policy is active cannot be read", "error", err)
	}
	return record, e.Value, nil
}

// find returns a stored version, or the shipped one, compiled. Errors:
// ErrNoVersion, Rejected, or of the store.
func (s *Service) find(ctx context.Context, name string) (versionRecord, *engine.AdminPolicy, error) {
	if name == shippedName {
		return versionRecord{Revision: s.shipped.name}, s.shipped.policy, nil
	}
	if !isRevision(name) {
		return versionRecord{}, nil, ErrNoVersion
	}
	e, err := s.store.Get(ctx, versionKeys+name)
	if errors.Is(err, store.ErrNotFound) {
		return versionRecord{}, nil, ErrNoVersion
	} else if err != nil {
		return versionRecord{}, nil, fmt.Errorf("read version of the admin policy: %w", err)
	}
	r, err := decodeVersion(e.Value)
	if err != nil {
		return versionRecord{}, nil, err
	}
	if e, err = s.store.Get(ctx, bundleKeys+name); errors.Is(err, store.ErrNotFound) {
		return versionRecord{}, nil, ErrNoVersion
	} else if err != nil {
		return versionRecord{}, nil, fmt.Errorf("read stored bundle: %w", err)
	}
	policy, err := s.compileStored(name, e.Value)
	return r, policy, err
}

// compileStored compiles a stored bundle. One whose content is not what its
// revision names is refused: it is not what was tested and guarded.
func (s *Service) compileStored(revision string, value []byte) (*engine.AdminPolicy, error) {
	bundle, err := decodeBundle(value)
	if err != nil {
		return nil, err
	}
	src, policy, err := s.compile(bundle)
	if err != nil {
		return nil, err
	}
	if got, err := src.Revision(); err != nil || got != revision {
		return nil, fmt.Errorf("stored bundle: its content has the revision %s instead of %s", cmp.Or(got, "?"), revision)
	}
	return policy, nil
}

// compile reads and compiles a bundle. What is wrong with it is Rejected.
func (s *Service) compile(bundle []byte) (engine.Source, *engine.AdminPolicy, error) {
	src, err := engine.ReadBundle(bundle)
	if err != nil {
		return engine.Source{}, nil, rejected(err)
	}
	policy, err := engine.CompileAdmin(src, s.engine)
	if err != nil {
		return engine.Source{}, nil, rejected(err)
	}
	return src, policy, nil
}

// rejected makes faults a Rejected and leaves other errors.
func rejected(err error) error {
	if faults := (engine.Faults)(nil); errors.As(err, &faults) {
		return Rejected{Errors: faults}
	}
	return err
}

// isRevision: what comes from outside becomes a part of a key only as 16 hex digits.
func isRevision(name string) bool {
	return len(name) == 16 && strings.Trim(name, "0123456789abcdef") == ""
}
