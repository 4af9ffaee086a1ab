package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"battery.app/gate/authz/apps"
	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/sync/directory"
)

// lay tells the gate the stand-in's world the way a real one would come to
// know it: an operator names the organizations and their slugs, signed webhooks
// bring connections, directories, users and groups, the operator maps groups to
// roles and registers apps. Every step may be done again, so a start that was
// cut short is made good by the next one.
func (w *world) lay(ctx context.Context) error {
	if w.home.Laid {
		return w.ensureToken(ctx)
	}
	demo := standin.DefaultWorld()
	for _, o := range demo.Organizations {
		domains := []string{}
		for _, d := range o.Domains {
			domains = append(domains, d.Domain)
		}
		if _, err := w.gate.Directory.PutOrganization(ctx, directory.Organization{ID: o.ID, Slug: o.Slug, Name: o.Name, Domains: domains}); err != nil {
			return err
		}
	}
	if err := w.workos.Deliver(ctx, demo.Events()...); err != nil {
		return fmt.Errorf("deliver webhooks: %w", err)
	}
	for _, o := range demo.Organizations {
		var m []directory.Mapping
		for _, g := range demo.Groups {
			if g.OrganizationID == o.ID {
				m = append(m, directory.Mapping{GroupID: g.ID, Roles: []string{devRoles()[g.Name]}})
			}
		}
		if _, _, err := w.gate.Directory.PutMappings(ctx, o.ID, m, "dev"); err != nil {
			return err
		}
	}
	for _, app := range devApps() {
		_, revision, err := w.gate.Apps.Create(ctx, app)
		if err != nil && !errors.Is(err, apps.ErrExists) {
			return fmt.Errorf("create app %s: %w", app.ID, err)
		}
		if err := w.gate.Published(ctx, revision); err != nil {
			return err
		}
	}
	w.home.Laid = true
	return w.ensureToken(ctx)
}

// ensureToken keeps one operator's token for the whole life of the world.
func (w *world) ensureToken(ctx context.Context) error {
	if _, err := w.gate.Tokens.Find(ctx, w.home.AdminToken); err == nil {
		return w.home.save()
	}
	_, secret, err := w.gate.Tokens.Create(ctx, "dev", []string{"operator"}, 0)
	if err != nil {
		return err
	}
	w.home.AdminToken = secret
	return w.home.save()
}

// readyFile is what scripts read.
type readyFile struct {
	GatewayURL     string            `json:"gateway_url"`
	PublicURL      string            `json:"public_url"`
	AuthzURL       string            `json:"authz_url"`
	GRPCAddr       string            `json:"grpc_addr"`
	AdminURL       string            `json:"admin_url"`
	AdminToken     string            `json:"admin_token"`
	WorkOSURL      string            `json:"workos_url"`
	WorkOSAPIKey   string            `json:"workos_api_key"`
	WorkOSClientID string            `json:"workos_client_id"`
	WebhookSecret  string            `json:"webhook_secret"`
	Domain         string            `json:"domain"`
	Apps           map[string]string `json:"apps"` // where the apps themselves listen, for gateways of one's own
}

// notReady takes the ready file of an earlier run away: who waits for it must not
// find addresses where nothing answers. The sockets are bound by then, so it is
// no other running dev's.
func (w *world) notReady(context.Context) error {
	if w.flags.ready == "" {
		return nil
	}
	if err := os.Remove(w.flags.ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the ready file of an earlier run: %w", err)
	}
	return nil
}

func (w *world) ready(_ context.Context, out io.Writer) error {
	url := func(addr interface{ String() string }) string { return "http://" + addr.String() }
	r := readyFile{
		GatewayURL: url(w.gatewayOn.Addr()), PublicURL: url(w.listeners.Public.Addr()), AuthzURL: url(w.listeners.Authz.Addr()),
		GRPCAddr: w.listeners.GRPC.Addr().String(), AdminURL: url(w.listeners.Admin.Addr()), AdminToken: w.home.AdminToken,
		WorkOSURL: url(w.workosOn.Addr()), WorkOSAPIKey: w.home.APIKey, WorkOSClientID: w.home.ClientID, WebhookSecret: w.home.WebhookSecret,
		Domain: devDomain, Apps: w.upstreams,
	}
	if w.flags.ready != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("encode ready file: %w", err)
		}
		raw = append(raw, '\n')
		if err := writePrivate(w.flags.ready, raw); err != nil {
			return err
		}
		w.onClose(func() { // unless it is the next run's by now
			if now, err := os.ReadFile(w.flags.ready); err == nil && bytes.Equal(now, raw) {
				_ = os.Remove(w.flags.ready)
			}
		})
	}
	w.greet(out, r)
	return nil
}

func (w *world) greet(out io.Writer, r readyFile) {
	_, _ = fmt.Fprintf(out, "Battery Gate is up. Open one of these in a browser:\n\n")
	for _, app := range devApps() {
		admits := "everybody"
		if !app.Public {
			admits = fmt.Sprint(app.AllowedRoles)
		}
		_, _ = fmt.Fprintf(out, "  http://%s:%s   admits %s\n", app.Hosts[0], w.cfg.Gateway.Ports[0], admits)
	}
	_, _ = fmt.Fprintf(out, "\nSign in as ada@acme.test (editor), bob@acme.test (member), root@acme.test (admin), eve@acme.test (inactive), gil@globex.test.\n\n"+
		"  console    %s/   (sign in with the token in %s)\n  admin API  %s/api/v1   (the same token)\n"+
		"  IT admins  %s/orgs/acme/settings   (as root@acme.test)\n  WorkOS     %s   (stand-in)\n  data       %s\n\nStop with Ctrl-C.\n",
		r.AdminURL, w.home.path(devHomeFile), r.AdminURL, r.PublicURL, r.WorkOSURL, w.home.dir)
}
