package sso_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"battery.app/gate/sso"
	"battery.app/gate/sso/oidc"
	"battery.app/gate/sso/oidc/oidctest"
)

// realProvider is an OpenID provider that nobody here wrote, as a process.
type realProvider struct {
	issuer string
	stop   func()
}

// startReal starts it on a port; 0: any. The packages are fetched by
// deploy/e2e/oidc/fetch.sh.
func startReal(t *testing.T, port int, alg, backchannel string) realProvider {
	t.Helper()
	dir := filepath.Join("..", ".tools", "oidc")
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil || missing != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("node or the OpenID provider is missing: run deploy/e2e/oidc/fetch.sh")
		}
		t.Skip("==== NOT TESTED: a real OpenID provider; run deploy/e2e/oidc/fetch.sh ====")
	}
	script, err := os.ReadFile(filepath.Join("..", "deploy", "e2e", "oidc", "provider.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(dir, "provider-*.mjs") // its packages are found from where it lies
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if _, err := f.Write(script); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	settings, _ := json.Marshal(map[string]any{"port": port, "clientId": oidctest.ClientID, "clientSecret": oidctest.ClientSecret, "alg": alg,
		"redirectUri": "https://auth.example/callback/oidc_acme", "postLogoutRedirectUri": "https://auth.example/signed-out", "backchannelLogoutUri": backchannel})
	cmd := exec.Command(node, f.Name(), string(settings))
	cmd.Stderr = &lockedBuffer{}
	in, err := cmd.StdinPipe() // when it closes, the process ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		_ = in.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the provider said: %s", cmd.Stderr)
		}
	})
	var ready struct{ Issuer string }
	if line, err := bufio.NewReader(out).ReadBytes('\n'); err != nil || json.Unmarshal(line, &ready) != nil || ready.Issuer == "" {
		t.Fatalf("not ready: %v %s", err, cmd.Stderr)
	}
	return realProvider{ready.Issuer, stop}
}

// newReal is a world whose acme uses the real provider.
func newReal(t *testing.T, alg string, change ...func(*oidc.Config)) (*world, realProvider, *[]int) {
	t.Helper()
	var w *world
	told := new([]int)
	// Where the provider reaches the gate: the public host, under an address that
	// it can connect to.
	gate := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Host = "auth.example"
		rec := httptest.NewRecorder()
		w.engine.ServeHTTP(rec, r)
		*told = append(*told, rec.Code)
		rw.WriteHeader(rec.Code)
		_, _ = rec.Body.WriteTo(rw)
	}))
	t.Cleanup(gate.Close)
	p := startReal(t, 0, alg, gate.URL+"/backchannel-logout/oidc_acme")
	w = build(t, "https", "example", "", nil, func(w *world) {
		w.now.add(time.Since(w.now.Now())) // the provider's clock is the real one
		w.op = &oidctest.Provider{Server: &httptest.Server{URL: p.issuer}}
		w.tune = append(w.tune, func(o *sso.Options) {
			o.WorkOSTimeout = 5 * time.Second
			o.Providers = []*oidc.Provider{w.provider(append(change, func(c *oidc.Config) { c.GroupsClaim, c.Timeout = "groups", 5*time.Second })...)}
		})
		w.tuneSessions = append(w.tuneSessions, func(o *sso.SessionsOptions) { o.MaxAge = maxAge })
	})
	return w, p, told
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	formXsrf   = regexp.MustCompile(`name="xsrf" value="([^"]+)"`)
)

// confirm presses the button of the provider's logout page.
func (b *browser) confirm(page reply) reply {
	b.w.t.Helper()
	action, xsrf := formAction.FindStringSubmatch(page.body), formXsrf.FindStringSubmatch(page.body)
	if action == nil || xsrf == nil {
		b.w.t.Fatalf("no logout page at %s: %d %s", page.at, page.StatusCode, page.body)
	}
	return b.send(http.MethodPost, action[1], url.Values{"xsrf": {xsrf[1]}, "logout": {"yes"}})
}

