package adminpolicy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// KindBreakGlass is the kind of an actor that goes past the admin policy: never
// put to it, and judged by the guard as an operator's token.
const KindBreakGlass = "break-glass"

var (
	// ErrLockOut: under this version its author, or an operator's token, could
	// not change the admin policy any more. The text says who and what.
	ErrLockOut = errors.New("this admin policy would lock out")
	// ErrNoVersion: no version has this revision.
	ErrNoVersion = errors.New("no version of the admin policy has this revision")
	// ErrNothingToRollBack: the shipped policy is in force and was from the start.
	ErrNothingToRollBack = errors.New("no version of the admin policy was in force before this one")
	// ErrChanged: another version was activated while this was under way.
	ErrChanged = errors.New("another version was activated meanwhile; look again")
	// ErrNotInForce: there is no policy to ask, so the answer is no.
	ErrNotInForce = errors.New("no admin policy is in force")
)

// Fault is one thing that is wrong with a pushed version.
type Fault = engine.Fault

// Rejected is the error for a version that cannot be read, does not compile, or
// fails its tests: everything that is wrong with it.
type Rejected struct{ Errors []Fault }

// Error lists every fault, one to a line.
func (r Rejected) Error() string { return engine.Faults(r.Errors).Error() }

// Options of New. Store, Shipped and Engine are required.
type Options struct {
	Store   store.Store
	Shipped engine.Source  // the policy that comes with the program
	Engine  engine.Options // Settings are those of the admin policy
	Now     func() time.Time
	Log     *slog.Logger
}

// Service answers from the version in force and changes which one that is. Load
// and Apply are for one goroutine; everything else is safe for concurrent use.
type Service struct {
	store   store.Store
	engine  engine.Options
	now     func() time.Time
	log     *slog.Logger
	shipped version

	current atomic.Pointer[version]
	pushing chan struct{} // one compilation at a time bounds what pushes can cost

	bundles map[string][]byte // stored values by revision; of Load and Apply alone
	active  []byte            // the stored record; likewise
}

// version is one that is, or would be, in force. policy is nil where it cannot
// be used, and problem says why.
type version struct {
	name    string // its revision
	policy  *engine.AdminPolicy
	problem error
}

// New compiles the shipped policy and makes sure that operators' tokens get on
// under it. Until Load there is no policy in force, and Decide denies.
func New(o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		store: o.Store, engine: o.Engine, now: o.Now, log: o.Log,
		pushing: make(chan struct{}, 1), bundles: map[string][]byte{},
	}
	policy, err := engine.CompileAdmin(o.Shipped, o.Engine)
	if err != nil {
		return nil, fmt.Errorf("shipped admin policy: %w", err)
	}
	revision, err := o.Shipped.Revision()
	if err != nil {
		return nil, fmt.Errorf("shipped admin policy: %w", err)
	}
	s.shipped = version{name: revision, policy: policy}
	if err := s.may(context.Background(), policy, someOperator(), "operators' tokens", s.now()); err != nil {
		return nil, fmt.Errorf("shipped admin policy: %w", err)
	}
	return s, nil
}

// Decide asks the version in force. On an error, ErrNotInForce among them, the
// answer is no. A break-glass actor is denied: whoever lets it pass does so
// without asking here.
func (s *Service) Decide(ctx context.Context, in engine.AdminInput) (authz.Verdict, error) {
	v := s.current.Load()
	switch {
	case v == nil:
		return authz.Verdict{}, ErrNotInForce
	case v.policy == nil:
		return authz.Verdict{}, fmt.Errorf("%w: %s cannot be used here", ErrNotInForce, v.name)
	case in.Actor.Kind == KindBreakGlass:
		return authz.Verdict{Reasons: []authz.Reason{{Code: "break_glass", Message: "Break-glass tokens are not put to the admin policy."}}}, nil
	}
	return v.policy.Decide(ctx, in)
}

// InForce returns the revision of the version that Decide answers from, and why
// it cannot if it cannot.
func (s *Service) InForce() (revision string, err error) {
	v := s.current.Load()
	switch {
	case v == nil:
		return "", ErrNotInForce
	case v.policy == nil:
		return v.name, fmt.Errorf("%w: %w", ErrNotInForce, v.problem)
	}
	return v.name, nil
}

// Load replaces what is known by those of entries that are ours.
func (s *Service) Load(entries []store.Entry) {
	s.bundles, s.active = map[string][]byte{}, nil
	for _, e := range entries {
		s.put(e)
	}
	s.settle()
}

// Apply takes in one change of the store.
func (s *Service) Apply(c store.Change) {
	ours := false
	for _, e := range c.Entries {
		ours = s.put(e) || ours
	}
	if ours {
		s.settle()
	}
}

// put keeps what deciding needs of an entry, and reports whether it did.
func (s *Service) put(e store.Entry) bool {
	revision, isBundle := strings.CutPrefix(e.Key, bundleKeys)
	switch {
	case e.Deleted:
		e.Value = nil
	case e.Value == nil:
		e.Value = []byte{} // there, though empty
	}
	switch {
	case e.Key == activeKey:
		s.active = e.Value
	case isBundle && e.Deleted:
		delete(s.bundles, revision)
	case isBundle:
		s.bundles[revision] = e.Value
	default:
		return false
	}
	return true
}

// settle puts the version in force that the store says.
func (s *Service) settle() {
	record, err := decodeActive(s.active)
	if err != nil {
		s.deny(version{problem: err})
		return
	}
	if record.Revision == shippedName {
		s.current.Store(&s.shipped)
		return
	}
	if v := s.current.Load(); v != nil && v.name == record.Revision && v.policy != nil {
		return // a revision names its content
	}
	value, there := s.bundles[record.Revision]
	if !there {
		s.deny(version{name: record.Revision, problem: ErrNoVersion})
		return
	}
	policy, err := s.compileStored(record.Revision, value)
	if err != nil {
		s.deny(version{name: record.Revision, problem: err})
		return
	}
	s.current.Store(&version{name: record.Revision, policy: policy})
	s.log.Info("admin policy in force", "revision", record.Revision, "activated_by", record.By)
}

// deny puts a version in force that cannot be used: nothing is allowed but what
// goes past the policy.
func (s *Service) deny(v version) {
	s.current.Store(&v)
	s.log.Error("the active admin policy cannot be used; every request to the admin API is denied",
		"revision", v.name, "error", v.problem, "shipped_revision", s.shipped.name,
		"remedy", "on this host run 'batterygate token create --break-glass', and with that token 'batterygate policy admin rollback', "+
			"or 'policy admin activate' with the shipped revision")
}
