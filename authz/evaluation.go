package authz

import (
	"context"
	"errors"
	"time"
)

// ErrNotConfigured is what a policy says that has no entry point for what it is
// asked.
var ErrNotConfigured = errors.New("the policy has no such entry point")

// Evaluation is the answer to an AuthZEN access evaluation. The zero value
// denies.
type Evaluation struct {
	Decision bool
	Context  map[string]any // what the policy says beside it; nil if nothing
}

// Evaluator is a Snapshot whose policy may answer AuthZEN access evaluations
// beside the gateways' questions, by data.battery.authzen.decision.
type Evaluator interface {
	Snapshot
	// HasAuthZEN reports whether the policy has that entry point.
	HasAuthZEN() bool
	// EvaluateAuthZEN asks it over an input of plain JSON values: subject, action,
	// resource, context and caller. organizationID is the caller's; its role
	// mappings are those that the policy may read, none if it is empty. at is the
	// time that the policy sees. Errors are those of Evaluate, or ErrNotConfigured;
	// with any of them the evaluation denies.
	EvaluateAuthZEN(ctx context.Context, organizationID string, in map[string]any, at time.Time) (Evaluation, error)
}
