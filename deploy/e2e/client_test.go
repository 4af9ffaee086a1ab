package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// loopback is a client for which every name is this machine: not every resolver
// knows names below localhost, as browsers do. It follows no redirects.
func loopback() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
			},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// person is somebody's browser, as far as HTTP goes.
type person struct {
	w  *world
	hc *http.Client
}

func (w *world) newPerson(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{w: w, hc: loopback()}
	p.hc.Jar = jar
	return p
}

// reply is what came back.
type reply struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
}

// echo is what an app of dev answers: the request as it received it.
type echo struct {
	Method  string      `json:"method"`
	Host    string      `json:"host"`
	Path    string      `json:"path"`
	Query   string      `json:"query"`
	Headers http.Header `json:"headers"`
}

// url is an address of an app, as a browser would write it.
func (w *world) url(app, path string) string {
	return fmt.Sprintf("%s://%s.%s:%d%s", w.scheme, app, w.Domain, w.port, path)
}

// send makes one request. headers are "Name: value" lines, sent as written.
func (p *person) send(t *testing.T, method, target string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[name] = append(req.Header[name], value)
	}
	resp, err := p.hc.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return reply{URL: req.URL, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// fetch asks as a script in a page does.
func (p *person) fetch(t *testing.T, app, path string, headers ...string) reply {
	t.Helper()
	return p.send(t, http.MethodGet, p.w.url(app, path),
		append([]string{"Accept: application/json", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin"}, headers...)...)
}

// click asks as a browser does when a person opens an address, without
// following where the answer leads.
func (p *person) click(t *testing.T, target string) reply {
	t.Helper()
	return p.send(t, http.MethodGet, target, "Accept: text/html,application/xhtml+xml,*/*;q=0.8",
		"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Upgrade-Insecure-Requests: 1")
}

// open clicks and follows redirects to the end. Where the way leads over the
// login page, hint says who signs in there.
func (p *person) open(t *testing.T, target, hint string) reply {
	t.Helper()
	for range 20 {
		r := p.click(t, target)
		if r.Status/100 != 3 {
			return r
		}
		next, err := r.URL.Parse(r.Header.Get("Location"))
		if err != nil || r.Header.Get("Location") == "" {
			t.Fatalf("%s: %d with Location %q", target, r.Status, r.Header.Get("Location"))
		}
		if next.Path == "/login" && hint != "" && !next.Query().Has("login_hint") {
			q := next.Query()
			q.Set("login_hint", hint)
			next.RawQuery = q.Encode()
		}
		target = next.String()
	}
	t.Fatalf("too many redirects, now at %s", target)
	return reply{}
}

// login opens an app and signs in on the way. The session is there even if the
// policy then says no.
func (p *person) login(t *testing.T, app, email string) reply {
	t.Helper()
	return p.open(t, p.w.url(app, "/"), email)
}

// reached reports whether the reply is the app's own, and what the app saw.
func (r reply) reached() (echo, bool) {
	var e echo
	if r.Status != http.StatusOK || json.Unmarshal([]byte(r.Body), &e) != nil || e.Method == "" {
		return echo{}, false
	}
	return e, true
}

// problem decodes an application/problem+json answer.
func (r reply) problem(t *testing.T) map[string]any {
	t.Helper()
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") && !strings.HasPrefix(ct, "application/json") {
		t.Fatalf("the answer to a script is %q, not JSON: %.200s", ct, r.Body)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(r.Body), &v); err != nil {
		t.Fatalf("%v in %.300s", err, r.Body)
	}
	return v
}

// awaitRoutes waits until a gateway that listens also routes: until the paths
// below /.battery/ of an app's host are answered by the gate.
func awaitRoutes(c GatewayConfig) error {
	target := fmt.Sprintf("http://%s:%d/.battery/userinfo", c.Apps[0].Host, c.Listen.Port)
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := loopback().Get(target)
		if err != nil {
			last = err.Error()
			continue
		}
		_ = resp.Body.Close()
		if last = resp.Status; resp.StatusCode != http.StatusNotFound && resp.StatusCode < 500 {
			return nil
		}
	}
	return fmt.Errorf("the gateway does not route %s: %s", target, last)
}

// cookies is the Cookie header that this person's browser sends to an app.
func (p *person) cookies(t *testing.T, app string) string {
	t.Helper()
	u, err := url.Parse(p.w.url(app, "/"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range p.hc.Jar.Cookies(u) {
		out = append(out, c.Name+"="+c.Value)
	}
	return strings.Join(out, "; ")
}
