package gate_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/cmd/batterygate/config"
	"battery.app/gate/sso/oidc/oidctest"
	"battery.app/gate/sync/directory"
)

func TestAnOperatorSignsInToTheConsoleAtTheirOwnProvider(t *testing.T) {
	provider := oidctest.New(time.Now)
	t.Cleanup(provider.Close)
	g, l := startGate(t, func(c *config.Config, file func(name, content string) string) {
		c.Operators.Organization = initech
		c.OIDC = []config.OIDC{{ID: "oidc_initech", Organization: initech, Issuer: provider.URL, ClientID: oidctest.ClientID, ClientSecretFile: file("secret", oidctest.ClientSecret)}}
	})
	people(t, g)
	admin := "http://" + l.Admin.Addr().String()
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar}
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := c.Get(admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(raw)
	}
	if status, body := get("/sign-in/sso"); status != http.StatusForbidden || !strings.Contains(body, "battery:operator or battery:auditor is missing") {
		t.Fatalf("an editor: %d %s", status, body)
	}
	_, rev, err := g.Directory.PutMappings(t.Context(), initech, []directory.Mapping{{GroupName: "Engineering", Roles: []string{"battery:operator"}}}, "test")
	if err == nil {
		err = g.Published(t.Context(), rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get("/sign-in/sso"); status != http.StatusOK || !strings.Contains(body, "Signed in") {
		t.Fatalf("an operator: %d %s", status, body)
	}
	if _, body := get("/"); !strings.Contains(body, "battery:operator") || !strings.Contains(body, "Ready.") || !strings.Contains(body, ">test<") {
		t.Errorf("home: %s", body)
	}
	if _, body := get("/sessions"); !strings.Contains(body, "(you)") || !strings.Contains(body, "OpenID Connect") || !strings.Contains(body, "Initech") {
		t.Errorf("sessions: %s", body)
	}
	resp, err := http.PostForm("http://"+l.Public.Addr().String()+"/backchannel-logout/oidc_initech", url.Values{"logout_token": {provider.LogoutToken(nil)}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("back-channel logout: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if status, body := get("/sessions"); status != http.StatusUnauthorized || strings.Contains(body, "(you)") {
		t.Errorf("the first page after the provider logged the person out: %d", status)
	}
}
