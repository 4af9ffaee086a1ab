package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"battery.app/gate/authz/engine"
	"battery.app/gate/cmd/batterygate/audit"
	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sso"
)

type homeScreen struct {
	frame
	ID, Organization string
	Roles, Scopes    []string
	Ends             moment
	Rooms            []may
	Server           Server
}

// may is what somebody may do with a kind of thing.
type may struct {
	Room  string
	Verbs string
}

// home says who is there, what they may do, and how the server is.
func (c *Console) home(w http.ResponseWriter, r *http.Request) error {
	v, err := c.visitor(r)
	if errors.Is(err, errNobody) {
		return c.askSignIn(w, r, http.StatusOK, "")
	}
	if err != nil {
		return err
	}
	// The other pages ask the API, which records all that a break-glass token asks.
	if v.actor.Kind == kindBreakGlass {
		act := audit.Act{Actor: v.actor, Action: "console.read", Resource: engine.Resource{Type: "console"}, RemoteIP: remoteIP(r)}
		if err := c.Audit.Record(r.Context(), act, audit.Outcome{Result: audit.Done, Status: http.StatusOK}); err != nil {
			return &sso.PageError{Status: http.StatusServiceUnavailable, Title: "This page cannot be shown", Text: "All that is done with a break-glass token is recorded, and recording does not work just now. Try again.",
				Links: []sso.Link{{Label: "Try again", URL: "/"}}, Cause: err}
		}
	}
	s := homeScreen{frame: c.frame(r, v, "Battery Gate"), ID: v.actor.ID, Organization: v.actor.OrganizationID,
		Ends: momentOf(v.ends, c.Now()), Rooms: c.rooms(r, v), Server: c.Server(r.Context())}
	for _, role := range v.actor.Roles {
		s.Roles = append(s.Roles, words.Shown(role))
	}
	for _, scope := range v.actor.Scopes {
		s.Scopes = append(s.Scopes, words.Shown(scope))
	}
	return c.render(w, http.StatusOK, "home", s)
}

// rooms asks the policy about all that the API can do, in the visitor's own
// organization where they are bound to one.
func (c *Console) rooms(r *http.Request, v *visitor) (out []may) {
	allowed := map[string][]string{}
	var order []string
	for _, action := range c.API.Actions() {
		room, verb, _ := strings.Cut(action, ".")
		on := engine.Resource{Type: singular(room)}
		ok := c.API.May(r.Context(), v.actor, action, on)
		if on.OrganizationID = v.actor.OrganizationID; !ok && on.OrganizationID != "" {
			ok = c.API.May(r.Context(), v.actor, action, on)
		}
		if !ok {
			continue
		}
		if !slices.Contains(order, room) {
			order = append(order, room)
		}
		allowed[room] = append(allowed[room], verb)
	}
	for _, room := range order {
		out = append(out, may{strings.ReplaceAll(room, "-", " "), strings.Join(allowed[room], ", ")})
	}
	return out
}

// singular is the type of an action's resources, as the API's routes name it.
func singular(room string) string {
	if stem, ok := strings.CutSuffix(room, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(room, "s")
}
