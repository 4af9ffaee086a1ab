package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
)

const (
	scopeOperator = "operator"
	scopeRead     = "read"
)

// mayMake refuses a token that makes one with more than itself, which the policy
// cannot see: it is asked about making tokens, not about what they could do.
// What a person who signed in may make is the policy's alone.
func (a *API) mayMake(c *gin.Context, in newToken, ttl time.Duration) error {
	who := actor(c)
	if who.Kind != kindToken && who.Kind != kindBreakGlass {
		return nil
	}
	if who.OrganizationID != "" && in.OrganizationID != who.OrganizationID {
		return problem(http.StatusForbidden, "This token is bound to an organization, and so is every token that it makes.")
	}
	// An operator's token may give any scope; so may a break-glass token. But what
	// either makes ends with it: else who finds one that lives for an hour has one
	// that lives for ever.
	if who.Kind == kindToken && !slices.Contains(who.Scopes, scopeOperator) {
		for _, scope := range in.Scopes {
			if !includes(who, scope) {
				return problem(http.StatusForbidden, "This token does not have the scope "+scope+", and cannot give it; the operator scope can.")
			}
		}
	}
	return a.outlives(c, who, ttl)
}

// outlives refuses a token that lives longer than the one that makes it: it
// would be a way around the end of that one.
func (a *API) outlives(c *gin.Context, who engine.Actor, ttl time.Duration) error {
	own, err := a.Tokens.Get(c.Request.Context(), who.ID)
	if errors.Is(err, ErrUnknownToken) {
		return problem(http.StatusForbidden, "The token that asks is not there any more.")
	}
	if err != nil {
		return err
	}
	if own.ExpiresAt == nil {
		return nil
	}
	if left := own.ExpiresAt.Sub(a.Tokens.Now()); ttl == 0 || ttl > left {
		return problem(http.StatusForbidden, "This token ends in "+left.Truncate(time.Second).String()+", and cannot make one that lives longer: give a shorter ttl, or make the token on the host or as a person who signed in.")
	}
	return nil
}

// includes reports whether a token's scopes allow all that scope does.
func includes(who engine.Actor, scope string) bool {
	if slices.Contains(who.Scopes, scope) {
		return true
	}
	room, verb, ok := strings.Cut(scope, ".")
	if !ok {
		return false
	}
	if slices.Contains(who.Scopes, room+".*") {
		return true
	}
	return (verb == "read" || verb == "list") && slices.Contains(who.Scopes, scopeRead)
}
