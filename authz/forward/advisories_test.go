package forward_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// advisory is a row of what every door that it concerns must refuse, with a reason,
// and record once. Its name holds the ids of the advisories it replays.
type advisory struct {
	name  string
	doors []string
	code  string
	cases []client
}

// refusals are what went wrong in other gateways' doors, as inputs.
func refusals() []advisory {
	ok := get("crm.acme.test", "/deals", ada)
	all := []string{"forward-auth", "auth-request", "ext-authz", "ext-authz-grpc"}
	but := func(out string) []string {
		var list []string
		for _, d := range all {
			if d != out {
				list = append(list, d)
			}
		}
		return list
	}
	envoy, fwd := []string{"ext-authz", "ext-authz-grpc"}, []string{"forward-auth"}
	uri := func(u string) client { return get("crm.acme.test", u, ada) }
	host := func(h string) client { return get(h, "/deals", ada) }
	scheme := func(s string) client {
		c := ok
		c.scheme = s
		return c
	}
	ambiguous, malformed, unknown := authz.CodeAmbiguousPath, authz.CodeMalformedRequest, authz.CodeUnknownHost
	return []advisory{
		{"header aliases (GHSA-vjrc-mh2v-45x6, CVE-2025-64484, GHSA-5m6w-wvh7-57vm, CVE-2026-39858)", all, malformed, []client{
			ok.with("X_Forwarded_Uri: /public"), ok.with("X-Battery_User-Id: root"), ok.with("X.Forwarded.Host: x"),
			ok.with("X_Battery_Roles: admin"), ok.with("x-battery.org-id: o"), ok.with("X_Plan: gold"), ok.with("X_Original_URL: /x"),
			ok.with("X_HTTP_Method_Override: GET"), ok.with("Accept_Language: de"), ok.with("X_Battery_Anything: 1"), ok.with("X_Forwarded_Prefix: /p"),
			ok.with("X~Battery~Roles: admin"), ok.with("X_Real_Ip: 10.0.0.1"), ok.with("Content_Type: application/grpc"), ok.with("Sec_Fetch_Mode: navigate"), ok.with("Access_Control_Request_Method: PUT"),
		}},
		{"URL overrides of other doors", all, malformed, []client{ok.with("X-Rewrite-Url: /admin"), ok.with("X-Original-Uri: /admin")}},
		{"X-Original-URL and -Method away from nginx", but("auth-request"), malformed, []client{ok.with("X-Original-Url: https://crm.acme.test/public"), ok.with("X-Original-Method: DELETE")}},
		{"method override", all, malformed, []client{
			ok.with("X-HTTP-Method-Override: DELETE"), ok.with("X-HTTP-Method: DELETE"), ok.with("X-Method-Override: DELETE"),
			method(ok, "get"), method(ok, "Get"), method(ok, "FROB"), method(ok, "TRACE"), method(ok, "CONNECT"), method(ok, "M-SEARCH"),
		}},
		{"headers that come twice, at every door (class)", all, malformed, []client{
			ok.with("X-Battery-User-Id: a", "X-Battery-User-Id: b"), ok.with("X-Battery-Roles: admin,admin"), ok.with("X-Plan: gold", "X-Plan: free"),
			ok.with("Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors"), ok.with("Sec-Fetch-Dest: document,empty"), ok.with("Origin: https://a.test, https://b.test"),
			ok.with("X-Forwarded-Host: crm.acme.test", "X-Forwarded-Host: status.acme.test"), ok.with("X-Forwarded-Method: GET, POST"), ok.with("X-Battery-Assertion: a", "X-Battery-Assertion: a"),
		}},
		{"headers joined to one on the way", fwd, malformed, []client{
			ok.with("X-Forwarded-Uri: /public,/admin"), ok.with("X-Forwarded-Uri: /public, /admin"), ok.with("X-Forwarded-Uri: /public?x, /admin"),
		}},
		{"headers joined to one on the way to nginx's door", []string{"auth-request"}, malformed, []client{
			ok.with("X-Original-Url: https://crm.acme.test/public,https://crm.acme.test/admin"), ok.with("X-Original-Url: https://crm.acme.test/public, https://crm.acme.test/admin"),
			ok.with("X-Original-Method: GET,POST"),
		}},
		{"duplicate headers", fwd, malformed, []client{
			ok.with("X-Forwarded-Uri: /public", "X-Forwarded-Uri: /deals"), ok.with("X-Forwarded-Host: crm.acme.test", "X-Forwarded-Host: status.acme.test"),
			ok.with("X-Forwarded-Method: GET", "X-Forwarded-Method: GET"), ok.with("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
			ok.with("X-Forwarded-Host: crm.acme.test, status.acme.test"), ok.with("X-Forwarded-Method: GET,GET"), ok.with("X-Forwarded-Proto: https,http"),
			ok.with("X-Forwarded-Uri: "), ok.with("X-Forwarded-Host: "),
		}},
		{"duplicate headers at nginx", []string{"auth-request"}, malformed, []client{
			ok.with("X-Original-Url: https://crm.acme.test/", "X-Original-Url: https://status.acme.test/"), ok.with("X-Original-Method: GET", "X-Original-Method: POST"),
			ok.with("X-Original-Url: /deals"), ok.with("X-Original-Url: ftp://crm.acme.test/"), ok.with("X-Original-Url: https://crm.acme.test"),
			ok.with("X-Original-Url: https:crm.acme.test/"), ok.with("X-Original-Url: wss://crm.acme.test/"), ok.with("X-Original-Url: https://crm.acme.test?/deals"),
			ok.with(`X-Original-Url: https://crm.acme.test\/deals`),
		}},
		{"duplicate scheme at Envoy", []string{"ext-authz"}, malformed, []client{
			ok.with("X-Forwarded-Proto: https", "X-Forwarded-Proto: https"), ok.with("X-Forwarded-Proto: https,http"),
		}},
		{"fragment in the path (GHSA-pxq7-h93f-9jrg, CVE-2021-32779)", []string{"forward-auth", "ext-authz-grpc", "auth-request"}, malformed, []client{uri("/a#/public"), uri("/a?x#y")}},
		{"escaped fragment (GHSA-pxq7-h93f-9jrg)", all, ambiguous, []client{uri("/public/secret%23/endpoint")}},
		{"opaque targets (GHSA-f52w-8j3h-j724, CVE-2026-88009)", fwd, malformed, []client{uri("http:http://vhost/admin"), uri("http://crm.acme.test/x"), uri("*"), uri(""), uri("admin"), uri("?/x")}},
		{"opaque targets over gRPC", []string{"ext-authz-grpc"}, malformed, []client{uri("http:x"), uri("*"), uri("")}},
		{"authority in the path (GHSA-9f29-v6mm-pw6w, CVE-2026-26205, CVE-2019-9901)", all, ambiguous, []client{uri("//admin/secret"), uri("//admin"), uri("/a//b"), uri("/a//")}},
		{"paths read differently (GHSA-p224-6x5r-fjpm, GHSA-3q34-rx83-r6mq, CVE-2026-42274, GHSA-xf64-8mw2-4gr2, GHSA-6jwx-7vp4-9847, CVE-2026-40912, GHSA-cxjq-mrr5-89rv, CVE-2026-65600, GHSA-vrch-868g-9jx5, GHSA-gm3x-23wp-hc2c, CVE-2025-66490, CVE-2021-29492)", all, ambiguous, []client{
			uri("/public/../admin"), uri("/public/%2e%2e/admin"), uri("/public/%2e%2e%2fadmin"), uri("/./admin/x"), uri("/public/..;/admin"),
			uri("/public%5c..%5cadmin"), uri("/%61dmin"), uri("/admin%00.css"), uri("/admin%3b.css"), uri("/a%2F..%2Fadmin"), uri(`/public\..\admin`),
			uri("/a/."), uri("/a/.."), uri("/.."), uri("/a;x=1"), uri("/%252e%252e/x"), uri("/%25u002e/x"), uri("/a%3fb"), uri("/a%0ab"), uri("/a%7f"),
			uri("/%2E/x"), uri("/%c0%ae%c0%ae/x"), uri("/%ff"), uri("/%ed%a0%80"), uri("/%c2%80"), uri("/%7e"), uri("/a.%2e/b"),
		}},
		{"broken escapes", []string{"forward-auth", "ext-authz-grpc", "auth-request"}, ambiguous, []client{uri("/a%"), uri("/a%2"), uri("/a%zz"), uri("/a%u002e"), uri("/%%32%65")}},
		{"raw bytes in the path", []string{"forward-auth", "auth-request"}, malformed, []client{uri("/a b"), uri("/a\tb"), uri("/é"), uri("/a\x00b"), uri("/a?q=\x7f"), uri("/" + strings.Repeat("a", 8192))}},
		{"host spellings (GHSA-j748-h363-wqj8, CVE-2026-48794, CVE-2026-27588)", all, malformed, []client{
			host("a@crm.acme.test"), host("crm.acme.test:"), host("crm.acme.test:0"), host("crm.acme.test:99999"), host("crm.acme.test:+443"),
			host("crm.acme.test:0443"), host("crm..acme.test"), host("[::1"), host("[fe80::1%25eth0]"), host("2001:db8::1"), host("crm.acme.test, x.test"),
			host(strings.Repeat("a", 64) + ".test"), host(strings.Repeat("a.", 127) + "test"), host("crm.acme.test.."), host("xn--crm.acme.test\\"), host("crm。acme。test"),
		}},
		{"another port is another origin", all, unknown, []client{host("crm.acme.test:8080"), host("crm.acme.test:80")}},
		{"scheme (GHSA-vhr5-ggp3-qq85)", but("auth-request"), malformed, []client{scheme("ftp"), scheme("HTTPS"), scheme("https:")}},
		{"reserved paths (design §5)", envoy, authz.CodeReservedPath, []client{uri("/.battery"), uri("/.battery/"), uri("/.Battery/login"), uri("/.battery/userinfo"), uri("/%2ebattery/login"), uri("/.battery/login/"), uri("/.battery//login")}},
	}
}

func TestAdvisories(t *testing.T) {
	for _, row := range refusals() {
		for _, door := range row.doors {
			for _, c := range row.cases {
				t.Run(row.name+"/"+door+"/"+c.method+" "+c.authority+c.uri+oddHeader(c), func(t *testing.T) {
					w := newWorld(t)
					res := doors()[door](t, w, c)
					if res.status != 400 && res.status != 403 {
						t.Fatalf("status %d, want a refusal: %s", res.status, res.body)
					}
					rec := w.one(t)
					if len(rec.Reasons) > 0 && rec.Reasons[0].Code != row.code {
						t.Fatalf("reason %q, want %q", rec.Reasons[0].Code, row.code)
					}
				})
			}
		}
	}
}

func oddHeader(c client) string {
	for name := range c.header {
		if name != "Cookie" {
			return " " + name
		}
	}
	return ""
}

// TestStillAllowed holds what the refusals must not reach.
func TestStillAllowed(t *testing.T) {
	ok := get("crm.acme.test", "/deals", ada)
	for name, c := range map[string]client{
		"trailing slash": get("crm.acme.test", "/admin2/", ada), "root": get("crm.acme.test", "/", ada),
		"escaped space and letters": get("crm.acme.test", "/caf%C3%A9%20noir/%40me", ada), "percent sign": get("crm.acme.test", "/100%25", ada),
		"query as it likes": get("crm.acme.test", "/deals?rd=//x/../%2e;a=%00%zz?", ada), "comma": get("crm.acme.test", "/a,b:c", ada),
		"dotted names": get("crm.acme.test", "/.well-known/x..y/...", ada), "battery elsewhere": get("crm.acme.test", "/x/.battery/login", ada),
		"longer than battery": get("crm.acme.test", "/.battery2", ada), "upper-case host with dot": get("CRM.Acme.Test.", "/", ada),
		"default port": get("crm.acme.test:443", "/", ada), "own port": get("crm.acme.test:8443", "/", ada),
		"websocket":                   {method: "GET", scheme: "wss", authority: "crm.acme.test", uri: "/ws", header: ok.with("Sec-WebSocket-Key: x").header},
		"webdav":                      method(ok, "PROPFIND"),
		"preflight with session":      method(ok, "OPTIONS"),
		"exact copy of our headers":   ok.with("X-Battery-Roles: admin", "X-Battery-User-Id: root"),
		"prefix and port, even twice": ok.with("X-Forwarded-Prefix: /public", "X-Forwarded-Prefix: /x", "X-Forwarded-Port: 80"),
		"unrelated odd names":         ok.with("X_Request_Id: 1", "My.Header: 2"),
		"IPv6":                        get("[2001:DB8:0::1]:443", "/", ada),
	} {
		for door, do := range doors() {
			if door == "auth-request" && c.scheme == "wss" {
				c.scheme = "https" // nginx's $scheme
			}
			t.Run(door+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				if res := do(t, w, c); res.status != 200 {
					t.Fatalf("status %d: %s", res.status, res.body)
				}
				rec := w.one(t)
				path, _, _ := strings.Cut(c.uri, "?")
				if rec.Path != strings.ReplaceAll(path, "%40", "@") || rec.Query != "" || rec.Method != c.method || rec.Scheme != "https" {
					t.Errorf("record %q %q %q %q", rec.Method, rec.Scheme, rec.Path, rec.Query)
				}
			})
		}
	}
}

