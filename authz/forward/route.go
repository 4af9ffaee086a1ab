package forward

import (
	"fmt"
	"net/http"
	"slices"

	"battery.app/gate/authz"
)

// RouteAppHeader names the app that the gateway's route belongs to, at the HTTP
// doors that Options.BoundRoutes lists. The gateway's configuration sets it, so
// that the client's copy is overwritten. Over gRPC the same is
// context_extensions["app"], which no client can write.
const RouteAppHeader = "X-Battery-Route-App"

// headerPreflight is what tells a preflight from an ordinary OPTIONS request
// (Fetch Standard, "CORS-preflight request").
const headerPreflight = "Access-Control-Request-Method"

// The doors' names, as records and Options use them.
const (
	DoorForwardAuth = "forward-auth"
	DoorAuthRequest = "auth-request"
	DoorExtAuthz    = "ext-authz"
	DoorGRPC        = "ext-authz-grpc"
)

// checkDoors refuses names of doors that there are not.
func checkDoors(option string, names []string, known ...string) error {
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fmt.Errorf("option %s: there is no such door: %q", option, n)
		}
	}
	return nil
}

// readRoute reads which app the gateway's route belongs to. That it owns the
// host is for Checker to say. A door that is not set up for it refuses the header
// rather than ignore it: a gateway that believes its routes to be bound must not
// find out by an accident that they are not.
func (d *Doors) readRoute(q *question, req *authz.Request) *authz.Fault {
	bound := slices.Contains(d.opt.BoundRoutes, q.door.dialect.Name)
	if q.door.dialect.Name != DoorGRPC {
		if _, sent := q.header[RouteAppHeader]; !bound && sent {
			return malformed("The door is not set up to be told which app a route belongs to.")
		}
		if bound {
			req.AppID, _ = once(q.header, RouteAppHeader)
		}
	}
	if bound && req.AppID == "" {
		return malformed("The gateway does not say which app its route belongs to.")
	}
	return nil
}

// preflight reports whether a request is a CORS preflight. Whatever comes twice
// or is no method makes it an ordinary OPTIONS request.
func preflight(method string, h http.Header) bool {
	if method != http.MethodOptions {
		return false
	}
	_, origin := once(h, "Origin")
	asked, ok := once(h, headerPreflight)
	return origin && ok && token(asked)
}
