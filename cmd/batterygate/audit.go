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
		Long: "Checks every entry of the audit, its order and its MAC, from the first that is kept to the last.\n\n" +
			"Entries older than retention.audit are pruned; then \"pruned\" says up to which, and when. Exit code 1 if any\n" +
			"other is missing, changed or added, or if all of the audit was deleted. An older copy put back whole shows only\n" +
			"against what the server logged meanwhile: compare head_seq and head_hash.",
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
				if a, ok := report["pruned"].(map[string]any); ok {
					report["pruned"] = fmt.Sprintf("entries up to %v, the last of %v; at %v, by retention.audit %v; recorded in entry %v", a["seq"], a["time"], a["at"], a["kept"], a["entry"])
				}
				err = printObject(cmd.OutOrStdout(), report)
			}
			if err == nil && report["intact"] != true {
				err = fmt.Errorf("the audit is not intact")
			}
			return err
		},
	}
}
