package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

func newApps() *cobra.Command {
	cmd, r := group("apps", "Look at apps, register and change them"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(
		newList(r, "list", "List apps", "apps", []string{"org"},
			[]column{{"ID", "id"}, {"ORGANIZATION", "organization_id"}, {"HOSTS", "hosts"}, {"ALLOWED ROLES", "allowed_roles"}, {"PUBLIC", "public"}}),
		newShow(r, "show APP", "Show an app", "the app's id", under("apps")),
		newAppsCreate(r), newAppsUpdate(r), newAppsApply(r),
		newRemove(r, "delete APP", "Delete an app", "the app's id", "this denies every request to the app's hosts", under("apps")),
	)
	return cmd
}

// appFlags are the parts of an app that flags set; machine access is for
// 'apps apply' or the API.
type appFlags struct {
	org      string
	hosts    []string
	roles    []string
	public   bool
	path     string
	cors     bool
	identity []string
	labels   []string
	maxAge   time.Duration
}

func (a *appFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.org, "org", "", "the id of the organization that owns it")
	f.StringSliceVar(&a.hosts, "host", nil, "a host it is served at; may be given several times")
	f.StringSliceVar(&a.roles, "allowed-role", nil, "a role that may enter; may be given several times; none admits nobody")
	f.BoolVar(&a.public, "public", false, "anybody may enter, signed in or not")
	f.StringVar(&a.path, "path", "strict", "what to do with a path that can be read two ways: strict (refuse) or every-reading")
	f.BoolVar(&a.cors, "cors-preflight", false, "let CORS preflights through without a session")
	f.StringSliceVar(&a.identity, "identity", nil, "what more the app is told: groups, assertion")
	f.StringSliceVar(&a.labels, "label", nil, "NAME=VALUE, for policies")
	f.DurationVar(&a.maxAge, "max-age", 0, "how long ago a login may be; 0: as long as the session lives")
}

func (a *appFlags) given(cmd *cobra.Command) (map[string]any, error) {
	labels, err := pairs("label", a.labels)
	if err != nil {
		return nil, err
	}
	// Cut off, half a second would be 0, which is no limit at all.
	if a.maxAge%time.Second != 0 {
		return nil, usageError{fmt.Errorf("--max-age %s is not a number of whole seconds", a.maxAge)}
	}
	return given(cmd, map[string]flagged{
		"org": {"organization_id", a.org}, "host": {"hosts", a.hosts}, "allowed-role": {"allowed_roles", a.roles},
		"public": {"public", a.public}, "path": {"path", a.path}, "cors-preflight": {"cors_preflight", a.cors},
		"identity": {"identity", a.identity}, "label": {"labels", labels}, "max-age": {"max_age_seconds", int(a.maxAge / time.Second)},
	})
}

func newAppsCreate(r *remote) *cobra.Command {
	var a appFlags
	cmd := &cobra.Command{
		Use: "create APP", Short: "Register an app", Args: oneArg("the app's id, such as crm.acme"),
		Example: "  batterygate apps create crm.acme --org org_… --host crm.acme.example.com --allowed-role editor",
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.org == "" || len(a.hosts) == 0 {
				return usageError{errors.New("--org and --host are needed")}
			}
			body, err := a.given(cmd)
			if err != nil {
				return err
			}
			body["id"] = args[0]
			return r.send(cmd, http.MethodPost, "apps", body)
		},
	}
	a.bind(cmd)
	return cmd
}

func newAppsUpdate(r *remote) *cobra.Command {
	var a appFlags
	cmd := &cobra.Command{
		Use: "update APP", Short: "Change parts of an app; what no flag names stays", Args: oneArg("the app's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := a.given(cmd)
			if err != nil {
				return err
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			after := map[string]any{}
			err = client.Edit(cmd.Context(), c, under("apps")(args[0]), func(app map[string]any) (any, error) {
				delete(app, "configured") // says where it lives; not a part of it
				maps.Copy(app, changes)
				return app, nil
			}, &after)
			if err != nil {
				return failed(cmd, err)
			}
			return r.show(cmd, after)
		},
	}
	a.bind(cmd)
	return cmd
}

func newAppsApply(r *remote) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "apply APP", Short: "Replace an app by the one in a JSON file, or from standard input", Args: oneArg("the app's id"),
		Example: "  batterygate apps show crm.acme --json > crm.json\n  batterygate apps apply crm.acme --file crm.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readInput(cmd, file)
			if err != nil {
				return err
			}
			app := map[string]any{}
			if err := json.Unmarshal(raw, &app); err != nil {
				return usageError{fmt.Errorf("the app is not a JSON object: %w", err)}
			}
			delete(app, "configured")
			return r.send(cmd, http.MethodPut, under("apps")(args[0]), app)
		},
	}
	cmd.Flags().StringVar(&file, "file", "-", "the file; - is standard input")
	return cmd
}

// readInput reads a file, or standard input where it is named "-".
func readInput(cmd *cobra.Command, file string) ([]byte, error) {
	if file == "-" {
		raw, err := io.ReadAll(cmd.InOrStdin())
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return raw, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	return raw, nil
}
