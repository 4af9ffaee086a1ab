package e2e

import (
	"math/rand/v2"
	"strings"
)

// What odd paths are made of: what gateways, policies and apps have been seen to
// read in two ways, and ordinary words between.
var (
	oddAtoms = []string{
		"admin", "admin", "public", "a", "b%20c", "%C3%BC", "x-1", "file.txt", "ADMIN", "%61dmin", "adm%69n", "%41dmin", "admin%20", "admin.", "admin;x=1",
		"..", ".", "%2e%2e", ".%2e", "%2E.", "%2e", "...", "..;", ".;", "..;x=y", ";", ";a=b", "%3b", "a%3bb", "%2f", "a%2fadmin", "%2F..%2fadmin", "..%2f", "%2f..",
		"%5c", `\`, `..\`, `a\..\admin`, "%5c..%5c", "%252e%252e", "%252f", "%25", "%252561dmin", "%00", "a%00", "%c0%ae%c0%ae", "%u002e", "%ff", "%2", "%", "%zz",
		"%23", "#", "a#b", "?", "%3f", "a%3fb", "*", "a:b", "@", "~", "%7e", "+", "!", "'", "(", "|", "^", "`", "<", "{", "ü", "%0a", "%0d%0a", "%09", "%7f", "%80", "", "",
	}
	oddSeams = []string{"/", "/", "/", "/", "/", "//", "/./", "/../", "/%2e%2e/", `\`, "%2f", "%5c", "/;/", "///"}
	oddHeads = []string{"/", "/", "/", "/", "/", "/", "/", "//", "/.", `/\`, "/%2f", ""}
	oddTails = []string{"", "", "", "/", "?q=/../admin", "?a=%2e%2e;b#c", ";", "#/admin", "//", "/.", "/..", "%", "%20"}
)

// oddPath makes one request target.
func oddPath(r *rand.Rand) string {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	b.WriteString(pick(oddHeads))
	for i, n := 0, 1+r.IntN(4); i < n; i++ {
		if i > 0 {
			b.WriteString(pick(oddSeams))
		}
		// Half of the pieces are plain, or nearly everything would be refused.
		if r.IntN(2) == 0 {
			b.WriteString(pick([]string{"admin", "public", "docs", "v1", "a.b", "x_y", "~z", "%20"}))
		} else {
			b.WriteString(pick(oddAtoms))
		}
	}
	b.WriteString(pick(oddTails))
	return b.String()
}

// decodeOnce decodes every well-formed escape, as a reader of a path does.
func decodeOnce(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	if c < 0x30 {
		return -1
	}
	return strings.IndexByte("0123456789abcdef", c|0x20)
}
