package apps

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// splitHost reads a host entry, "name" or "name:port", of an app whose origins
// have the given scheme. The name comes back canonical, as doors make the host
// of a request: lower case, an IPv6 address in brackets and its shortest form.
// What is valid but written in another way than doors write it is refused
// where it could not have been meant (a trailing dot, the default port).
func splitHost(entry, scheme string) (name, port string, err error) {
	name, rest := entry, ""
	if strings.HasPrefix(entry, "[") {
		end := strings.IndexByte(entry, ']') + 1
		if end == 0 {
			return "", "", errors.New("the bracket does not close")
		}
		name, rest = entry[:end], entry[end:]
	} else if i := strings.IndexByte(entry, ':'); i >= 0 {
		name, rest = entry[:i], entry[i:]
	}
	if name, err = canonicalName(name); err != nil {
		return "", "", err
	}
	if rest == "" {
		return name, "", nil
	}
	port, colon := strings.CutPrefix(rest, ":")
	if !colon {
		return "", "", errors.New("only a port may follow the bracket")
	}
	if err := checkPort(port, scheme); err != nil {
		return "", "", err
	}
	return name, port, nil
}

func checkPort(port, scheme string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return errors.New("a port is a number from 1 to 65535 without leading zeros")
	}
	if scheme == "https" && n == 443 || scheme == "http" && n == 80 {
		return errors.New("leave out the default port of " + scheme)
	}
	return nil
}

// canonicalName checks a host name (RFC 1123 §2.1: labels of letters, digits
// and inner hyphens, at most 63 bytes each and 253 together; an international
// name in its xn-- form) or a loopback address.
func canonicalName(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("the name is empty")
	case len(s) > 253:
		return "", errors.New("the name is longer than 253 bytes")
	case strings.HasPrefix(s, "["):
		a, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		if err != nil || !a.Is6() || a.Zone() != "" || !a.IsLoopback() || a.Is4In6() {
			return "", errors.New("of IPv6 addresses only [::1] may be an app's")
		}
		return "[" + a.String() + "]", nil
	case strings.HasSuffix(s, "."):
		return "", errors.New("write the name without the trailing dot")
	case strings.Contains(s, "*"):
		return "", errors.New("hosts are exact names; there are no wildcards")
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if !validLabel(l) {
			return "", errors.New("a name is labels of letters, digits and inner hyphens, at most 63 bytes each; international names in their xn-- form")
		}
	}
	// URL parsers take a name that ends in a number for an IPv4 address, in
	// octal and hexadecimal too (WHATWG URL, "ends in a number").
	if last := labels[len(labels)-1]; numeric(last) {
		if a, err := netip.ParseAddr(s); err != nil || !a.IsLoopback() {
			return "", errors.New("of IPv4 addresses only loopback ones may be an app's")
		}
	}
	return strings.ToLower(s), nil
}

func validLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		switch c := l[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return true
}

func numeric(l string) bool {
	if strings.HasPrefix(l, "0x") || strings.HasPrefix(l, "0X") {
		return strings.Trim(l[2:], "0123456789abcdefABCDEF") == ""
	}
	return strings.Trim(l, "0123456789") == ""
}

// bareName is a valid host entry without its port: what is claimed.
func bareName(entry string) string {
	if strings.HasPrefix(entry, "[") {
		return entry[:strings.IndexByte(entry, ']')+1]
	}
	name, _, _ := strings.Cut(entry, ":")
	return name
}
