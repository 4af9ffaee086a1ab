package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/config"
)

// valid writes a configuration that starts, with its secrets, and returns its
// path and text.
func valid(t *testing.T) (path, text string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	text = `
public_url: https://auth.battery.app
domain: battery.app
gateway: {trusted: ["10.0.0.0/8"]}
workos:
  api_key_file: ` + write("api-key", "sk_test_0123456789abcdef\n") + `
  client_id: client_01
  webhook_secrets_files: [` + write("hook", "whsec_0123456789abcdef") + `]
session: {absolute: 12h, keys_dir: ` + filepath.Join(dir, "keys") + `}
apps:
  - {id: crm.acme, organization_id: org_1, hosts: [crm.acme.battery.app], allowed_roles: [admin, editor], identity: [groups]}
`
	return write("batterygate.yaml", text), text
}

func TestAValidFileLoads(t *testing.T) {
	path, _ := valid(t)
	c, err := config.Load(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Session.Absolute != 12*time.Hour || c.Session.Idle != 8*time.Hour {
		t.Errorf("session limits = %v, %v; want 12h from the file, 8h by default", c.Session.Absolute, c.Session.Idle)
	}
	if c.APIKey() != "sk_test_0123456789abcdef" {
		t.Error("the API key is not what its file holds without white space")
	}
	if len(c.Trusted()) != 1 || c.Trusted()[0].String() != "10.0.0.0/8" {
		t.Errorf("trusted = %v", c.Trusted())
	}
	if apps := c.Registered(); len(apps) != 1 || apps[0].OrganizationID != "org_1" || !apps[0].WantsGroups() {
		t.Errorf("apps = %+v", apps)
	}
}

// Files from before organization_id was its name say organization.
func TestAnAppNamesItsOwnerByEitherSpellingButNotTwo(t *testing.T) {
	path, text := valid(t)
	load := func(owner string) (*config.Config, error) {
		if err := os.WriteFile(path, []byte(strings.Replace(text, "organization_id: org_1", owner, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(path, nil, nil)
	}
	for _, owner := range []string{"organization: org_1", "organization_id: org_1", "organization_id: org_1, organization: org_1"} {
		if c, err := load(owner); err != nil || c.Registered()[0].OrganizationID != "org_1" {
			t.Errorf("%s: %v", owner, err)
		}
	}
	if _, err := load("organization_id: org_1, organization: org_2"); err == nil || !strings.Contains(err.Error(), "app crm.acme has two owners") {
		t.Errorf("two owners: %v", err)
	}
}

// A fault names the file, and the key as the file has it.
func TestFaultsSayWhereInWords(t *testing.T) {
	path, text := valid(t)
	text = "listn: {public: x}\nlisten: {bogus: 1, other: 2}\npolicy: {budget: soon, headers: {a: b}}\n" + strings.Replace(text, "id: crm.acme,", "id: crm.acme, colour: red,", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, nil, nil)
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{path + ": configuration has", "- unknown key listn\n", "- unknown key listen.bogus\n", "- unknown key listen.other\n", "- unknown key apps[0].colour\n", "- policy.budget is not a duration such as 30m or 24h"} {
		if !strings.Contains(err.Error()+"\n", want) {
			t.Errorf("the message does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "config.Config") {
		t.Errorf("the message names a Go type:\n%v", err)
	}
}

func TestEnvironmentWinsOverFileAndFlagsOverBoth(t *testing.T) {
	path, _ := valid(t)
	env := []string{"BATTERY_LISTEN_PUBLIC=:9000", "BATTERY_SESSION_IDLE=1h", "BATTERY_GATEWAY_TRUSTED=10.1.0.0/16,10.2.0.0/16", "BATTERY_TOKEN=x"}
	c, err := config.Load(path, env, []string{"listen.public=:9999"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.Public != ":9999" || c.Session.Idle != time.Hour || len(c.Trusted()) != 2 {
		t.Errorf("public %q, idle %v, trusted %v", c.Listen.Public, c.Session.Idle, c.Trusted())
	}
}

func TestEveryFaultIsToldInOneMessage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	text := `
public_url: http://auth.battery.app
unknwon: 1
listen: {publik: ":1", admin: nowhere}
gateway: {trusted: []}
workos: {api_key_file: /nonexistent, endpoint: "http://api.workos.com"}
session: {absolute: 1h, idle: 2h}
store: mysql:x
policy: {source: "dir:/nonexistent"}
apps:
  - {id: a.x, organization: o, hosts: [a.x.battery.app]}
  - {id: b.x, hosts: [a.x.battery.app]}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, []string{"BATTERY_NONSENSE=1"}, []string{"no.such=1"})
	faults, ok := config.AsFaults(err)
	if !ok {
		t.Fatalf("err = %v, want Faults", err)
	}
	for _, want := range []string{
		"unknwon", "publik", "BATTERY_NONSENSE", "no.such", "plain http outside loopback", "listen.admin",
		"gateway.trusted is empty", "workos.client_id", "api_key_file", "webhook_secrets_files", "workos.endpoint",
		"session.keys_dir", "longer than session.absolute", "mysql:x", "policy.source", "b.x has no owner", "owned twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not tell of %q:\n%v", want, err)
		}
	}
	if len(faults) < 15 {
		t.Errorf("only %d faults listed", len(faults))
	}
}

func TestDangerousSettingsAreRefused(t *testing.T) {
	for name, edit := range map[string][2]string{
		"a trusted network that is everybody": {`["10.0.0.0/8"]`, `["0.0.0.0/0"]`},
		"every IPv6 address trusted":          {`["10.0.0.0/8"]`, `["::/0"]`},
		"public URL with a path":              {"https://auth.battery.app", "https://auth.battery.app/x"},
		"public URL with user info":           {"https://auth.battery.app", "https://a@auth.battery.app"},
		"an app on the public host":           {"crm.acme.battery.app]", "auth.battery.app]"},
		"an identity prefix with a line end":  {"domain: battery.app", "domain: battery.app\nidentity: {header_prefix: \"X-A\\r\\n-\"}"},
		"mTLS without a certificate of ours":  {`{trusted:`, `{client_ca: x, trusted:`},
		"a certificate without its key":       {`{trusted:`, `{tls_cert_file: x, trusted:`},
	} {
		t.Run(name, func(t *testing.T) {
			path, text := valid(t)
			edited := strings.Replace(text, edit[0], edit[1], 1)
			if edited == text {
				t.Fatal("the edit changed nothing")
			}
			if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(path, nil, nil); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func TestSecretsAreNotInFaults(t *testing.T) {
	path, text := valid(t)
	edited := text + "\ndecisions: \"mysql://user:hunter2@db/x\"\n"
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, nil, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("err = %v", err)
	}
}

func FuzzLoadNeverPanicsAndNeverTrustsNobody(f *testing.F) {
	f.Add("public_url: https://a.b\n")
	f.Add("apps: [{id: 1}]\nlisten: []\n")
	f.Add("{")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil, nil)
		if err == nil && len(c.Trusted()) == 0 {
			t.Error("accepted a configuration without trusted gateways")
		}
	})
}
