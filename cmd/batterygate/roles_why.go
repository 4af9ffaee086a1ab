package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// knownBy is since when a fact is known, from which event, and how it came.
type knownBy struct {
	EventID string    `json:"event_id"`
	Time    time.Time `json:"time"`
	Source  string    `json:"fact_source"`
}

func (k knownBy) String() string {
	switch {
	case k.EventID != "":
		return fmt.Sprintf("event %s of %s", k.EventID, k.Time.UTC().Format(time.RFC3339))
	case !k.Time.IsZero():
		return "full read of " + k.Time.UTC().Format(time.RFC3339)
	}
	return "not known"
}

type whyGroup struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	knownBy
}

// whyAnswer is /roles/why as the command line shows it.
type whyAnswer struct {
	User struct {
		ID    string `json:"id"`
		Email string `json:"email"`
		State string `json:"state"`
	} `json:"user"`
	Source string `json:"source"`
	Paused bool   `json:"paused"`
	Roles  []struct {
		Role     string    `json:"role"`
		Group    *whyGroup `json:"group"`
		MappedBy string    `json:"mapped_by"`
		MappedAt time.Time `json:"mapped_at"`
		ByName   string    `json:"by_name"`
		knownBy
	} `json:"roles"`
	Groups []whyGroup `json:"groups"`
}

func printWhy(out io.Writer, y whyAnswer) error {
	_, _ = fmt.Fprintf(out, "%s (%s) is %s.\n", printable(y.User.Email), y.User.ID, y.User.State)
	if y.Paused {
		_, _ = fmt.Fprintln(out, "The directory is paused: nobody of it has any role.")
	}
	if len(y.Roles) == 0 {
		_, _ = fmt.Fprintln(out, "No roles are in force.")
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if len(y.Roles) > 0 {
		_, _ = fmt.Fprintln(w, "ROLE\tTHROUGH GROUP\tMAPPED BY\tIN THE GROUP SINCE")
	}
	mapped := map[string]bool{}
	for _, r := range y.Roles {
		through, since, by := "WorkOS's own roles", r.knownBy, "-"
		if r.Group != nil {
			through, since = fmt.Sprintf("%s (%s)", printable(r.Group.Name), r.Group.ID), r.Group.knownBy
			mapped[r.Group.ID] = true
			by = fmt.Sprintf("%s at %s", dash(printable(r.MappedBy)), r.MappedAt.UTC().Format(time.RFC3339))
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Role, through, by, since)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	var rest []string
	for _, g := range y.Groups {
		if !mapped[g.ID] {
			rest = append(rest, printable(g.Name))
		}
	}
	if len(rest) > 0 {
		_, err := fmt.Fprintln(out, "In force without a role of their own:", strings.Join(rest, ", "))
		return err
	}
	return nil
}
