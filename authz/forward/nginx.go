package forward

import (
	"net/http"
	"slices"
	"strings"

	"battery.app/gate/authz"
)

// What a refusal at nginx's door says in headers, because auth_request relays no
// body: nginx's own configuration writes the page or the problem from them.
const (
	headerReason     = "X-Battery-Reason"
	headerDecisionID = "X-Battery-Decision-Id"
	headerLoginURL   = "X-Battery-Login-Url"
)

// tellInHeaders adds to a refusal at nginx's door what a program needs.
func (d *Doors) tellInHeaders(a *answer, q *question, req *authz.Request) {
	set := func(name, value string) {
		if value != "" && visibleASCII(value) && !strings.ContainsAny(value, `"\<>`) {
			a.header.Set(name, value)
		}
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	set(headerReason, shorten(firstReason(a.decision).Code, 100))
	if a.decision == nil {
		return
	}
	set(headerDecisionID, a.decision.ID)
	if a.status == http.StatusUnauthorized && !a.decision.Bearer() && a.decision.App != nil && a.header.Get("Location") == "" {
		set(headerLoginURL, d.opt.Logins.LoginURL(a.decision.App, programTarget(q, req)))
	}
}

// stranger reports whether a request at nginx's door has a header in our name
// that the door does not write. nginx takes headers away by name alone, so one
// that its configuration does not know would reach the app.
func (d *Doors) stranger(h http.Header) bool {
	for name := range h {
		if d.guarded.own(strings.ToLower(name)) && name != SecretHeader && name != RouteAppHeader && !slices.Contains(d.identity.canonical, name) {
			return true
		}
	}
	return false
}
