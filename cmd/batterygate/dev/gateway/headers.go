package gateway

import (
	"net/http"
	"net/url"
	"strings"
)

// identity are the headers that only the door may set (authResponseHeaders, in
// Traefik's words).
var identity = [...]string{
	"X-Battery-User-Id", "X-Battery-Org-Id", "X-Battery-User-Email", "X-Battery-Roles",
	"X-Battery-App-Id", "X-Battery-Decision-Id", "X-Battery-Groups", "X-Battery-Assertion",
}

// plain is a header's name as the careless read it: CGI and its heirs take "_"
// and "." for "-".
func plain(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// dropForwarding removes what a client says of where it comes from and what it
// asked for: it is not a trusted proxy.
func dropForwarding(h http.Header) {
	for name := range h {
		p := plain(name)
		if strings.HasPrefix(p, "x-forwarded-") || strings.HasPrefix(p, "x-original-") || p == "x-real-ip" {
			delete(h, name)
		}
	}
}

// dropIdentity removes the identity headers, all their aliases, and whatever else
// stands under their prefix (authResponseHeadersRegex, in Traefik's words).
func dropIdentity(h http.Header) {
	for name := range h {
		if strings.HasPrefix(plain(name), "x-battery-") {
			delete(h, name)
		}
	}
}

// takeIdentity replaces the client's identity headers by the door's. What the
// door does not send is gone all the same.
func takeIdentity(h, answer http.Header) {
	dropIdentity(h)
	for _, id := range identity {
		if values := answer.Values(id); len(values) > 0 {
			h[http.CanonicalHeaderKey(id)] = append([]string(nil), values...)
		}
	}
}

// hopByHop are the headers that Traefik keeps from the door, and from the client.
var hopByHop = [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Trailers", "Transfer-Encoding", "Upgrade"}

func dropHopByHop(h http.Header) {
	for _, line := range h.Values("Connection") {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// forwarded are the headers that say who asked for what.
func forwarded(r *http.Request) map[string]string {
	scheme, port := "http", "80"
	if r.TLS != nil {
		scheme, port = "https", "443"
	}
	if p := (&url.URL{Host: r.Host}).Port(); p != "" {
		port = p
	}
	return map[string]string{
		"X-Forwarded-For": peer(r), "X-Forwarded-Proto": scheme, "X-Forwarded-Host": r.Host, "X-Forwarded-Port": port,
	}
}

// dropOurCookies removes the gate's own cookies from what the app sees; the
// others stay as they came.
func dropOurCookies(h http.Header) {
	var lines []string
	for _, line := range h["Cookie"] {
		var kept []string
		for part := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			if !ours(strings.TrimSpace(name)) {
				kept = append(kept, part)
			}
		}
		if rest := strings.TrimSpace(strings.Join(kept, ";")); rest != "" {
			lines = append(lines, rest)
		}
	}
	delete(h, "Cookie")
	if lines != nil {
		h["Cookie"] = lines
	}
}

// ours says whether a cookie is the gate's, with or without the prefixes that
// browsers give a meaning to, in any case.
func ours(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"__host-", "__secure-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name == "battery_session" || name == "battery_login" || name == "battery_probe" || strings.HasPrefix(name, "battery_verifier_")
}
