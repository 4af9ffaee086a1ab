package authz

import (
	"strings"
	"unicode/utf8"
)

// CanonicalPath writes a path in one way: what RFC 3986 §3.3 lets stand in a
// segment stands there, everything else is escaped, in upper-case digits. So
// "/%40me", "/@me" and "/caf%c3%a9", "/caf%C3%A9" are one path each to a policy,
// as they are to the app. It is idempotent.
//
// Escapes in which somebody could see another path are left as they are: those of
// "/", "\", ";", "%", "?", "#", of unreserved characters and control characters,
// and broken ones. What they make of a path is for Ambiguous and Readings to say.
func CanonicalPath(path string) string {
	at := 0
	for at < len(path) && path[at] != '%' && !mustEscape(path[at]) {
		at++
	}
	if at == len(path) {
		return path
	}
	b := append(make([]byte, 0, len(path)+16), path[:at]...)
	return string(appendCanonical(b, path[at:], "%"))
}

// appendCanonical appends s in canonical form; a "%" that begins no escape
// becomes broken.
func appendCanonical(b []byte, s, broken string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			e, ok := unhex(s[i+1:])
			switch {
			case !ok:
				b = append(b, broken...)
				continue
			case separator(e):
				b = append(b, e)
			default:
				b = appendEscape(b, e)
			}
			i += 2
		case mustEscape(c):
			b = appendEscape(b, c)
		default:
			b = append(b, c)
		}
	}
	return b
}

func appendEscape(b []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(b, '%', hex[c>>4], hex[c&15])
}

// mustEscape: a byte that never stands in a canonical path as it is.
func mustEscape(c byte) bool {
	return !unreserved(c) && !separator(c) && c != '/' && c != '\\' && c != ';' && c != '%'
}

// separator: characters that RFC 3986 §3.3 lets stand in a segment in both forms
// and in which nobody sees a structure. ";" is not one of them.
func separator(c byte) bool {
	switch c {
	case '!', '$', '&', '\'', '(', ')', '*', '+', ',', '=', ':', '@':
		return true
	}
	return false
}

// Ambiguous reports whether gateways, apps and policies could read a path
// differently: exactly if it has not one reading (see Readings). Rather than
// choose one normal form and hope that all agree, such a path is refused, unless
// its app has the policy asked about every reading (heimdall CVE-2026-42274,
// Traefik CVE-2026-40912, Oathkeeper GHSA-p224-6x5r-fjpm and their kin all
// chose). Ambiguous are
//
//   - "." and ".." segments, empty segments, ";" parameters, backslashes
//   - the escapes of "/", "\", ".", ";", "?", "#", of control characters and of
//     every unreserved character (RFC 3986 §2.3: %61dmin is admin)
//   - escapes that are broken, that decode to another escape, or to bytes that
//     are not UTF-8 (overlong forms are not)
//
// Other escapes (%20, %C3%A9, %40) are not: every reader decodes them alike, and
// clients need them.
func Ambiguous(path string) bool {
	escaped := false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\', c == ';', c == '?', c == '#':
			return true
		case c == '/':
			if dotOrEmpty(path[i+1:]) {
				return true
			}
		case c == '%':
			e, ok := unhex(path[i+1:])
			if !ok || refusedEscape(e) || e == '%' && startsEscape(path[i+3:]) {
				return true
			}
			escaped = true
			i += 2
		case c < ' ' || c >= 0x7f:
			escaped = true
		}
	}
	return escaped && !cleanText(string(decoded(path)))
}

// dotOrEmpty looks at the segment that rest begins with. The empty segment after
// a trailing slash is an ordinary path.
func dotOrEmpty(rest string) bool {
	switch {
	case rest == "":
		return false
	case rest[0] == '/':
		return true
	case rest[0] != '.':
		return false
	}
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	return rest[:end] == "." || rest[:end] == ".."
}

// refusedEscape: what must not stand escaped in a path that has one reading.
func refusedEscape(c byte) bool {
	switch c {
	case '/', '\\', ';', '?', '#', 0x7f:
		return true
	}
	return c < ' ' || unreserved(c)
}

// startsEscape: after an escaped "%", s completes an escape for whoever decodes
// twice; "u" begins the %uXXXX of IIS.
func startsEscape(s string) bool {
	if s == "" {
		return false
	}
	if s[0] == 'u' || s[0] == 'U' {
		return true
	}
	_, ok := unhex(s)
	return ok
}

// DecodePath decodes the escapes of a path that are well formed, once, and leaves
// the others.
func DecodePath(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	return string(decoded(path))
}

func decoded(path string) []byte {
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if e, ok := unhex(path[i+1:]); ok {
				c = e
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

// cleanText: UTF-8 without control characters. An app that reads other encodings,
// or a C string that ends at a NUL, would see another path.
func cleanText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return false
		}
	}
	return true
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex decodes the two hex digits that s begins with.
func unhex(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	hi, ok1 := hexDigit(s[0])
	lo, ok2 := hexDigit(s[1])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
