package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

// column is one of a list's columns: its heading and the member it shows. A dot
// leads into an object.
type column struct{ head, key string }

// newList is a verb that lists an API collection, all pages of it.
func newList(r *remote, use, short, path string, filters []string, columns []column) *cobra.Command {
	values, limit := map[string]*string{}, 0
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, v := range values {
				if *v != "" {
					q.Set(name, *v)
				}
			}
			if limit < 0 {
				return usageError{errors.New("--limit must be 0, for all, or more")}
			}
			if org := q.Get("org"); org != "" {
				id, err := r.orgID(cmd, org)
				if err != nil {
					return err
				}
				q.Set("org", id)
			}
			return r.list(cmd, path, q, columns, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "rows at the most; 0: all")
	for _, name := range filters {
		usage := map[string]string{"from": "only what is at or after this time (RFC 3339)", "to": "only what is before this time (RFC 3339)",
			"org": "only what belongs to this organization, by its id or slug"}[name]
		if usage == "" {
			usage = "only those of this " + name
		}
		values[name] = cmd.Flags().String(name, "", usage)
	}
	return cmd
}

// maxPage is as much as the API puts on one page.
const maxPage = 500

// list prints a collection, limit rows of it at the most; 0: all of its pages.
func (r *remote) list(cmd *cobra.Command, path string, q url.Values, columns []column, limit int) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	all, err := collect(cmd.Context(), c, path, q, limit)
	if err != nil {
		return failed(cmd, err)
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
			_, _ = fmt.Fprint(w, strings.Repeat("\t", min(i, 1)), cell(member(row, col.key)))
		}
		_, _ = fmt.Fprintln(w)
	}
	return w.Flush()
}

// collect reads a collection, limit rows of it at the most; 0: all of its pages.
func collect(ctx context.Context, c *client.Client, path string, q url.Values, limit int) ([]map[string]any, error) {
	all := []map[string]any{}
	for {
		var page struct {
			Data       []map[string]any `json:"data"`
			NextCursor *string          `json:"next_cursor"`
		}
		q.Set("limit", strconv.Itoa(maxPage))
		if left := limit - len(all); limit > 0 {
			q.Set("limit", strconv.Itoa(min(left, maxPage)))
		}
		if err := c.Do(ctx, http.MethodGet, path, q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil || limit > 0 && len(all) >= limit {
			return all, nil
		}
		q.Set("cursor", *page.NextCursor)
	}
}

func member(row map[string]any, key string) any {
	first, rest, deeper := strings.Cut(key, ".")
	if inner, ok := row[first].(map[string]any); deeper && ok {
		return member(inner, rest)
	}
	return row[first]
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
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, printable(name)+"="+cell(v[name]))
		}
		return dash(strings.Join(parts, ","))
	}
	return dash(printable(fmt.Sprint(v)))
}
