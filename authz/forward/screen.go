package forward

import (
	"net/http"
	"strings"

	"battery.app/gate/authz"
)

// malformed is the fault of a question that cannot be read in exactly one way.
// msg never holds bytes that the client sent.
func malformed(msg string) *authz.Fault {
	return &authz.Fault{Code: authz.CodeMalformedRequest, Message: msg, Malformed: true}
}

// guard knows the header names that must not be imitated: those that a door
// reads and those that it emits; and which of them have one value.
type guard struct {
	names    map[string]bool // lower case, with dashes
	families []string        // lower-case beginnings of names
	prefixes []string        // those of them that are ours
	single   map[string]bool // canonical case; true: a comma in it means two
}

func guardOf(prefix string, identity, policyReads []string) guard {
	g := guard{
		names:    map[string]bool{},
		single:   map[string]bool{"X-Forwarded-Uri": false, headerOriginalURL: false},
		prefixes: []string{strings.ToLower(prefix), "x-battery-"},
		families: []string{"x-forwarded-", "x-original-", "x-rewrite-", "sec-fetch-", "sec-websocket-", strings.ToLower(prefix), "x-battery-"},
	}
	for _, list := range [][]string{identity, policyReads, {
		headerOverride, headerHTTPMethod, headerMethodOver, SecretHeader, "X-Real-Ip", "Content-Type", headerPreflight,
	}} {
		for _, name := range list {
			g.names[strings.ToLower(name)] = true
		}
	}
	for _, list := range [][]string{identity, {
		"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", headerOrigMethod, RouteAppHeader, "Origin", headerPreflight,
		"Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Sec-Fetch-User",
	}} {
		for _, name := range list {
			g.single[name] = true
		}
	}
	return g
}

// doubled reports whether a header that has one value came with several, on
// several lines or joined to one: Envoy and HAProxy join, net/http takes the
// first, and an app may take the last. Headers that are lists by nature (Accept,
// X-Forwarded-For, what a policy reads) are not judged here.
func (g *guard) doubled(name string, values []string) bool {
	if len(values) == 1 && strings.IndexByte(values[0], ',') < 0 {
		return false
	}
	comma, one := g.single[name]
	return one && (comma || len(values) != 1)
}

// imitates reports whether a header name is another spelling of a guarded one.
// CGI-like servers turn every character but letters and digits into "_", so an
// app may take X_Forwarded_Uri or X.Battery.User-Id for the real thing
// (oauth2-proxy GHSA-vjrc-mh2v-45x6, Traefik GHSA-5m6w-wvh7-57vm).
func (g *guard) imitates(name string) bool {
	odd := false
	for i := 0; i < len(name); i++ {
		if !plain(name[i]) {
			odd = true
			break
		}
	}
	if !odd {
		return false
	}
	normal := strings.Map(func(r rune) rune {
		if r < 0x80 && plain(byte(r)) {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	if g.names[normal] {
		return true
	}
	for _, f := range g.families {
		if strings.HasPrefix(normal, f) {
			return true
		}
	}
	return false
}

func plain(c byte) bool {
	return c == '-' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool { return plain(c) || c == '.' || c == '_' || c == '~' }

// screen looks for headers that make the question ambiguous, whatever the door
// reads. The map is iterated as it is: Get would see one value of many.
func (d *Doors) screen(h http.Header, dr *door) *authz.Fault {
	for _, name := range dr.refused {
		if _, ok := h[name]; ok {
			return malformed("The request carries a header that overrides its path or method.")
		}
	}
	if dr.headersOnly && d.stranger(h) {
		return malformed("The request carries a header in the gate's name that the gate does not write.")
	}
	for name, values := range h {
		if d.guarded.imitates(name) {
			return malformed("The request carries another spelling of a header that the gate reads or writes.")
		}
		if d.guarded.doubled(name, values) {
			return malformed("The request carries a header twice that the gate reads or writes once.")
		}
	}
	return nil
}

// once returns the value of a header that must come exactly once and not empty.
func once(h http.Header, name string) (string, bool) {
	v := h[name]
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}
