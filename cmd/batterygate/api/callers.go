package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"battery.app/gate/authz/authzen"
	"battery.app/gate/authz/engine"
)

// Callers lets holders of API tokens ask AuthZEN questions, if the admin policy
// allows them "authzen.evaluate". A token that is bound to an organization asks
// within it: the policy sees which one and its role mappings, and the records
// are that organization's.
type Callers struct {
	Tokens *Tokens
	Policy AdminPolicy
	// Stands reports whether an organization still exists: a token that is bound
	// to one ends with it.
	Stands func(organizationID string) bool
}

var _ authzen.Callers = (*Callers)(nil)

// Caller implements authzen.Callers.
func (a *Callers) Caller(ctx context.Context, _ time.Time, bearer string) (authzen.Caller, error) {
	token, err := a.Tokens.Find(ctx, bearer)
	if errors.Is(err, ErrUnknownToken) {
		return authzen.Caller{}, authzen.ErrUnknownCaller
	}
	if err != nil {
		return authzen.Caller{}, fmt.Errorf("look up token: %w", err)
	}
	if token.BreakGlass { // made to repair the gate; every use is audited, which this way does not
		return authzen.Caller{}, authzen.ErrForbidden
	}
	if token.OrganizationID != "" && (a.Stands == nil || !a.Stands(token.OrganizationID)) {
		return authzen.Caller{}, authzen.ErrForbidden
	}
	v, err := a.Policy.Decide(ctx, engine.AdminInput{Actor: token.actor(), Action: evaluate, Resource: resource("authzen", "", token.OrganizationID)})
	if err != nil {
		return authzen.Caller{}, fmt.Errorf("ask admin policy: %w", err)
	}
	if !v.Allow {
		return authzen.Caller{}, authzen.ErrForbidden
	}
	return authzen.Caller{ID: token.ID, OrganizationID: token.OrganizationID}, nil
}
