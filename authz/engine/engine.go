package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"battery.app/gate/authz"
)

// Apps finds the app that owns a canonical host. A value of it never changes:
// another state of the registry is another value.
type Apps interface {
	App(host string) (*authz.App, bool)
}

// Directory is one state of what is known of the organizations' directories. A
// value of it never changes.
type Directory interface {
	// User is as in authz.Snapshot.
	User(s *authz.Session) (u *authz.User, ended bool)
	// Stale is as in authz.Snapshot.
	Stale(organizationID string) bool
	// RoleMappings returns the roles of each group of an organization, by group
	// id, and a version that is another one whenever they are. The engine does
	// not write into the map.
	RoleMappings(organizationID string) (mappings map[string][]string, version uint64)
}

// Engine holds the current snapshot. Its zero value is not usable: call New.
type Engine struct {
	current atomic.Pointer[snapshot]

	mu        sync.Mutex
	published chan struct{} // closed and replaced when a snapshot is published
}

// New returns an engine without a snapshot.
func New() *Engine {
	return &Engine{published: make(chan struct{})}
}

var (
	_ authz.Snapshots = (*Engine)(nil)
	_ authz.Snapshot  = (*snapshot)(nil)
)

// Current returns the snapshot last published, or nil before the first. It
// never blocks.
func (e *Engine) Current() authz.Snapshot {
	if s := e.current.Load(); s != nil {
		return s
	}
	return nil // not a nil *snapshot in an interface, which would not be nil
}

// Publish makes one snapshot of the policy, the apps and the directory, and it
// is what the next decision is made from. It does no work that grows with them.
// dataRevision is the store's revision that apps and directory have seen. The
// caller publishes one after another, so that revisions only go up; none of the
// arguments may be nil.
func (e *Engine) Publish(p *Policy, apps Apps, dir Directory, dataRevision uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current.Store(&snapshot{policy: p, apps: apps, dir: dir, revision: dataRevision})
	close(e.published)
	e.published = make(chan struct{})
}

// Wait returns nil as soon as a snapshot of at least this data revision is
// published, or the context's error.
func (e *Engine) Wait(ctx context.Context, revision uint64) error {
	for {
		e.mu.Lock()
		next := e.published
		e.mu.Unlock()
		if s := e.current.Load(); s != nil && s.revision >= revision {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// snapshot is one immutable state of everything that a decision is made from.
type snapshot struct {
	policy   *Policy
	apps     Apps
	dir      Directory
	revision uint64
}

func (s *snapshot) App(host string) (*authz.App, bool) { return s.apps.App(host) }

func (s *snapshot) User(session *authz.Session) (*authz.User, bool) { return s.dir.User(session) }

func (s *snapshot) Stale(organizationID string) bool { return s.dir.Stale(organizationID) }

func (s *snapshot) ReadsQuery() bool { return s.policy.ReadsQuery() }

func (s *snapshot) PolicyRevision() string { return s.policy.Revision() }

func (s *snapshot) DataRevision() uint64 { return s.revision }

// Budget is how long one evaluation may take.
func (s *snapshot) Budget() time.Duration { return s.policy.budget }

// Evaluate asks the policy, over the role mappings of the app's organization
// and no other's.
func (s *snapshot) Evaluate(ctx context.Context, in *authz.Input) (authz.Verdict, error) {
	p := s.policy
	var at time.Time
	if in != nil && in.Request != nil {
		at = in.Request.Time
	}
	if at.IsZero() {
		at = p.now()
	}
	term, err := p.input(in, at)
	if err != nil {
		return authz.Verdict{}, err
	}
	doc := p.data.settings
	if p.reads.mappings {
		org := in.App.OrganizationID
		mappings, version := s.dir.RoleMappings(org)
		if doc, err = p.data.of(org, mappings, version); err != nil {
			return authz.Verdict{}, err
		}
	}
	result, err := p.eval(ctx, term, doc, at)
	if err != nil {
		return authz.Verdict{}, err
	}
	return verdict(result, p.headers)
}
