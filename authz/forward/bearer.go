package forward

import (
	"net/http"
	"strings"

	"battery.app/gate/authz"
)

// maxBearer is the longest bearer token that is read, in bytes.
const maxBearer = 8 << 10

// serviceTokenPrefix begins the tokens that Battery Gate itself hands out.
const serviceTokenPrefix = "bgs_"

// readBearer reads the Authorization header for an app that takes machines. For
// every other app the header is the app's own: it is not looked at, not counted
// and not judged. What is no bearer token, or one too long, is still a
// credential that was sent, and a bad one.
//
// Envoy joins headers of one name with commas. No token holds a comma, so one
// means two headers: which of them the app would take is not ours to guess.
func (d *Doors) readBearer(q *question, req *authz.Request) *authz.Fault {
	values := q.header["Authorization"]
	if len(values) == 0 || !d.takesMachines(req) {
		return nil
	}
	if len(values) > 1 || strings.Contains(values[0], ",") {
		return malformed("The request carries more than one Authorization header.")
	}
	req.Authorized, req.Bearer = true, bearerToken(values[0])
	return nil
}

func (d *Doors) takesMachines(req *authz.Request) bool {
	app, ok := d.opt.Apps(req.Host)
	return ok && app.TakesMachines()
}

// bearerToken is the token of "Bearer b64token" (RFC 6750 §2.1), the scheme in
// either case (RFC 9110 §11.1); empty if the value is anything else.
func bearerToken(value string) string {
	scheme, token, ok := strings.Cut(strings.Trim(value, " \t"), " ")
	token = strings.TrimLeft(token, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(token) > maxBearer {
		return ""
	}
	text := strings.TrimRight(token, "=")
	if text == "" || !all(text, func(c byte) bool { return unreserved(c) || c == '+' || c == '/' }) {
		return ""
	}
	return token
}

// refuseBearer answers a machine whose token is no good: 401, never a way to a
// login page, which a program cannot use and a person did not ask for.
func refuseBearer(dec *authz.Decision) answer {
	why := firstReason(dec)
	a := problemOf(dec, http.StatusUnauthorized, why).answer(dec)
	a.header.Set("Www-Authenticate", bearerChallenge(dec.App, "invalid_token", why.Message))
	return a
}

// bearerChallenge is RFC 6750 §3. The description holds no byte of the request.
func bearerChallenge(app *authz.App, code, description string) string {
	c := "Bearer realm=" + quoted(app.ID)
	if code != "" {
		c += ", error=" + quoted(code) + ", error_description=" + quoted(description)
	}
	return c
}

// quoted is a quoted-string without what would have to be escaped in one.
func quoted(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s) + `"`
}

// hidesToken reports whether the token should not travel on to the app: a
// service token may be good for several apps, and none of them should be able
// to use it at another. A JWT names its audience, and its app may want to read it.
func hidesToken(a *answer, req *authz.Request) bool {
	return a.allows() && a.decision.Bearer() && strings.HasPrefix(req.Bearer, serviceTokenPrefix)
}