func TestTrust(t *testing.T) {
	t.Run("spoofing from an untrusted peer (CVE-2026-40575)", func(t *testing.T) {
		for _, remote := range []string{"192.0.2.10:99", "[::ffff:192.0.2.10]:99", "@", "", "10.0.0.1"} {
			for _, target := range []string{"/authz/forward-auth", "/authz/auth-request", "/authz/ext-authz/public"} {
				w := newWorld(t)
				r := question("GET", target, "status.acme.test", http.Header{
					"X-Forwarded-Uri": {"/public"}, "X-Forwarded-Host": {"status.acme.test"}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"https"},
					"X-Original-Url": {"https://status.acme.test/"}, "X-Original-Method": {"GET"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
					"Sec-Fetch-Mode": {"navigate"},
				})
				r.RemoteAddr = remote
				if res := w.send(r); res.status != 403 || strings.HasPrefix(res.get("Content-Type"), "text/html") {
					t.Fatalf("%s at %s: %d", remote, target, res.status)
				}
				rec := w.one(t)
				if rec.Reasons[0].Code != authz.CodeUntrustedPeer || rec.Host != "" || rec.Path != "" || rec.TraceID != "" {
					t.Fatalf("what an untrusted peer said is in the record: %+v", rec)
				}
			}
		}
	})
	t.Run("the same over gRPC (heimdall #3436)", func(t *testing.T) {
		w := newWorld(t, func(o *forward.Options) { o.Trusted = o.Trusted[:1] })
		if res := extAuthzGRPC(t, w, get("status.acme.test", "/")); res.status != 403 {
			t.Fatalf("status %d", res.status)
		}
		if rec := w.one(t); rec.Reasons[0].Code != authz.CodeUntrustedPeer || rec.Host != "" {
			t.Fatalf("%+v", rec)
		}
	})
	t.Run("mapped IPv4 is IPv4", func(t *testing.T) {
		w := newWorld(t)
		r := question("GET", "/authz/ext-authz/", "status.acme.test", http.Header{})
		r.RemoteAddr = "[::ffff:10.0.0.9]:1"
		if res := w.send(r); res.status != 200 {
			t.Fatalf("status %d", res.status)
		}
	})
	t.Run("a network of mapped IPv4 is one of IPv4", func(t *testing.T) {
		w := newWorld(t, func(o *forward.Options) { o.Trusted = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} })
		for remote, want := range map[string]int{"10.1.2.3:1": 200, "[::ffff:10.1.2.3]:1": 200, "11.0.0.1:1": 403, "[::1]:1": 403} {
			r := question("GET", "/authz/ext-authz/", "status.acme.test", http.Header{})
			r.RemoteAddr = remote
			if res := w.send(r); res.status != want {
				t.Errorf("%s: %d, want %d", remote, res.status, want)
			}
		}
	})
	t.Run("the shared secret is needed where one is set", func(t *testing.T) {
		secret := func(o *forward.Options) { o.SharedSecret = "s3cret" }
		for name, want := range map[string]int{"": 403, "X-Battery-Gateway-Secret: wrong": 403, "X-Battery-Gateway-Secret: s3cret": 200} {
			w := newWorld(t, secret)
			c := get("status.acme.test", "/")
			if name != "" {
				c = c.with(name)
			}
			if res := forwardAuth(t, w, c); res.status != want {
				t.Errorf("%q: %d, want %d", name, res.status, want)
			}
			// Over gRPC it is metadata: the header is the client's to write.
			if res := extAuthzGRPC(t, w, c); res.status != 403 {
				t.Errorf("gRPC %q: %d, want 403", name, res.status)
			}
		}
		w := newWorld(t, secret)
		if res := forwardAuth(t, w, get("status.acme.test", "/", "X-Battery-Gateway-Secret: s3cret", "X-Battery-Gateway-Secret: s3cret")); res.status != 403 {
			t.Errorf("sent twice: %d", res.status)
		}
		ctx := withMetadata(context.Background(), "x-battery-gateway-secret", "s3cret")
		if res := w.check(t, ctx, checkRequest(get("status.acme.test", "/"))); res.status != 200 {
			t.Errorf("gRPC metadata: %d", res.status)
		}
	})
}

