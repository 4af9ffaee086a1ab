package console

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxShown is how many characters of a name are shown.
const maxShown = 120

// kinds are the kinds of an actor, as people know them.
var kinds = map[string]string{"token": "API token", "session": "single sign-on", kindBreakGlass: "break-glass token", "host": "command on the host"}

// shown is a name as people see it: what somebody else wrote, without what is not
// a character on its own line, cut. Marks that turn the direction of text go too.
func shown(s string) string { return cut(s, maxShown, false) }

// cut keeps n characters of a text; with lines its line ends stay.
func cut(s string, n int, lines bool) string {
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

// quoted is a name inside a sentence, kept apart from its direction.
func quoted(s string) string { return "“\u2068" + shown(s) + "\u2069”" }

// count is a number as people write it: 10,000.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// many is a count with its noun: 1 session, 2 sessions.
func many(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + several
}

// moment is a time as people say it and as it is.
type moment struct{ Ago, At, Machine string }

func momentOf(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{Ago: ago(now.Sub(t)), At: t.Format("2006-01-02 15:04:05 UTC"), Machine: t.Format(time.RFC3339)}
}

func ago(d time.Duration) string {
	switch {
	case d < -time.Minute:
		return "in " + lasting(-d)
	case d < 0:
		return "in a moment"
	case d < time.Minute:
		return "just now"
	}
	return lasting(d) + " ago"
}

func lasting(d time.Duration) string {
	switch {
	case d < time.Hour:
		return many(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return many(int(d/time.Hour), "hour", "hours")
	}
	return many(int(d/(24*time.Hour)), "day", "days")
}

// link is a path of ours with parameters; empty ones are left out.
func link(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// maxPart is how many characters of an audit entry's part are shown.
const maxPart = 2000

// pretty is JSON to be read, cut; nothing stays nothing.
func pretty(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return cut(string(raw), maxPart, true)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if enc.Encode(v) != nil {
		return cut(string(raw), maxPart, true)
	}
	return cut(strings.TrimSuffix(b.String(), "\n"), maxPart, true)
}
