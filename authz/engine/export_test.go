package engine

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz"
)

// Optimised is the same policy with OPA's rule indexing and early exit as given.
func (p *Policy) Optimised(indexing, earlyExit bool) *Policy {
	q := &Policy{
		program: p.program, revision: p.revision, reads: p.reads,
		headers: p.headers, requestHeaders: p.requestHeaders, data: p.data,
	}
	q.indexing, q.earlyExit = indexing, earlyExit
	return q
}

// Documents is how many organizations' documents the policy keeps.
func (p *Policy) Documents() int {
	p.data.mu.RLock()
	defer p.data.mu.RUnlock()
	return len(p.data.byOrg)
}

// AllowedBuiltins is what the tests look at from outside.
var AllowedBuiltins = allowedBuiltins

// MaxDocuments bounds Documents.
const MaxDocuments = maxDocuments

// ReadsTime and ReadsMappings are the rest of the static analysis.
func (p *Policy) ReadsTime() bool     { return p.reads.time }
func (p *Policy) ReadsMappings() bool { return p.reads.mappings }

// InputJSON is the input that the policy is asked with, as plain values.
func (p *Policy) InputJSON(in *authz.Input, at time.Time) (any, error) {
	term, err := p.input(in, at)
	if err != nil {
		return nil, err
	}
	return ast.JSON(term.Value)
}

// EvalValue evaluates the policy over an input of any shape.
func (p *Policy) EvalValue(ctx context.Context, input ast.Value) (ast.Value, error) {
	return p.eval(ctx, ast.NewTerm(input), p.data.settings, p.now())
}

// Validate checks a document against one of the schemas.
func Validate(o Options, schema string, doc any) ([]string, error) {
	s, err := readSchemas(o.Schemas)
	if err != nil {
		return nil, err
	}
	return s.check(schema, doc)
}
