package doctor

import (
	"net/http"
	"slices"
	"strings"

	"battery.app/gate/authz"
)

func (d *doctor) path() verdict {
	return d.each(d.order, func(v *verdict, x *exchange) {
		o := x.last()
		if o == nil || strings.HasPrefix(x.ID, "bytes-") || samePath(o.Path, x.App.Path) {
			return // unasked ones, and bytes, are findings of their own
		}
		v.bad("%s: the policy saw %s, the app %s", x.Target, o.Path, x.App.Path)
	})
}

// samePath compares two spellings of a path as every reader of URLs does: the
// digits of escapes in either case, and the characters that RFC 3986 §3.3 lets
// stand in a segment escaped or not.
func samePath(a, b string) bool { return authz.CanonicalPath(a) == authz.CanonicalPath(b) }

// host: an app learns its host from Host or, behind a gateway that changes that,
// from X-Forwarded-Host.
func (d *doctor) host() verdict {
	plain := func(h string) string { return strings.ToLower(strings.Replace(h, ".:", ":", 1)) }
	return d.each(d.order, func(v *verdict, x *exchange) {
		o := x.last()
		if o == nil {
			return
		}
		seen := strings.TrimSuffix(plain(x.App.Host), ".")
		behind := strings.TrimSuffix(plain(x.App.one("X-Forwarded-Host")), ".")
		if want := withoutDefault(o.Host, d.URL.Scheme); withoutDefault(seen, d.URL.Scheme) != want && withoutDefault(behind, d.URL.Scheme) != want {
			v.bad("%s: the policy saw host %s, the app %s", x.ID, o.Host, x.App.Host)
		}
	})
}

func withoutDefault(host, scheme string) string {
	return strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}

func (d *doctor) method() verdict {
	return d.each(d.order, func(v *verdict, x *exchange) {
		if o := x.last(); o != nil && (o.Method != x.App.Method || o.Method != x.Method) {
			v.bad("%s: sent %s, the policy saw %s, the app %s", x.ID, x.Method, o.Method, x.App.Method)
		}
	})
}

func (d *doctor) query() verdict {
	v := d.each([]string{"query", "target-4"}, func(v *verdict, x *exchange) {
		o := x.last()
		want := longQuery
		if x.ID != "query" {
			_, want, _ = strings.Cut(x.Target, "?")
		}
		if x.App.Query != want {
			v.bad("%s: the app's query has %d bytes, %d were sent, and they differ", x.ID, len(x.App.Query), len(want))
		}
		if o != nil && o.Query != len(x.App.Query) {
			v.bad("%s: the policy's query has %d bytes, the app's %d", x.ID, o.Query, len(x.App.Query))
		}
	})
	if x := d.done["query"]; v.state == OK && x.App == nil {
		v.bad("a query of %d bytes is answered %d", len(longQuery), x.Status)
		v.state = Problem
	}
	return v
}

// bytes: what is no text cannot be in a policy's string, so that the door refuses
// it where it sees it. Envoy writes "!" in its place unless it is told not to
// (encode_raw_headers), and forwards the byte, which some apps drop: then the
// policy decides about "?a=adm!in", and the app does "?a=admin". (In a path, too,
// unless it normalizes paths, which escapes the byte.)
func (d *doctor) bytes() verdict {
	if why := d.needsApp(); why != "" {
		return unchecked(why)
	}
	var v verdict
	for _, id := range d.like("bytes-") {
		x := d.done[id]
		switch o := x.last(); {
		case x.passed() && o != nil:
			v.bad("%s: %q was sent and reached the app: the policy cannot have seen that byte (it saw the path %s)", id, x.Target, o.Path)
		case o != nil && strings.Contains(o.Path, "!"):
			v.bad("%s: %q was sent, the door was asked about %q", id, x.Target, o.Path)
		}
	}
	return v.done()
}

