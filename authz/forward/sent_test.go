package forward_test

import (
	"net/http"
	"strings"

	"battery.app/gate/authz"
)

// checkSent compares method, scheme and host of a request that was allowed with
// those that the door was told, by rules simpler than the doors' own.
func checkSent(t failer, req *authz.Request, c client, door string) {
	t.Helper()
	said := func(told, name string) string {
		if v := c.header[name]; v != nil {
			return v[0] // see set
		}
		return told
	}
	method, scheme, authority := c.method, c.scheme, c.authority
	switch door {
	case "forward-auth":
		method, scheme, authority = said(method, "X-Forwarded-Method"), said(scheme, "X-Forwarded-Proto"), said(authority, "X-Forwarded-Host")
	case "auth-request":
		method = said(method, "X-Original-Method")
		rest := ""
		scheme, rest, _ = strings.Cut(said(scheme+"://"+authority+c.uri, http.CanonicalHeaderKey("X-Original-URL")), "://")
		authority, _, _ = strings.Cut(rest, "/")
	case "ext-authz":
		scheme = said(scheme, "X-Forwarded-Proto")
	}
	if scheme == "" { // Envoy said none: it is the app's
		scheme = req.Scheme
	}
	if req.Method != method {
		t.Fatalf("%s: %q allowed, %q sent", door, req.Method, method)
	}
	if req.Scheme != map[string]string{"http": "http", "https": "https", "ws": "http", "wss": "https"}[scheme] {
		t.Fatalf("%s: %q allowed, %q sent", door, req.Scheme, scheme)
	}
	if strings.HasPrefix(authority, "[") {
		return // an address has many spellings; TestCanonicalIsStable has them
	}
	name, port, _ := strings.Cut(authority, ":")
	if port == map[string]string{"http": "80", "https": "443"}[req.Scheme] {
		port = ""
	}
	if req.Host != strings.TrimSuffix(strings.ToLower(name), ".") || req.Port != port {
		t.Fatalf("%s: %q allowed, %q sent", door, req.Authority(), authority)
	}
}
