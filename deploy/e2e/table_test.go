package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// received is what an app of these tests answers: what it got, and which app it is.
type received struct {
	App, Method, Host, URI, Body string // Body is a digest
	Length                       int
	Header                       http.Header
}

// recorder is an app that tells what it received, and answers as the path says.
func recorder(t *testing.T, app string) *upstream {
	var u *upstream
	u = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sum := sha256.Sum256(body)
		u.last.Store(r.Header.Clone())
		got := received{App: app, Method: r.Method, Host: r.Host, URI: r.RequestURI, Body: hex.EncodeToString(sum[:]), Length: len(body), Header: r.Header}
		status := http.StatusOK
		switch r.URL.Path {
		case "/to-relative":
			w.Header().Set("Location", "/next?a=b")
			status = http.StatusFound
		case "/to-absolute":
			w.Header().Set("Location", "http://elsewhere.example:81/x")
			status = http.StatusSeeOther
		case "/own-401":
			w.Header().Set("Www-Authenticate", "Basic realm=own")
			status = http.StatusUnauthorized
		case "/own-403":
			status = http.StatusForbidden
		case "/own-500":
			status = http.StatusInternalServerError
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Add("Set-Cookie", "own=1; Path=/")
		w.Header().Add("Set-Cookie", "other=2; Path=/")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(got)
	})
	return u
}

// tableWorld is a world whose apps record what they receive.
func tableWorld(t *testing.T, f front) (w *world, crm, status *upstream) {
	t.Helper()
	crm, status = recorder(t, "crm.acme"), recorder(t, "status.acme")
	w = freshWorld(t, f, func(w *world) {
		w.replace = map[string]Address{"crm.acme": crm.Address, "status.acme": status.Address}
	})
	return w, crm, status
}

// raw writes bytes to the gateway and reads one answer. Status 0: none came.
func (w *world) raw(t *testing.T, text string) (int, http.Header, string) {
	t.Helper()
	return rawTo(t, w.port, text)
}

func rawTo(t *testing.T, port int, text string) (int, http.Header, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return 0, nil, ""
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return 0, nil, ""
	}
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(body)
}

func (w *world) host(app string) string { return fmt.Sprintf("%s.%s:%d", app, w.Domain, w.port) }

// What belongs to the app stays the app's: methods, bodies, long queries, its
// own redirects, refusals and cookies.
func TestTheAppsTrafficIsLeftAlone(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		w, _, _ := tableWorld(t, f)
		ask := func(method, path string, body io.Reader, headers ...string) (*http.Response, received) {
			req, err := http.NewRequest(method, w.url("status.acme", path), body)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range headers {
				name, value, _ := strings.Cut(h, ": ")
				req.Header.Add(name, value)
			}
			resp, err := loopback().Do(req)
			if err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			defer resp.Body.Close()
			var got received
			raw, _ := io.ReadAll(resp.Body)
			_ = json.Unmarshal(raw, &got)
			return resp, got
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND"} {
			if method == "QUERY" && f.tool == "envoy" {
				continue // Envoy's parser knows the methods of old alone, and answers 400
			}
			if resp, got := ask(method, "/m", nil); resp.StatusCode != 200 || got.Method != method {
				t.Errorf("%s: status %d, the app saw %q", method, resp.StatusCode, got.Method)
			}
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
		sum := sha256.Sum256(big)
		for name, body := range map[string]io.Reader{"a length": bytes.NewReader(big), "chunks": io.MultiReader(bytes.NewReader(big))} {
			if resp, got := ask("POST", "/upload", body, "Content-Type: application/octet-stream"); resp.StatusCode != 200 || got.Body != hex.EncodeToString(sum[:]) {
				t.Errorf("a body of 1 MiB with %s: status %d, the app got %d bytes", name, resp.StatusCode, got.Length)
			}
		}
		long := "/search?q=" + strings.Repeat("a%20b+c", 900) // 6.3 KB
		if resp, got := ask("GET", long, nil); resp.StatusCode != 200 || got.URI != long {
			t.Errorf("a long query: status %d, the app got %d bytes of %d", resp.StatusCode, len(got.URI), len(long))
		}
		for path, want := range map[string]struct {
			status         int
			name, location string
		}{
			"/to-relative": {302, "Location", "/next?a=b"}, "/to-absolute": {303, "Location", "http://elsewhere.example:81/x"},
			"/own-401": {401, "Www-Authenticate", "Basic realm=own"}, "/own-403": {403, "", ""}, "/own-500": {500, "", ""},
		} {
			resp, got := ask("GET", path, nil)
			if resp.StatusCode != want.status || resp.Header.Get(want.name) != want.location || got.App != "status.acme" {
				t.Errorf("%s: status %d, %s %q, body from %q; want the app's own %d", path, resp.StatusCode, want.name, resp.Header.Get(want.name), got.App, want.status)
			}
			if n := len(resp.Header.Values("Set-Cookie")); n != 2 {
				t.Errorf("%s: %d of the app's two cookies reached the browser", path, n)
			}
		}
		if resp, _ := ask("HEAD", "/head", nil); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD: status %d, %q", resp.StatusCode, resp.Header.Get("Content-Type"))
		}
	})
}

