package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newAudit() *cobra.Command {
	cmd, r := group("audit", "See who did what to Battery Gate itself, and check that nothing was changed since"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(
		newList(r, "list", "List admin acts, newest first", "audit", []string{"from", "to", "actor", "action", "resource", "org"},
			[]column{{"SEQ", "seq"}, {"TIME", "time"}, {"BY", "actor.kind"}, {"ACTOR", "actor.id"}, {"ACTION", "action"}, {"RESOURCE", "resource.id"}, {"RESULT", "result"}, {"INTENT", "intent"}}),
		newAuditVerify(r))
	return cmd
}

// verifyTime is how long the server may take to read a chain of years.
const verifyTime = 10 * time.Minute

func newAuditVerify(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Check the chain of the audit: exit code 1 if an entry was changed or taken away", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.patient(verifyTime)
			if err != nil {
				return err
			}
			report := map[string]any{}
			if err := c.Do(cmd.Context(), http.MethodGet, "audit/verify", nil, nil, &report); err != nil {
				return failed(cmd, err)
			}
			if r.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printObject(cmd.OutOrStdout(), report)
			}
			if err == nil && report["intact"] != true {
				err = fmt.Errorf("the audit is not intact")
			}
			return err
		},
	}
}
