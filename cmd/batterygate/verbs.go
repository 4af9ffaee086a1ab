package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// pathOf finds the path of what an argument names.
type pathOf func(cmd *cobra.Command, arg string) (string, error)

// byID is the pathOf what is named by its id alone.
func byID(collection string) pathOf {
	return func(_ *cobra.Command, id string) (string, error) { return under(collection)(id), nil }
}

// newShow is a verb that shows one object of the API; use is "show THING".
func newShow(r *remote, use, short, what string, path pathOf) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: oneArg(what),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := path(cmd, args[0])
			if err != nil {
				return err
			}
			return r.send(cmd, http.MethodGet, at, nil)
		},
	}
}

// newRemove is a verb that ends something by its id. It asks for --yes, because
// what it does cannot be undone.
func newRemove(r *remote, use, short, what, warning string, path pathOf) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: oneArg(what),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usageError{fmt.Errorf("%s; give --yes to do it", warning)}
			}
			at, err := path(cmd, args[0])
			if err != nil {
				return err
			}
			return r.act(cmd, http.MethodDelete, at, nil, "Done.")
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// send asks the API and prints the object it answers, as JSON or as lines.
func (r *remote) send(cmd *cobra.Command, method, path string, in any) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	out := map[string]any{}
	if err := c.Do(cmd.Context(), method, path, nil, in, &out); err != nil {
		return failed(cmd, err)
	}
	return r.show(cmd, out)
}

// show prints an object that the API answered, as JSON or as lines.
func (r *remote) show(cmd *cobra.Command, object map[string]any) error {
	if r.json {
		return printJSON(cmd.OutOrStdout(), object)
	}
	return printObject(cmd.OutOrStdout(), object)
}

// printObject prints an object's members, one on a line, in order of name.
func printObject(out io.Writer, object map[string]any) error {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, name := range names {
		_, _ = fmt.Fprintf(w, "%s:\t%s\n", name, cell(object[name]))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// under is a path below a collection.
func under(collection string) func(string) string {
	return func(id string) string { return collection + "/" + url.PathEscape(id) }
}

// pairs reads flags of the form A=B.
func pairs(flag string, values []string) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--%s %q is not of the form NAME=VALUE", flag, v)}
		}
		out[name] = value
	}
	return out, nil
}

// flagged is a member of a body and its value, which a flag gives.
type flagged struct {
	member string
	value  any
}

// given collects the members whose flags were given.
func given(cmd *cobra.Command, flags map[string]flagged) (map[string]any, error) {
	out := map[string]any{}
	for flag, f := range flags {
		if cmd.Flags().Changed(flag) {
			out[f.member] = f.value
		}
	}
	if len(out) == 0 {
		return nil, usageError{errors.New("nothing to change: give at least one flag")}
	}
	return out, nil
}