// Refusals have no exceptions by method, body or length.
func TestRefusalsHoldForEveryKindOfRequest(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		w, crm, _ := tableWorld(t, f)
		host := w.host("crm.acme")
		body := strings.Repeat("x", 100_000)
		for name, c := range map[string]struct {
			request string
			status  int
		}{
			"HEAD of a script":        {"HEAD / HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\n\r\n", 401},
			"HEAD of a navigation":    {"HEAD / HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 302},
			"POST with a body":        {fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body), 401},
			"POST in chunks":          {fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", host, len(body), body), 401},
			"a long query":            {"GET /?q=" + strings.Repeat("z", 6000) + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 302},
			"OPTIONS":                 {"OPTIONS / HTTP/1.1\r\nHost: " + host + "\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n\r\n", 401},
			"a method nobody knows":   {"BREW / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 0},
			"a method in lower case":  {"get / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 0},
			"a method override":       {"GET / HTTP/1.1\r\nHost: " + host + "\r\nX-HTTP-Method-Override: POST\r\n\r\n", 0},
			"another URL on the side": {"GET / HTTP/1.1\r\nHost: " + host + "\r\nX-Rewrite-URL: /.battery/userinfo\r\n\r\n", 0},
		} {
			status, h, got := w.raw(t, c.request)
			if status != c.status && (c.status != 0 || status < 400 && status != 0) {
				t.Errorf("%s: status %d, want %d (0: any refusal)", name, status, c.status)
			}
			if status == 302 && !strings.HasPrefix(h.Get("Location"), w.PublicURL+"/login?") {
				t.Errorf("%s: Location %q is not the login's absolute address", name, h.Get("Location"))
			}
			if strings.HasPrefix(c.request, "HEAD") && got != "" {
				t.Errorf("%s: a body of %d bytes", name, len(got))
			}
		}
		if n := crm.hits.Load(); n != 0 {
			t.Errorf("%d requests reached the app", n)
		}
	})
}

// The host that the policy judges is the host whose app is reached, however the
// two are written.
func TestPolicyAndGatewayMeanTheSameHost(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		w, crm, status := tableWorld(t, f)
		private, public := w.host("crm.acme"), w.host("status.acme")
		for name, request := range map[string]string{
			"a target with another host":        "GET http://" + private + "/ HTTP/1.1\r\nHost: " + public + "\r\n\r\n",
			"the other way round":               "GET http://" + public + "/ HTTP/1.1\r\nHost: " + private + "\r\n\r\n",
			"an absolute target of version 1.0": "GET http://" + private + "/ HTTP/1.0\r\nHost: " + public + "\r\n\r\n",
			"two hosts":                         "GET / HTTP/1.1\r\nHost: " + public + "\r\nHost: " + private + "\r\n\r\n",
			"two hosts in one":                  "GET / HTTP/1.1\r\nHost: " + public + ", " + private + "\r\n\r\n",
			"a user before the host":            "GET / HTTP/1.1\r\nHost: " + public + "@" + private + "\r\n\r\n",
			"a trailing dot":                    "GET / HTTP/1.1\r\nHost: crm.acme." + w.Domain + ".\r\n\r\n",
			"capitals":                          "GET / HTTP/1.1\r\nHost: " + strings.ToUpper(private) + "\r\n\r\n",
			"a port of its own":                 "GET / HTTP/1.1\r\nHost: crm.acme." + w.Domain + ":1\r\n\r\n",
			"no host":                           "GET / HTTP/1.0\r\n\r\n",
			"a forwarded host":                  "GET / HTTP/1.1\r\nHost: " + private + "\r\nX-Forwarded-Host: " + public + "\r\nForwarded: host=" + public + "\r\n\r\n",
			"a forwarded path":                  "GET / HTTP/1.1\r\nHost: " + private + "\r\nX-Forwarded-Uri: /.battery/userinfo\r\nX-Forwarded-Prefix: /.battery\r\n\r\n",
		} {
			before := status.hits.Load()
			code, _, body := w.raw(t, request)
			if n := crm.hits.Load(); n != 0 {
				t.Fatalf("%s: the app that nobody is signed in to was reached", name)
			}
			if status.hits.Load() != before {
				var got received
				if err := json.Unmarshal([]byte(body), &got); err != nil || got.Header.Get("X-Battery-App-Id") != "status.acme" || strings.Contains(got.Host, "crm.acme") {
					t.Errorf("%s: the public app was reached as %q with a decision for %q", name, got.Host, got.Header.Get("X-Battery-App-Id"))
				}
			} else if code != 0 && code < 400 {
				t.Errorf("%s: status %d from neither app", name, code)
			}
		}
	})
}

