package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"battery.app/gate/authz"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/dev/standin"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/sso/keys"
)

// devHome is the folder of a dev world: its secrets, made once, and whether the
// world was laid. The world is laid only into an empty folder; what changes
// afterwards is kept.
type devHome struct {
	APIKey        string `json:"workos_api_key"`
	ClientID      string `json:"workos_client_id"`
	WebhookSecret string `json:"webhook_secret"`
	AdminToken    string `json:"admin_token"`
	Laid          bool   `json:"laid"`

	dir       string
	temporary bool
}

const devHomeFile = "dev.json"

// openDevHome opens or makes a dev world's folder. A folder that holds
// something else is left alone.
func openDevHome(dir string) (*devHome, error) {
	h := &devHome{dir: dir}
	if dir == "" {
		tmp, err := os.MkdirTemp("", "batterygate-dev-")
		if err != nil {
			return nil, fmt.Errorf("make temporary folder: %w", err)
		}
		h.dir, h.temporary = tmp, true
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make --dir: %w", err)
	}
	raw, err := os.ReadFile(h.path(devHomeFile))
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, h); err != nil {
			return nil, fmt.Errorf("read %s: %w", h.path(devHomeFile), err)
		}
		return h, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read --dir: %w", err)
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fmt.Errorf("read --dir: %w", err)
	}
	if len(entries) > 0 {
		return nil, usageError{fmt.Errorf("--dir %s holds something else than a dev world; name an empty folder", h.dir)}
	}
	h.APIKey, h.ClientID, h.WebhookSecret = "sk_test_"+random(), "client_"+random(), "whsec_"+random()
	if _, err := keys.GenerateRootKey(h.path("keys")); err != nil {
		return nil, err
	}
	return h, h.save()
}

func random() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // crypto/rand.Read never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func (h *devHome) path(name string) string { return filepath.Join(h.dir, name) }

func (h *devHome) save() error {
	raw, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return fmt.Errorf("encode dev world: %w", err)
	}
	return writePrivate(h.path(devHomeFile), raw)
}

// writePrivate replaces a file in one step, readable by its owner alone.
func writePrivate(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func (h *devHome) close() {
	if h.temporary {
		_ = os.RemoveAll(h.dir)
	}
}

// config is the configuration that an operator of this world would have
// written, checked as his would be.
func (h *devHome) config(f devFlags, l gate.Listeners, gatewayAddr net.Addr, workosURL string) (*config.Config, error) {
	secrets := map[string]string{"api-key": h.APIKey, "webhook-secret": h.WebhookSecret}
	for name, secret := range secrets {
		if err := writePrivate(h.path(name), []byte(secret)); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(gatewayAddr.String())
	if err != nil {
		return nil, fmt.Errorf("read the gateway's port: %w", err)
	}
	c := config.Default()
	c.PublicURL = "http://" + l.Public.Addr().String()
	c.Domain = devDomain
	c.Listen = config.Listen{Public: l.Public.Addr().String(), Authz: l.Authz.Addr().String(), GRPC: l.GRPC.Addr().String(), Admin: l.Admin.Addr().String()}
	c.Gateway.Trusted = []string{"127.0.0.0/8", "::1/128"}
	c.Gateway.Ports = append([]string{port}, f.ports...)
	c.WorkOS = config.WorkOS{APIKeyFile: h.path("api-key"), ClientID: h.ClientID, WebhookSecretsFiles: []string{h.path("webhook-secret")}, Endpoint: workosURL}
	if u, err := url.Parse(workosURL); err == nil {
		c.WorkOS.PortalHosts = []string{u.Host}
	}
	c.ITAdmins = config.ITAdmins{Roles: []string{"admin"}, GrantableRoles: []string{"editor", "member"}}
	c.Sync.CatchUp = f.catchUp
	c.Policy.Source = f.policy
	c.Policy.Budget = f.policyBudget
	c.Limits = config.Limits{} // everybody here has one address
	c.Session.KeysDir = h.path("keys")
	c.Store = "bolt:" + h.path("battery.db")
	c.Decisions = "sqlite:" + h.path("decisions.db")
	c.Log.Level = f.logLevel
	if faults := c.Validate(); len(faults) > 0 {
		return nil, faults
	}
	return &c, nil
}

// devApps are the demo's apps.
func devApps() []authz.App {
	slugs := map[string]string{}
	for _, o := range standin.DefaultWorld().Organizations {
		slugs[o.Slug] = o.ID
	}
	app := func(name, slug string, public bool, identity []string, roles ...string) authz.App {
		return authz.App{
			ID: name + "." + slug, OrganizationID: slugs[slug], Hosts: []string{name + "." + slug + "." + devDomain},
			AllowedRoles: roles, Public: public, Identity: identity, Labels: map[string]string{"demo": "true"},
		}
	}
	all := []string{"groups", "assertion"}
	return []authz.App{
		app("crm", "acme", false, all, "admin", "editor"),
		app("wiki", "acme", false, all, "member", "editor", "admin"),
		app("status", "acme", true, nil),
		app("desk", "globex", false, nil, "member"),
	}
}

// devRoles are the demo's role mappings, by group name.
func devRoles() map[string]string {
	return map[string]string{"Engineering": "editor", "Admins": "admin", "Everyone": "member", "Staff": "member"}
}
