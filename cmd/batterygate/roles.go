package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

type roleMapping struct {
	GroupID   string   `json:"group_id,omitempty"`
	GroupName string   `json:"group_name,omitempty"`
	Roles     []string `json:"roles"`
}

func (m roleMapping) group() string { return m.GroupID + m.GroupName }

type roleMappings struct {
	Mappings []struct {
		roleMapping
		BoundTo string `json:"bound_group_id"`
		Status  string `json:"status"`
	} `json:"mappings"`
	RoleSource struct {
		Source string `json:"source"`
	} `json:"role_source"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
}

// rolesOf are the flags of verbs about one organization's roles.
type rolesOf struct {
	remote
	organization string
}

func newRoles() *cobra.Command {
	cmd := group("roles", "Map directory groups to roles, and explain who has which")
	r := &rolesOf{}
	r.bind(cmd)
	cmd.PersistentFlags().StringVar(&r.organization, "org", "", orgArg)
	cmd.AddCommand(newRolesList(r), newRolesMap(r), newRolesUnmap(r), newRolesSource(r), newRolesWhy(r))
	return cmd
}

func (r *rolesOf) path(cmd *cobra.Command, rest string) (string, error) {
	if r.organization == "" {
		return "", usageError{errors.New("--org is missing: " + orgArg)}
	}
	at, err := r.org(cmd, r.organization)
	return at + "/" + rest, err
}

// open returns the client and the path below the organization.
func (r *rolesOf) open(cmd *cobra.Command, rest string) (*client.Client, string, error) {
	path, err := r.path(cmd, rest)
	if err != nil {
		return nil, "", err
	}
	c, err := r.client()
	return c, path, err
}

func newRolesList(r *rolesOf) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List an organization's role mappings", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, path, err := r.open(cmd, "role-mappings")
			if err != nil {
				return err
			}
			var m roleMappings
			shown, err := r.fetch(cmd, c, http.MethodGet, path, nil, nil, &m)
			if err != nil {
				return fmt.Errorf("list role mappings: %w", err)
			}
			if shown {
				return nil
			}
			return printMappings(cmd.OutOrStdout(), m)
		},
	}
}

func printMappings(out io.Writer, m roleMappings) error {
	if m.RoleSource.Source == "workos" {
		_, _ = fmt.Fprintln(out, "Roles come from WorkOS; the mappings below are not in force.")
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "GROUP\tROLES\tSTATUS\tBOUND TO")
	for _, e := range m.Mappings {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(e.group()), strings.Join(e.Roles, ","), e.Status, dash(e.BoundTo))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if m.UpdatedBy != "" {
		_, err := fmt.Fprintf(out, "Set by %s at %s.\n", printable(m.UpdatedBy), clock(m.UpdatedAt))
		return err
	}
	return nil
}

// change edits the mappings as they are when it is written.
func (r *rolesOf) change(cmd *cobra.Command, edit func([]roleMapping) ([]roleMapping, error)) error {
	c, path, err := r.open(cmd, "role-mappings")
	if err != nil {
		return err
	}
	var raw json.RawMessage
	err = client.Edit(cmd.Context(), c, path, func(now roleMappings) (any, error) {
		list := make([]roleMapping, 0, len(now.Mappings))
		for _, m := range now.Mappings {
			list = append(list, m.roleMapping)
		}
		list, err := edit(list)
		return map[string][]roleMapping{"mappings": list}, err
	}, &raw)
	if err != nil {
		return fmt.Errorf("change role mappings: %w", err)
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	var after roleMappings
	if err := json.Unmarshal(raw, &after); err != nil {
		return fmt.Errorf("decode role mappings: %w", err)
	}
	return printMappings(cmd.OutOrStdout(), after)
}

func newRolesMap(r *rolesOf) *cobra.Command {
	var m roleMapping
	cmd := &cobra.Command{
		Use: "map", Short: "Give roles to a group, in place of those it has", Args: noArgs,
		Example: "  batterygate roles map --org org_… --group-name Engineering --role editor",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (m.GroupID == "") == (m.GroupName == "") || len(m.Roles) == 0 {
				return usageError{errors.New("name the group by --group or by --group-name, and give --role")}
			}
			return r.change(cmd, func(list []roleMapping) ([]roleMapping, error) {
				list = slices.DeleteFunc(list, func(e roleMapping) bool { return e.GroupID == m.GroupID && e.GroupName == m.GroupName })
				return append(list, m), nil
			})
		},
	}
	cmd.Flags().StringVar(&m.GroupID, "group", "", "the group's id")
	cmd.Flags().StringVar(&m.GroupName, "group-name", "", "the group's name; it binds once to the group that bears it")
	cmd.Flags().StringSliceVar(&m.Roles, "role", nil, "a role; may be given several times")
	return cmd
}

func newRolesUnmap(r *rolesOf) *cobra.Command {
	return &cobra.Command{
		Use: "unmap GROUP", Short: "Take a group's roles away", Args: oneArg("the group's id or name, as 'roles list' shows it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.change(cmd, func(list []roleMapping) ([]roleMapping, error) {
				left := slices.DeleteFunc(slices.Clone(list), func(e roleMapping) bool { return e.group() == args[0] })
				if len(left) == len(list) {
					return nil, fmt.Errorf("no mapping of a group %q", args[0])
				}
				return left, nil
			})
		},
	}
}

func newRolesSource(r *rolesOf) *cobra.Command {
	return &cobra.Command{
		Use: "source mappings|workos", Short: "Choose whose word roles are: these mappings, or WorkOS's own roles", Args: oneArg("mappings or workos"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := r.path(cmd, "role-source")
			if err != nil {
				return err
			}
			return r.act(cmd, http.MethodPut, path, map[string]string{"source": args[0]}, "Roles come from "+args[0]+" now.")
		},
	}
}

func newRolesWhy(r *rolesOf) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use: "why USER", Short: "Explain a user's roles: group, mapping, event and time", Args: cobra.ArbitraryArgs,
		Example: "  batterygate roles why ada@acme.test --org acme",
		RunE: func(cmd *cobra.Command, args []string) error {
			if user != "" {
				args = append(args, user)
			}
			if len(args) != 1 || args[0] == "" {
				return usageError{fmt.Errorf("%s takes one user: a directory user's id or e-mail", cmd.CommandPath())}
			}
			c, path, err := r.open(cmd, "roles/why")
			if err != nil {
				return err
			}
			var why whyAnswer
			shown, err := r.fetch(cmd, c, http.MethodGet, path, url.Values{"user": {args[0]}}, nil, &why)
			if err != nil {
				return fmt.Errorf("explain roles: %w", err)
			}
			if shown {
				return nil
			}
			return printWhy(cmd.OutOrStdout(), why)
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "the user, where no argument names one")
	return cmd
}
