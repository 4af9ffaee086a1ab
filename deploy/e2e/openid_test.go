package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/deploy/e2e/program"
)

// openIDDomain is where the apps of the OpenID world live, over https.
const openIDDomain = "battery.localhost"

const (
	openIDClient = "batterygate"
	openIDSecret = "s3cret-that-the-provider-knows"
	openIDID     = "oidc_acme"
)

// openID is a world as an operator sets one up: `batterygate serve` with a
// written configuration, the shipped Traefik configuration with TLS for apps
// and public host, directories from WorkOS (its stand-in), and acme's people
// signing in at an OpenID provider that nobody here wrote.
type openID struct {
	*world
	t       *testing.T
	dir     string
	org     string // acme's id
	secret  string // the gateway's
	webhook string // the webhooks' secret
	addrs   map[string]string
}

func openIDKind(t *testing.T) *kind {
	t.Helper()
	var w *world
	if up, ok := shared.worlds["openid"]; ok {
		w, _ = up()
	} else {
		w = newOpenID(t)
	}
	return &kind{world: w, name: "openid", public: w.PublicURL, asks: w.issuer + "/interaction/", authorize: w.issuer + "/auth?",
		portal: w.WorkOSURL + "/portal/session", userPrefix: "oidc_", domain: "acme.example", provider: w.issuer}
}

func newOpenID(t *testing.T) *world {
	t.Helper()
	traefik := tool(t, "traefik")
	dir, err := os.MkdirTemp(shared.tmp, "openid-")
	if err != nil {
		t.Fatal(err)
	}
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	o := &openID{t: t, dir: dir, secret: "s3cret-of-the-gateways", webhook: "whsec_of-the-openid-world", addrs: map[string]string{}, world: &world{
		gate: &gate{dir: dir}, front: front{name: "traefik-tls", tool: "traefik"}, scheme: "https", port: port, limit: 15 * time.Minute,
	}}
	o.Domain, o.PublicURL = openIDDomain, fmt.Sprintf("https://auth.%s:%d", openIDDomain, port)
	t.Cleanup(func() {
		if shared.worlds["openid"] == nil { // it did not come up
			_ = o.stop()
		}
	})
	for _, l := range []string{"public", "authz", "grpc", "admin"} {
		o.addrs[l] = deadAddress(t).String()
	}
	o.AdminURL = "http://" + o.addrs["admin"]
	o.startWorkOS()
	o.startProvider()
	// An operator learns the organization's id when it is made, and can name its
	// provider only then.
	o.run(exec.Command(shared.binary, "keys", "create", "--dir", o.folder("keys")))
	o.serve()
	o.fill()
	if err := o.gate.proc.Terminate(); err != nil {
		t.Fatal(err)
	}
	o.serve()
	o.startTraefik(traefik)
	shared.worlds["openid"] = func() (*world, error) { return o.world, nil } // stopped when all tests are over
	return o.world
}

func (o *openID) folder(name string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		o.t.Fatal(err)
	}
	return path
}

