package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz/engine"
)

// asKey is where As leaves who asks. Its type is of this package, so nothing that
// comes over a network, and no other package, can put an actor there.
type asKey struct{}

// As serves requests to /api/v1 that somebody makes whom the caller has
// authenticated, as the console does. It leaves out the bearer token and nothing
// else: the same routes, the same questions to the admin policy, the same audit.
// An actor without a kind is nobody.
func (a *API) As(who engine.Actor) http.Handler {
	a.within.once.Do(func() {
		r := gin.New()
		r.ContextWithFallback = true
		a.mount(r, given)
		a.within.handler = r
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.within.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), asKey{}, who)))
	})
}

// given takes the actor that As was given.
func given(c *gin.Context) {
	who, _ := c.Request.Context().Value(asKey{}).(engine.Actor)
	if who.Kind == "" {
		writeProblem(c, problem(http.StatusUnauthorized, "Nobody is signed in."))
		return
	}
	c.Set(actorKey, who)
}

// May reports whether an actor may do an action, so that a page can leave out
// what would be refused. It decides nothing: every request is asked about again.
// A break-glass token may do everything. No answer is a no.
func (a *API) May(ctx context.Context, who engine.Actor, action string, on engine.Resource) bool {
	switch who.Kind {
	case "":
		return false
	case kindBreakGlass:
		return true
	}
	v, err := a.Policy.Decide(ctx, engine.AdminInput{Actor: who, Action: action, Resource: on})
	if err != nil {
		a.Log.ErrorContext(ctx, "admin policy failed; denied", "action", action, "actor", who.ID, "error", err)
		return false
	}
	return v.Allow
}

// Actions are all that the API's routes ask the admin policy about, sorted.
func (a *API) Actions() []string {
	var all []string
	for _, rt := range a.routes() {
		all = append(all, rt.action)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Actor is who acts with the token.
func (t Token) Actor() engine.Actor { return t.actor() }

// Live returns the live token of an id, or ErrUnknownToken: for who showed its
// secret before, to Find, and has kept only its id since. The id says which
// secret it was, so no other token can ever take its place. It counts as a use.
func (t *Tokens) Live(ctx context.Context, id string) (Token, error) {
	token, err := t.Get(ctx, id)
	if err == nil {
		t.uses.note(id, t.Now().UTC())
	}
	return token, err
}
