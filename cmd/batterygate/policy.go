package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

func newPolicy() *cobra.Command {
	cmd := group("policy", "Work on policies")
	admin, r := group("admin", "The admin policy: who may do what to Battery Gate itself"), &remote{}
	r.bind(admin)
	admin.AddCommand(
		newList(r, "list", "List the versions of the admin policy", "admin-policies", nil,
			[]column{{"REVISION", "revision"}, {"STATUS", "status"}, {"CREATED", "created_at"}, {"AUTHOR", "author"}}),
		newPolicyAdminPush(r),
		&cobra.Command{
			Use: "activate REVISION", Short: "Put a pushed version in force", Args: oneArg("the revision, as 'policy admin list' shows it"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return r.send(cmd, http.MethodPost, under("admin-policies")(args[0])+"/activate", nil)
			},
		},
		&cobra.Command{
			Use: "rollback", Short: "Put the version in force that was before this one", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return r.send(cmd, http.MethodPost, "admin-policies/rollback", nil)
			},
		})
	cmd.AddCommand(admin)
	return cmd
}

func newPolicyAdminPush(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "push BUNDLE.tar.gz", Short: "Push a version of the admin policy; its tests run, and it waits to be activated", Args: oneArg("the bundle; - is standard input"),
		Long: "Pushes an OPA bundle whose package is battery.admin. It is compiled and tested, and refused if it is at\n" +
			"fault or if you could not roll back under it. It is in force once it is activated.",
		Example: "  tar -czf - -C my-admin-policy . | batterygate policy admin push -",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readInput(cmd, args[0])
			if err != nil {
				return err
			}
			return r.send(cmd, http.MethodPost, "admin-policies", client.Blob{Type: "application/gzip", Data: raw})
		},
	}
}
