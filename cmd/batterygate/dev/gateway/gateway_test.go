package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"battery.app/gate/cmd/batterygate/dev/apps"
	"battery.app/gate/cmd/batterygate/dev/gateway"
)

const host = "crm.acme.battery.localhost:8000"

// rig is a gateway between a door, a public listener and an app.
type rig struct {
	addr  string
	asked atomic.Pointer[http.Request] // what the door was asked last
	app   atomic.Int64                 // requests that reached the app
}

func allow(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Battery-User-Id", "prof_1")
	w.Header().Set("X-Battery-Roles", "")
	w.Header().Set("X-Other", "not relayed")
	w.WriteHeader(http.StatusOK)
}

func newRig(t *testing.T, door, app http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{}
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/authz/forward-auth" || req.URL.RawQuery != "" {
			t.Errorf("asked at %s", req.URL)
		}
		r.asked.Store(req.Clone(t.Context()))
		door(w, req)
	}))
	t.Cleanup(auth.Close)
	if app == nil {
		app = apps.Handler("crm.acme").ServeHTTP
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.app.Add(1)
		app(w, req)
	}))
	t.Cleanup(upstream.Close)
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Public", "yes")
		apps.Handler("public").ServeHTTP(w, req)
	}))
	t.Cleanup(public.Close)
	r.start(t, auth.URL, public.URL, upstream.URL)
	return r
}