func TestClientIP(t *testing.T) {
	for xff, want := range map[string]string{
		"":                               "",
		"203.0.113.9":                    "203.0.113.9",
		"10.0.0.1, 203.0.113.9":          "203.0.113.9",
		"1.1.1.1, 203.0.113.9, 10.2.3.4": "203.0.113.9",
		"10.9.9.9, 10.2.3.4":             "10.9.9.9",
		"203.0.113.9:443":                "203.0.113.9",
		"[2001:db8::1]:443":              "2001:db8::1",
		"::ffff:203.0.113.9":             "203.0.113.9",
		"203.0.113.9, not-an-ip":         "",
		`for="junk\"x;host=evil"`:        "",
		"unknown":                        "",
		"203.0.113.9, ":                  "",
		"203.0.113.9,,10.0.0.1":          "",
		"fe80::1%eth0":                   "",
		"junk, 203.0.113.9":              "203.0.113.9",
	} {
		for door, do := range doors() {
			w := newWorld(t)
			c := get("status.acme.test", "/")
			if xff != "" {
				c = c.with("X-Forwarded-For: " + xff)
			}
			do(t, w, c)
			if rec := w.one(t); rec.ClientIP != want {
				t.Errorf("%s: %q gives %q, want %q", door, xff, rec.ClientIP, want)
			}
		}
	}
	t.Run("several lines are one list", func(t *testing.T) {
		w := newWorld(t)
		forwardAuth(t, w, get("status.acme.test", "/", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.9, 10.0.0.1"))
		if rec := w.one(t); rec.ClientIP != "203.0.113.9" {
			t.Errorf("%q", rec.ClientIP)
		}
	})
	t.Run("Envoy's own view of its peer is the nearest hop", func(t *testing.T) {
		for source, want := range map[string]string{"198.51.100.7": "198.51.100.7", "10.0.0.5": "203.0.113.9"} {
			w := newWorld(t)
			in := checkRequest(get("status.acme.test", "/", "X-Forwarded-For: 203.0.113.9"))
			in.Attributes.Source = peerAt(source)
			w.check(t, context.Background(), in)
			if rec := w.one(t); rec.ClientIP != want {
				t.Errorf("%s: %q, want %q", source, rec.ClientIP, want)
			}
		}
	})
}

func TestCookies(t *testing.T) {
	const name = "__Host-battery_session"
	for title, row := range map[string]struct {
		cookies []string
		want    int
	}{
		"one":                     {[]string{name + "=t-ada"}, 200},
		"same twice":              {[]string{name + "=t-ada; " + name + "=t-ada"}, 200},
		"two that differ":         {[]string{name + "=t-ada; " + name + "=t-bob"}, 401},
		"differ in two lines":     {[]string{name + "=t-ada", name + "=t-bob"}, 401},
		"other name":              {[]string{"battery_session=t-ada"}, 401},
		"other case":              {[]string{"__host-battery_session=t-ada"}, 401},
		"quoted":                  {[]string{name + `="t-ada"`}, 401},
		"space in the name":       {[]string{name + " =t-ada"}, 401},
		"unicode space":           {[]string{"\u2003" + name + "=t-ada"}, 401},
		"inside a value":          {[]string{"x=" + name + "=t-ada"}, 401},
		"garbage":                 {[]string{";;=;" + name}, 401},
		"1 MB":                    {[]string{name + "=" + strings.Repeat("x", 1<<20)}, 401},
		"a long one beside ours":  {[]string{name + "=t-ada; " + name + "=" + strings.Repeat("x", 5000)}, 401},
		"more than browsers send": {[]string{strings.Repeat(name+"=t-ada; ", 9)}, 401},
		"one that differs, late":  {[]string{strings.Repeat(name+"=t-ada; ", 30) + name + "=t-bob"}, 401},
	} {
		for door, do := range doors() {
			if door == "ext-authz-grpc" && title == "differ in two lines" {
				continue // joined by Envoy
			}
			t.Run(door+"/"+title, func(t *testing.T) {
				w := newWorld(t)
				c := get("crm.acme.test", "/")
				c.header["Cookie"] = row.cookies
				if res := do(t, w, c); res.status != row.want {
					t.Errorf("status %d, want %d", res.status, row.want)
				}
				for _, token := range w.asked[0].Tokens {
					if len(token) > 4<<10 {
						t.Errorf("a token of %d bytes is looked at", len(token))
					}
				}
				w.one(t)
			})
		}
	}
	t.Run("plain http has another cookie", func(t *testing.T) {
		w := newWorld(t)
		c := get("plain.acme.localhost", "/", "Cookie: battery_session=t-ada")
		c.scheme = "http"
		if res := forwardAuth(t, w, c); res.status != 200 {
			t.Errorf("status %d", res.status)
		}
		// A sibling host can plant a cookie without __Host-: where the app is served
		// over https, it counts for nothing, whatever scheme was asked for.
		for door, do := range doors() {
			for _, cookie := range []string{"battery_session=t-ada", "battery_session=t-ada; __Host-battery_session=t-none"} {
				planted := get("crm.acme.test", "/", "Cookie: "+cookie)
				planted.scheme = "http"
				if res := do(t, w, planted); res.status != 401 {
					t.Errorf("%s: a planted cookie: %d", door, res.status)
				}
			}
		}
		// Envoy that sends no scheme: it is the app's.
		r := question("GET", "/authz/ext-authz/", "plain.acme.localhost", c.header)
		if res := w.send(r); res.status != 200 {
			t.Errorf("ext-authz: status %d", res.status)
		}
		c.scheme = ""
		if res := extAuthzGRPC(t, w, c); res.status != 200 {
			t.Errorf("gRPC: status %d", res.status)
		}
	})
}

func peerAt(ip string) (p *peerAttrs) {
	return &peerAttrs{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip}}}}
}
