package forward

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"battery.app/gate/authz"
)

// maxTarget is the longest URL, in bytes, that a login leads back to: it travels
// in a Location, and nginx takes a response head of 4 KiB at most by default.
const maxTarget = 2 << 10

// answer is what a door says, before the gateway's protocol shapes it.
type answer struct {
	decision *authz.Decision
	status   int
	identity []string    // with 200 only: values of the identity headers, in their fixed order
	cookie   string      // with 200 only: what the app's Cookie header should be; empty: none, or as it is
	remove   []string    // with 200 only: lower-case names of headers that should not reach the app, where the gateway can do it
	header   http.Header // with everything else
	body     string
	silent   bool // a probe wants no answer
}

// allows reports whether the answer lets the request pass. Only a Decision that
// allows does.
func (a *answer) allows() bool {
	return a.status == http.StatusOK && decisionAllows(a.decision)
}

func decisionAllows(d *authz.Decision) bool {
	return d.Result() == authz.Allow && d.Status() == http.StatusOK
}

// answer shapes a decision: design's table of the doors.
func (d *Doors) answer(ctx context.Context, q *question, req *authz.Request, dec *authz.Decision, hand *handled) answer {
	switch {
	case decisionAllows(dec):
		return d.allow(ctx, req, dec)
	case dec.Result() == authz.Challenge && dec.App != nil && dec.Bearer():
		return refuseBearer(dec)
	case dec.Result() == authz.Challenge && dec.App != nil:
		return d.challenge(ctx, q, req, dec)
	case hand != nil && dec.Code() == authz.CodeReservedPath && dec.Status() == hand.status:
		hand.header.Set("Cache-Control", "no-store")
		return answer{decision: dec, status: hand.status, header: hand.header, body: hand.body}
	}
	if dec.Bearer() && dec.App != nil && dec.Status() == http.StatusForbidden {
		a := problemOf(dec, http.StatusForbidden, firstReason(dec)).answer(dec)
		a.header.Set("Www-Authenticate", bearerChallenge(dec.App, "insufficient_scope", "The token does not allow this request."))
		return a
	}
	return refusal(req, dec, d.page)
}

// allow adds who asks. If the app wants a signed assertion and there is none to
// give, the request is denied: an app that relies on it must not be reached
// without.
func (d *Doors) allow(ctx context.Context, req *authz.Request, dec *authz.Decision) answer {
	assertion := ""
	wanted := dec.Session != nil && dec.App != nil && dec.App.WantsAssertion()
	var err error
	if wanted {
		assertion, err = d.opt.Signer.Assertion(dec, req.Host)
	}
	values, omitted := d.identity.values(dec, assertion)
	if wanted && err == nil && (!visibleASCII(assertion) || values[atAssertion] == "") {
		err = errBadAssertion
	}
	if err != nil {
		// The decision is recorded as an allow already; this line says that the
		// gateway was told otherwise.
		d.opt.Log.ErrorContext(ctx, "identity assertion cannot be made; allowed by policy, denied at the door",
			"decision_id", dec.ID, "app_id", dec.App.ID, "error", err)
		return deny(req, dec, d.page, authz.Reason{Code: authz.CodePolicyError, Message: "The app's identity assertion cannot be made."})
	}
	if len(omitted) > 0 {
		d.opt.Log.WarnContext(ctx, "identity headers exceed their limit; some are left out",
			"decision_id", dec.ID, "left_out", omitted)
	}
	return answer{decision: dec, status: http.StatusOK, identity: values}
}

// challenge sends a person to log in and tells a program where its user can.
func (d *Doors) challenge(ctx context.Context, q *question, req *authz.Request, dec *authz.Decision) answer {
	if !req.Navigation {
		return d.unauthorized(q, req, dec)
	}
	sent := (&http.Request{Header: http.Header{"Cookie": q.header["Cookie"]}}).Cookies()
	location, cookies, err := d.opt.Logins.Challenge(dec.App, req.Scheme, req.Authority(), returnTarget(req), sent, q.door.relayed)
	if err != nil || !absoluteURL(location) {
		d.opt.Log.ErrorContext(ctx, "login cannot be started; denied", "decision_id", dec.ID, "app_id", dec.App.ID, "error", err)
		return deny(req, dec, d.page, authz.Reason{Code: dec.Code(), Message: "Signing in is not possible at this address."})
	}
	a := answer{decision: dec, status: dec.Status(), header: http.Header{}}
	a.header.Set("Location", location)
	a.header.Set("Cache-Control", "no-store")
	if q.door.relayed {
		for _, c := range cookies {
			if v := c.String(); v != "" {
				a.header.Add("Set-Cookie", v)
			}
		}
	}
	if a.status == http.StatusUnauthorized {
		a.header.Set("Www-Authenticate", authenticate(dec.App))
	}
	return a
}

