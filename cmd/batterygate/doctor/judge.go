package doctor

import (
	"fmt"
	"strings"

	"battery.app/gate/cmd/batterygate/probe"
)

// verdict is what one check says.
type verdict struct {
	state   State
	why     string
	details []string
}

func well() verdict                       { return verdict{state: OK} }
func unchecked(why string) verdict        { return verdict{state: NotChecked, why: why} }
func (v *verdict) bad(f string, a ...any) { v.details = append(v.details, fmt.Sprintf(f, a...)) }

// done turns what was noted into a verdict: bad if anything was.
func (v verdict) done() verdict {
	v.state = OK
	if len(v.details) > 0 {
		v.state = Problem
	}
	return v
}

// check is one thing to look at. means says, in one sentence, what a problem of
// it means.
type check struct {
	id, group, title, means string
	look                    func(d *doctor) verdict
}

const (
	groupAsk      = "Is every request asked about?"
	groupIdentity = "Who does the app believe is there?"
	groupSame     = "Do policy and app see the same request?"
	groupPeople   = "Can people and programs use it?"
	groupUnseen   = "What this cannot see"
)

func checks() []check {
	return []check{
		{"asked", groupAsk, "no request reaches the app unasked", "Requests reach the app about which no policy was asked.", (*doctor).asked},
		{"fail-closed", groupAsk, "a door that does not answer lets nothing through", "When Battery Gate is down or too slow, everybody gets in.", (*doctor).failClosed},
		{"preflight", groupAsk, "OPTIONS and websockets are asked about too", "Such requests are let through or answered without asking.", (*doctor).preflight},

		{"identity", groupIdentity, "identity headers are the door's alone", "A client can be whom it likes: the app sees an identity header that the client wrote.", (*doctor).identity},
		{"identity-arrives", groupIdentity, "identity headers reach the app", "The app does not learn who is there, and may take anybody's word for it.", (*doctor).identityArrives},
		{"identity-unknown", groupIdentity, "nothing else under the prefix passes", "A header that a later version writes could be a client's until then.", (*doctor).identityUnknown},
		{"aliases", groupIdentity, "other spellings of our headers do not pass", "To an app behind CGI, WSGI or PHP, X_Battery_Roles is X-Battery-Roles: a client can be whom it likes.", (*doctor).aliases},
		{"cookies", groupIdentity, "our cookies stay away from the app", "Whoever reads the app's requests or logs can be its users at the gate.", (*doctor).cookies},
		{"cookies-kept", groupIdentity, "the app's own cookies reach it", "The app loses cookies that are its own.", (*doctor).cookiesKept},
		{"wide-headers", groupIdentity, "identity headers of 3.5 KiB reach the app", "People with many roles or groups are locked out, or the app does not learn who they are.", (*doctor).wideHeaders},

		{"path", groupSame, "the app's path is the policy's", "The policy decides about one path and the app serves another.", (*doctor).path},
		{"host", groupSame, "the app's host is the policy's", "The policy decides about one app and another is reached.", (*doctor).host},
		{"method", groupSame, "the app's method is the policy's", "The policy decides about one method and the app runs another.", (*doctor).method},
		{"query", groupSame, "long and odd queries arrive whole", "The app sees other parameters than the client sent.", (*doctor).query},
		{"bytes", groupSame, "bytes that are no text reach nobody", "The policy decides about one path or query and the app serves another.", (*doctor).bytes},
		{"forwarding", groupSame, "a client's X-Forwarded-* and X-Real-Ip say nothing", "Policy or app take host, path, method, scheme or address from what the client claims.", (*doctor).forwarding},
		{"forwarded", groupSame, "a client's Forwarded header does not arrive", "Apps that read Forwarded (RFC 7239) take the client's word for its address and host.", (*doctor).forwarded},
		{"client-ip", groupSame, "nobody chooses the address it comes from", "Policies and records see an address that the client made up.", (*doctor).clientIP},
		{"overrides", groupSame, "headers that override URL or method do not pass", "Some frameworks take path or method from such a header, after another was decided about.", (*doctor).overrides},
		{"framing", groupSame, "a length that contradicts itself does not arrive", "Gateway and app could disagree where a request ends, and a second one would pass unasked.", (*doctor).framing},

		{"login", groupPeople, "people are sent to log in", "Nobody can sign in at this app.", (*doctor).login},
		{"battery-path", groupPeople, "/.battery/ leads to the public listener", "Signing in, signing out or /.battery/userinfo do not work, or not well.", (*doctor).batteryPath},
		{"no-cookie-on-allow", groupPeople, "an answer of the app carries no cookie of ours", "Shared caches could hand a session out.", (*doctor).noCookieOnAllow},
		{"app-answers", groupPeople, "what the policy allows is answered", "The gateway does not reach the app, so that nothing could be seen of what it sends there.", (*doctor).appAnswers},
		{"http2", groupPeople, "HTTP/2 is answered as HTTP/1.1 is", "Requests over HTTP/2 go another way than those over HTTP/1.1.", (*doctor).overHTTP2},
		{"requests-pass", groupPeople, "HEAD, POST, websockets and several lines of cookies pass", "Some requests that the policy allows do not reach the app.", (*doctor).requestsPass},

		{"stream-limit", groupUnseen, "streams end after 15 minutes", "", func(*doctor) verdict {
			return unchecked("Takes 15 minutes. Hold a stream or websocket open for longer and see it end: until then a revocation does not reach it.")
		}},
		{"door-closed", groupUnseen, "nobody but the gateway reaches the doors", "", func(*doctor) verdict {
			return unchecked("Only the way through the gateway was tried. From a machine that is no gateway, the authz listener must be unreachable, or answer 403 (untrusted_peer).")
		}},
	}
}

