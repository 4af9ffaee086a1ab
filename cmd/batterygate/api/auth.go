package api

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"battery.app/gate/authz"
	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/config"
)

const actorKey = "actor"

// The kinds of an actor here. A session is a person, who signed in.
const (
	kindToken      = "token"
	kindSession    = "session"
	kindBreakGlass = "break-glass"
)

// HostCheck refuses requests whose Host is neither loopback nor one of hosts:
// a web page that rebinds its own name to this address (DNS rebinding) would
// send its own name.
func HostCheck(hosts []string) gin.HandlerFunc {
	known := map[string]bool{}
	for _, h := range hosts {
		known[strings.ToLower(h)] = true
	}
	return func(c *gin.Context) {
		host := c.Request.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if !config.Loopback(host) && !known[host] {
			writeProblem(c, problem(http.StatusMisdirectedRequest, "The admin listener does not answer to this Host; listen.admin_hosts names more."))
		}
	}
}

// authenticate finds out who asks; without a valid bearer token nothing goes on.
func (a *API) authenticate(c *gin.Context) {
	kind, secret, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	if !strings.EqualFold(kind, "bearer") || secret == "" {
		c.Header("WWW-Authenticate", `Bearer realm="batterygate"`)
		writeProblem(c, problem(http.StatusUnauthorized, "A bearer token is needed; 'batterygate token create' makes one."))
		return
	}
	token, err := a.Tokens.Find(c.Request.Context(), strings.TrimSpace(secret))
	switch {
	case errors.Is(err, ErrUnknownToken):
		c.Header("WWW-Authenticate", `Bearer realm="batterygate", error="invalid_token"`)
		writeProblem(c, problem(http.StatusUnauthorized, "The token is unknown or has expired."))
	case err != nil:
		a.Log.ErrorContext(c.Request.Context(), "look up token", "error", err)
		writeProblem(c, problem(http.StatusServiceUnavailable, "The token could not be looked up; try again."))
	default:
		c.Set(actorKey, token.actor())
	}
}

// actor is who asks. Without one nothing is allowed.
func actor(c *gin.Context) engine.Actor {
	v, _ := c.Get(actorKey)
	who, _ := v.(engine.Actor)
	return who
}

// allow asks the admin policy whether the caller may do action on resource. It
// is not asked about a break-glass token: that is for when it is wrong.
func (a *API) allow(c *gin.Context, action string, resource engine.Resource) error {
	who := actor(c)
	if who.Kind == kindBreakGlass {
		return nil
	}
	v, err := a.Policy.Decide(c.Request.Context(), engine.AdminInput{Actor: who, Action: action, Resource: resource})
	if err != nil {
		a.Log.ErrorContext(c.Request.Context(), "admin policy failed; denied", "action", action, "actor", who.ID, "error", err)
		return problem(http.StatusForbidden, "The admin policy gave no answer.")
	}
	if v.Allow {
		return nil
	}
	return problem(http.StatusForbidden, refusal(v, action))
}

// refusal is what a verdict that denies says.
func refusal(v authz.Verdict, action string) string {
	if len(v.Reasons) > 0 {
		return v.Reasons[0].Message
	}
	return "The admin policy does not allow " + action + "."
}
