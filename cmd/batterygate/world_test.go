package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// demo is a running 'batterygate dev', in this process, as scripts see it.
type demo struct {
	readyFile
	t    *testing.T
	http *http.Client
}

// startDemo runs dev over a fresh folder and stops it with the test. Its exit
// must be clean.
func startDemo(t *testing.T, flags ...string) *demo {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	args := append([]string{"dev", "--dir", filepath.Join(t.TempDir(), "world"), "--ready-file", ready,
		"--policy-budget", "10s"}, flags...) // where the race detector and other tests take their part, too
	for _, l := range []string{"gateway", "public", "authz", "grpc", "admin", "workos"} {
		args = append(args, "--"+l+"-addr", "127.0.0.1:0")
	}
	root := newRoot()
	var stderr bytes.Buffer
	root.SetArgs(args)
	root.SetOut(io.Discard)
	root.SetErr(&stderr)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("dev ended with: %v", err)
		}
	})
	d := &demo{t: t, http: loopbackClient(nil)}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		raw, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(raw, &d.readyFile) == nil {
			return d
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("dev ended before it was ready: %v\n%s", err, stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("dev was not ready within 30 s")
		}
	}
}

// loopbackClient resolves every name to loopback, as browsers do for
// *.localhost, and follows no redirect by itself.
func loopbackClient(jar http.CookieJar) *http.Client {
	return &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		}},
	}
}

// app is an app's URL at the demo's gateway.
func (d *demo) app(id, path string) string {
	return "http://" + id + "." + d.Domain + ":" + d.GatewayURL[strings.LastIndex(d.GatewayURL, ":")+1:] + path
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("answer %d is not JSON: %v\n%s", a.status, err, a.body)
	}
}

func (d *demo) do(c *http.Client, method, target, body string, header ...string) answer {
	d.t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

// api asks the admin API as the operator.
func (d *demo) api(method, path, body string) answer {
	d.t.Helper()
	return d.do(d.http, method, d.AdminURL+"/api/v1/"+path, body, "Authorization", "Bearer "+d.AdminToken)
}

// event makes something happen at the stand-in and delivers its webhook.
func (d *demo) event(name, data string) {
	d.t.Helper()
	a := d.do(d.http, "POST", d.WorkOSURL+"/_dev/events?deliver=1", fmt.Sprintf(`{"event":%q,"data":%s}`, name, data), "Authorization", "Bearer "+d.WorkOSAPIKey)
	if a.status != 201 || !strings.Contains(a.body, `"status":200`) {
		d.t.Fatalf("event %s: %d %s", name, a.status, a.body)
	}
}

// browse is a browser that is signed in as somebody at an app.
func (d *demo) browse(email, app string) *http.Client {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	c := loopbackClient(jar)
	d.signIn(c, email, app)
	return c
}

// signIn opens an app as a browser would, and signs in when sent to.
func (d *demo) signIn(c *http.Client, email, app string) answer {
	d.t.Helper()
	at := d.app(app, "/start?x=1")
	for range 12 {
		a := d.do(c, "GET", at, "", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
		next := a.header.Get("Location")
		if a.status/100 != 3 {
			return a
		}
		u, err := url.Parse(next)
		if err != nil || !u.IsAbs() {
			d.t.Fatalf("%s redirects to %q", at, next)
		}
		if u.Path == "/login" {
			q := u.Query()
			q.Set("login_hint", email)
			u.RawQuery = q.Encode()
		}
		at = u.String()
	}
	d.t.Fatal("too many redirects")
	return answer{}
}

func (d *demo) get(c *http.Client, app string) int {
	d.t.Helper()
	return d.do(c, "GET", d.app(app, "/"), "", "Accept", "text/html", "Sec-Fetch-Mode", "navigate").status
}
