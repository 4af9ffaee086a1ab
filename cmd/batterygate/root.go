package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
	"battery.app/gate/cmd/batterygate/config"
)

func newRoot() *cobra.Command {
	root := group("batterygate", "Decides for gateways whether a request may reach an app")
	root.SilenceUsage, root.SilenceErrors, root.Version = true, true, version
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpCommand(newHelp())
	root.AddCommand(newServe(), newDev(), newDecisions(), newSync(), newRoles(), newOrgs(), newApps(), newSessions(), newPolicy(), newGateway(), newAudit(), newToken(), newKeys(), newVersion())
	return root
}

// newHelp is cobra's help, for which an unknown topic is no success.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("there is no command %q to help with; 'batterygate help' lists them", strings.Join(args, " "))}
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// group is a command that only holds others. Cobra's own answer to an unknown
// one cannot be told from a failure; this one is a fault of usage.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := ""
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return usageError{fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], hint)}
		},
	}
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "batterygate", version)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// configured reads the configuration. One that cannot be read is a fault of
// usage, like one that is wrong.
func configured(path string, set []string) (*config.Config, error) {
	cfg, err := config.Load(path, os.Environ(), set)
	if _, wrong := config.AsFaults(err); err != nil && !wrong {
		err = usageError{err}
	}
	return cfg, err
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// remote is the flags of verbs that talk to the admin API.
type remote struct {
	url       string
	token     string
	tokenFile string
	json      bool
}

func (r *remote) bind(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&r.url, "admin-url", env("BATTERY_ADMIN_URL", "http://127.0.0.1:8083"), "base URL of the admin listener (or BATTERY_ADMIN_URL)")
	f.StringVar(&r.token, "token", "", "API token; prefer --token-file or BATTERY_TOKEN, which other users of this machine cannot see")
	f.StringVar(&r.tokenFile, "token-file", os.Getenv("BATTERY_TOKEN_FILE"), "file that holds the API token (or BATTERY_TOKEN_FILE)")
	f.BoolVar(&r.json, "json", false, "print JSON: what the server answers, {} where it answers nothing")
}

func (r *remote) client() (*client.Client, error) {
	token := r.token
	if token == "" && r.tokenFile != "" {
		raw, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("read token: %w", err)}
		}
		token = strings.TrimSpace(string(raw))
	}
	if token == "" {
		token = os.Getenv("BATTERY_TOKEN")
	}
	c, err := client.New(r.url, token)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// fetch asks the API. With --json it prints the answer as it is and returns
// shown; else it decodes it into out, for the verb to print.
func (r *remote) fetch(cmd *cobra.Command, c *client.Client, method, path string, q url.Values, in, out any) (shown bool, err error) {
	if !r.json {
		return false, c.Do(cmd.Context(), method, path, q, in, out)
	}
	var raw any
	if err := c.Do(cmd.Context(), method, path, q, in, &raw); err != nil {
		return false, err
	}
	return true, printJSON(cmd.OutOrStdout(), raw)
}

// failed says what was tried, and what to do where that is known.
func failed(cmd *cobra.Command, err error) error {
	words := append([]string{cmd.CommandPath()}, cmd.Flags().Args()...)
	hint := ""
	var answer *client.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound && cmd.HasParent() {
		if list, _, found := cmd.Parent().Find([]string{"list"}); found == nil && list.Name() == "list" && list != cmd {
			hint = " See '" + list.CommandPath() + "'."
		}
	}
	return fmt.Errorf("%s: %w%s", printable(strings.Join(words, " ")), err, hint)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