// What follows a request on its connection is a request of its own: no tunnel,
// no second reading of where the first one ends.
func TestNothingRidesAlong(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		w, crm, _ := tableWorld(t, f)
		host := w.host("status.acme")
		for name, headers := range map[string]string{
			"h2c":               "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
			"h2c of two":        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
			"h2c in a list":     "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
			"TLS":               "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
			"not quite websock": "Connection: Upgrade\r\nUpgrade: xwebsocket\r\n",
		} {
			code, _, body := w.raw(t, "GET /up HTTP/1.1\r\nHost: "+host+"\r\n"+headers+"\r\n")
			var got received
			if json.Unmarshal([]byte(body), &got) != nil || got.App == "" {
				if code != 0 && code < 400 {
					t.Errorf("%s: status %d and not from the app", name, code)
				}
				continue
			}
			if up := strings.Join(got.Header.Values("Upgrade"), ","); up != "" && !strings.EqualFold(up, "websocket") {
				t.Errorf("%s: the app was offered an upgrade to %q", name, up)
			}
			if got.Header.Get("Http2-Settings") != "" {
				t.Errorf("%s: the app was sent HTTP2-Settings", name)
			}
		}
		crmHost := w.host("crm.acme")
		hidden := "GET /smuggled HTTP/1.1\r\nHost: " + crmHost + "\r\n\r\n"
		for name, request := range map[string]string{
			"a length and chunks": "POST /a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
			"chunks in disguise":  "POST /a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " + fmt.Sprint(5+len(hidden)) + "\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
			"two lengths":         "POST /a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
			"a body of a GET":     "GET /a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
			"a name with a space": "POST /a HTTP/1.1\r\nHost: " + host + "\r\nContent-Length : " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		} {
			w.raw(t, request)
			if n := crm.hits.Load(); n != 0 {
				t.Fatalf("%s: a request in the shadow of another reached the app", name)
			}
		}
	})
}

// A name in the Connection header is dropped at the next hop: no client may have
// an identity header dropped so, or bring one in.
func TestConnectionTakesNoIdentityAway(t *testing.T) {
	gateways(t, func(t *testing.T, f front) {
		w, _, app := tableWorld(t, f)
		host := w.host("status.acme")
		for _, upgrade := range []string{"", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"} {
			names := "close, X-Battery-App-Id, X-Battery-Roles, X-Forwarded-For, Cookie"
			if upgrade != "" {
				names = "Upgrade, X-Battery-App-Id, X-Battery-Roles, X-Forwarded-For"
			}
			before := app.hits.Load()
			code, _, body := w.raw(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: "+names+"\r\n"+upgrade+"X-Battery-Roles: admin\r\n\r\n")
			if app.hits.Load() == before {
				if code < 400 {
					t.Errorf("status %d, not from the app: %.100s", code, body)
				}
				continue
			}
			got := received{Header: app.last.Load().(http.Header)}
			if id := got.Header.Values("X-Battery-App-Id"); len(id) != 1 || id[0] != "status.acme" {
				t.Errorf("upgrade %t: the app received X-Battery-App-Id %q", upgrade != "", id)
			}
			if roles := strings.Join(got.Header.Values("X-Battery-Roles"), ""); roles != "" {
				t.Errorf("upgrade %t: the app received X-Battery-Roles %q", upgrade != "", roles)
			}
			if c := strings.ToLower(strings.Join(got.Header.Values("Connection"), ",")); strings.Contains(c, "x-battery") {
				t.Errorf("upgrade %t: the app is told to drop %q", upgrade != "", c)
			}
		}
	})
}
