package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
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
		newShow(r, "show APP", "Show an app", "the app's id", byID("apps")),
		newAppsCreate(r), newAppsUpdate(r), newAppsApply(r),
		newRemove(r, "delete APP", "Delete an app", "the app's id", "this denies every request to the app's hosts", byID("apps")),
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
	f.StringVar(&a.org, "org", "", "the organization that owns it, by its id or slug")
	f.StringSliceVar(&a.hosts, "host", nil, "a host it is served at; may be given several times")
	f.StringSliceVar(&a.roles, "allowed-role", nil, "a role that may enter; may be given several times; none admits nobody")
	f.BoolVar(&a.public, "public", false, "anybody may enter, signed in or not")
	f.StringVar(&a.path, "path", "strict", "what to do with a path that can be read two ways: strict (refuse) or every-reading")
	f.BoolVar(&a.cors, "cors-preflight", false, "let CORS preflights through without a session")
	f.StringSliceVar(&a.identity, "identity", nil, "what more the app is told: groups, assertion")
	f.StringSliceVar(&a.labels, "label", nil, "NAME=VALUE, for policies")
	f.DurationVar(&a.maxAge, "max-age", 0, "how long ago a login may be; 0: as long as the session lives")
}

func (a *appFlags) given(cmd *cobra.Command, r *remote) (map[string]any, error) {
	org, err := r.orgID(cmd, a.org)
	if err != nil {
		return nil, err
	}
	labels, err := pairs("label", a.labels)
	if err != nil {
		return nil, err
	}
	// Cut off, half a second would be 0, which is no limit at all.
	if a.maxAge%time.Second != 0 {
		return nil, usageError{fmt.Errorf("--max-age %s is not a number of whole seconds", a.maxAge)}
	}
	return given(cmd, map[string]flagged{
		"org": {"organization_id", org}, "host": {"hosts", a.hosts}, "allowed-role": {"allowed_roles", a.roles},
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
			body, err := a.given(cmd, r)
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
			changes, err := a.given(cmd, r)
			if err != nil {
				return err
			}
			return r.editApp(cmd, args[0], func(now map[string]any) (any, error) {
				maps.Copy(now, changes)
				return now, nil
			})
		},
	}
	a.bind(cmd)
	return cmd
}

func newAppsApply(r *remote) *cobra.Command {
	var file, was string
	cmd := &cobra.Command{
		Use: "apply APP", Short: "Replace an app by the one in a JSON file, or from standard input", Args: oneArg("the app's id"),
		Long: "Replaces an app, whole, by the one in a JSON file. Where the file is an edited copy of what 'apps show' printed,\n" +
			"name the unedited copy with --was: if somebody changed the app since, nothing is done, and a role that was\n" +
			"taken away meanwhile does not come back.",
		Example: "  batterygate apps show crm.acme --json > was.json\n  cp was.json crm.json   # and edit it\n" +
			"  batterygate apps apply crm.acme --file crm.json --was was.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			app, err := readApp(cmd, file)
			if err != nil {
				return err
			}
			if was == "" {
				return r.send(cmd, http.MethodPut, under("apps")(args[0]), app)
			}
			old, err := readApp(cmd, was)
			if err != nil {
				return err
			}
			return r.editApp(cmd, args[0], func(now map[string]any) (any, error) {
				if !reflect.DeepEqual(now, old) {
					return nil, fmt.Errorf("%s is not as %s has it any more; show it again and make the change to that", args[0], was)
				}
				return app, nil
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "-", "the file; - is standard input")
	cmd.Flags().StringVar(&was, "was", "", "do it only if the app still is as in this file, which 'apps show --json' printed")
	return cmd
}

// editApp changes an app as it is when it is written, and prints it.
func (r *remote) editApp(cmd *cobra.Command, id string, change func(now map[string]any) (any, error)) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	after := map[string]any{}
	err = client.Edit(cmd.Context(), c, under("apps")(id), func(now map[string]any) (any, error) {
		delete(now, "configured") // says where it lives; not a part of it
		return change(now)
	}, &after)
	if err != nil {
		return failed(cmd, err)
	}
	return r.show(cmd, after)
}

// readApp reads an app from a file, with its numbers as they stand there.
func readApp(cmd *cobra.Command, file string) (map[string]any, error) {
	raw, err := readInput(cmd, file)
	if err != nil {
		return nil, err
	}
	app := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&app); err != nil {
		return nil, usageError{fmt.Errorf("%s holds no JSON object of an app: %w", file, err)}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, usageError{fmt.Errorf("%s holds more than the JSON object of one app", file)}
	}
	delete(app, "configured")
	return app, nil
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
