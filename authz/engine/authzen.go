package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz"
)

// maxContext bounds what an evaluation may say beside its decision, in bytes of
// Rego's own notation.
const maxContext = 16 << 10

var _ authz.Evaluator = (*snapshot)(nil)

// evaluator is the entry point for AuthZEN evaluations. It is compiled together
// with the one for gateways, so that both share what they share in the source;
// its own input has another shape, which its packages declare:
//
//	# METADATA
//	# scope: package
//	# schemas:
//	#   - input: schema.authzen_input
type evaluator struct {
	program
	mappings bool // reads data.battery.role_mappings
}

// linkAuthZEN makes the evaluator if the source has its entry point.
func (b *builder) linkAuthZEN(p program) *evaluator {
	if p.compiler == nil || len(p.compiler.GetRulesDynamicWithOpts(authzenRef, ast.RulesOptions{IncludeHiddenModules: true})) == 0 {
		return nil
	}
	linked := *b
	linked.entry = authzenRef
	e := &evaluator{program: linked.link(p.compiler), mappings: readsFrom(p.compiler, authzenRef).mappings}
	b.faults = linked.faults
	return e
}

// HasAuthZEN reports whether the policy answers AuthZEN evaluations.
func (p *Policy) HasAuthZEN() bool { return p.authzen != nil }

// HasAuthZEN is as in authz.Evaluator.
func (s *snapshot) HasAuthZEN() bool { return s.policy.HasAuthZEN() }

// EvaluateAuthZEN is as in authz.Evaluator.
func (s *snapshot) EvaluateAuthZEN(ctx context.Context, organizationID string, in map[string]any, at time.Time) (authz.Evaluation, error) {
	p := s.policy
	if p.authzen == nil {
		return authz.Evaluation{}, authz.ErrNotConfigured
	}
	if at.IsZero() {
		at = p.now()
	}
	input, err := objectOf(in)
	if err != nil {
		return authz.Evaluation{}, fmt.Errorf("evaluate policy: input: %w", err)
	}
	doc := p.data.settings
	if p.authzen.mappings && organizationID != "" {
		mappings, version := s.dir.RoleMappings(organizationID)
		if doc, err = p.data.of(organizationID, mappings, version); err != nil {
			return authz.Evaluation{}, err
		}
	}
	result, err := p.authzen.eval(ctx, ast.NewTerm(input), doc, at)
	if err != nil {
		return authz.Evaluation{}, err
	}
	return evaluation(result)
}

// evaluation reads the policy's result, as strictly as verdict does: a decision
// that is no boolean, or a member that nobody knows, is an error.
func evaluation(result ast.Value) (authz.Evaluation, error) {
	object, ok := result.(ast.Object)
	if !ok {
		return authz.Evaluation{}, fmt.Errorf("policy result: %s instead of an object", ast.ValueName(result))
	}
	var e authz.Evaluation
	said := false
	err := object.Iter(func(k, value *ast.Term) error {
		switch key, _ := k.Value.(ast.String); key {
		case "decision":
			decision, ok := value.Value.(ast.Boolean)
			if !ok {
				return errors.New("policy result: decision is no boolean")
			}
			e.Decision, said = bool(decision), true
		case "context":
			var err error
			e.Context, err = contextOf(value.Value)
			return err
		default:
			return fmt.Errorf("policy result: unknown member %s", k)
		}
		return nil
	})
	switch {
	case err != nil:
		return authz.Evaluation{}, err
	case !said:
		return authz.Evaluation{}, fmt.Errorf("policy result without decision: %w", authz.ErrPolicyUndefined)
	}
	return e, nil
}

func contextOf(value ast.Value) (map[string]any, error) {
	if _, ok := value.(ast.Object); !ok {
		return nil, errors.New("policy result: context is no object")
	}
	if len(value.String()) > maxContext {
		return nil, errors.New("policy result: context is too long")
	}
	plain, err := ast.JSON(value)
	if err != nil {
		return nil, fmt.Errorf("policy result: context: %w", err)
	}
	out, ok := plain.(map[string]any)
	if !ok {
		return nil, errors.New("policy result: context has a name that is no string")
	}
	return out, nil
}
