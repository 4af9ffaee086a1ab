package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"battery.app/gate/authz"
)

// resultVar is the variable that the query binds the decision to.
const resultVar = ast.Var("decision")

// program is a compiled entry point: everything an evaluation needs but its
// input and data. It is immutable and shared between goroutines.
type program struct {
	compiler      *ast.Compiler
	query         ast.Body
	queryCompiler ast.QueryCompiler
	budget        time.Duration
	log           *slog.Logger
	now           func() time.Time

	indexing, earlyExit bool // OPA's optimisations, which tests switch off to compare
	readsClock          bool // its answer may depend on the time
}

// eval runs the query and returns the value of the entry point, or
// authz.ErrPolicyUndefined, authz.ErrPolicyTimeout, or another error. at is the
// time that the policy sees.
//
// The time budget is enforced by OPA's own cancellation, which topdown looks at
// between expressions, and again at the end: an answer that comes too late is
// none. A panic of a built-in is an error of this one evaluation.
func (p *program) eval(ctx context.Context, input *ast.Term, data *document, at time.Time) (out ast.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.log.ErrorContext(ctx, "panic in policy evaluation", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			out, err = nil, fmt.Errorf("evaluate policy: panic: %v", r)
		}
	}()

	cancel := topdown.NewCancel()
	timer := time.AfterFunc(p.budget, cancel.Cancel)
	defer timer.Stop()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, cancel.Cancel)
		defer stop()
	}

	err = topdown.NewQuery(p.query).
		WithCompiler(p.compiler).
		WithQueryCompiler(p.queryCompiler).
		WithStore(data.store).
		WithTransaction(data.txn).
		WithInput(input).
		WithTime(at).
		WithCancel(cancel).
		WithMetrics(metrics.NoOp()).
		WithStrictBuiltinErrors(true).
		WithIndexing(p.indexing).
		WithEarlyExit(p.earlyExit).
		Iter(ctx, func(result topdown.QueryResult) error {
			out = result[resultVar].Value
			return nil
		})

	switch {
	case cancel.Cancelled():
		if cause := ctx.Err(); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
			return nil, fmt.Errorf("evaluate policy: %w", cause)
		}
		return nil, authz.ErrPolicyTimeout
	case err != nil:
		return nil, fmt.Errorf("evaluate policy: %w", err)
	case out == nil:
		return nil, authz.ErrPolicyUndefined
	}
	return out, nil
}
