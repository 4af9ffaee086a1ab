package forward

import (
	"net/netip"
	"strconv"
	"strings"

	"battery.app/gate/authz"
)

// maxURI is the longest path with query that is read, in bytes.
const maxURI = 8 << 10

// canonicalMethod reports whether a method is one the doors know: those of the
// IANA registry that apps serve, as they are spelled there. CONNECT and TRACE
// are left out: no app behind these gateways serves them, and TRACE would show
// the identity headers to whoever asks.
func canonicalMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY",
		"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
		"REPORT", "SEARCH", "ACL", "MKCALENDAR":
		return true
	}
	return false
}

// canonicalScheme maps what gateways call the protocol to "http" or "https".
// Traefik says ws and wss for websockets; for a decision they are the same.
func canonicalScheme(s string) (string, bool) {
	switch s {
	case "https", "wss":
		return "https", true
	case "http", "ws":
		return "http", true
	}
	return "", false
}

// canonicalAuthority splits host[:port]: the host in lower case without its
// trailing dot, an IPv6 address in brackets and its shortest form, the port
// empty where it is the scheme's default. Userinfo, lists and anything else that
// is no host name are refused, so that "App.Example.", "app.example:443" and
// "app.example" are one host and "a@app.example" none (CVE-2026-48794,
// CVE-2026-27588).
func canonicalAuthority(s, scheme string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		a, err := netip.ParseAddr(s[1:end])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", false
		}
		host, s = "["+a.String()+"]", s[end+1:]
		if s == "" {
			return host, "", true
		}
		if s[0] != ':' {
			return "", "", false
		}
		port = s[1:]
	} else {
		name, p, found := strings.Cut(s, ":")
		if host, ok = canonicalName(name); !ok {
			return "", "", false
		}
		if !found {
			return host, "", true
		}
		port = p
	}
	if !validPort(port) {
		return "", "", false
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	return host, port, true
}

func validPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0 && p[0] != '0' && p[0] != '+'
}

// canonicalName is a host name of labels of letters, digits, "-" and "_"
// (RFC 1123, and the underscore that DNS in use has), at most 253 bytes.
func canonicalName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
		case c == '_' || plain(c):
			if label++; label > 63 {
				return "", false
			}
		default:
			return "", false
		}
	}
	return strings.ToLower(s), label > 0
}

// canonicalURI cuts a request target at its first "?". Only an origin-form
// target is one: it begins with "/", so "http:…" and "*" cannot be read as "/"
// (Traefik GHSA-f52w-8j3h-j724), and it is never parsed as a URL, which would
// take the "admin" of "//admin/x" for a host (opa-envoy-plugin
// GHSA-9f29-v6mm-pw6w). "#" is refused: gateway and app cut there or do not.
func canonicalURI(s string) (path, query string, f *authz.Fault) {
	if s == "" || s[0] != '/' {
		return "", "", malformed("The request's URI does not begin with a slash.")
	}
	if len(s) > maxURI {
		return "", "", malformed("The request's URI is too long.")
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return "", "", malformed("The request's URI holds a character that no URI may hold.")
		}
	}
	path, query, _ = strings.Cut(s, "?")
	return path, query, nil
}

// fillCanonical sets method, scheme, host, port, path and query of req from what
// a gateway said. What is valid is set even where another part is not, so that
// the record shows it.
func fillCanonical(req *authz.Request, method, scheme, authority, uri string) *authz.Fault {
	var fault *authz.Fault
	note := func(f *authz.Fault) {
		if fault == nil {
			fault = f
		}
	}
	if canonicalMethod(method) {
		req.Method = method
	} else {
		note(malformed("The request's method is not known."))
	}
	var ok bool
	if req.Scheme, ok = canonicalScheme(scheme); !ok {
		note(malformed("The request's scheme is neither http nor https."))
	}
	if req.Host, req.Port, ok = canonicalAuthority(authority, req.Scheme); !ok {
		note(malformed("The request's host is no host name."))
	}
	path, query, f := canonicalURI(uri)
	if f != nil {
		note(f)
		return fault
	}
	req.Path, req.Query, req.Ambiguous = authz.CanonicalPath(path), query, authz.Ambiguous(path)
	return fault
}
