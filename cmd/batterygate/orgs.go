package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func newOrgs() *cobra.Command {
	cmd, r := group("orgs", "Look at organizations, make and change them"), &remote{}
	r.bind(cmd)
	cmd.AddCommand(
		newList(r, "list", "List organizations", "organizations", nil,
			[]column{{"ID", "id"}, {"SLUG", "slug"}, {"NAME", "name"}, {"DOMAINS", "domains"}}),
		newShow(r, "show ORG", "Show an organization", orgArg, r.org),
		newOrgsCreate(r), newOrgsUpdate(r),
		newRemove(r, "delete ORG", "Delete an organization, at WorkOS too", orgArg,
			"this ends every session of the organization's people and denies its apps, for good", r.org),
		newOrgsPart(r, "domains", "List an organization's e-mail domains and how far they are verified", "domains",
			[]column{{"ID", "id"}, {"DOMAIN", "domain"}, {"STATE", "state"}}),
		newOrgsPart(r, "connections", "List an organization's SSO connections", "connections",
			[]column{{"ID", "id"}, {"NAME", "name"}, {"TYPE", "type"}, {"STATE", "state"}}),
		newOrgsPart(r, "directories", "List an organization's directories", "directories",
			[]column{{"ID", "id"}, {"NAME", "name"}, {"TYPE", "type"}, {"STATE", "state"}}),
		newOrgsPortalLink(r), newOrgsPair(r), newOrgsLink(r),
	)
	return cmd
}

// newOrgsPart is a verb that lists something of one organization.
func newOrgsPart(r *remote, name, short, part string, columns []column) *cobra.Command {
	return &cobra.Command{
		Use: name + " ORG", Short: short, Args: oneArg(orgArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := r.org(cmd, args[0])
			if err != nil {
				return err
			}
			return r.list(cmd, at+"/"+part, url.Values{}, columns, 0)
		},
	}
}

func newOrgsCreate(r *remote) *cobra.Command {
	var in struct {
		Name    string   `json:"name"`
		Slug    string   `json:"slug"`
		Domains []string `json:"domains,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "create", Short: "Make an organization, at WorkOS and here", Args: noArgs,
		Example: "  batterygate orgs create --name 'Acme Inc.' --slug acme --domain acme.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.Name == "" || in.Slug == "" {
				return usageError{errors.New("--name and --slug are needed; a slug is never used again for another organization")}
			}
			return r.send(cmd, http.MethodPost, "organizations", in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "the organization's name")
	f.StringVar(&in.Slug, "slug", "", "its part of its apps' hosts: {app}.{slug}.{domain}")
	f.StringSliceVar(&in.Domains, "domain", nil, "an e-mail domain; may be given several times")
	return cmd
}

func newOrgsUpdate(r *remote) *cobra.Command {
	var name, slug string
	var domains []string
	cmd := &cobra.Command{
		Use: "update ORG", Short: "Change an organization's name, slug or domains", Args: oneArg(orgArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := given(cmd, map[string]flagged{"name": {"name", name}, "slug": {"slug", slug}, "domain": {"domains", domains}})
			if err != nil {
				return err
			}
			at, err := r.org(cmd, args[0])
			if err != nil {
				return err
			}
			return r.send(cmd, http.MethodPatch, at, in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "its new name")
	f.StringVar(&slug, "slug", "", "its new slug; the old one stays its own and is never another's")
	f.StringSliceVar(&domains, "domain", nil, "its e-mail domains, in place of those it has")
	return cmd
}

func newOrgsPortalLink(r *remote) *cobra.Command {
	var in struct {
		Intent     string `json:"intent"`
		ReturnURL  string `json:"return_url,omitempty"`
		SuccessURL string `json:"success_url,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "portal-link ORG", Short: "Make an Admin Portal link for a customer's IT admin", Args: oneArg(orgArg),
		Long: "Makes a link with which a customer's IT admin sets up SSO or directory sync at WorkOS. It lives five\n" +
			"minutes, works for whoever holds it and cannot be taken back: hand it to that person alone, at once.",
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := r.org(cmd, args[0])
			if err != nil {
				return err
			}
			return r.send(cmd, http.MethodPost, at+"/portal-links", in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Intent, "intent", "sso", "sso, dsync, domain_verification, audit_logs, log_streams or certificate_renewal")
	f.StringVar(&in.ReturnURL, "return-url", "", "where the portal leads back to: the public URL or an app of the organization")
	f.StringVar(&in.SuccessURL, "success-url", "", "where it leads when the set-up is done")
	return cmd
}

func newOrgsPair(r *remote) *cobra.Command {
	var list []string
	var none bool
	cmd := &cobra.Command{
		Use: "pair ORG", Short: "Say which connection's people are in which directory", Args: oneArg(orgArg),
		Long: "People of a connection are looked for in its directory alone. With one of each this is known; with several\n" +
			"it must be said, or nobody is found. The pairs replace those that were; --none goes back to the automatic rule.",
		Example: "  batterygate orgs pair org_… --pair conn_…=directory_… --pair conn_…=directory_…",
		RunE: func(cmd *cobra.Command, args []string) error {
			said, err := pairs("pair", list)
			if err != nil {
				return err
			}
			if none != (len(said) == 0) {
				return usageError{errors.New("give --pair CONNECTION=DIRECTORY, or --none")}
			}
			body := []map[string]string{}
			for connection, directory := range said {
				body = append(body, map[string]string{"connection_id": connection, "directory_id": directory})
			}
			at, err := r.org(cmd, args[0])
			if err != nil {
				return err
			}
			return r.act(cmd, http.MethodPut, at+"/pairings", map[string]any{"pairings": body}, "Paired.")
		},
	}
	cmd.Flags().StringSliceVar(&list, "pair", nil, "CONNECTION=DIRECTORY; may be given several times")
	cmd.Flags().BoolVar(&none, "none", false, "no pairs: the automatic rule")
	return cmd
}

func newOrgsLink(r *remote) *cobra.Command {
	var profile, user string
	cmd := &cobra.Command{
		Use: "link ORG", Short: "Link a person's profile to a directory user, in place of the link there is", Args: oneArg(orgArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			if profile == "" || user == "" {
				return usageError{errors.New("--profile and --user are needed: a profile's id and a directory user's id")}
			}
			at, err := r.org(cmd, args[0])
			if err != nil {
				return err
			}
			return r.act(cmd, http.MethodPost, at+"/links",
				map[string]string{"profile_id": profile, "directory_user_id": user}, "Linked.")
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "the profile's id, as 'sessions list' shows it")
	cmd.Flags().StringVar(&user, "user", "", "the directory user's id")
	return cmd
}
