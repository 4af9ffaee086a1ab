package doctor

import (
	"net/http"
	"net/url"
	"strings"
)

// passed: the request certainly reached the app, or something that answers in
// its place.
func (x *exchange) passed() bool {
	return x.App != nil || x.Status == http.StatusSwitchingProtocols || x.Status >= 200 && x.Status < 300
}

// asked: what reached the app must have been seen at a door. Requests without the
// probe's token are nobody's, so that none of them may reach an app that is not
// public.
func (d *doctor) asked() verdict {
	var v verdict
	seen := false
	for _, id := range d.order {
		x := d.done[id]
		seen = seen || len(x.Door) > 0
		switch {
		case id == "silence" || id == "battery" || id == "preflight" || id == "websocket" || strings.HasPrefix(id, "nobody-"):
			continue // have checks of their own
		case id == "login" || id == "nobody":
			if x.passed() && !d.app.Public {
				v.bad("%s, without any session: answered %d", x.Method+" "+x.Target, x.Status)
			}
		case len(x.Door) == 0 && x.App != nil:
			v.bad("%s: reached the app, and no door saw it", x.label())
		}
	}
	if v = v.done(); v.state == OK && !seen {
		return unchecked(d.needsApp())
	}
	if len(v.details) > 5 {
		v.details = append(v.details[:5], "and more")
	}
	return v
}

// failClosed: the door hung up on one request, as if Battery Gate were down.
func (d *doctor) failClosed() verdict {
	x := d.done["silence"]
	var v verdict
	switch {
	case len(x.Door) == 0 && !x.passed():
		return unchecked("The door did not see the request that it was to leave unanswered.")
	case len(x.Door) == 0:
		return unchecked("The request that was to find no answer reached the app unasked.")
	case x.passed():
		v.bad("the door did not answer, and the answer was %d", x.Status)
	case strings.Contains(x.body, x.last().DecisionID):
		return unchecked("The door could not hang up on this gateway's connection (HTTP/2). Stop Battery Gate for a moment and see that nothing passes.")
	}
	return v.done()
}

func (d *doctor) preflight() verdict {
	var v verdict
	for _, id := range []string{"nobody-preflight", "nobody-websocket", "preflight", "websocket"} {
		x := d.done[id]
		anonymous := strings.HasPrefix(id, "nobody-")
		preflight := x.Method == http.MethodOptions
		switch {
		case !x.passed():
		case anonymous && !d.app.Public && !(preflight && d.app.CORSPreflight):
			v.bad("%s %s without any session: answered %d", x.Method, id, x.Status)
		case !anonymous && len(x.Door) == 0 && d.done["plain"].last() != nil:
			v.bad("%s %s: answered %d, and no door saw it", x.Method, id, x.Status)
		}
	}
	if v = v.done(); v.state == OK && d.done["plain"].last() == nil {
		return unchecked(d.needsApp())
	}
	return v
}

// login: the answer to a person without a session leads to where one signs in,
// by an absolute URL, and sets the cookie that ties the attempt to the browser
// where it goes there at once.
func (d *doctor) login() verdict {
	x := d.done["login"]
	var v verdict
	if d.app.Public {
		return unchecked("The app is public: nobody is sent to log in.")
	}
	to := x.header.Get("Location")
	u, err := url.Parse(to)
	switch {
	case x.Status == 0:
		v.bad("no answer: %s", x.Error)
	case x.passed():
		return unchecked("The app answered without a session.")
	case x.Status/100 != 3:
		v.bad("a browser without a session gets %d instead of a redirect", x.Status)
	case err != nil || !u.IsAbs():
		v.bad("Location is not absolute: %q", to)
	case !strings.HasSuffix(u.Path, "/login"):
		v.bad("Location leads elsewhere: %q", u.Scheme+"://"+u.Host+u.Path)
	case u.Path == "/login" && !strings.Contains(strings.Join(x.header.Values("Set-Cookie"), "\n"), "battery_verifier_"):
		v.bad("the redirect to %s comes without the cookie battery_verifier_…", u.Host+u.Path)
	}
	return v.done()
}

// batteryPath: the public listener answers userinfo in a way no door does.
func (d *doctor) batteryPath() verdict {
	x := d.done["battery"]
	var v verdict
	switch {
	case len(x.Door) > 0:
		v.bad("/.battery/userinfo was put to the door (answer %d)", x.Status)
	case x.App != nil:
		v.bad("/.battery/userinfo reached the app")
	case x.Status != http.StatusUnauthorized || !strings.Contains(x.body, `"login_url"`) || !strings.Contains(x.body, `"reason"`):
		v.bad("/.battery/userinfo is answered %d, and not by Battery Gate", x.Status)
	}
	return v.done()
}

func (d *doctor) noCookieOnAllow() verdict {
	return d.each(d.order, func(v *verdict, x *exchange) {
		for _, c := range x.header.Values("Set-Cookie") {
			if name, _, _ := strings.Cut(c, "="); strings.Contains(name, "battery_") {
				v.bad("%s: the app's answer sets %s", x.label(), name)
			}
		}
	})
}

// appAnswers: where an ordinary request finds no app, most of the rest cannot be
// checked, and whoever relies on the exit code must not take that for well.
func (d *doctor) appAnswers() verdict {
	x := d.done["plain"]
	o := x.last()
	if x.App == nil && (o == nil || o.Result != "allow") {
		return unchecked(d.needsApp())
	}
	var v verdict
	if x.Status == 0 || x.Status >= 500 {
		v.bad("the policy allowed an ordinary request; answered %d %s: does the app run, and does the gateway know where?", x.Status, x.Error)
	}
	return v.done()
}

// requestsPass: requests that the policy allowed got somewhere.
func (d *doctor) requestsPass() verdict {
	if why := d.needsApp(); why != "" {
		return unchecked(why)
	}
	var v verdict
	for _, id := range []string{"head", "post", "websocket", "cookies-lines"} {
		x := d.done[id]
		o := x.last()
		switch {
		case o == nil && !x.passed():
			v.bad("%s: refused with %d before the door was asked", id, x.Status)
		case o == nil || o.Result != "allow":
		case x.Status == 0 || x.Status >= 500 || x.Status == http.StatusUnauthorized || x.Status == http.StatusForbidden:
			v.bad("%s: the policy allowed it; answered %d %s", id, x.Status, x.Error)
		case id == "websocket" && x.App != nil && !strings.EqualFold(x.App.one("Upgrade"), "websocket"):
			v.bad("websocket: the app does not see Upgrade: websocket")
		}
	}
	return v.done()
}
