package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
	"battery.app/gate/sync/directory"
)

// grantAction is what the admin policy is asked about each role that a change
// of role mappings gives or takes; the resource is the role.
const grantAction = "role-mappings.grant"

// everyRole stands for all roles at once: it is none, so a policy that lists
// what may be granted never allows it.
const everyRole = "*"

// NotGrantableError says that an actor may not give or take a role.
type NotGrantableError struct {
	Role    string
	Message string // the policy's, for the actor

	cause error
}

// Error is what the actor may be told.
func (e *NotGrantableError) Error() string {
	return fmt.Sprintf("role %q may not be given or taken here: %s", e.Role, e.Message)
}

// Unwrap is why the policy gave no answer, if it gave none.
func (e *NotGrantableError) Unwrap() error { return e.cause }

// GrantableChange asks the admin policy whether who may turn an organization's
// role mappings from before into after: about each role that a group gains or
// loses ("role-mappings.grant" on {type: "role", id: role, organization_id}).
// Taking counts like giving, or an IT admin could lock an operator's choice
// out. It returns nil or a *NotGrantableError; a policy without an answer
// allows nothing.
func GrantableChange(ctx context.Context, policy AdminPolicy, who engine.Actor, organizationID string, before, after []directory.Mapping) error {
	for _, role := range changedRoles(before, after) {
		if err := grantable(ctx, policy, who, organizationID, role); err != nil {
			return err
		}
	}
	return nil
}

func grantable(ctx context.Context, policy AdminPolicy, who engine.Actor, organizationID, role string) error {
	v, err := policy.Decide(ctx, engine.AdminInput{Actor: who, Action: grantAction, Resource: resource("role", role, organizationID)})
	switch {
	case err != nil:
		return &NotGrantableError{Role: role, Message: "the admin policy gave no answer", cause: err}
	case !v.Allow:
		return &NotGrantableError{Role: role, Message: refusal(v, grantAction)}
	}
	return nil
}

// changedRoles are the roles that some group has in one of two sets and not in
// the other, sorted. A group by its id and one by its name are two.
func changedRoles(before, after []directory.Mapping) []string {
	type grant struct{ id, name, role string }
	in := map[grant]int{}
	for side, list := range [][]directory.Mapping{before, after} {
		for _, m := range list {
			for _, role := range m.Roles {
				in[grant{m.GroupID, m.GroupName, role}] |= 1 << side
			}
		}
	}
	var out []string
	for g, sides := range in {
		if sides != 3 {
			out = append(out, g.role)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// limited: an IT admin, or a token that an organization's people hold, may not
// give every role that there is.
func limited(who engine.Actor) bool {
	return who.Kind != kindBreakGlass && (who.Kind != kindToken || who.OrganizationID != "")
}

// mayGrantAll is asked before the source of roles changes: whatever WorkOS says
// then counts, or does not count any more.
func (a *API) mayGrantAll(c *gin.Context, org string) error {
	if !limited(actor(c)) {
		return nil
	}
	return a.grantProblem(c, grantable(c.Request.Context(), a.Policy, actor(c), org, everyRole))
}

func (a *API) grantProblem(c *gin.Context, err error) error {
	if err == nil {
		return nil
	}
	a.Log.WarnContext(c.Request.Context(), "role change refused", "actor", actorID(c), "error", err)
	p := problem(http.StatusForbidden, err.Error())
	p.cause = err
	return p
}

func (a *API) mappingsState(c *gin.Context) any { return a.Directory.View().Mappings(c.Param("id")) }
