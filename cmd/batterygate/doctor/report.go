package doctor

import (
	"fmt"
	"io"
	"strings"
)

// State is what an examination found.
type State string

// The states of a finding.
const (
	OK         State = "ok"
	Problem    State = "problem"
	NotChecked State = "not_checked"
)

// Finding is one thing that was looked at.
type Finding struct {
	ID      string   `json:"id"` // stable: scripts rely on it
	Group   string   `json:"group"`
	Title   string   `json:"title"` // how it should be
	State   State    `json:"state"`
	Why     string   `json:"why,omitempty"`     // what a problem means, or why it was not checked
	Details []string `json:"details,omitempty"` // what was seen, one request each
	Fix     string   `json:"fix,omitempty"`     // configuration to add, of Report.Gateway
}

// Report is what an examination found. As JSON its members stay as they are;
// more may come.
type Report struct {
	URL      string      `json:"url"`
	AppID    string      `json:"app_id"`
	Gateway  string      `json:"gateway"` // "traefik", …; empty: not recognised
	Guessed  bool        `json:"gateway_guessed"`
	Door     string      `json:"door"` // that the gateway asks; empty: none was seen
	Echo     bool        `json:"echo"` // the app says what it received
	Problems int         `json:"problems"`
	Findings []Finding   `json:"findings"`
	Requests []*exchange `json:"requests"`
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	var b strings.Builder
	gateway := r.Gateway
	switch {
	case gateway == "":
		gateway = "not recognised; name it with --gateway"
	case r.Guessed:
		gateway += " (guessed)"
	}
	door := r.Door
	if door == "" {
		door = "none was seen to be asked"
	}
	fmt.Fprintf(&b, "%s is app %s. Gateway: %s. Door: %s. %d requests were sent.\n", r.URL, r.AppID, gateway, door, len(r.Requests))
	group, unchecked := "", 0
	for _, f := range r.Findings {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n%s\n", group)
		}
		word := map[State]string{OK: "ok", Problem: "PROBLEM", NotChecked: "not checked"}[f.State]
		fmt.Fprintf(&b, "  %-12s %s [%s]\n", word, f.Title, f.ID)
		if f.State == OK {
			continue
		}
		if f.State == NotChecked {
			unchecked++
		}
		fmt.Fprintf(&b, "               %s\n", f.Why)
		for _, line := range f.Details {
			fmt.Fprintf(&b, "               - %s\n", line)
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "               Add:\n")
			for line := range strings.SplitSeq(f.Fix, "\n") {
				fmt.Fprintf(&b, "                 %s\n", line)
			}
		}
	}
	fmt.Fprintf(&b, "\n%d problems, %d not checked, %d well.\n", r.Problems, unchecked, len(r.Findings)-r.Problems-unchecked)
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}
