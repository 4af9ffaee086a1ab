// Package words writes what pages show to people: names that somebody else chose,
// numbers, lengths of time. The console and the pages of IT admins share it, so
// that a name can do as little on the one as on the other.
package words

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxShown is how many characters of a name are shown.
const maxShown = 120

// Shown is a name as people see it: what somebody else wrote, without what is not
// a character on its own line, cut at 120. Marks that turn the direction of text
// go too, so that no name reaches beyond itself.
func Shown(s string) string { return Cut(s, maxShown, false) }

// Cut keeps n characters of a text; with lines its line ends stay.
func Cut(s string, n int, lines bool) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if n == 0 {
			b.WriteString("…")
			break
		}
		switch {
		case unicode.Is(unicode.Bidi_Control, r):
			continue
		case lines && r == '\n':
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			r = ' '
		}
		b.WriteRune(r)
		n--
	}
	if strings.TrimSpace(b.String()) == "" {
		return "(no name)"
	}
	return b.String()
}

// Quoted is a name inside a sentence, kept apart from its direction.
func Quoted(s string) string { return "“\u2068" + Shown(s) + "\u2069”" }

// Count is a number as people write it: 10,000.
func Count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Many is a count with its noun: 1 group, 2 groups.
func Many(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + several
}

// Lasting is a length of time in its largest unit: 2 hours.
func Lasting(d time.Duration) string {
	switch {
	case d < time.Hour:
		return Many(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return Many(int(d/time.Hour), "hour", "hours")
	}
	return Many(int(d/(24*time.Hour)), "day", "days")
}
