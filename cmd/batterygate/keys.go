package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"battery.app/gate/sso/keys"
)

func newKeys() *cobra.Command {
	cmd, r := group("keys", "Make the keys that sign and wrap, see and rotate them"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(newKeysCreate(r),
		newList(r, "list", "List the keys in the store: which sign, which only verify, and until when", "keys", nil,
			[]column{{"PURPOSE", "purpose"}, {"ID", "id"}, {"STATE", "state"}, {"CREATED", "created"}, {"SIGNS FROM", "signs_from"}, {"RETIRES", "retires_at"}}),
		&cobra.Command{
			Use: "rotate assertions|sessions|tickets", Short: "Make a new key for a purpose; nobody is logged out", Args: oneArg("assertions, sessions or tickets"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return r.act(cmd, http.MethodPost, under("keys")(args[0])+"/rotate", nil, "A new key is made; it signs once every replica and app has it.")
			},
		})
	return cmd
}

func newKeysCreate(r *remote) *cobra.Command {
	var dir string
	create := &cobra.Command{
		Use: "create", Short: "Make a new root key file; the newest one wraps from the next start on", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{errors.New("--dir is missing: the folder that session.keys_dir names")}
			}
			path, err := keys.GenerateRootKey(dir)
			if err != nil {
				return fmt.Errorf("create key: %w", err)
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"path": path})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	create.Flags().StringVar(&dir, "dir", "", "session.keys_dir")
	return create
}