func (r *rig) start(t *testing.T, auth, public, upstream string) {
	t.Helper()
	h, err := gateway.New(gateway.Options{Auth: auth, Public: public, Apps: func(h string) (string, bool) {
		return upstream, h == "crm.acme.battery.localhost"
	}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	r.addr = srv.Listener.Addr().String()
}

// send writes a raw request: no client tidies it up on the way.
func (r *rig) send(t *testing.T, target string, headers ...string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		headers = append(headers, "Host: "+host)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\n%s\r\n\r\n", target, strings.Join(headers, "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

type echo struct {
	Method, Host, Path, Query string
	Headers                   http.Header
}

func (r *rig) echoed(t *testing.T, target string, headers ...string) echo {
	t.Helper()
	res, body := r.send(t, target, headers...)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	var e echo
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestIdentity(t *testing.T) {
	t.Run("spoofed identity headers never reach the app", func(t *testing.T) {
		r := newRig(t, allow, nil)
		e := r.echoed(t, "/", "X-Battery-User-Id: evil", "X-Battery-Groups: Admins", "X-Battery_Roles: admin", "X.Battery.Roles: admin",
			"x-battery-assertion: evil", "X_BATTERY_ORG_ID: evil", "X-Battery-App-Id: evil")
		for name, values := range e.Headers {
			for _, v := range values {
				if strings.Contains(v, "evil") || strings.Contains(v, "dmin") {
					t.Errorf("%s: %s reached the app", name, v)
				}
			}
		}
		if got := e.Headers["X-Battery-User-Id"]; !slices.Equal(got, []string{"prof_1"}) {
			t.Errorf("X-Battery-User-Id = %q", got)
		}
		if got, ok := e.Headers["X-Battery-Roles"]; !ok || !slices.Equal(got, []string{""}) {
			t.Errorf("X-Battery-Roles = %q, want one that is empty", got)
		}
		if e.Headers.Get("X-Other") != "" {
			t.Error("a header that is no identity header was relayed")
		}
	})
	t.Run("a Connection header cannot take them away", func(t *testing.T) {
		r := newRig(t, allow, nil)
		e := r.echoed(t, "/", "Connection: keep-alive, X-Battery-User-Id, X-Forwarded-Host, X-Real-Ip")
		if e.Headers.Get("X-Battery-User-Id") != "prof_1" || e.Headers.Get("X-Forwarded-Host") != host || e.Headers.Get("X-Real-Ip") != "127.0.0.1" {
			t.Errorf("headers = %v", e.Headers)
		}
	})
	t.Run("neither do they reach the public listener", func(t *testing.T) {
		r := newRig(t, allow, nil)
		if e := r.echoed(t, "/.battery/login?x=1", "X-Battery-User-Id: evil"); e.Headers.Get("X-Battery-User-Id") != "" {
			t.Errorf("headers = %v", e.Headers)
		}
	})
	t.Run("the gate's own cookies stay at the gateway", func(t *testing.T) {
		r := newRig(t, allow, nil)
		e := r.echoed(t, "/", "Cookie: a=1; battery_session=s; b=\"2\"; __Host-battery_session=s;battery_verifier_x=v", "Cookie: __HOST-battery_login=l", "Cookie: battery_color=red")
		if got := e.Headers["Cookie"]; !slices.Equal(got, []string{`a=1; b="2"`, "battery_color=red"}) && !slices.Equal(got, []string{`a=1; b="2"; battery_color=red`}) {
			t.Errorf("Cookie = %q", got)
		}
		if got := strings.Join(r.asked.Load().Header["Cookie"], "; "); !strings.Contains(got, "battery_session=s") || !strings.Contains(got, "battery_login") {
			t.Errorf("the door saw Cookie = %q", got)
		}
	})
}

func TestQuestion(t *testing.T) {
	cases := map[string]struct {
		target  string
		headers []string
		want    map[string][]string // nil: the door must not see it
	}{
		"method, scheme, host, uri and port": {"/a?b=c&d=%zz;", nil, map[string][]string{
			"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {host}, "X-Forwarded-Uri": {"/a?b=c&d=%zz;"},
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Port": {"8000"},
		}},
		"a client's forwarding headers count for nothing": {"/", []string{
			"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Uri: /public", "X-Forwarded-Uri: /public", "X_Forwarded_Host: evil", "X-Original-Url: /public",
			"X-Forwarded-Prefix: /p", "X-Real-Ip: 1.2.3.4",
		}, map[string][]string{
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Uri": {"/"}, "X_forwarded_host": nil, "X-Original-Url": nil, "X-Forwarded-Prefix": nil, "X-Real-Ip": nil,
		}},
		"its other headers arrive, all values": {"/", []string{"X-Twice: 1", "X-Twice: 2", "Authorization: Bearer t", "Cookie: c=1", "X-Battery-User-Id: evil", "Te: gzip", "Connection: keep-alive, X-Hop", "X-Hop: h"}, map[string][]string{
			"X-Twice": {"1", "2"}, "Authorization": {"Bearer t"}, "Cookie": {"c=1"}, "X-Battery-User-Id": {"evil"}, "Te": nil, "X-Hop": nil, "Accept-Encoding": nil, "User-Agent": nil,
		}},
		"a host with oddities is passed raw": {"/", []string{"Host: CRM.acme.battery.localhost.:8000"}, map[string][]string{"X-Forwarded-Host": {"CRM.acme.battery.localhost.:8000"}}},
		"dot segments are cleaned":           {"/public/../admin/./x", nil, map[string][]string{"X-Forwarded-Uri": {"/admin/x"}}},
		"encoded dot segments too":           {"/public/%2e%2E/admin", nil, map[string][]string{"X-Forwarded-Uri": {"/admin"}}},
		"doubled slashes are joined":         {"//admin//x/", nil, map[string][]string{"X-Forwarded-Uri": {"/admin/x/"}}},
		"unreserved characters are decoded":  {"/%61dmin%7e%3b%2fx", nil, map[string][]string{"X-Forwarded-Uri": {"/admin~%3B%2Fx"}}},
		"an absolute target is its path":     {"http://" + host + "/p?q", nil, map[string][]string{"X-Forwarded-Uri": {"/p?q"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, allow, nil)
			e := r.echoed(t, c.target, c.headers...)
			asked := r.asked.Load()
			for header, want := range c.want {
				if got := asked.Header[header]; !slices.Equal(got, want) {
					t.Errorf("%s = %q, want %q", header, got, want)
				}
			}
			if asked.Method != http.MethodGet || asked.ContentLength != 0 {
				t.Errorf("asked by %s with %d bytes", asked.Method, asked.ContentLength)
			}
			seen := e.Path
			if e.Query != "" {
				seen += "?" + e.Query
			}
			if seen != asked.Header.Get("X-Forwarded-Uri") || e.Host != asked.Header.Get("X-Forwarded-Host") {
				t.Errorf("the app saw %s at %s, the door %s at %s", seen, e.Host, asked.Header.Get("X-Forwarded-Uri"), asked.Header.Get("X-Forwarded-Host"))
			}
		})
	}
	for _, target := range []string{"http:http://vhost/admin", "/a#/public", "*"} {
		t.Run("refuses "+target, func(t *testing.T) {
			r := newRig(t, allow, nil)
			if res, _ := r.send(t, target); res.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d", res.StatusCode)
			}
			if r.asked.Load() != nil || r.app.Load() != 0 {
				t.Error("it went further than the gateway")
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	t.Run("a refusal is relayed whole", func(t *testing.T) {
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Set-Cookie", "battery_verifier_1=a")
			w.Header().Add("Set-Cookie", "battery_verifier_2=b")
			w.Header().Set("Location", "https://auth.battery.app/login?rd=x")
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Keep-Alive", "timeout=5")
			w.WriteHeader(http.StatusFound)
			io.WriteString(w, "go there")
		}, nil)
		res, body := r.send(t, "/")
		if res.StatusCode != http.StatusFound || body != "go there" || res.Header.Get("Location") != "https://auth.battery.app/login?rd=x" ||
			len(res.Header["Set-Cookie"]) != 2 || res.Header.Get("Www-Authenticate") != "Bearer" || res.Header.Get("Keep-Alive") != "" {
			t.Errorf("%d %v %q", res.StatusCode, res.Header, body)
		}
		if r.app.Load() != 0 {
			t.Error("the app was asked")
		}
	})
	for _, status := range []int{300, 400, 401, 403, 404, 429, 500, 503} {
		t.Run(fmt.Sprintf("%d never reaches the app", status), func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }, nil)
			if res, _ := r.send(t, "/"); res.StatusCode != status {
				t.Errorf("status %d, want %d", res.StatusCode, status)
			}
			if r.app.Load() != 0 {
				t.Error("the app was asked")
			}
		})
	}
	t.Run("a door that is down denies", func(t *testing.T) {
		r := newRig(t, allow, nil)
		gone := httptest.NewServer(http.NotFoundHandler())
		gone.Close()
		app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { r.app.Add(1) }))
		defer app.Close()
		r.start(t, gone.URL, gone.URL, app.URL)
		if res, _ := r.send(t, "/"); res.StatusCode != http.StatusInternalServerError {
			t.Errorf("status %d", res.StatusCode)
		}
		if r.app.Load() != 0 {
			t.Error("the app was asked")
		}
	})
	t.Run("an unknown host asks the door and finds no app", func(t *testing.T) {
		r := newRig(t, allow, nil)
		if res, _ := r.send(t, "/", "Host: other.test"); res.StatusCode != http.StatusNotFound || r.asked.Load() == nil {
			t.Errorf("status %d", res.StatusCode)
		}
	})
	t.Run("/.battery/ goes to the public listener unasked, with its host", func(t *testing.T) {
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil)
		res, body := r.send(t, "/x/../%2ebattery/session?ticket=t", "Cookie: battery_verifier_1=v")
		var e echo
		_ = json.Unmarshal([]byte(body), &e)
		if res.Header.Get("Public") != "yes" || e.Host != host || e.Path != "/.battery/session" || e.Query != "ticket=t" || e.Headers.Get("Cookie") == "" {
			t.Errorf("%v %s", res.Header, body)
		}
		if r.asked.Load() != nil {
			t.Error("the door was asked")
		}
	})
}

