package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/sso/keys"
)

func newToken() *cobra.Command {
	cmd := group("token", "Make API tokens on this host")
	var path, store, name string
	var scopes []string
	var ttl time.Duration
	var asJSON bool
	create := &cobra.Command{
		Use: "create", Short: "Make an API token and print it, once", Args: noArgs,
		Long: "Makes an API token for the server whose store this is: through its local socket while it runs,\n" +
			"in the store's file while it does not. Whoever may read the store may make tokens.",
		Example: "  batterygate token create --config batterygate.yaml --name ci --scope read --ttl 720h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(scopes) == 0 {
				return usageError{errors.New("--scope is missing: operator, read, or an action such as decisions.list")}
			}
			if store == "" {
				cfg, err := config.Load(path, os.Environ(), nil)
				if err != nil {
					return err
				}
				store = cfg.Store
			}
			out, err := gate.CreateToken(cmd.Context(), store, gate.TokenRequest{Name: name, Scopes: scopes, TTL: ttl}, time.Now)
			if err != nil {
				return fmt.Errorf("create token: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), out)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out.Secret)
			return err
		},
	}
	f := create.Flags()
	f.StringVar(&path, "config", os.Getenv("BATTERY_CONFIG"), "the server's configuration file (or BATTERY_CONFIG)")
	f.StringVar(&store, "store", "", "the server's store, bolt:PATH, instead of --config")
	f.StringVar(&name, "name", "", "what the token is for")
	f.StringSliceVar(&scopes, "scope", nil, "operator (everything), read, or an action such as decisions.list or apps.*")
	f.DurationVar(&ttl, "ttl", 0, "lifetime; 0 never expires")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(create)
	return cmd
}

func newKeys() *cobra.Command {
	cmd := group("keys", "Make the keys that sign and wrap")
	var dir string
	create := &cobra.Command{
		Use: "create", Short: "Make a new root key file; the newest one signs", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{errors.New("--dir is missing: the folder that session.keys_dir names")}
			}
			path, err := keys.GenerateRootKey(dir)
			if err != nil {
				return fmt.Errorf("create key: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
	create.Flags().StringVar(&dir, "dir", "", "session.keys_dir")
	cmd.AddCommand(create)
	return cmd
}
