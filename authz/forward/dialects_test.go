package forward_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// TestHAProxy: its Lua action asks with HEAD, joins what the client repeated with
// ", ", and acts on the status and, for a redirect, the Location.
func TestHAProxy(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.http)
	defer srv.Close()
	send := func(m string, c client) (int, http.Header, string) {
		t.Helper()
		w.records, w.asked, w.answers = nil, nil, nil
		req, err := http.NewRequest(m, srv.URL+"/authz/forward-auth", nil)
		if err != nil {
			t.Fatal(err)
		}
		for n, v := range c.header {
			req.Header.Set(n, strings.Join(v, ", "))
		}
		for n, v := range map[string]string{"X-Forwarded-Method": c.method, "X-Forwarded-Proto": c.scheme, "X-Forwarded-Host": c.authority, "X-Forwarded-Uri": c.uri} {
			req.Header.Set(n, v)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		id := w.one(t).ID
		for n, v := range res.Header {
			res.Header[n] = []string{strings.ReplaceAll(v[0], id, "ID")}
		}
		res.Header.Del("Date")
		res.Header.Del("Content-Length") // net/http leaves out a zero for HEAD
		return res.StatusCode, res.Header, string(body)
	}
	for name, c := range map[string]client{
		"allow": get("crm.acme.test", "/?x=%2f", ada), "to log in": get("crm.acme.test", "/", browser), "401": get("crm.acme.test", "/", fetch),
		"page": get("crm.acme.test", "/", bob, browser), "403": get("crm.acme.test", "/", bob), "400": get("", "/", ada), "post": post(get("crm.acme.test", "/", ada)),
		"endpoint": get("crm.acme.test", "/.battery/login?rd=x", browser), "head": method(get("crm.acme.test", "/", ada), "HEAD"), "two readings": get("crm.acme.test", "/a/../b", ada),
	} {
		status, header, body := send("GET", c)
		headStatus, headHeader, none := send("HEAD", c)
		if status != headStatus || fmt.Sprint(header) != fmt.Sprint(headHeader) || none != "" {
			t.Errorf("%s: GET %d %v %q, HEAD %d %v %q", name, status, header, body, headStatus, headHeader, none)
		}
	}
	if status, _, _ := send("HEAD", get("crm.acme.test", "/", ada, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors")); status != 400 {
		t.Errorf("joined: %d", status)
	}
}

// TestCaddy: forward_auth keeps the client's query on its own question, adds Via,
// and brings Upgrade back for websockets.
func TestCaddy(t *testing.T) {
	w := newWorld(t)
	c := get("crm.acme.test", "/deals?x=1", ada, "Via: 1.1 Caddy", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
	for _, query := range []string{"?x=1", "?X-Forwarded-Uri=/admin&uri=/admin", "?" + strings.Repeat("q", 20<<10), "?%zz;&&=", "?/authz/ext-authz/"} {
		w.records, w.asked, w.answers = nil, nil, nil
		r := question("GET", "/authz/forward-auth"+query, "crm.acme.test", c.header)
		set(r, "X-Forwarded-Method", c.method)
		set(r, "X-Forwarded-Proto", c.scheme)
		set(r, "X-Forwarded-Host", c.authority)
		set(r, "X-Forwarded-Uri", c.uri)
		res := w.send(r)
		if res.status != 200 || w.asked[0].Path != "/deals" || w.asked[0].Query != "x=1" || res.get("Upgrade") != "" || res.get("Connection") != "" {
			t.Errorf("%.40s: %d %+v %v", query, res.status, w.asked[0], res.header)
		}
	}
	// Without a session the answer to a websocket is never a switch or a redirect.
	if res := forwardAuth(t, w, get("crm.acme.test", "/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Accept: text/html")); res.status != 401 {
		t.Errorf("%d", res.status)
	}
}

// TestNginx: anything but 2xx, 401 and 403 is a 500 to its client, and the body
// that it announces does not come.
func TestNginx(t *testing.T) {
	t.Run("no status but 200, 401 and 403", func(t *testing.T) {
		for _, c := range []client{
			get("crm.acme.test", "/", ada), get("crm.acme.test", "/", browser), get("crm.acme.test", "/", fetch), get("crm.acme.test", "/", bob, browser), get("nobody.test", "/"),
			get("", "/"), get("crm.acme.test", ""), method(get("crm.acme.test", "/"), "FROB"), get("crm.acme.test", "/a b"), get("crm.acme.test", "/a/../b"), get("crm.acme.test", "/.battery/login", browser),
			get("crm.acme.test", "/", ada, "X-Rewrite-Url: /x"), get("api.acme.test", "/", "Authorization: Bearer x"), get("crm.acme.test", "/", ada, forward.RouteAppHeader+": crm.acme"),
			get("notes.acme.test", "/%61dmin", ada), get("notes.acme.test", "/%61dmin"), get("crm.acme.test", "/", "Content-Type: application/grpc"),
		} {
			w := newWorld(t)
			res := authRequest(t, w, c)
			if res.status != 200 && res.status != 401 && res.status != 403 || res.get("Set-Cookie") != "" {
				t.Errorf("%s%s: %d %v", c.authority, c.uri, res.status, res.header)
			}
			if rec := w.one(t); rec.Status != res.status {
				t.Errorf("%s%s: %d recorded, %d said", c.authority, c.uri, rec.Status, res.status)
			}
		}
	})
	t.Run("a navigation without a session is a 401 with an absolute Location", func(t *testing.T) {
		w := newWorld(t)
		res := authRequest(t, w, get("crm.acme.test", "/deals?x=1", browser))
		if res.status != 401 || res.get("Location") != w.location || res.get("Www-Authenticate") == "" || w.logins[0].relayed {
			t.Errorf("%d %v", res.status, res.header)
		}
	})
	t.Run("a refusal says in headers what a program needs, as nginx relays no body", func(t *testing.T) {
		for name, row := range map[string]struct {
			ask           client
			status        int
			reason, login string
		}{
			"denied":           {get("crm.acme.test", "/", bob, fetch), 403, "no_allowed_role", ""},
			"a script":         {get("crm.acme.test", "/", fetch), 401, "no_session", "https://"},
			"a navigation":     {get("crm.acme.test", "/", browser), 401, "no_session", ""}, // it has a Location
			"a machine":        {get("api.acme.test", "/", "Authorization: Bearer x"), 401, "token_invalid", ""},
			"nobody's host":    {get("nobody.test", "/", fetch), 403, "unknown_host", ""},
			"a malformed path": {get("crm.acme.test", "/a b"), 403, "malformed_request", ""},
		} {
			w := newWorld(t)
			res := authRequest(t, w, row.ask)
			if res.status != row.status || res.get("X-Battery-Reason") != row.reason || res.get("X-Battery-Decision-Id") != w.one(t).ID ||
				!strings.HasPrefix(res.get("X-Battery-Login-Url"), row.login) || (row.login == "") != (res.get("X-Battery-Login-Url") == "") {
				t.Errorf("%s: %d %v", name, res.status, res.header)
			}
		}
		w := newWorld(t)
		if res := authRequest(t, w, get("crm.acme.test", "/", ada)); res.get("X-Battery-Reason") != "" || res.get("X-Battery-Login-Url") != "" {
			t.Errorf("an allow: %v", res.header)
		}
	})
	t.Run("a body that is announced and never sent holds nothing up", func(t *testing.T) {
		w := newWorld(t)
		srv := httptest.NewServer(w.http)
		defer srv.Close()
		for _, announced := range []string{"Content-Length: 1", "Content-Length: 262144", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
			for _, row := range []struct {
				cookie string
				want   int
			}{{oursValue, 200}, {"a=1", 401}} {
				fastest := time.Hour
				for range 3 {
					conn, err := net.Dial("tcp", srv.Listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					_ = conn.SetDeadline(began.Add(5 * time.Second))
					fmt.Fprintf(conn, "GET /authz/auth-request HTTP/1.1\r\nHost: gate\r\nX-Original-URL: https://crm.acme.test/upload\r\nX-Original-Method: POST\r\nCookie: %s\r\n%s\r\n\r\n", row.cookie, announced)
					res, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						t.Fatalf("%s: %v", announced, err)
					}
					if fastest = min(fastest, time.Since(began)); res.StatusCode != row.want {
						t.Errorf("%s: %d", announced, res.StatusCode)
					}
					_ = conn.Close()
				}
				if fastest > 800*time.Millisecond { // net/http would wait for the body, for a second at the longest
					t.Errorf("%s: answered after %v", announced, fastest)
				}
			}
		}
	})
	t.Run("an answer's head fits into a buffer of 4 KiB", func(t *testing.T) {
		w := manyGroups(t)
		srv := httptest.NewServer(w.http)
		defer srv.Close()
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /authz/auth-request HTTP/1.1\r\nHost: gate\r\nX-Original-URL: https://crm.acme.test/\r\nX-Original-Method: GET\r\nCookie: %s\r\nConnection: close\r\n\r\n", oursValue)
		all, _ := io.ReadAll(conn)
		if head, _, ok := strings.Cut(string(all), "\r\n\r\n"); !ok || len(head) > 4<<10 || !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Errorf("%d bytes: %.100s", len(head), head)
		}
	})
}

// TestNamesThatParsersReadDifferently: on the wire, too, no spelling of a header of
// ours gets by.
func TestNamesThatParsersReadDifferently(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.http)
	defer srv.Close()
	for _, line := range []string{
		"X-Battery-Roles : admin", "X-Battery-Roles\t: admin", "X Battery Roles: admin", "X-Battery\x00Roles: admin", "X_BATTERY_ROLES: admin", "x.battery.roles: admin",
		"X-Forwarded-Uri:/admin", "x-forwarded-uri: /admin", "X_FORWARDED_URI: /admin", "X-Forwarded-Uri :/admin", " folded: onto the last", "x-battery-roles: a\r\nX-BATTERY-ROLES: b",
		"X-Http-Method-Override: DELETE", "Host: other.test",
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(conn, "GET /authz/forward-auth HTTP/1.1\r\nHost: gate\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: status.acme.test\r\nX-Forwarded-Uri: /\r\n%s\r\n\r\n", line)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 400 {
			t.Errorf("%q: %v %v", line, res, err)
		}
		_ = conn.Close()
	}
}

