package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/cmd/batterygate/gateways"
)

// shipped is where deploy/ holds the example configuration of each gateway, and
// with which flags it was written beside those of every one.
var shipped = map[string]struct {
	gateway string
	flags   []string
}{
	"traefik":     {"traefik", []string{"--dir", "/etc/traefik"}},
	"envoy":       {"envoy", []string{"--dir", "/etc/envoy"}},
	"envoy/http":  {"envoy", []string{"--dir", "/etc/envoy", "--door", "http"}},
	"nginx":       {"nginx", []string{"--dir", "/etc/nginx/battery"}},
	"caddy":       {"caddy", []string{"--dir", "/etc/caddy"}},
	"haproxy":     {"haproxy", []string{"--dir", "/etc/haproxy"}},
	"gateway-api": {"gateway-api", []string{"--dir", "/etc/battery"}},
}

// gen runs the verb and returns what it printed.
func gen(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"gateway", "gen"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

const exampleSetup = "../../deploy/gateways.yaml"

// --json holds the same files, for scripts that lay them themselves.
func TestGenPrintsJSON(t *testing.T) {
	out, stderr, err := gen(t, "traefik", "--config", exampleSetup, "--json")
	var got struct {
		Files []struct{ Name, Content string }
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || len(got.Files) < 2 {
		t.Fatalf("%v %s\n%s", err, stderr, out)
	}
	plain, _, err := gen(t, "traefik", "--config", exampleSetup)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Files {
		if f.Name == "" || f.Content == "" || !strings.Contains(plain, f.Content) {
			t.Errorf("file %q is not what is printed without --json", f.Name)
		}
	}
}

// What lies in deploy/ is what the program prints for the example; UPDATE=1
// writes it.
func TestDeployHoldsWhatGenPrints(t *testing.T) {
	for place, s := range shipped {
		dir := t.TempDir()
		args := append([]string{s.gateway, "--config", exampleSetup, "--gate", "batterygate", "--out", dir,
			"--tls-cert", "/etc/ssl/apps.pem", "--tls-key", "/etc/ssl/apps.pem.key"}, s.flags...)
		if _, stderr, err := gen(t, args...); err != nil || !strings.Contains(stderr, "--upstream crm.acme=") {
			t.Fatalf("%s: %v\n%s", place, err, stderr)
		}
		made, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(made) == 0 {
			t.Fatalf("%s: %d files, %v", place, len(made), err)
		}
		there := filepath.Join("../../deploy", place)
		for _, path := range made {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(there, filepath.Base(path))
			if os.Getenv("UPDATE") != "" {
				if err := os.MkdirAll(there, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not what is generated (%v); UPDATE=1 writes it", to, err)
			}
		}
	}
	if len(shipped) < len(gateways.Names()) {
		t.Errorf("deploy/ has no example of one of %v", gateways.Names())
	}
}

// The secret itself is nowhere: the server's file may hold it, and is not read.
func TestGenNamesTheSecretsFileOnly(t *testing.T) {
	dir := t.TempDir()
	secret, setup := filepath.Join(dir, "secret"), filepath.Join(dir, "setup.yaml")
	text := "gateway: {shared_secret_file: " + secret + "}\napps: [{id: crm.acme, organization: o, hosts: [crm.example.com]}]\n"
	for path, content := range map[string]string{secret: "hush-hush-hush-hush", setup: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range gateways.Names() {
		if name == "gateway-api" {
			continue // has no place for one
		}
		out, _, err := gen(t, name, "--config", setup)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.Contains(out, "hush") || !strings.Contains(out, secret) {
			t.Errorf("%s: prints the secret, or does not name its file", name)
		}
	}
}

// What the doors speak is in the server's own file: with TLS there, gen asks over
// TLS or says what it lacks, and never writes a gateway that is denied everything.
func TestGenTakesTheDoorsTLSFromTheServersFile(t *testing.T) {
	t.Setenv("BATTERY_ADMIN_URL", "")
	write := func(gateway string) string {
		path := filepath.Join(t.TempDir(), "setup.yaml")
		text := "gateway: {" + gateway + "}\napps: [{id: crm.acme, organization: o, hosts: [crm.example.com]}]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tls := write("tls_cert_file: /srv/door.pem, tls_key_file: /srv/door.key")
	mutual := write("tls_cert_file: /srv/door.pem, tls_key_file: /srv/door.key, client_ca: /srv/ca.pem")
	clear := write("trusted: []")
	ca, name := []string{"--door-ca", "/pki/ca.pem"}, []string{"--gate", "gate.internal"}
	cert := []string{"--door-cert", "/pki/gw.pem", "--door-key", "/pki/gw.pem.key"}
	for _, gw := range []string{"caddy", "envoy", "haproxy", "nginx", "traefik"} {
		for _, row := range []struct {
			setup string
			flags []string
			says  string // the error; empty: it is written
		}{
			{tls, nil, "--door-ca"},
			{tls, ca, "--door-name"}, // the default of --gate is an address
			{tls, slices.Concat(ca, name), ""},
			{mutual, slices.Concat(ca, name), "--door-cert and --door-key"},
			{mutual, slices.Concat(ca, name, cert[:2]), "go together"},
			{mutual, slices.Concat(ca, name, cert), ""},
			{clear, slices.Concat(ca, name, cert), ""}, // the server's environment may say more than its file
			{clear, cert, "--door-ca"},
		} {
			out, _, err := gen(t, slices.Concat([]string{gw, "--config", row.setup}, row.flags)...)
			switch {
			case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says) || out != ""):
				t.Errorf("%s %v: error %v, %d bytes; want an error with %q and nothing else", gw, row.flags, err, len(out), row.says)
			case row.says == "" && (err != nil || !strings.Contains(out, "/pki/ca.pem") || !strings.Contains(out, "gate.internal")):
				t.Errorf("%s %v: error %v, or the doors' authority or name is not written", gw, row.flags, err)
			}
		}
	}
	if out, _, err := gen(t, "gateway-api", "--config", mutual, "--gate", "gate", "--upstream", "crm.acme=crm:80"); err != nil ||
		!strings.Contains(out, "kind: BackendTLSPolicy") || !strings.Contains(out, "clientCertificateRef") {
		t.Errorf("gateway-api: %v, or no policy for the doors", err)
	}
}

func TestGenSaysWhatItLacks(t *testing.T) {
	t.Setenv("BATTERY_CONFIG", "")
	t.Setenv("BATTERY_ADMIN_URL", "")
	hostile := filepath.Join(t.TempDir(), "hostile.yaml")
	if err := os.WriteFile(hostile, []byte("apps: [{id: crm.acme, organization: o, hosts: [\"a; return 200; #\"]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"name one gateway":      {"apache"},
		"--config":              {"nginx"},
		"no such app":           {"nginx", "--config", exampleSetup, "--upstream", "other.acme=h:1"},
		"is no lower-case host": {"nginx", "--config", hostile},
		"read configuration":    {"nginx", "--config", "/nonexistent"},
		"port between":          {"nginx", "--config", exampleSetup, "--listen", ":0"},
		"go together":           {"nginx", "--config", exampleSetup, "--tls-cert", "/a"},
		"neither grpc nor http": {"envoy", "--config", exampleSetup, "--door", "both"},
		"is no Service":         {"gateway-api", "--config", exampleSetup},
		"without port":          {"nginx", "--config", exampleSetup, "--gate", "10.0.0.5:8081"},
		"and brackets":          {"nginx", "--config", exampleSetup, "--gate", "[::1]"},
	} {
		out, _, err := gen(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "template") || out != "" {
			t.Errorf("%v: error %v, %d bytes printed; want an error with %q and nothing else", args, err, len(out), want)
		}
	}
}

// The registry takes hosts with a port and in capitals; gateways route by the name.
func TestGenRoutesByTheNameOfAHost(t *testing.T) {
	t.Setenv("BATTERY_ADMIN_URL", "")
	setup := filepath.Join(t.TempDir(), "setup.yaml")
	text := "apps: [{id: crm.acme, organization: o, hosts: [\"CRM.example.com:8443\", crm.example.com, \"crm.example.com:9443\"]}]\n"
	if err := os.WriteFile(setup, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range gateways.Names() {
		out, _, err := gen(t, name, "--config", setup, "--gate", "gate", "--upstream", "crm.acme=crm:80")
		if err != nil || !strings.Contains(out, "crm.example.com") || strings.Contains(out, "8443") || strings.Contains(out, "CRM") {
			t.Errorf("%s: %v, or the host is not written by its name alone", name, err)
		}
	}
}

// A header that the file and the command line both name is written once.
func TestGenWritesAPolicysHeaderOnce(t *testing.T) {
	for _, name := range gateways.Names() {
		args := []string{name, "--config", exampleSetup, "--gate", "gate", "--upstream", "crm.acme=crm:80,wiki.acme=wiki:80"}
		once, _, err := gen(t, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if twice, _, err := gen(t, append(args, "--policy-header", "x-plan")...); err != nil || twice != once {
			t.Errorf("%s: %v, or X-Plan is written twice", name, err)
		}
	}
}