// unauthorized is the 401 for whatever is not a navigation.
func (d *Doors) unauthorized(q *question, req *authz.Request, dec *authz.Decision) answer {
	p := problemOf(dec, dec.Status(), firstReason(dec))
	p.LoginURL = d.opt.Logins.LoginURL(dec.App, programTarget(q, req))
	a := p.answer(dec)
	a.header.Set("Www-Authenticate", authenticate(dec.App))
	return a
}

// authenticate is the challenge that a 401 must carry (RFC 9110 §11.6.1). The
// scheme is our own: sessions are cookies, for which none is registered, and
// Basic would open a password prompt. Bearer is offered where the app takes
// machines, and nowhere else: it would promise what the app did not opt into.
func authenticate(app *authz.App) string {
	c := "Battery realm=" + quoted(app.ID)
	if app.TakesMachines() {
		c += ", " + bearerChallenge(app, "", "")
	}
	return c
}

// returnTarget is where a navigation comes back to: the URL asked for, without
// its query where it is too long, else the app's front page.
func returnTarget(req *authz.Request) string {
	if t := targetURL(req); len(t) <= maxTarget {
		return t
	}
	origin := req.Scheme + "://" + req.Authority()
	if len(origin)+len(req.Path) <= maxTarget {
		return origin + req.Path
	}
	return origin + "/"
}

// programTarget is where a person comes back to whose page made the request: that
// page, if the browser names it and it is of the same origin, else the app's
// front page. Never the URL asked for: nobody wants to land on a script or an
// API answer (authentik#6886).
func programTarget(q *question, req *authz.Request) string {
	origin := req.Scheme + "://" + req.Authority()
	ref, ok := once(q.header, "Referer")
	if ok && len(ref) <= maxTarget && strings.HasPrefix(ref, origin+"/") && visibleASCII(ref) {
		return ref
	}
	return origin + "/"
}

func absoluteURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && u.Host != "" && visibleASCII(s)
}

// visibleASCII: no control character, space or byte beyond ASCII.
func visibleASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// refusal answers a decision that denies with its own status and reasons.
func refusal(req *authz.Request, dec *authz.Decision, pg *page) answer {
	status := dec.Status()
	if status < 400 || status > 499 {
		status = http.StatusForbidden
	}
	if status == http.StatusForbidden && req.Navigation && pg != nil && dec != nil {
		return pg.answer(req, dec, dec.Reasons)
	}
	return problemOf(dec, status, firstReason(dec)).answer(dec)
}

// deny is a 403 for another reason than the decision's own.
func deny(req *authz.Request, dec *authz.Decision, pg *page, why authz.Reason) answer {
	if req.Navigation {
		return pg.answer(req, dec, []authz.Reason{why})
	}
	return problemOf(dec, http.StatusForbidden, why).answer(dec)
}

// bareRefusal is what is left when nothing works; dec may be nil.
func bareRefusal(dec *authz.Decision) answer {
	return problemOf(dec, http.StatusForbidden, authz.Because(authz.CodePolicyError)).answer(dec)
}

func firstReason(dec *authz.Decision) authz.Reason {
	if dec == nil || len(dec.Reasons) == 0 {
		return authz.Because(authz.CodePolicyError)
	}
	return dec.Reasons[0]
}

// problem is an RFC 9457 problem with the members that programs need.
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail,omitempty"`
	Reason     string `json:"reason"`
	LoginURL   string `json:"login_url,omitempty"`
	DecisionID string `json:"decision_id,omitempty"`
}

// problemOf uses the type about:blank: the status says what kind it is, and
// reason which.
func problemOf(dec *authz.Decision, status int, why authz.Reason) *problem {
	p := &problem{Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: shorten(why.Message, 500), Reason: shorten(why.Code, 100)}
	if dec != nil {
		p.DecisionID = dec.ID
	}
	return p
}

func (p *problem) answer(dec *authz.Decision) answer {
	body, err := json.Marshal(p)
	if err != nil || len(body) > maxBody {
		// Only the login URL can be that long.
		short := *p
		short.LoginURL = ""
		body, _ = json.Marshal(&short)
	}
	return answer{decision: dec, status: p.Status, body: string(body), header: http.Header{
		"Content-Type":           {"application/problem+json"},
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}}
}

// shorten cuts s to at most n runes.
func shorten(s string, n int) string {
	i := 0
	for at := range s {
		if i == n {
			return s[:at] + "…"
		}
		i++
	}
	return s
}
