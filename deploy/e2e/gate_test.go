package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// ready is what `batterygate dev` writes when it is ready.
type ready struct {
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
	Apps           map[string]string `json:"apps"`
}

// gate is one running `batterygate dev`.
type gate struct {
	ready
	dir   string // its --dir
	ports []int  // extra ports at which gateways serve the apps
	flags []string
	proc  *program.Program
}

// startGate runs `batterygate dev` on free ports with its data in dir. The ports
// are not the kernel's choice: those are given to connections, too, and could be
// taken when the gate comes back after a restart.
func startGate(dir string, flags []string, ports ...int) (*gate, error) {
	addrs := map[string]string{}
	for _, l := range []string{"gateway", "public", "authz", "grpc", "admin", "workos"} {
		port, err := program.FreePort()
		if err != nil {
			return nil, err
		}
		addrs[l] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	g := &gate{dir: dir, ports: ports, flags: flags}
	return g, g.start(addrs)
}

func (g *gate) start(addrs map[string]string) error {
	file := filepath.Join(g.dir, "ready.json")
	if err := os.RemoveAll(file); err != nil {
		return fmt.Errorf("remove the old ready file: %w", err)
	}
	args := []string{"dev", "--dir", filepath.Join(g.dir, "data"), "--catch-up=false", "--ready-file", file, "--policy-budget", "10s"}
	args = append(args, g.flags...)
	for l, a := range addrs {
		args = append(args, "--"+l+"-addr", a)
	}
	for _, p := range g.ports {
		args = append(args, "--gateway-port", strconv.Itoa(p))
	}
	var err error
	if g.proc, err = program.Start(nil, filepath.Join(g.dir, fmt.Sprintf("gate-%d.log", time.Now().UnixNano())), shared.binary, args...); err != nil {
		return err
	}
	if err := g.awaitReady(file); err != nil {
		g.proc.Kill()
		return err
	}
	return nil
}

func (g *gate) awaitReady(file string) error {
	err := g.proc.Await("the ready file", func() bool {
		raw, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(raw, &g.ready) == nil // else it is not there, or not whole yet
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	if info.Mode().Perm() != 0o600 {
		return fmt.Errorf("the ready file holds secrets and has mode %v, not 0600", info.Mode().Perm())
	}
	return nil
}

// restart stops the program and starts it again on the same addresses and data.
func (g *gate) restart() error {
	if err := g.proc.Terminate(); err != nil {
		return err
	}
	return g.startAgain()
}

// startAgain starts a stopped gate on the addresses and the data it had.
func (g *gate) startAgain() error {
	addrs := map[string]string{"grpc": g.GRPCAddr}
	for l, base := range map[string]string{
		"gateway": g.GatewayURL, "public": g.PublicURL, "authz": g.AuthzURL, "admin": g.AdminURL, "workos": g.WorkOSURL,
	} {
		u, err := url.Parse(base)
		if err != nil {
			return fmt.Errorf("parse %s URL: %w", l, err)
		}
		addrs[l] = "127.0.0.1:" + u.Port()
	}
	return g.start(addrs)
}

// call asks an API with a bearer token and decodes its JSON answer into out.
func call(t *testing.T, method, url, token string, body, out any) int {
	t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := loopback().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if out != nil {
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %d %s", method, url, resp.StatusCode, raw)
		}
		if err := json.Unmarshal(raw, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, url, err, raw)
		}
	}
	return resp.StatusCode
}

// admin asks the admin API as dev's operator.
func (g *gate) admin(t *testing.T, method, path string, body, out any) int {
	t.Helper()
	return call(t, method, g.AdminURL+"/api/v1/"+path, g.AdminToken, body, out)
}

// organizationID finds an organization by its slug.
func (g *gate) organizationID(t *testing.T, slug string) string {
	t.Helper()
	var page struct {
		Data []struct{ ID, Slug string }
	}
	g.admin(t, http.MethodGet, "organizations", nil, &page)
	for _, o := range page.Data {
		if o.Slug == slug {
			return o.ID
		}
	}
	t.Fatalf("no organization %s in %+v", slug, page.Data)
	return ""
}
