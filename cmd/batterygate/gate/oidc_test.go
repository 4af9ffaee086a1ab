package gate_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/cmd/batterygate/gate"
	"battery.app/gate/sso/keys"
	"battery.app/gate/sso/oidc/oidctest"
	"battery.app/gate/sync/directory"
)

const initech = "org_initech"

// startGate runs the whole program on loopback; tune changes its configuration,
// with a function that makes files for it.
func startGate(t *testing.T, tune func(c *config.Config, file func(name, content string) string)) (*gate.Gate, gate.Listeners) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := keys.GenerateRootKey(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Listen = config.Listen{Public: "127.0.0.1:0", Authz: "127.0.0.1:0", GRPC: "127.0.0.1:0", Admin: "127.0.0.1:0"}
	listeners, err := gate.Bind(c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	c.PublicURL, c.Domain = "http://"+listeners.Public.Addr().String(), "battery.localhost"
	c.Gateway.Trusted = []string{"127.0.0.0/8"}
	c.WorkOS.APIKeyFile, c.WorkOS.ClientID, c.WorkOS.WebhookSecretsFiles = file("key", "sk_test_0123456789abcdef"), "client_1", []string{file("hook", "whsec_0123456789abcdef")}
	c.Sync.CatchUp = false
	c.Session.KeysDir = filepath.Join(dir, "keys")
	c.Store, c.Decisions = "bolt:"+filepath.Join(dir, "b.db"), "sqlite:"+filepath.Join(dir, "d.db")
	tune(&c, file)
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	g, err := gate.Open(t.Context(), &c, gate.Options{Listeners: listeners, Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the gate ended with: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return g, listeners
}

// people tells the directory of one person in one group that is an editor, and
// registers the app.
func people(t *testing.T, g *gate.Gate) {
	t.Helper()
	ctx := t.Context()
	must := func(rev uint64, err error) {
		t.Helper()
		if err == nil {
			err = g.Published(ctx, rev)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.Directory.PutOrganization(ctx, directory.Organization{ID: initech, Slug: "initech", Name: "Initech", Domains: []string{"initech.test"}}))
	user := `{"id":"directory_user_ada","directory_id":"directory_i","organization_id":"org_initech","idp_id":"sub-ada","email":"ada@acme.test","state":"active"}`
	group := `{"id":"directory_group_e","directory_id":"directory_i","organization_id":"org_initech","idp_id":"e","name":"Engineering"}`
	for i, e := range [][2]string{
		{"dsync.activated", `{"id":"directory_i","organization_id":"org_initech","state":"active","name":"D","type":"okta scim v2.0"}`},
		{"dsync.user.created", user}, {"dsync.group.created", group},
		{"dsync.group.user_added", `{"directory_id":"directory_i","user":` + user + `,"group":` + group + `}`},
	} {
		a, err := g.Directory.ApplyEvent(ctx, directory.Event{ID: fmt.Sprintf("event_%d", i), Type: e[0], CreatedAt: time.Now(), Data: []byte(e[1])})
		must(a.Revision, err)
	}
	_, rev, err := g.Directory.PutMappings(ctx, initech, []directory.Mapping{{GroupName: "Engineering", Roles: []string{"editor"}}}, "test")
	must(rev, err)
	_, rev, err = g.Apps.Create(ctx, authz.App{ID: "docs.initech", OrganizationID: initech, Hosts: []string{"docs.initech.battery.localhost"}, AllowedRoles: []string{"editor"}})
	must(rev, err)
}

func TestWhoSignsInThroughOpenIDHasTheRolesOfTheDirectory(t *testing.T) {
	provider := oidctest.New(time.Now)
	t.Cleanup(provider.Close)
	g, l := startGate(t, func(c *config.Config, file func(name, content string) string) {
		c.OIDC = []config.OIDC{{ID: "oidc_initech", Organization: initech, Issuer: provider.URL, ClientID: oidctest.ClientID, ClientSecretFile: file("secret", oidctest.ClientSecret)}}
	})
	people(t, g)

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "docs.initech.battery.localhost") { // the gateway routes /.battery/ there
				addr = l.Public.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
	app := &url.URL{Scheme: "http", Host: "docs.initech.battery.localhost", Path: "/"}
	door := func() *http.Response {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Authz.Addr().String()+"/authz/forward-auth", nil)
		req.Header = http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {app.Host}, "X-Forwarded-Uri": {"/"}, "Sec-Fetch-Mode": {"navigate"}}
		for _, ck := range jar.Cookies(app) {
			req.AddCookie(ck)
		}
		resp, err := (&http.Client{CheckRedirect: c.CheckRedirect}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		jar.SetCookies(app, resp.Cookies())
		return resp
	}
	first := door()
	if first.StatusCode != http.StatusFound {
		t.Fatalf("nobody at the door: %s", first.Status)
	}
	next := first.Header.Get("Location")
	for range 8 {
		resp, err := c.Get(next)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if next = resp.Header.Get("Location"); next == "" {
			t.Fatalf("the way ends at %s with %s", resp.Request.URL, resp.Status)
		}
		if strings.HasPrefix(next, app.String()) && !strings.Contains(next, "/.battery/") {
			break
		}
	}
	opened := door()
	if opened.StatusCode != http.StatusOK || opened.Header.Get("X-Battery-Roles") != "editor" || !strings.HasPrefix(opened.Header.Get("X-Battery-User-Id"), "oidc_") {
		t.Fatalf("after signing in: %s, roles %q, user %q", opened.Status, opened.Header.Get("X-Battery-Roles"), opened.Header.Get("X-Battery-User-Id"))
	}
	resp, err := c.PostForm("http://"+l.Public.Addr().String()+"/backchannel-logout/oidc_initech", url.Values{"logout_token": {provider.LogoutToken(nil)}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("back-channel logout: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if after := door(); after.StatusCode != http.StatusFound {
		t.Errorf("the first request after the provider logged the person out: %s", after.Status)
	}
}
