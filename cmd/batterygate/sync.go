package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

// syncState is /api/v1/sync as the command line shows it.
type syncState struct {
	CatchUp bool `json:"catch_up"`
	Poller  struct {
		LastPoll    time.Time     `json:"last_poll"`
		LastError   string        `json:"last_error"`
		Lag         time.Duration `json:"lag_ns"`
		DeadLetters int64         `json:"dead_letters"`
	} `json:"poller"`
	Reconciling []struct {
		Directory string        `json:"directory"`
		DryRun    bool          `json:"dry_run"`
		Phase     string        `json:"phase"`
		Requests  int           `json:"requests"`
		Expected  int           `json:"expected"`
		Started   time.Time     `json:"started"`
		Left      time.Duration `json:"left_ns"`
	} `json:"reconciling"`
	NextFull    time.Time `json:"next_reconcile"`
	Directories []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		State     string `json:"state"`
		Freshness struct {
			LastEvent          time.Time `json:"last_event"`
			LastPoll           time.Time `json:"last_poll"`
			LastReconcile      time.Time `json:"last_reconcile"`
			LastReconcileError string    `json:"last_reconcile_error"`
			Held               int       `json:"held"`
			HeldUntil          time.Time `json:"held_until"`
			Paused             bool      `json:"paused"`
			Dirty              bool      `json:"dirty"`
			Stale              bool      `json:"stale"`
		} `json:"freshness"`
	} `json:"directories"`
}

func newSync() *cobra.Command {
	cmd := group("sync", "See and steer how directories are kept true")
	var r remote
	r.bind(cmd)
	cmd.AddCommand(newSyncStatus(&r), newSyncReconcile(&r), newSyncApprove(&r), newSyncExtend(&r), newSyncPause(&r, true), newSyncPause(&r, false))
	return cmd
}

func newSyncStatus(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how fresh each directory is, and what is going on", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			var s syncState
			shown, err := r.fetch(cmd, c, http.MethodGet, "sync", nil, nil, &s)
			if err != nil {
				return fmt.Errorf("read sync status: %w", err)
			}
			if shown {
				return nil
			}
			return printSync(cmd.OutOrStdout(), s, time.Now())
		},
	}
}

