package forward

import (
	"strings"
	"unicode/utf8"
)

// ambiguous reports whether a gateway, an app and a policy could read a path
// differently. Rather than choose one normal form and hope that all agree, such
// a path is refused (heimdall CVE-2026-42274, Traefik CVE-2026-40912, Oathkeeper
// GHSA-p224-6x5r-fjpm and their kin all chose). Refused are
//
//   - "." and ".." segments, empty segments, ";" parameters, backslashes
//   - the escapes of "/", "\", ".", ";", "?", "#", of control characters and of
//     every unreserved character (RFC 3986 §2.3: %61dmin is admin)
//   - escapes that are broken, that decode to another escape, or to bytes that
//     are not UTF-8 (overlong forms are not)
//
// Other escapes (%20, %C3%A9, %40) pass: every reader decodes them alike, and
// clients need them.
func ambiguous(path string) bool {
	escaped := false
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\', ';':
			return true
		case '/':
			if dotOrEmpty(path[i+1:]) {
				return true
			}
		case '%':
			c, ok := unhex(path[i+1:])
			if !ok || refusedEscape(c) || c == '%' && startsEscape(path[i+3:]) {
				return true
			}
			escaped = true
			i += 2
		}
	}
	return escaped && !cleanUTF8(path)
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

// refusedEscape: what must not stand escaped in a path.
func refusedEscape(c byte) bool {
	switch c {
	case '/', '\\', ';', '?', '#', 0x7f:
		return true
	}
	return c < ' ' || unreserved(c)
}

// unreserved is RFC 3986 §2.3.
func unreserved(c byte) bool {
	return plain(c) || c == '.' || c == '_' || c == '~'
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

// cleanUTF8 decodes a path whose escapes are well formed and reports whether it
// is UTF-8 without C1 control characters.
func cleanUTF8(path string) bool {
	decoded := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			c, _ = unhex(path[i+1:])
			i += 2
		}
		decoded = append(decoded, c)
	}
	if !utf8.Valid(decoded) {
		return false
	}
	for _, r := range string(decoded) {
		if 0x80 <= r && r < 0xa0 {
			return false
		}
	}
	return true
}
