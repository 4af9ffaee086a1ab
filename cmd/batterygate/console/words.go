package console

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"battery.app/gate/cmd/batterygate/words"
)

// kinds are the kinds of an actor, as people know them.
var kinds = map[string]string{"token": "API token", "session": "single sign-on", kindBreakGlass: "break-glass token", "host": "command on the host", "gate": "Battery Gate itself"}

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
		return "in " + words.Lasting(-d)
	case d < 0:
		return "in a moment"
	case d < time.Minute:
		return "just now"
	}
	return words.Lasting(d) + " ago"
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
		return words.Cut(string(raw), maxPart, true)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if enc.Encode(v) != nil {
		return words.Cut(string(raw), maxPart, true)
	}
	return words.Cut(strings.TrimSuffix(b.String(), "\n"), maxPart, true)
}
