package gateway

import (
	"net/http"
	"net/url"
	"strings"
)

// clean is what a Traefik entry point does before any middleware: it refuses a
// fragment, decodes percent-encoded unreserved characters and writes the rest in
// upper case (normalizePath), then removes dot segments and doubled slashes
// (sanitizePath), and drops the forwarding headers of a client that is not
// trusted. A target that is not a path is refused: `GET http:http://vhost/admin`
// once looked like "/" to a door and like something else to the app.
func clean(r *http.Request) (*http.Request, bool) {
	if r.URL.Opaque != "" || !strings.HasPrefix(r.URL.Path, "/") || strings.Contains(r.RequestURI, "#") || r.URL.Fragment != "" {
		return nil, false
	}
	out := r.Clone(r.Context())
	raw := normalize(r.URL.EscapedPath())
	path, err := url.PathUnescape(raw)
	if err != nil {
		return nil, false
	}
	out.URL.Path, out.URL.RawPath = path, raw
	out.URL = out.URL.JoinPath()
	out.URL.Scheme, out.URL.Host = "", ""
	if !strings.HasPrefix(out.URL.EscapedPath(), "/") {
		return nil, false
	}
	out.RequestURI = out.URL.RequestURI()
	dropForwarding(out.Header)
	return out, true
}

// normalize decodes %XX of unreserved characters (RFC 3986 §2.3) and writes all
// others with upper-case digits.
func normalize(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' || i+2 >= len(raw) {
			b.WriteByte(raw[i])
			continue
		}
		code := strings.ToUpper(raw[i : i+3])
		if c, err := url.PathUnescape(code); err == nil && len(c) == 1 && unreserved(c[0]) {
			b.WriteString(c)
		} else {
			b.WriteString(code)
		}
		i += 2
	}
	return b.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