func (o *openID) file(name, content string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

func (o *openID) run(cmd *exec.Cmd) string {
	o.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// startWorkOS runs the stand-in for WorkOS alone.
func (o *openID) startWorkOS() {
	o.t.Helper()
	bin := filepath.Join(o.dir, "standin")
	build := exec.Command("go", "build", "-o", bin, "./cmd/batterygate/dev/standin/serve")
	build.Dir = shared.root
	o.run(build)
	p, err := program.Start(nil, filepath.Join(o.dir, "standin.log"), bin, "--events-delay", "0s", "--api-key", "sk_test_of-the-openid-world",
		"--webhook-url", "http://"+o.addrs["public"]+"/webhooks/workos", "--webhook-secret", o.webhook)
	if err != nil {
		o.t.Fatal(err)
	}
	o.closers = append(o.closers, p.Terminate)
	var said struct {
		URL      string `json:"url"`
		APIKey   string `json:"api_key"`
		ClientID string `json:"client_id"`
	}
	if err := awaitLine(p, &said, func() bool { return said.URL != "" }); err != nil {
		o.t.Fatal(err)
	}
	o.WorkOSURL, o.WorkOSAPIKey, o.WorkOSClientID = said.URL, said.APIKey, said.ClientID
}

// startProvider runs the OpenID provider that oidc/fetch.sh fetched. It reaches
// the gate's public host as providers do, under its name; what stands between
// here resolves that name.
func (o *openID) startProvider() {
	o.t.Helper()
	node := tool(o.t, "node")
	modules := filepath.Join(shared.root, ".tools", "oidc")
	if _, err := os.Stat(filepath.Join(modules, "node_modules", "oidc-provider")); err != nil {
		lack(o.t, "the OpenID provider")
	}
	raw, err := os.ReadFile(filepath.Join(shared.root, "deploy", "e2e", "oidc", "provider.mjs"))
	if err != nil {
		o.t.Fatal(err)
	}
	script := filepath.Join(modules, fmt.Sprintf("provider-e2e-%d.mjs", os.Getpid())) // its packages are found from where it lies
	if err := os.WriteFile(script, raw, 0o600); err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = os.Remove(script) }()
	cert, key := certificate(o.t)
	settings, err := json.Marshal(map[string]any{
		"tls": map[string]string{"cert": cert, "key": key}, "port": 0, "clientId": openIDClient, "clientSecret": openIDSecret, "alg": "ES256", "people": []string{"ada", "bob", "root"},
		"redirectUri": o.PublicURL + "/callback/" + openIDID, "postLogoutRedirectUri": o.PublicURL + "/signed-out",
		"backchannelLogoutUri": o.backchannel() + "/backchannel-logout/" + openIDID,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	p, err := program.Start(nil, filepath.Join(o.dir, "provider.log"), node, script, string(settings))
	if err != nil {
		o.t.Fatal(err)
	}
	o.closers = append(o.closers, func() error {
		_ = p.Stdin.Close() // then it ends
		return p.AwaitExit()
	})
	var said struct{ Issuer string }
	if err := awaitLine(p, &said, func() bool { return said.Issuer != "" }); err != nil {
		o.t.Fatal(err)
	}
	o.issuer = said.Issuer
}

// backchannel is an address that leads to the gate's public listener under the
// public host's name, which not every resolver knows.
func (o *openID) backchannel() string {
	o.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: o.addrs["public"]})
		p.Out.Host = "auth." + openIDDomain
	}}}
	go func() { _ = s.Serve(l) }()
	o.closers = append(o.closers, s.Close)
	return "http://" + l.Addr().String()
}

