package engine

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"battery.app/gate/authz"
)

// AdminInput is what the admin policy is asked: may this actor do this?
type AdminInput struct {
	Actor    Actor    `json:"actor"`
	Action   string   `json:"action"` // resource.verb: "decisions.list"
	Resource Resource `json:"resource"`
}

// Actor is who uses the admin API.
type Actor struct {
	Kind           string   `json:"kind"` // "token" or "session"; "break-glass" is never put to the policy
	ID             string   `json:"id"`
	OrganizationID string   `json:"organization_id"` // empty: bound to none
	Roles          []string `json:"roles"`           // of a session
	Scopes         []string `json:"scopes"`          // of a token
}

// Resource is what is acted upon; its parts are empty where there is no one
// thing, as in a list over all organizations.
type Resource struct {
	Type           string `json:"type"`
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
}

// AdminPolicy is the compiled policy of the admin API. It shares nothing with a
// Policy, and sees neither its data nor any role mapping.
type AdminPolicy struct {
	program
	revision string
	data     *document
}

// CompileAdmin compiles an admin policy, whose entry point is
// data.battery.admin.decision, as Compile does. Its packages lie in
// battery.admin; any other is a fault, so that a policy for apps is never taken
// for one. Its data files may hold anything but data.battery, and it does not
// see data.battery.role_mappings.
func CompileAdmin(src Source, o Options) (*AdminPolicy, error) {
	o, faults := o.complete()
	if _, taken := src.Data["battery"]; taken {
		faults.add(FaultReserved, "data files of the admin policy must not define data.battery")
	}
	b := builder{src: src, options: o, entry: adminRef, input: "admin_input", faults: faults}
	b.refuse = func(path ast.Ref) bool { return !path.HasPrefix(adminRoot) }
	prog := b.build()
	if err := b.faults.err(); err != nil {
		return nil, err
	}
	data, revision, err := dataOf(src, o)
	if err != nil {
		return nil, err
	}
	return &AdminPolicy{program: prog, revision: revision, data: data.settings}, nil
}

// Revision is as Policy.Revision.
func (a *AdminPolicy) Revision() string { return a.revision }

// ReadsClock reports whether the policy may answer otherwise at another time.
func (a *AdminPolicy) ReadsClock() bool { return a.readsClock }

// Decide asks the policy. On an error the verdict denies, and so must the
// caller. Errors are as those of authz.Snapshot.Evaluate.
func (a *AdminPolicy) Decide(ctx context.Context, in AdminInput) (authz.Verdict, error) {
	return a.DecideAt(ctx, in, a.now())
}

// DecideAt is Decide as it would answer at another time, for policies that look
// at the clock.
func (a *AdminPolicy) DecideAt(ctx context.Context, in AdminInput, at time.Time) (authz.Verdict, error) {
	result, err := a.eval(ctx, in.term(), a.data, at)
	if err != nil {
		return authz.Verdict{}, err
	}
	return verdict(result, nil)
}

func (in AdminInput) term() *ast.Term {
	return ast.ObjectTerm(
		item("actor", ast.ObjectTerm(
			item("kind", ast.StringTerm(in.Actor.Kind)),
			item("id", ast.StringTerm(in.Actor.ID)),
			item("organization_id", ast.StringTerm(in.Actor.OrganizationID)),
			item("roles", stringsTerm(in.Actor.Roles)),
			item("scopes", stringsTerm(in.Actor.Scopes)),
		)),
		item("action", ast.StringTerm(in.Action)),
		item("resource", ast.ObjectTerm(
			item("type", ast.StringTerm(in.Resource.Type)),
			item("id", ast.StringTerm(in.Resource.ID)),
			item("organization_id", ast.StringTerm(in.Resource.OrganizationID)),
		)),
	)
}