func TestWebsocket(t *testing.T) {
	upgrade := func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		rw.Flush()
		io.Copy(conn, rw)
	}
	headers := []string{"Host: " + host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k"}
	t.Run("an upgrade passes both ways once allowed", func(t *testing.T) {
		r := newRig(t, allow, upgrade)
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\n%s\r\n\r\n", strings.Join(headers, "\r\n"))
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v %v", res, err)
		}
		fmt.Fprint(conn, "ping\n")
		if line, err := br.ReadString('\n'); line != "ping\n" {
			t.Errorf("%q %v", line, err)
		}
		if asked := r.asked.Load().Header; asked.Get("Upgrade") != "" || asked.Get("Sec-Websocket-Key") != "k" {
			t.Errorf("the door was asked with %v", asked)
		}
	})
	t.Run("and not when refused", func(t *testing.T) {
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, upgrade)
		if res, _ := r.send(t, "/ws", headers...); res.StatusCode != http.StatusUnauthorized || r.app.Load() != 0 {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

func TestStreaming(t *testing.T) {
	t.Run("an app's answer flows as it comes", func(t *testing.T) {
		release := make(chan struct{})
		r := newRig(t, allow, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "first\n")
			_ = http.NewResponseController(w).Flush()
			<-release
			io.WriteString(w, "second\n")
		})
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.addr+"/", nil)
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		br := bufio.NewReader(res.Body)
		if line, err := br.ReadString('\n'); line != "first\n" {
			t.Fatalf("%q %v", line, err)
		}
		close(release)
		if rest, err := io.ReadAll(br); string(rest) != "second\n" {
			t.Errorf("%q %v", rest, err)
		}
	})
}

func TestNew(t *testing.T) {
	ok := func(string) (string, bool) { return "", false }
	for name, opt := range map[string]gateway.Options{
		"no door":               {Public: "http://127.0.0.1:1", Apps: ok},
		"no public listener":    {Auth: "http://127.0.0.1:1", Apps: ok},
		"no apps":               {Auth: "http://127.0.0.1:1", Public: "http://127.0.0.1:1"},
		"a door under a path":   {Auth: "http://127.0.0.1:1/x", Public: "http://127.0.0.1:1", Apps: ok},
		"a door by other means": {Auth: "ftp://127.0.0.1:1", Public: "http://127.0.0.1:1", Apps: ok},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if _, err := gateway.New(opt); err == nil {
				t.Error("no error")
			}
		})
	}
}

// FuzzPath: what the door is asked about is what the app gets, whatever the target.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "//x", "/%2e%2e/a", "/a%2f..%2fb", "/%", "/a;b/..", "/.battery/../x", "/\\..\\a", "/a?x#y"} {
		f.Add(s)
	}
	var asked, got string
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = r.Header.Get("X-Forwarded-Uri") }))
	f.Cleanup(auth.Close)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	f.Cleanup(app.Close)
	h, err := gateway.New(gateway.Options{Auth: auth.URL, Public: auth.URL, Apps: func(string) (string, bool) { return app.URL, true }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			t.Skip()
		}
		asked, got = "", ""
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL, r.RequestURI, r.Host = u, target, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got != "" && got != asked && !strings.HasPrefix(asked, "/.battery/") {
			t.Errorf("%q: the door was asked about %q, the app got %q", target, asked, got)
		}
		if strings.Contains(asked, "/../") {
			t.Errorf("%q: the door was asked about %q", target, asked)
		}
	})
}