// manyGroups is a world in which ada has 1,000 groups with long names, and long
// everything else.
func manyGroups(t testing.TB) *world {
	w := newWorld(t)
	var groups []authz.Group
	for i := range 1000 {
		groups = append(groups, authz.Group{ID: fmt.Sprint(i), Name: fmt.Sprintf("Abteilung für Öffentlichkeit & Größeres, Nr. %d, %s", i, strings.Repeat("lang ", 20))})
	}
	w.users["prof_ada"].Groups = groups
	for i := range 200 {
		w.users["prof_ada"].Roles = append(w.users["prof_ada"].Roles, fmt.Sprintf("role-with-a-long-name-%03d", i))
	}
	w.sessions["t-ada"].Email = strings.Repeat("a", 64) + "@" + strings.Repeat("b", 180) + ".test"
	return w
}

// TestIdentityAlwaysFits: whatever a directory holds, an allow has every identity
// header once and takes at most 3.5 KiB, with ids and roles whole.
func TestIdentityAlwaysFits(t *testing.T) {
	for door, do := range doors() {
		w := manyGroups(t)
		res := do(t, w, get("crm.acme.test", "/", ada))
		rec := w.one(t)
		checkShape(t, res, rec, false)
		total := 0
		for _, name := range identityHeaders {
			total += len(name) + len(": \r\n") + len(res.get(name))
		}
		if res.status != 200 || total > 3584 {
			t.Errorf("%s: %d, %d bytes", door, res.status, total)
		}
		for _, name := range []string{"X-Battery-User-Id", "X-Battery-Org-Id", "X-Battery-User-Email", "X-Battery-App-Id", "X-Battery-Decision-Id", "X-Battery-Assertion"} {
			if res.get(name) == "" {
				t.Errorf("%s: %s gave way", door, name)
			}
		}
		for _, role := range strings.Split(res.get("X-Battery-Roles"), ",") {
			if role != "editor" && role != "member" && len(role) != len("role-with-a-long-name-000") {
				t.Errorf("%s: a role was cut: %q", door, role)
			}
		}
	}
	t.Run("more policy headers than fit are refused at the start", func(t *testing.T) {
		o := newWorld(t).options
		for i := range 100 {
			o.PolicyHeaders = append(o.PolicyHeaders, fmt.Sprintf("X-Policy-Header-%d", i))
		}
		if _, err := forward.New(o); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("%v", err)
		}
	})
}
