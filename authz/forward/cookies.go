package forward

import (
	"strings"
)

// The answer's Cookie header is for gateways that put it in the place of the
// request's. Where the client has no cookie beside ours it is left out, not empty:
// Traefik (authResponseHeaders) and Caddy (copy_headers) delete the request's
// header before they copy the answer's (Caddy before the fix of
// GHSA-7r4p-vjf4-gxv4 does not), nginx sends no header of an empty variable
// (auth_request_set, proxy_set_header), HAProxy is to set it where the variable
// is there and to delete it where not, and Envoy is told to remove it. A gateway that copies the header from a door that
// does not send it takes all cookies from the app, so both are set up together.

// maxCookies is the longest Cookie header, in bytes, that an HTTP door hands back
// for the app. Of a longer one nothing is handed back, so that the app gets no
// cookies at all: no app takes so much, and gateways bound the answer's head.
const maxCookies = 16 << 10

// ours reports whether a cookie is one of Battery Gate's. The session cookie is
// the one that matters: an app that has it can be its user at the gate.
func (d *Doors) ours(name string) bool {
	if name == d.cookies[0] || name == d.cookies[1] {
		return true
	}
	name = strings.TrimPrefix(name, "__Host-")
	return name == ProbeCookie || name == "battery_session" || name == "battery_login" || hasAnyPrefix(name, "battery_verifier_", "battery_state_")
}

// withoutOurs returns the client's cookies but for ours, in their order and with
// every byte between them; found is false if it sent none of ours. Several lines
// become one (RFC 9113 §8.2.3).
//
// Envoy joins several lines of HTTP/1.1 by commas when it asks, and so do some
// gateways when they forward: a cookie of ours behind a comma is taken away, too.
// It is never read as a session (sessionTokens), since a comma may be part of a
// value: a sibling host could plant "x=1,__Host-battery_session=…" by name of x.
func (d *Doors) withoutOurs(lines []string) (rest string, found bool) {
	sent := strings.Join(lines, "; ")
	all := d.partCommas(sent)
	var b []byte
	kept := 0 // all[:kept] is settled
	for at := 0; at <= len(all); {
		end := strings.IndexByte(all[at:], ';')
		if end < 0 {
			end = len(all)
		} else {
			end += at
		}
		name, _, _ := strings.Cut(all[at:end], "=")
		if d.ours(strings.Trim(name, " \t")) {
			b, found = append(b, all[kept:at]...), true
			kept = min(end+1, len(all))
		}
		at = end + 1
	}
	if !found {
		return sent, false
	}
	rest = strings.Trim(string(append(b, all[kept:]...)), " \t")
	if strings.HasSuffix(rest, ";") && !strings.HasSuffix(strings.TrimRight(all, " \t"), ";") {
		rest = rest[:len(rest)-1] // the one before the last cookie, which was ours
	}
	if strings.Trim(rest, "; \t") == "" {
		rest = ""
	}
	return rest, true
}

// longestOwn is longer than the name of any cookie of ours.
const longestOwn = 128

// partCommas writes ";" for the commas around a cookie of ours.
func (d *Doors) partCommas(all string) string {
	if strings.IndexByte(all, ',') < 0 {
		return all
	}
	oursAt := func(at int) bool {
		name, _, ok := strings.Cut(all[at:min(at+longestOwn, len(all))], "=")
		return ok && d.ours(strings.Trim(name, " \t"))
	}
	b := []byte(all)
	own := oursAt(0)
	for at := range b {
		if b[at] != ';' && b[at] != ',' {
			continue
		}
		was := own
		if own = oursAt(at + 1); b[at] == ',' && (own || was) {
			b[at] = ';'
		}
	}
	return string(b)
}
