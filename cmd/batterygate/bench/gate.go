package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"battery.app/gate/cmd/batterygate/dev/standin"
)

const (
	apiKey   = "sk_test_bench_0123456789"
	clientID = "client_bench"
	secret   = "whsec_bench_0123456789abcdef"
)

// subject is a running gate with a stand-in for WorkOS behind it.
type subject struct {
	cmd      *exec.Cmd
	log      *os.File
	workos   *standin.Server
	workosAt *httptest.Server
	stopHook context.CancelFunc
	world    standin.World
	catchUp  bool // read WorkOS, beside the webhooks
	counter  counter
	token    string

	authzURL, publicURL, adminURL string
}

// startGate runs the built program's serve verb over a fresh folder, for a world
// that it learns from webhooks alone.
func startGate(ctx context.Context, o options, dir string, world standin.World) (*subject, error) {
	s := &subject{world: world}
	return s, s.start(ctx, o, dir)
}

// start fills in the rest of a subject. It stops what it started if it fails.
func (s *subject) start(ctx context.Context, o options, dir string) (err error) {
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	addrs := map[string]string{}
	for _, name := range []string{"public", "authz", "grpc", "admin"} {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		addrs[name] = addr
	}
	s.authzURL, s.publicURL, s.adminURL = "http://"+addrs["authz"], "http://"+addrs["public"], "http://"+addrs["admin"]
	if err := s.startWorkOS(ctx); err != nil {
		return err
	}
	config, err := s.writeConfig(ctx, o, dir, addrs)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, o.binary, "token", "create", "--config", config, "--scope", "operator").Output()
	if err != nil {
		return fmt.Errorf("create token with %s: %w", o.binary, err)
	}
	s.token = strings.TrimSpace(string(out))
	cmd := exec.CommandContext(ctx, o.binary, "serve", "--config", config)
	if s.log, err = os.Create(filepath.Join(dir, "gate.log")); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", o.binary, err)
	}
	s.cmd = cmd
	if err := waitFor(ctx, s.adminURL+"/readyz"); err != nil {
		return fmt.Errorf("%w; the gate's last words:\n%s", err, s.lastWords())
	}
	return nil
}

// lastWords is the end of the gate's log, for when something fails. It is not
// shown otherwise: senders that leave in the middle of a request fill it.
func (s *subject) lastWords() string {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-2000):])
}

func (s *subject) startWorkOS(ctx context.Context) (err error) {
	s.workos, err = standin.New(standin.Options{
		APIKey: apiKey, ClientID: clientID, WebhookURL: s.publicURL + "/webhooks/workos", WebhookSecret: secret, World: s.world, Now: time.Now,
	})
	if err != nil {
		return err
	}
	s.workosAt = httptest.NewServer(s.counter.wrap(s.workos.Handler()))
	hook, stop := context.WithCancel(ctx)
	s.stopHook = stop
	go func() { _ = s.workos.Run(hook) }()
	return nil
}

func (s *subject) stop() {
	if s.cmd != nil {
		terminate(s.cmd)
	}
	if s.log != nil {
		_ = s.log.Close()
	}
	if s.workosAt != nil {
		s.stopHook()
		s.workosAt.Close()
	}
}

func (s *subject) writeConfig(ctx context.Context, o options, dir string, addrs map[string]string) (string, error) {
	write := func(name, content string) (string, error) {
		path := filepath.Join(dir, name)
		return path, os.WriteFile(path, []byte(content), 0o600)
	}
	key, err := write("api-key", apiKey)
	if err != nil {
		return "", fmt.Errorf("write secrets: %w", err)
	}
	hook, err := write("hook", secret)
	if err != nil {
		return "", fmt.Errorf("write secrets: %w", err)
	}
	keys := filepath.Join(dir, "keys")
	if out, err := exec.CommandContext(ctx, o.binary, "keys", "create", "--dir", keys).CombinedOutput(); err != nil {
		return "", fmt.Errorf("create keys with %s: %w: %s", o.binary, err, out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "public_url: %s\nlisten: {public: %q, authz: %q, grpc: %q, admin: %q}\n", s.publicURL, addrs["public"], addrs["authz"], addrs["grpc"], addrs["admin"])
	fmt.Fprintf(&b, "gateway: {trusted: [\"127.0.0.0/8\"]}\nworkos: {api_key_file: %q, client_id: %s, webhook_secrets_files: [%q], endpoint: %q}\n", key, clientID, hook, s.workosAt.URL)
	fmt.Fprintf(&b, "session: {keys_dir: %q}\nstore: %q\ndecisions: %q\nlog: {level: warn}\nlimits: {logins_per_second: 0}\nsync: {catch_up: %t}\napps:\n",
		keys, "bolt:"+filepath.Join(dir, "b.db"), "sqlite:"+filepath.Join(dir, "d.db"), s.catchUp)
	for i := range o.apps {
		fmt.Fprintf(&b, "  - {id: app%02d.acme, organization: %s, hosts: [%s], allowed_roles: [editor, admin]}\n", i, s.world.Organizations[0].ID, host(i))
	}
	return write("config.yaml", b.String())
}

func host(app int) string { return fmt.Sprintf("app%02d.bench.localhost", app) }

func email(user int) string { return fmt.Sprintf("user%04d@acme.test", user) }

// benchWorld is acme with n users in Engineering and Everyone.
func benchWorld(n int) standin.World {
	demo := standin.DefaultWorld()
	w := standin.World{Organizations: demo.Organizations[:1], Connections: demo.Connections[:1], Directories: demo.Directories[:1]}
	groups := map[string]string{}
	for _, g := range demo.Groups {
		if g.OrganizationID == w.Organizations[0].ID {
			w.Groups = append(w.Groups, g)
			groups[g.Name] = g.ID
		}
	}
	user, profile := demo.Users[0], demo.Profiles[0]
	for i := range n {
		user.ID, user.IdpID, user.Email = fmt.Sprintf("directory_user_01DXF6DT%018d", i), fmt.Sprintf("bench|%d", i), standin.Nullable(email(i))
		profile.ID, profile.IdpID, profile.Email = fmt.Sprintf("prof_01DXF6DT%018d", i), user.IdpID, email(i)
		w.Users, w.Profiles = append(w.Users, user), append(w.Profiles, profile)
		w.Memberships = append(w.Memberships, standin.Membership{GroupID: groups["Engineering"], UserID: user.ID}, standin.Membership{GroupID: groups["Everyone"], UserID: user.ID})
	}
	return w
}

// api asks the admin API.
func (s *subject) api(ctx context.Context, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.adminURL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask admin API: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s (%w)", method, path, resp.Status, raw, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// logged checks that the log lost nothing: every decision that was made is in
// it or counted as lost.
func (s *subject) logged(ctx context.Context) error {
	var gaps struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := s.api(ctx, http.MethodGet, "decisions/gaps", "", &gaps); err != nil {
		return err
	}
	fmt.Printf("Decision log: %d gaps.\n", len(gaps.Data))
	return nil
}

// browser is an HTTP client that follows nothing and sends every host to the
// public listener or the stand-in, whichever the URL's port names.
func browser() *http.Client {
	d := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return d.DialContext(ctx, network, "127.0.0.1:"+port)
		}},
	}
}
