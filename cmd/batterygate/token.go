package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/api"
	"battery.app/gate/cmd/batterygate/gate"
)

func newToken() *cobra.Command {
	cmd, r := group("token", "Make API tokens on this host, list and revoke them"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(newTokenCreate(r),
		newList(r, "list", "List API tokens; their secrets are not kept", "tokens", nil,
			[]column{{"ID", "id"}, {"NAME", "name"}, {"SCOPES", "scopes"}, {"CREATED", "created_at"}, {"EXPIRES", "expires_at"}, {"LAST USED", "last_used"}, {"BREAK-GLASS", "break_glass"}}),
		&cobra.Command{
			Use: "revoke TOKEN", Short: "End an API token at once", Args: oneArg("the token's id"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return r.act(cmd, http.MethodDelete, under("tokens")(args[0]), nil, "Revoked.")
			},
		})
	return cmd
}

func newTokenCreate(r *remote) *cobra.Command {
	var path, store, keysDir, name string
	var scopes []string
	var ttl time.Duration
	var breakGlass bool
	create := &cobra.Command{
		Use: "create", Short: "Make an API token and print it, once", Args: noArgs,
		Long: "Makes an API token for the server whose store this is: through its local socket while it runs,\n" +
			"in the store's file while it does not. Whoever may read the store may make tokens.\n\n" +
			"With --break-glass the token goes past the admin policy, for an hour at most: for when that policy locks\n" +
			"everybody out. The running server alone makes such a token, and records all that is done with it.",
		Example: "  batterygate token create --config batterygate.yaml --name ci --scope read --ttl 720h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if breakGlass && len(scopes) > 0 {
				return usageError{errors.New("--break-glass takes no --scope: it goes past the policy that scopes are for")}
			}
			if !breakGlass && len(scopes) == 0 {
				return usageError{errors.New("--scope is missing: operator, read, or an action such as decisions.list")}
			}
			if ttl < 0 || breakGlass && ttl > time.Hour {
				return usageError{errors.New("--ttl is not negative, and with --break-glass an hour at most")}
			}
			if store == "" {
				cfg, err := configured(path, nil)
				if err != nil && path == "" {
					return usageError{fmt.Errorf("which server is the token for? give --config or --store; without, the environment must hold the whole configuration, but the %w", err)}
				}
				if err != nil {
					return err
				}
				store, keysDir = cfg.Store, cfg.Session.KeysDir
			}
			_, missing := os.Stat(strings.TrimPrefix(store, "bolt:"))
			out, err := gate.CreateToken(cmd.Context(), store, keysDir, gate.TokenRequest{Name: name, Scopes: scopes, TTL: ttl, BreakGlass: breakGlass}, time.Now)
			if errors.Is(err, api.ErrInvalidToken) {
				err = usageError{err}
			}
			if err != nil {
				return fmt.Errorf("create token: %w", err)
			}
			if errors.Is(missing, fs.ErrNotExist) {
				fmt.Fprintf(cmd.ErrOrStderr(), "There was no store at %s; a new one was made there, for a server that is not set up yet.\n", store)
			}
			if r.json {
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
	f.StringSliceVar(&scopes, "scope", nil, "operator (everything), read, or an action such as decisions.list or apps.*; one that there is not is refused with the list of all")
	f.DurationVar(&ttl, "ttl", 0, "lifetime; 0 never expires")
	f.BoolVar(&breakGlass, "break-glass", false, "go past the admin policy, for --ttl (an hour at most, and if not given)")
	return create
}
