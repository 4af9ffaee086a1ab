package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newSessions() *cobra.Command {
	cmd, r := group("sessions", "See who is signed in, and end sessions"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(
		newList(r, "list", "List live sessions", "sessions", []string{"user", "org"},
			[]column{{"ID", "id"}, {"WHO", "email"}, {"KIND", "kind"}, {"SINCE", "issued_at"}, {"LAST SEEN", "last_seen"}, {"ENDS", "expires_at"}}),
		newSessionsRevoke(r))
	return cmd
}

func newSessionsRevoke(r *remote) *cobra.Command {
	var org, user, connection string
	var all bool
	cmd := &cobra.Command{
		Use: "revoke [SESSION]", Short: "End sessions for all apps, at the next request", Args: cobra.ArbitraryArgs,
		Long:    "Ends one session by its id, or all of a user, an organization or a connection, or all there are.",
		Example: "  batterygate sessions revoke session_…\n  batterygate sessions revoke --user ada@acme.test\n  batterygate sessions revoke --org org_…",
		RunE: func(cmd *cobra.Command, args []string) error {
			org, err := r.orgID(cmd, org)
			if err != nil {
				return err
			}
			body := map[string]any{}
			for member, value := range map[string]string{"organization_id": org, "user": user, "connection_id": connection} {
				if value != "" {
					body[member] = value
				}
			}
			if all {
				body["all"] = true
			}
			if len(args) > 1 || (len(args) == 1) == (len(body) > 0) || len(args) == 1 && args[0] == "" {
				return usageError{errors.New("name a session, or give --user, --org, --connection or --all")}
			}
			if len(args) == 1 {
				return r.act(cmd, http.MethodDelete, under("sessions")(args[0]), nil, "Ended.")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			var out struct {
				Revoked int `json:"revoked"`
			}
			shown, err := r.fetch(cmd, c, http.MethodPost, "sessions/revoke", nil, body, &out)
			if err != nil {
				return failed(cmd, err)
			}
			if shown {
				return nil
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Ended: %d.\n", out.Revoked)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&org, "org", "", "all of the people of this organization, by its id or slug")
	f.StringVar(&user, "user", "", "all of this user: profile id, directory user's id, or e-mail")
	f.StringVar(&connection, "connection", "", "all that signed in over this connection")
	f.BoolVar(&all, "all", false, "all there are")
	return cmd
}
