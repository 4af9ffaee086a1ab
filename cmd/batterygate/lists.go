package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// column is one of a list's columns: its heading and the member it shows.
type column struct{ head, key string }

// newList is a verb that lists an API collection, all pages of it.
func newList(r *remote, use, short, path string, filters []string, columns []column) *cobra.Command {
	values := map[string]*string{}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			q := url.Values{"limit": {"500"}}
			for name, v := range values {
				if *v != "" {
					q.Set(name, *v)
				}
			}
			all := []map[string]any{}
			for {
				var page struct {
					Data       []map[string]any `json:"data"`
					NextCursor *string          `json:"next_cursor"`
				}
				if err := c.Do(cmd.Context(), http.MethodGet, path, q, nil, &page); err != nil {
					return fmt.Errorf("list %s: %w", path, err)
				}
				all = append(all, page.Data...)
				if page.NextCursor == nil {
					break
				}
				q.Set("cursor", *page.NextCursor)
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for i, col := range columns {
				_, _ = fmt.Fprint(w, strings.Repeat("\t", min(i, 1)), col.head)
			}
			_, _ = fmt.Fprintln(w)
			for _, row := range all {
				for i, col := range columns {
					_, _ = fmt.Fprint(w, strings.Repeat("\t", min(i, 1)), cell(row[col.key]))
				}
				_, _ = fmt.Fprintln(w)
			}
			return w.Flush()
		},
	}
	for _, name := range filters {
		values[name] = cmd.Flags().String(name, "", "only those of this "+name)
	}
	return cmd
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cell(e)
		}
		return dash(strings.Join(parts, ","))
	}
	return dash(printable(fmt.Sprint(v)))
}

func newOrgs() *cobra.Command {
	cmd, r := group("orgs", "Look at organizations"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(newList(r, "list", "List organizations", "organizations", nil,
		[]column{{"ID", "id"}, {"SLUG", "slug"}, {"NAME", "name"}, {"DOMAINS", "domains"}}))
	return cmd
}

func newApps() *cobra.Command {
	cmd, r := group("apps", "Look at apps"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(newList(r, "list", "List apps", "apps", []string{"org"},
		[]column{{"ID", "id"}, {"ORGANIZATION", "organization_id"}, {"HOSTS", "hosts"}, {"ALLOWED ROLES", "allowed_roles"}, {"PUBLIC", "public"}}))
	return cmd
}

func newSessions() *cobra.Command {
	cmd, r := group("sessions", "See who is signed in, and end sessions"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(newList(r, "list", "List live sessions", "sessions", []string{"user", "org"},
		[]column{{"ID", "id"}, {"WHO", "email"}, {"KIND", "kind"}, {"SINCE", "issued_at"}, {"LAST SEEN", "last_seen"}, {"ENDS", "expires_at"}}),
		&cobra.Command{
			Use: "revoke SESSION", Short: "End a session for all apps, at the next request", Args: oneArg("the session's id"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return r.act(cmd, http.MethodDelete, "sessions/"+url.PathEscape(args[0]), nil, "Ended.")
			},
		})
	return cmd
}
