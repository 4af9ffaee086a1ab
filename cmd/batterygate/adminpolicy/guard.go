package adminpolicy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
)

// The actions by which the admin policy is changed. Whoever is to get out of a
// bad one needs all three.
const (
	ActionList     = "admin-policies.list"
	ActionCreate   = "admin-policies.create"
	ActionActivate = "admin-policies.activate"
	ActionRollback = "admin-policies.rollback"
)

// guardTime bounds one run of the guard, whatever the policy's budget is.
const guardTime = 20 * time.Second

// Resource is what these actions are about: a version, or with an empty
// revision all of them (to list, create and roll back). Whoever asks Decide must
// name it so: the guard asks about nothing else.
func Resource(revision string) engine.Resource {
	return engine.Resource{Type: "admin-policy", ID: revision}
}

// guard returns ErrLockOut unless, under policy, its author as it stands and any
// operator's token may push, activate and roll back.
//
// The operator's token has an id that nobody can know beforehand, so that a
// policy which lets one certain token in does not pass. Of a policy that reads the
// clock it is asked about over a time to come, so that one which lets operators in
// until tomorrow, in office hours, or not in the month after next does not pass
// either.
func (s *Service) guard(ctx context.Context, policy *engine.AdminPolicy, author engine.Actor) error {
	within, cancel := context.WithTimeout(ctx, guardTime)
	defer cancel()
	now := s.now()
	if author.Kind != KindBreakGlass {
		if err := s.may(within, policy, author, nameOf(author), now); err != nil {
			return orGone(ctx, err)
		}
	}
	someone := someOperator()
	moments := []time.Time{now}
	if policy.ReadsClock() {
		moments = times(now)
	}
	for _, at := range moments {
		if err := s.may(within, policy, someone, "operators' tokens", at); err != nil {
			return orGone(ctx, err)
		}
	}
	return nil
}

// someOperator is an operator's token that nobody made.
func someOperator() engine.Actor {
	return engine.Actor{Kind: "token", ID: "token_" + random(12), Scopes: []string{"operator"}, Roles: []string{}}
}

// orGone: what a caller who went away did not wait for says nothing.
func orGone(ctx context.Context, err error) error {
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("guard admin policy: %w", gone)
	}
	return err
}

// times are those that the guard asks about: now, and then a moment in each hour
// of the coming week, each day of the two years after it, and each week of the
// rest of ten years. Nobody can know the moments beforehand: a policy that lets
// operators in at just these times would otherwise pass.
func times(now time.Time) []time.Time {
	out := []time.Time{now}
	at := now
	for _, x := range []struct {
		every time.Duration
		until time.Time
	}{{time.Hour, now.AddDate(0, 0, 7)}, {24 * time.Hour, now.AddDate(2, 0, 7)}, {7 * 24 * time.Hour, now.AddDate(10, 0, 0)}} {
		for ; at.Before(x.until); at = at.Add(x.every) {
			out = append(out, at.Add(somewhere(x.every)))
		}
	}
	return out
}

// somewhere is a random part of d, in whole seconds.
func somewhere(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/time.Second)))
	if err != nil {
		return 0 // crypto/rand.Reader never fails
	}
	return time.Duration(n.Int64()) * time.Second
}

func (s *Service) may(ctx context.Context, policy *engine.AdminPolicy, actor engine.Actor, who string, at time.Time) error {
	for _, ask := range []struct{ action, revision string }{
		{ActionRollback, ""}, {ActionCreate, ""}, {ActionActivate, s.shipped.name}, {ActionActivate, random(8)},
	} {
		v, err := decide(ctx, policy, engine.AdminInput{Actor: actor, Action: ask.action, Resource: Resource(ask.revision)}, at)
		if err == nil && v.Allow {
			continue
		}
		why := ""
		switch {
		case err != nil:
			why = ": " + err.Error()
		case len(v.Reasons) > 0:
			why = fmt.Sprintf(": %s (%s)", v.Reasons[0].Message, v.Reasons[0].Code)
		}
		return fmt.Errorf("%w %s, who must be allowed %s on %s%s", ErrLockOut, who, ask.action, at.UTC().Format(time.RFC3339), why)
	}
	return nil
}

// decide asks again when the time budget was exceeded: on a busy host that may be
// no fault of the policy's, and refusing one for it would be a riddle.
func decide(ctx context.Context, policy *engine.AdminPolicy, in engine.AdminInput, at time.Time) (v authz.Verdict, err error) {
	for range 5 {
		if v, err = policy.DecideAt(ctx, in, at); !errors.Is(err, authz.ErrPolicyTimeout) || ctx.Err() != nil {
			return v, err
		}
	}
	return v, err
}

// nameOf is how an author is written down: kind:id.
func nameOf(a engine.Actor) string { return a.Kind + ":" + a.ID }

func random(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	return hex.EncodeToString(raw)
}
