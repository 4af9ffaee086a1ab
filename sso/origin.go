package sso

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"battery.app/gate/authz"
)

// maxTarget is how long a return address may be: it travels in a sealed cookie,
// and browsers keep 4096 bytes of one.
const maxTarget = 2000

// Where our own endpoints lie on an app's host.
const reserved = "/.battery/"

// errTarget is said of every return address that is refused; telling which
// rule it broke would help only who is trying.
var errTarget = errors.New("the return address is not on an origin of this app")

// target is a return address whose origin is known to be the app's. It is put
// together from parts that were checked, never passed on as it came.
type target struct {
	scheme, host, port string // port is empty for the scheme's default
	path               string // with query and fragment; starts with "/"
}

// origin is empty for no target.
func (t target) origin() string {
	if t.host == "" {
		return ""
	}
	if t.port == "" {
		return t.scheme + "://" + t.host
	}
	return t.scheme + "://" + t.host + ":" + t.port
}

func (t target) String() string { return t.origin() + t.path }

// parseTarget reads an absolute URL on one of the app's origins. It is stricter
// than any browser, because browsers disagree: letters, digits and a few signs
// in the authority, no user info, no backslash, blank or control character
// anywhere (GHSA-qqxw-m5fj-f7gv, GHSA-j7px-6hwj-hpjg, GHSA-4mf2-f3wh-gvf2 were
// each one reading more than the checker had).
func parseTarget(app *authz.App, rd string) (target, error) {
	if app == nil || rd == "" || len(rd) > maxTarget {
		return target{}, errTarget
	}
	for i := range len(rd) {
		if rd[i] <= 0x20 || rd[i] >= 0x7f || rd[i] == '\\' {
			return target{}, errTarget
		}
	}
	scheme, rest, ok := strings.Cut(rd, "://")
	scheme = strings.ToLower(scheme)
	if !ok || (scheme != "https" && scheme != "http") {
		return target{}, errTarget
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, port, ok := splitAuthority(scheme, rest[:end])
	way := rest[end:]
	if !strings.HasPrefix(way, "/") {
		way = "/" + way
	}
	t := target{scheme: scheme, host: host, port: port, path: way}
	if !ok || !app.HasOrigin(scheme, host, port) || !mayCarry(scheme, host) || isReserved(way) {
		return target{}, errTarget
	}
	// What a browser will make of it must be what was checked here.
	u, err := url.Parse(t.String())
	if err != nil || u.User != nil || u.Scheme != scheme || u.Hostname() != host || u.Port() != port {
		return target{}, errTarget
	}
	return t, nil
}

// isReserved reports whether a browser that is sent to this path may come to one
// of our own endpoints. It resolves dot segments first, escaped ones too (WHATWG
// URL, path state); gateways and our own mux take every other escape away, too.
func isReserved(p string) bool {
	if end := strings.IndexAny(p, "?#"); end >= 0 {
		p = p[:end]
	}
	way := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(p)
	plain, err := url.PathUnescape(p)
	return err != nil || strings.HasPrefix(path.Clean("/"+way)+"/", reserved) || strings.HasPrefix(path.Clean("/"+plain)+"/", reserved)
}

// splitAuthority reads host[:port] as it stands in a URL or a Host header:
// lower case, no default port, nothing but what a registered host can be.
func splitAuthority(scheme, authority string) (host, port string, ok bool) {
	host, port, hasPort := strings.Cut(strings.ToLower(authority), ":")
	if host == "" || len(host) > 253 || strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") || strings.Contains(host, "..") {
		return "", "", false
	}
	for i := range len(host) {
		c := host[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return "", "", false
		}
	}
	if !hasPort {
		return host, "", true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", "", false
	}
	if (scheme == "https" && port == "443") || (scheme == "http" && port == "80") {
		port = ""
	}
	return host, port, true
}

// home is the app's front page on its first host, at the port at which browsers
// reach the public URL where gateways serve apps there too.
func (s *Service) home(app *authz.App) (target, error) {
	if app == nil || len(app.Hosts) == 0 {
		return target{}, errTarget
	}
	host, port, ok := splitAuthority(app.Scheme, app.Hosts[0])
	if !ok || !mayCarry(app.Scheme, host) {
		return target{}, errTarget
	}
	switch {
	case port != "" || len(app.Ports) == 0:
	case slices.Contains(app.Ports, s.public.port):
		port = s.public.port
	case app.Scheme == "http": // on loopback nothing listens at port 80
		port = app.Ports[0]
	}
	return target{scheme: app.Scheme, host: host, port: port, path: "/"}, nil
}

// returnTo is rd if it is given, else the app's front page.
func (s *Service) returnTo(app *authz.App, rd string) (target, error) {
	if rd == "" {
		return s.home(app)
	}
	return parseTarget(app, rd)
}

// asked makes a target of what a gateway was asked for. What would not survive
// a Location header is percent-encoded; what is too long to carry loses its
// query, then its path, because landing on the front page beats not landing.
func asked(app *authz.App, authority, uri string) (target, error) {
	host, port, ok := splitAuthority(app.Scheme, strings.TrimSuffix(authority, "."))
	if !ok || !app.HasAuthority(host, port) || !mayCarry(app.Scheme, host) {
		return target{}, errTarget
	}
	t := target{scheme: app.Scheme, host: host, port: port, path: escapeURI(uri)}
	if len(t.String()) > maxTarget {
		t.path, _, _ = strings.Cut(t.path, "?")
	}
	if len(t.String()) > maxTarget || !strings.HasPrefix(t.path, "/") || isReserved(t.path) {
		t.path = "/"
	}
	return t, nil
}

func escapeURI(uri string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(uri) {
		if c := uri[i]; c <= 0x20 || c >= 0x7f || c == '\\' {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// mayCarry reports whether cookies and tickets may travel to scheme://host:
// only over TLS, or where the network is this machine.
func mayCarry(scheme, host string) bool {
	return scheme == "https" || (scheme == "http" && isLoopback(host))
}

// isLoopback: localhost and below (RFC 6761 §6.3) and the loopback addresses.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// hostOf is the host name of a Host header, without port and trailing dot.
func hostOf(header string) string {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
