package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// decisionRow is a row of /api/v1/decisions as the command line shows it.
type decisionRow struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Result  string    `json:"result"`
	Status  int       `json:"status"`
	Reasons []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"reasons"`
	Roles          []string `json:"roles"`
	OrganizationID string   `json:"organization_id"`
	AppID          string   `json:"app_id"`
	UserID         string   `json:"user_id"`
	Email          string   `json:"email"`
	SessionID      string   `json:"session_id"`
	Gateway        string   `json:"gateway"`
	Method         string   `json:"method"`
	Host           string   `json:"host"`
	Path           string   `json:"path"`
	PolicyRevision string   `json:"policy_revision"`
	DataRevision   uint64   `json:"data_revision"`
	DurationUS     int64    `json:"duration_us"`
	Cached         bool     `json:"cached"`
	TraceID        string   `json:"trace_id"`
}

func newDecisions() *cobra.Command {
	cmd := group("decisions", "Look into the decision log")
	var r remote
	r.bind(cmd)
	cmd.AddCommand(newDecisionsList(&r), newDecisionsShow(&r))
	return cmd
}

func newDecisionsList(r *remote) *cobra.Command {
	filters := map[string]*string{}
	limit := 0
	cmd := &cobra.Command{
		Use: "list", Short: "List decisions, newest first", Args: noArgs,
		Long: "Lists decisions, newest first, a page at a time. With --json it prints the page as the API answers it,\n" +
			"{\"data\": [...], \"next_cursor\": ...}, because there may be millions; other lists print one array of all.",
		Example: "  batterygate decisions list --user bob@acme.test --result deny\n  batterygate decisions list --app crm.acme --from 2026-03-01T00:00:00Z --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, v := range filters {
				if *v != "" {
					q.Set(name, *v)
				}
			}
			if org := q.Get("org"); org != "" {
				if org, err = r.orgID(cmd, org); err != nil {
					return err
				}
				q.Set("org", org)
			}
			var page struct {
				Data       []decisionRow `json:"data"`
				NextCursor *string       `json:"next_cursor"`
			}
			shown, err := r.fetch(cmd, c, http.MethodGet, "decisions", q, nil, &page)
			if err != nil {
				return fmt.Errorf("list decisions: %w", err)
			}
			if shown {
				return nil
			}
			return printDecisions(cmd.OutOrStdout(), page.Data, page.NextCursor)
		},
	}
	for name, help := range map[string]string{
		"org": orgArg, "app": "app id", "user": "profile id, directory user id or e-mail", "result": "allow, deny or challenge",
		"reason": "reason code", "path": "start of the path", "from": "from this time on (RFC 3339)", "to": "before this time (RFC 3339)", "cursor": "go on after an earlier page",
	} {
		filters[name] = cmd.Flags().String(name, "", help)
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "rows at the most")
	return cmd
}

func printDecisions(out io.Writer, rows []decisionRow, next *string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "No decisions match.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "TIME\tRESULT\tREASON\tWHO\tAPP\tREQUEST\tID")
	for _, d := range rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n", d.Time.UTC().Format("2006-01-02 15:04:05.000"), d.Result,
			firstCode(d), dash(d.Email), dash(d.AppID), d.Method, printable(d.Path), d.ID)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if next != nil {
		_, err := fmt.Fprintf(out, "More: --cursor %s\n", *next)
		return err
	}
	return nil
}

func newDecisionsShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one decision with the input that the policy saw",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes one decision id", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			var raw any
			if err := c.Do(cmd.Context(), http.MethodGet, "decisions/"+url.PathEscape(args[0]), nil, nil, &raw); err != nil {
				return fmt.Errorf("show decision %s: %w", args[0], err)
			}
			return printJSON(cmd.OutOrStdout(), raw)
		},
	}
}

func firstCode(d decisionRow) string {
	if len(d.Reasons) == 0 {
		return "-"
	}
	return d.Reasons[0].Code
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps a path from speaking to the terminal, and from turning what
// stands after it round: clients choose it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}