// serve runs `batterygate serve` with the configuration of now.
func (o *openID) serve() {
	o.t.Helper()
	path := o.file("batterygate.yaml", o.configuration())
	cert, _ := certificate(o.t)
	o.t.Setenv("SSL_CERT_FILE", cert) // the provider's, as a company's own authority would be
	p, err := program.Start(nil, filepath.Join(o.dir, fmt.Sprintf("gate-%d.log", time.Now().UnixNano())), shared.binary, "serve", "--config", path)
	if err != nil {
		o.t.Fatal(err)
	}
	o.gate.proc = p
	if err := p.AwaitListening(o.addrs["admin"]); err != nil {
		o.t.Fatal(err)
	}
	eventually(o.t, "the gate is ready", func() bool {
		resp, err := loopback().Get(o.AdminURL + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (o *openID) configuration() string {
	o.t.Helper()
	c := map[string]any{
		"public_url": o.PublicURL, "domain": o.Domain,
		"listen":  o.addrs,
		"gateway": map[string]any{"trusted": []string{"127.0.0.0/8"}, "shared_secret_file": o.file("gateway", o.secret), "ports": []string{fmt.Sprint(o.port)}},
		"workos": map[string]any{"api_key_file": o.file("api-key", o.WorkOSAPIKey), "client_id": o.WorkOSClientID, "endpoint": o.WorkOSURL,
			"webhook_secrets_files": []string{o.file("webhook", o.webhook)}},
		"it_admins": map[string]any{"roles": []string{"admin"}, "grantable_roles": []string{"editor", "member"}},
		"session":   map[string]any{"keys_dir": o.folder("keys")},
		"store":     "bolt:" + filepath.Join(o.dir, "b.db"),
		"decisions": "sqlite:" + filepath.Join(o.dir, "d.db"),
		"log":       map[string]any{"level": "info"},
	}
	if u, err := url.Parse(o.WorkOSURL); err == nil {
		c["workos"].(map[string]any)["portal_hosts"] = []string{u.Host}
	}
	if o.org != "" {
		c["oidc"] = []map[string]any{{"id": openIDID, "organization": o.org, "issuer": o.issuer, "client_id": openIDClient,
			"client_secret_file": o.file("oidc-acme", openIDSecret), "groups_claim": "groups"}}
	}
	raw, err := json.MarshalIndent(c, "", "  ") // which is YAML
	if err != nil {
		o.t.Fatal(err)
	}
	return string(raw)
}

// fill makes acme, its directory, its roles and its apps, through the APIs that
// an operator and WorkOS use.
func (o *openID) fill() {
	t := o.t
	t.Helper()
	o.AdminToken = o.run(exec.Command(shared.binary, "token", "create", "--store", "bolt:"+filepath.Join(o.dir, "b.db"), "--name", "e2e", "--scope", "operator"))
	var org struct{ ID string }
	o.admin(t, http.MethodPost, "organizations", map[string]any{"name": "Acme", "slug": "acme", "domains": []string{"acme.example"}}, &org)
	o.org = org.ID

	directory := o.happens("dsync.activated", map[string]any{"organization_id": o.org})["id"]
	member := func(email string, groups ...string) {
		user := o.happens("dsync.user.created", map[string]any{"directory_id": directory, "email": email})
		for _, g := range groups {
			o.happens("dsync.group.user_added", map[string]any{"directory_id": directory, "user": map[string]any{"id": user["id"]}, "group": map[string]any{"name": g}})
		}
	}
	for _, name := range []string{"Engineering", "Admins", "Everyone"} {
		o.happens("dsync.group.created", map[string]any{"directory_id": directory, "name": name})
	}
	member("ada@acme.test", "Engineering", "Everyone")
	member("bob@acme.test", "Everyone")
	member("root@acme.test", "Admins", "Everyone")

	o.admin(t, http.MethodPut, "organizations/"+o.org+"/role-mappings", map[string]any{"mappings": []map[string]any{
		{"group_name": "Engineering", "roles": []string{"editor"}}, {"group_name": "Admins", "roles": []string{"admin"}}, {"group_name": "Everyone", "roles": []string{"member"}},
	}}, &struct{}{})
	for name, roles := range map[string][]string{"crm": {"admin", "editor"}, "wiki": {"member", "editor", "admin"}, "status": {}} {
		o.admin(t, http.MethodPost, "apps", map[string]any{"id": name + ".acme", "organization_id": o.org, "hosts": []string{name + ".acme." + o.Domain},
			"allowed_roles": roles, "public": name == "status", "identity": []string{"groups", "assertion"}}, &struct{}{})
	}
}

// happens makes something happen at WorkOS, whose webhook tells the gate.
func (o *openID) happens(event string, data map[string]any) map[string]any {
	o.t.Helper()
	var said struct {
		Data     map[string]any
		Delivery struct {
			Status int
			Error  string
		}
	}
	call(o.t, http.MethodPost, o.WorkOSURL+"/_dev/events?deliver=1", o.WorkOSAPIKey, map[string]any{"event": event, "data": data}, &said)
	if said.Delivery.Status != http.StatusOK {
		o.t.Fatalf("%s: the webhook was answered %+v", event, said.Delivery)
	}
	return said.Data
}

// startTraefik runs the gateway with the configuration for the internet.
func (o *openID) startTraefik(path string) {
	o.t.Helper()
	address := func(of string) Address {
		a, err := ParseAddress(of)
		if err != nil {
			o.t.Fatal(err)
		}
		return a
	}
	c := GatewayConfig{
		Listen: Address{"127.0.0.1", o.port}, Public: address(o.addrs["public"]), Authz: address(o.addrs["authz"]), GRPC: address(o.addrs["grpc"]),
		PublicHost: "auth." + o.Domain, Rewrite: true, Limit: o.limit, SecretFile: o.file("gateway-secret", o.secret),
	}
	c.TLSCert, c.TLSKey = certificate(o.t)
	app := httpEcho()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	go func() { _ = app.Serve(l) }()
	o.closers = append(o.closers, app.Close)
	for _, name := range []string{"crm", "wiki", "status"} {
		c.Apps = append(c.Apps, AppRoute{ID: name + ".acme", Host: name + ".acme." + o.Domain, Upstream: address(l.Addr().String())})
	}
	if o.gateway, err = runGateway(o.front, path, o.dir, c); err != nil {
		o.t.Fatal(err)
	}
	hc := loopback()
	hc.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // a certificate of our own
	eventually(o.t, "Traefik routes", func() bool {
		resp, err := hc.Get(o.PublicURL + "/.well-known/jwks.json")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// httpEcho is an app like those of `batterygate dev`.
func httpEcho() *http.Server {
	return &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(echo{Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Headers: r.Header})
	})}
}

// awaitLine waits for the line of JSON by which a program says that it is ready.
func awaitLine(p *program.Program, into any, enough func() bool) error {
	return p.Await("say that it is ready", func() bool {
		raw, _ := os.ReadFile(p.Log)
		for _, line := range bytes.Split(raw, []byte("\n")) {
			if json.Unmarshal(line, into) == nil && enough() {
				return true
			}
		}
		return false
	})
}