func TestARealOpenIDProvider(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256"} {
		t.Run("signs people in, "+alg, func(t *testing.T) {
			w, _, _ := newReal(t, alg)
			b := w.browser()
			if res := b.visit(w.crm + "/deals?id=7"); res.at != w.crm+"/deals?id=7" {
				t.Fatalf("ended with %d at %s: %s\n%s", res.StatusCode, res.at, res.body, w.log)
			}
			s := b.mustBe(w.crm, "ada@acme.test") // from UserInfo: its ID token holds no address
			if groups, _ := json.Marshal(s.Claims["groups"]); s.IdpID != "ada" || string(groups) != `["Engineering","Everyone"]` {
				t.Fatalf("%+v", s)
			}
			b.visit(w.wiki + "/") // asks for a fresh login, which it was
			b.mustBe(w.wiki, "ada@acme.test")
			bob := w.browser()
			bob.get(w.public + "/login?app=crm.acme&login_hint=bob%40acme.test")
			bob.mustBe(w.crm, "bob@acme.test")
		})
	}
	t.Run("an unverified address is nobody's", func(t *testing.T) {
		w, _, _ := newReal(t, "ES256")
		b := w.browser()
		b.get(w.public + "/login?app=crm.acme&login_hint=mallory%40acme.test")
		if s := b.mustBe(w.crm, ""); s.Claims["email_unverified"] != "mallory@acme.test" {
			t.Fatalf("%+v", s)
		}
	})
	t.Run("a new key after a restart counts at once", func(t *testing.T) {
		w, p, _ := newReal(t, "ES256")
		w.browser().visit(w.crm + "/")
		u, _ := url.Parse(p.issuer)
		port := 0
		if err := json.Unmarshal([]byte(u.Port()), &port); err != nil {
			t.Fatal(err)
		}
		p.stop()
		down := w.browser()
		if back, err := http.Get(p.issuer); err == nil {
			_, _ = io.Copy(io.Discard, back.Body)
			back.Body.Close()
			t.Fatal("it still runs")
		}
		startReal(t, port, "ES256", "http://127.0.0.1:1/")
		down.visit(w.crm + "/")
		down.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("a secret it does not know is refused", func(t *testing.T) {
		w, _, _ := newReal(t, "ES256", func(c *oidc.Config) { c.ClientSecret = "wrong" })
		b := w.browser()
		refused(t, b, b.visit(w.crm+"/"), http.StatusForbidden)
	})
	t.Run("signing out here signs out there", func(t *testing.T) {
		w, _, told := newReal(t, "ES256")
		b := w.browser()
		b.visit(w.crm + "/")
		page := b.send(http.MethodPost, w.crm+"/.battery/logout?rd="+url.QueryEscape(w.crm+"/bye"), nil, "Sec-Fetch-Site", "same-origin")
		if w.sessions.Count() != 0 {
			t.Fatal("still signed in here")
		}
		if res := b.confirm(page); res.at != w.crm+"/bye" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
		if len(*told) != 1 || (*told)[0] != http.StatusOK {
			t.Fatalf("the provider's own logout token was answered %v\n%s", *told, w.log)
		}
		w.now.add(time.Second)
		b.path = nil
		b.visit(w.crm + "/")
		if !strings.Contains(strings.Join(b.path, " "), "/interaction/") {
			t.Fatalf("the provider still knew them: %v", b.path)
		}
	})
	t.Run("signing out there signs out here, in that browser alone", func(t *testing.T) {
		w, p, told := newReal(t, "ES256")
		b, other := w.browser(), w.browser()
		b.visit(w.crm + "/")
		other.visit(w.crm + "/")
		b.confirm(b.get(p.issuer + "/session/end"))
		if len(*told) != 1 || (*told)[0] != http.StatusOK {
			t.Fatalf("the logout token was answered %v\n%s", *told, w.log)
		}
		if s, _ := b.session(w.crm); s != nil {
			t.Fatal("still signed in")
		}
		other.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("step-up", func(t *testing.T) {
		w, _, _ := newReal(t, "ES256")
		b := w.browser()
		b.visit(w.wiki + "/")
		first := b.mustBe(w.wiki, "ada@acme.test")
		if first.ID == "" || !strings.Contains(strings.Join(b.path, " "), "max_age=600") {
			t.Fatalf("went %v", b.path)
		}
	})
}