// judge looks at everything.
func (d *doctor) judge() {
	r := &Report{URL: d.URL.String(), AppID: d.app.ID, Findings: []Finding{}}
	d.report = r
	for _, id := range d.order {
		x := d.done[id]
		r.Requests = append(r.Requests, x)
		r.Echo = r.Echo || x.App != nil
		if len(x.Door) > 0 && r.Door == "" {
			r.Door = x.Door[0].Door
		}
	}
	r.Gateway = d.Gateway
	if r.Gateway == "" {
		r.Gateway, r.Guessed = d.guess(), true
	}
	for _, c := range checks() {
		v := c.look(d)
		f := Finding{ID: c.id, Group: c.group, Title: c.title, State: v.state, Why: v.why, Details: v.details}
		if v.state == Problem {
			r.Problems++
			if f.Why == "" {
				f.Why = c.means
			}
			f.Fix = fixFor(c.id, r.Gateway)
		}
		r.Findings = append(r.Findings, f)
	}
}

// guess tells gateways apart by the door they ask and by what they add.
func (d *doctor) guess() string {
	server := ""
	for _, id := range d.order {
		if x := d.done[id]; x.header != nil {
			server += " " + strings.ToLower(x.header.Get("Server")+" "+x.header.Get("Via"))
		}
	}
	sent := map[string]bool{}
	for _, x := range d.done {
		if x.App != nil && len(x.App.values("X-Forwarded-Server")) > 0 {
			sent["X-Forwarded-Server"] = true
		}
		for _, o := range x.Door {
			for _, h := range o.Headers {
				sent[h.Name] = true
			}
		}
	}
	switch {
	case strings.HasPrefix(d.report.Door, "ext-authz"):
		return "envoy"
	case d.report.Door == "auth-request":
		return "nginx"
	case sent["X-Forwarded-Server"]:
		return "traefik"
	case strings.Contains(server, "caddy"):
		return "caddy"
	case strings.Contains(server, "envoy"):
		return "envoy"
	case strings.Contains(server, "nginx"):
		return "nginx"
	}
	return ""
}

// last is the newest observation of a request: a gateway that asked twice got
// its way with the second.
func (x *exchange) last() *probe.Observation {
	if len(x.Door) == 0 {
		return nil
	}
	return &x.Door[len(x.Door)-1]
}

// label names a request in a detail.
func (x *exchange) label() string {
	if len(x.Sent) == 1 {
		return x.Sent[0]
	}
	return x.Method + " " + x.Target
}

// needsApp says why nothing can be said about what the app sees; empty if it can.
func (d *doctor) needsApp() string {
	plain := d.done["plain"]
	switch o := plain.last(); {
	case plain.App != nil:
		return ""
	case o == nil && plain.Status >= 300:
		return fmt.Sprintf("The door did not see the probe: the gateway answered %d. Either it asks no door of this Battery Gate, or it keeps the Cookie header from it, or it is not in gateway.trusted.", plain.Status)
	case o != nil && o.Result != "allow":
		return fmt.Sprintf("The policy refuses the probe, which has all of the app's allowed_roles: %s (decision %s).", strings.Join(o.Reasons, ", "), o.DecisionID)
	case o != nil && plain.Status >= 300:
		return fmt.Sprintf("The policy allowed the probe, and yet the answer is %d.", plain.Status)
	}
	return "The app does not echo what it received; deploy an echo app behind this gateway to see it (docs/gateways/doctor.md)."
}

// each looks at some requests that reached the app; without any that could, it
// says why not.
func (d *doctor) each(ids []string, look func(v *verdict, x *exchange)) verdict {
	if why := d.needsApp(); why != "" {
		return unchecked(why)
	}
	var v verdict
	for _, id := range ids {
		if x := d.done[id]; x.App != nil {
			look(&v, x)
		}
	}
	return v.done()
}

// like are the requests whose id begins so.
func (d *doctor) like(prefixes ...string) []string {
	var out []string
	for _, id := range d.order {
		for _, p := range prefixes {
			if strings.HasPrefix(id, p) {
				out = append(out, id)
				break
			}
		}
	}
	return out
}
