package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// ready is what `batterygate dev` writes when it is ready.
type ready struct {
	GatewayURL    string `json:"gateway_url"`
	PublicURL     string `json:"public_url"`
	AdminURL      string `json:"admin_url"`
	AdminToken    string `json:"admin_token"`
	WorkOSURL     string `json:"workos_url"`
	WorkOSAPIKey  string `json:"workos_api_key"`
	WebhookSecret string `json:"webhook_secret"`
	Domain        string `json:"domain"`
}

// gate is one `batterygate dev`, started, killed and started again on the same
// data. Every start takes free ports.
type gate struct {
	ready
	binary string
	home   string // holds data, ready file and log
	flags  []string
	proc   *program.Program
}

// newGate makes a gate with its own data; the test's end kills it. It is not
// started.
func newGate(t *testing.T, binary string, flags ...string) *gate {
	t.Helper()
	g := &gate{binary: binary, home: t.TempDir(), flags: flags}
	t.Cleanup(g.kill)
	return g
}

func (g *gate) data() string      { return filepath.Join(g.home, "data") }
func (g *gate) readyFile() string { return filepath.Join(g.home, "ready.json") }

// launch starts the process and does not wait for it.
func (g *gate) launch() (err error) {
	if err := os.RemoveAll(g.readyFile()); err != nil {
		return fmt.Errorf("remove the old ready file: %w", err)
	}
	args := []string{"dev", "--dir", g.data(), "--ready-file", g.readyFile(), "--policy-budget", "10s"}
	for _, l := range []string{"gateway", "public", "authz", "grpc", "admin", "workos"} {
		args = append(args, "--"+l+"-addr", "127.0.0.1:0")
	}
	g.proc, err = program.Start(nil, filepath.Join(g.home, "gate.log"), g.binary, append(args, g.flags...)...)
	return err
}

// awaitReady waits for what launch started.
func (g *gate) awaitReady() error {
	return g.proc.Await("the ready file", func() bool {
		raw, err := os.ReadFile(g.readyFile())
		return err == nil && json.Unmarshal(raw, &g.ready) == nil
	})
}

func (g *gate) start() error {
	if err := g.launch(); err != nil {
		return err
	}
	return g.awaitReady()
}

// kill ends the process as kill -9 does. It may be dead already.
func (g *gate) kill() {
	if g.proc != nil {
		g.proc.Kill()
	}
}

// loopback is a client for which every name is this machine: not every resolver
// knows names below localhost, as browsers do. It follows no redirects and keeps
// to so many connections (0: as many as it likes).
func loopback(connections int) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			MaxConnsPerHost: connections,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var client = loopback(0)

// call asks an API with a bearer token and decodes its JSON answer into out.
func call(method, url, token string, body, out any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return callRaw(method, url, token, raw, out)
}

// callRaw is call with a body that is JSON already.
func callRaw(method, url, token string, body []byte, out any) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// shown is a user as the admin API shows it.
type shown struct {
	ID       string   `json:"id"`
	JobTitle string   `json:"job_title"`
	State    string   `json:"state"`
	Groups   []string `json:"groups"`
}

// list reads all pages of a list of the admin API.
func list[T any](g *gate, path string) ([]T, error) {
	var all []T
	for cursor := ""; ; {
		var page struct {
			Data       []T     `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		target := g.AdminURL + "/api/v1/" + path + "?limit=500&cursor=" + url.QueryEscape(cursor)
		if err := call(http.MethodGet, target, g.AdminToken, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil {
			return all, nil
		}
		cursor = *page.NextCursor
	}
}

// place is where histories happen: an organization's directory and the ids of
// its groups by name.
type place struct {
	organization, directory string
	groups                  map[string]string
}

func (g *gate) place(slug string) (place, error) {
	type named struct{ ID, Slug, Name string }
	organizations, err := list[named](g, "organizations")
	if err != nil {
		return place{}, err
	}
	for _, o := range organizations {
		if o.Slug != slug {
			continue
		}
		directories, err := list[named](g, "organizations/"+o.ID+"/directories")
		if err != nil || len(directories) != 1 {
			return place{}, errors.Join(fmt.Errorf("%d directories of %s", len(directories), slug), err)
		}
		p := place{organization: o.ID, directory: directories[0].ID, groups: map[string]string{}}
		groups, err := list[named](g, "directories/"+p.directory+"/groups")
		for _, group := range groups {
			p.groups[group.Name] = group.ID
		}
		return p, err
	}
	return place{}, fmt.Errorf("no organization %s", slug)
}

// post sends a webhook, signed now as WorkOS signs it.
func (g *gate) post(hc *http.Client, e event) (status int, err error) {
	req, err := http.NewRequest(http.MethodPost, g.PublicURL+"/webhooks/workos", bytes.NewReader(e.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("WorkOS-Signature", signature(g.WebhookSecret, e.body, time.Now()))
	resp, err := hc.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// The status line is the promise: what comes after it may be cut off.
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}