// overHTTP2 says whether any of it was tried.
func (d *doctor) overHTTP2() verdict {
	plain, x := d.done["plain"], d.done["h2-plain"]
	var v verdict
	switch {
	case d.noHTTP2 != nil:
		return unchecked("What HTTP/2 alone can say was not tried: " + d.noHTTP2.Error() + ".")
	case plain.last() == nil:
		return unchecked(d.needsApp())
	case x.last() == nil && !x.passed():
		v.bad("an ordinary request over HTTP/2: answered %d %s, and no door saw it", x.Status, x.Error)
	case plain.App != nil && x.App == nil:
		v.bad("an ordinary request over HTTP/2: answered %d %s; over HTTP/1.1 it reaches the app", x.Status, x.Error)
	}
	return v.done()
}

// forwarding: a claim about the request itself must change neither what the
// policy nor what the app sees.
func (d *doctor) forwarding() verdict {
	ids := []string{"forwarded-host", "forwarded-uri", "forwarded-method", "forwarded-proto", "forwarded-prefix", "forwarded-port", "real-ip"}
	names := []string{"X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Real-Ip"}
	v := d.each(ids, func(v *verdict, x *exchange) {
		name := names[slices.Index(ids, x.ID)]
		_, claimed, _ := strings.Cut(x.Sent[0], ": ")
		if got := x.App.one(name); strings.Contains(got, claimed) {
			v.bad("the client's %s reached the app", name)
		}
	})
	for _, id := range ids {
		x := d.done[id]
		if o := x.last(); o != nil && (o.Host == forgedHost || o.Path == home+evil || o.Method == http.MethodDelete || o.Scheme != d.URL.Scheme && o.Scheme != "") {
			v.bad("the policy believed the client's %s", x.Sent[0])
			v.state = Problem
		}
	}
	return v
}

func (d *doctor) forwarded() verdict {
	return d.each([]string{"forwarded"}, func(v *verdict, x *exchange) {
		if got := x.App.one("Forwarded"); strings.Contains(got, forgedIP) || strings.Contains(got, forgedHost) {
			v.bad("the client's Forwarded reached the app")
		}
	})
}

// clientIP: the door walks X-Forwarded-For from the right over the hops that it
// trusts. If it got past the address that the gateway wrote, this machine itself
// is one of them, and nothing can be said.
func (d *doctor) clientIP() verdict {
	var v verdict
	looked := false
	for _, id := range []string{"forwarded-for", "forwarded-for-twice", "real-ip"} {
		x := d.done[id]
		o := x.last()
		if o == nil {
			continue
		}
		looked = true
		if o.ClientIP == forgedIP {
			lines := []string{}
			for _, h := range o.Headers {
				if h.Name == "X-Forwarded-For" {
					lines = append(lines, h.Value)
				}
			}
			if all := strings.Join(lines, ","); !strings.HasSuffix(strings.TrimRight(all, " "), forgedIP) {
				return unchecked("This machine's address is itself in gateway.trusted, so that what stands before it is believed; examine from an address that is not.")
			}
			v.bad("%s: the policy saw the client at %s", x.label(), forgedIP)
		}
	}
	if !looked {
		return unchecked("The door saw none of these requests.")
	}
	return v.done()
}

func (d *doctor) overrides() verdict {
	return d.each(d.like("original-", "rewrite-", "method-override", "http-method", "override-method"), func(v *verdict, x *exchange) {
		name, value, _ := strings.Cut(x.Sent[0], ": ")
		if strings.Contains(x.App.one(name), value) {
			v.bad("%s reached the app", x.Sent[0])
		}
	})
}

// framing: an app's server shows one of the two at most, so that only a refusal
// proves anything.
func (d *doctor) framing() verdict {
	x := d.done["framing"]
	if x.App != nil && len(x.App.values("Content-Length")) > 0 && len(x.App.values("Transfer-Encoding")) > 0 {
		var v verdict
		v.bad("Content-Length and Transfer-Encoding both reached the app")
		return v.done()
	}
	if x.passed() {
		return unchecked("The gateway took the request, as RFC 9112 §6.3 lets it; which of the two lengths went to the app, an app's server does not show.")
	}
	return well()
}