func printSync(out io.Writer, s syncState, now time.Time) error {
	switch {
	case !s.CatchUp:
		_, _ = fmt.Fprintln(out, "Catching up is off: directories follow webhooks alone.")
	case s.Poller.LastError != "":
		_, _ = fmt.Fprintf(out, "Events: last read %s, now failing: %s\n", ago(s.Poller.LastPoll, now), printable(s.Poller.LastError))
	default:
		_, _ = fmt.Fprintf(out, "Events: last read %s; next full reconcile %s\n", ago(s.Poller.LastPoll, now), clock(s.NextFull))
	}
	if s.Poller.DeadLetters > 0 {
		_, _ = fmt.Fprintf(out, "%d events could not be applied since the start; the log names them.\n", s.Poller.DeadLetters)
	}
	for _, p := range s.Reconciling {
		name := p.Directory
		if name == "" {
			name = "organizations, connections and directories"
		}
		_, _ = fmt.Fprintf(out, "Reading %s: %s, request %d of about %d, %v so far, about %v to go\n", name, p.Phase, p.Requests, max(p.Expected, p.Requests),
			now.Sub(p.Started).Round(time.Second), p.Left.Round(time.Second))
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "DIRECTORY\tNAME\tSTATE\tLAST EVENT\tEVENTS READ\tRECONCILED\tNOTES")
	for _, d := range s.Directories {
		f := d.Freshness
		var notes []string
		for _, n := range []struct {
			on   bool
			text string
		}{
			{f.Stale, "STALE"}, {f.Paused, "PAUSED"}, {f.Dirty, "wants a reconcile"},
			{f.Held > 0, fmt.Sprintf("%d removals held until %s: approve or extend", f.Held, clock(f.HeldUntil))},
			{f.LastReconcileError != "", "last reconcile failed: " + printable(f.LastReconcileError)},
		} {
			if n.on {
				notes = append(notes, n.text)
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, printable(d.Name), d.State, ago(f.LastEvent, now), ago(f.LastPoll, now), ago(f.LastReconcile, now),
			dash(strings.Join(notes, "; ")))
	}
	return w.Flush()
}

func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if age := now.Sub(t); age < 72*time.Hour {
		return age.Round(time.Second).String() + " ago"
	}
	return t.UTC().Format("2006-01-02")
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

type difference struct {
	Directory              string `json:"directory_id"`
	Changes, Held, Pending []struct {
		Kind, Op, ID, Name string
		UserID             string `json:"user_id"`
		GroupID            string `json:"group_id"`
	}
}

func newSyncReconcile(r *remote) *cobra.Command {
	var dir string
	var dry bool
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Read WorkOS in full and apply what differs", Args: noArgs,
		Long: "Reads a directory (or all) in full from WorkOS and applies what differs. WorkOS allows a few requests a\n" +
			"second, so a large directory takes minutes; 'sync status' shows how far it is.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.patient(35 * time.Minute)
			if err != nil {
				return err
			}
			path := "sync/reconcile"
			if dir != "" {
				path = "directories/" + url.PathEscape(dir) + "/reconcile"
			}
			var out struct {
				Differences []difference
				Errors      []string
			}
			shown, err := r.fetch(cmd, c, http.MethodPost, path, nil, map[string]bool{"dry_run": dry}, &out)
			if err != nil {
				return fmt.Errorf("reconcile: %w", err)
			}
			if shown {
				return nil
			}
			for _, d := range out.Differences {
				printDifference(cmd.OutOrStdout(), d, dry)
			}
			if len(out.Errors) > 0 {
				return errors.New(out.Errors[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "directory", "", "one directory's id; empty: all")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print the difference and change nothing")
	return cmd
}

func printDifference(out io.Writer, d difference, dry bool) {
	verb := "changed"
	if dry {
		verb = "would change"
	}
	name := d.Directory
	if name == "" {
		name = "organizations, connections and directories"
	}
	_, _ = fmt.Fprintf(out, "%s: %d %s, %d removals held, %d wait for a second read\n", name, len(d.Changes), verb, len(d.Held), len(d.Pending))
	for _, part := range []struct {
		mark string
		list []struct {
			Kind, Op, ID, Name string
			UserID             string `json:"user_id"`
			GroupID            string `json:"group_id"`
		}
	}{{"", d.Changes}, {"held: ", d.Held}, {"pending: ", d.Pending}} {
		for _, x := range part.list {
			_, _ = fmt.Fprintf(out, "  %s%s %s %s%s %s %s\n", part.mark, x.Op, x.Kind, x.ID, x.UserID, x.GroupID, printable(x.Name))
		}
	}
}

// act is a verb on one thing that prints nothing but what was done.
func (r *remote) act(cmd *cobra.Command, method, path string, in any, done string) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	answer := map[string]any{}
	if err := c.Do(cmd.Context(), method, path, nil, in, &answer); err != nil {
		return failed(cmd, err)
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}

func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usageError{fmt.Errorf("%s takes one argument: %s", cmd.CommandPath(), what)}
		}
		return nil
	}
}

func newSyncApprove(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "approve DIRECTORY", Short: "Let the removals that the brake holds happen", Args: oneArg("the directory's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, http.MethodPost, "sync/brake/"+url.PathEscape(args[0])+"/approve", nil, "Approved.")
		},
	}
}

func newSyncExtend(r *remote) *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use: "extend DIRECTORY", Short: "Keep the removals that the brake holds waiting", Args: oneArg("the directory's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			until := time.Now().Add(d).UTC().Truncate(time.Second)
			return r.act(cmd, http.MethodPost, "sync/brake/"+url.PathEscape(args[0])+"/extend", map[string]time.Time{"until": until},
				"Held until "+until.Format(time.RFC3339)+".")
		},
	}
	cmd.Flags().DurationVar(&d, "for", 24*time.Hour, "how long from now")
	return cmd
}

func newSyncPause(r *remote, paused bool) *cobra.Command {
	use, short, done := "pause DIRECTORY", "Take a directory's roles out of force; changes go on being recorded", "Paused: its users have no roles until 'sync resume'."
	if !paused {
		use, short, done = "resume DIRECTORY", "Put a paused directory's roles back in force", "Resumed."
	}
	return &cobra.Command{
		Use: use, Short: short, Args: oneArg("the directory's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd, http.MethodPut, "directories/"+url.PathEscape(args[0])+"/paused", map[string]bool{"paused": paused}, done)
		},
	}
}

// patient is a client that waits for answers as long as a full read may take.
func (r *remote) patient(d time.Duration) (*client.Client, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	return c.WithTimeout(d), nil
}
