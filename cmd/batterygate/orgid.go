package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/spf13/cobra"

	"battery.app/gate/cmd/batterygate/client"
)

// orgArg says what a verb about one organization takes.
const orgArg = "the organization's id or slug"

// slugLike is what can be a slug. No id of WorkOS's can: it has an underscore.
var slugLike = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// orgID is the id of the organization that is named by its id or its slug. Who may
// not list organizations names it by its id.
func (r *remote) orgID(cmd *cobra.Command, name string) (string, error) {
	if !slugLike.MatchString(name) {
		return name, nil
	}
	c, err := r.client()
	if err != nil {
		return "", err
	}
	all, err := collect(cmd.Context(), c, "organizations", url.Values{}, 0)
	var answer *client.Error
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusForbidden:
		return name, nil
	case err != nil:
		return "", failed(cmd, err)
	}
	for _, key := range []string{"id", "slug"} {
		for _, o := range all {
			if id, ok := o["id"].(string); ok && o[key] == name {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("%s: no organization has the id or slug %q; see 'batterygate orgs list'", cmd.CommandPath(), name)
}

// org is the path of the organization that is named by its id or its slug.
func (r *remote) org(cmd *cobra.Command, name string) (string, error) {
	id, err := r.orgID(cmd, name)
	return under("organizations")(id), err
}
