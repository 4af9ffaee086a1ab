package forward

import (
	"net/http"
	"strings"
)

// Limits on the session cookie: a browser sends one.
const (
	maxTokens = 8
	maxToken  = 4 << 10 // bytes
)

// badToken stands for a cookie that is too long or one too many. It is no valid
// token, so that it counts as one that differs: leaving it out instead would let
// whoever plants cookies choose which one is seen.
const badToken = "!"

// sessionTokens collects the values of every cookie of exactly that name, in the
// order sent. It reads the header itself, because lenient parsers trim and skip
// in ways that browsers do not, and a planted cookie must not be taken for ours.
func sessionTokens(lines []string, name string) []string {
	var tokens []string
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			n, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok || n != name {
				continue
			}
			if len(tokens) == maxTokens {
				return append(tokens, badToken)
			}
			if len(value) > maxToken {
				value = badToken
			}
			tokens = append(tokens, value)
		}
	}
	return tokens
}

// navigation reports whether a person looks at the answer, so that a redirect or
// a page is right: a GET or HEAD that the browser says is a top-level
// navigation, or, from a browser that does not say, one that accepts HTML.
// A websocket handshake is never one.
func navigation(method string, h http.Header) bool {
	if method != http.MethodGet && method != http.MethodHead {
		return false
	}
	for name := range h {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			return false
		}
	}
	mode, hasMode := h["Sec-Fetch-Mode"]
	dest, hasDest := h["Sec-Fetch-Dest"]
	_, hasSite := h["Sec-Fetch-Site"]
	if hasMode || hasDest || hasSite {
		return len(mode) == 1 && mode[0] == "navigate" &&
			(!hasDest || len(dest) == 1 && dest[0] == "document")
	}
	return acceptsHTML(h["Accept"])
}

// acceptsHTML looks for text/html with a weight above zero (RFC 9110 §12.5.1).
// A wildcard is not enough: curl and fetch send it.
func acceptsHTML(lines []string) bool {
	for _, line := range lines {
		for line != "" {
			var entry string
			entry, line, _ = strings.Cut(line, ",")
			kind, params, _ := strings.Cut(entry, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") && !weightZero(params) {
				return true
			}
		}
	}
	return false
}

func weightZero(params string) bool {
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			return strings.Trim(strings.TrimSpace(value), "0.") == ""
		}
	}
	return false
}

// readable copies the headers that a policy may read. Several lines of one name
// are joined with a comma, as Envoy joins them, so that every door gives the
// same value; bytes that are not UTF-8 become "!" as they do there.
func (d *Doors) readable(h http.Header) map[string]string {
	var out map[string]string
	for _, name := range d.headers {
		values, ok := h[name.canonical]
		if !ok {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(d.headers))
		}
		out[name.lower] = strings.ToValidUTF8(strings.Join(values, ","), "!")
	}
	return out
}
