package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

func TestNew(t *testing.T) {
	t.Run("every fault at once", func(t *testing.T) {
		_, err := forward.New(forward.Options{Prefix: "X_", PolicyHeaders: []string{"Set-Cookie"}, RequestHeaders: []string{"cookie"}})
		for _, want := range []string{"Checker", "Signer", "Logins", "Endpoints", "Apps", "CookieName", "Now", "Log", "trusted gateways is empty", "X_", "Set-Cookie", "cookie"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing from: %v", want, err)
			}
		}
	})
	refuses := func(name string, tune func(*forward.Options)) {
		t.Run("refuses "+name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options
			tune(&o)
			if _, err := forward.New(o); err == nil {
				t.Error("accepted")
			}
		})
	}
	refuses("an empty trusted list", func(o *forward.Options) { o.Trusted = nil })
	refuses("a prefix that is none", func(o *forward.Options) { o.Trusted = []netip.Prefix{{}} })
	for _, h := range []string{"X-Battery-User-Id", "Cookie", "Set-Cookie", "Location", "X-Forwarded-For", "Authorization", "Host", "X_Plan", "X-Plan\r\n", "", "Content-Type", "X-Original-Url", "Proxy-Authorization", "Connection"} {
		refuses(fmt.Sprintf("policy header %q", h), func(o *forward.Options) { o.PolicyHeaders = []string{h} })
	}
	refuses("a policy header twice", func(o *forward.Options) { o.PolicyHeaders = []string{"X-Plan", "x-plan"} })
	for _, h := range []string{"cookie", "authorization", "proxy-authorization", "x-forwarded-for", "x-forwarded-prefix", "Accept", "x_a", "x-battery-gateway-secret", "host"} {
		refuses("request header "+h, func(o *forward.Options) { o.RequestHeaders = []string{h} })
	}
	for _, p := range []string{"X-Battery", "X_B-", "Proxy-", "X-Forwarded-", "X Battery-", "-\n-"} {
		refuses(fmt.Sprintf("prefix %q", p), func(o *forward.Options) { o.Prefix = p })
	}
	t.Run("another prefix is used and guarded", func(t *testing.T) {
		w := newWorld(t, func(o *forward.Options) { o.Prefix = "X-Gate-" })
		if res := forwardAuth(t, w, get("crm.acme.test", "/", ada)); res.get("X-Gate-User-Id") != "prof_ada" {
			t.Errorf("%v", res.header)
		}
		if res := forwardAuth(t, w, get("crm.acme.test", "/", ada, "X-Gate_Roles: x")); res.status != 400 {
			t.Errorf("alias: %d", res.status)
		}
	})
}

func TestHTTPDoors(t *testing.T) {
	forwarded := http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"status.acme.test"}, "X-Forwarded-Uri": {"/"}}
	t.Run("a bare question is malformed (authentik #6857)", func(t *testing.T) {
		for target, want := range map[string]int{"/authz/forward-auth": 400, "/authz/auth-request": 403, "/authz/ext-authz": 400, "/authz/ext-authz?x=/": 400} {
			w := newWorld(t)
			if res := w.send(question("GET", target, "status.acme.test", nil)); res.status != want {
				t.Errorf("%s: %d, want %d", target, res.status, want)
			}
			w.one(t)
		}
	})
	t.Run("every forwarded header is needed", func(t *testing.T) {
		for name := range forwarded {
			w := newWorld(t)
			h := forwarded.Clone()
			delete(h, name)
			if res := w.send(question("GET", "/authz/forward-auth", "x", h)); res.status != 400 {
				t.Errorf("without %s: %d", name, res.status)
			}
			w.one(t)
		}
	})
	t.Run("no door reads another's headers, its own query or its own method", func(t *testing.T) {
		w := newWorld(t)
		h := forwarded.Clone()
		if res := w.send(question("GET", "/authz/auth-request", "status.acme.test", h)); res.status != 403 {
			t.Errorf("auth-request: %d", res.status)
		}
		if res := w.send(question("GET", "/authz/forward-auth?X-Forwarded-Uri=/&method=GET&uri=/", "status.acme.test", nil)); res.status != 400 {
			t.Errorf("query: %d", res.status)
		}
		for _, m := range []string{"GET", "POST", "HEAD", "DELETE", "PROPFIND", "FROB", "CONNECT", "OPTIONS"} {
			w.records = nil
			if res := w.send(question(m, "/authz/forward-auth?a=b", "x", h)); res.status != 200 {
				t.Errorf("%s: %d", m, res.status)
			}
			if rec := w.one(t); rec.Method != "GET" || rec.Query != "" {
				t.Errorf("%s: %q", m, rec.Method)
			}
		}
		h.Set("X-Forwarded-Host", "nobody.test")
		if res := w.send(question("GET", "/authz/ext-authz/", "status.acme.test", h)); res.status != 200 {
			t.Errorf("ext-authz: %d", res.status)
		}
	})
	t.Run("no other address answers", func(t *testing.T) {
		for _, target := range []string{"/", "/auth", "/authz", "/authz/", "/authz/forward-auth/", "//authz/forward-auth", "/authz//forward-auth", "/AUTHZ/forward-auth", "/authz/ext-authzx/", "/authz/x/../forward-auth", "/authz/ext%2Dauthz/", "http://h/authz/ext-authz/", "/debug/pprof/", "/metrics", "/healthz"} {
			for _, m := range []string{"GET", "POST", "PROPFIND", "OPTIONS"} {
				w := newWorld(t)
				res := w.send(question(m, target, "status.acme.test", forwarded))
				if res.status != 403 && res.status != 400 || res.get("Location") != "" {
					t.Errorf("%s %s: %d %v", m, target, res.status, res.header)
				}
				if rec := w.one(t); rec.Result != authz.Deny {
					t.Errorf("%s: %v", target, rec.Result)
				}
			}
		}
	})
	t.Run("a health check's User-Agent opens nothing (GHSA-5hvv-m4w4-gf6v)", func(t *testing.T) {
		w := newWorld(t)
		if res := forwardAuth(t, w, get("crm.acme.test", "/", "User-Agent: GoogleHC/1.0")); res.status != 401 {
			t.Errorf("%d", res.status)
		}
	})
}

// broken is a Checker that does what none may do.
type broken func() *authz.Decision

func (b broken) Check(context.Context, *authz.Request) *authz.Decision { return b() }

func TestNeverOpenByAccident(t *testing.T) {
	for name, c := range map[string]broken{
		"no decision":      func() *authz.Decision { return nil },
		"an empty one":     func() *authz.Decision { return &authz.Decision{} },
		"a panic":          func() *authz.Decision { panic("boom") },
		"an aborted panic": func() *authz.Decision { panic(http.ErrAbortHandler) },
	} {
		t.Run(name+" is a 403", func(t *testing.T) {
			for door, do := range doors() {
				w := newWorld(t, func(o *forward.Options) { o.Checker = c })
				if res := do(t, w, get("status.acme.test", "/", browser)); res.status != 403 {
					t.Errorf("%s: %d", door, res.status)
				}
			}
		})
	}
	t.Run("a panic before the Checker is asked is recorded", func(t *testing.T) {
		for _, tune := range []func(*forward.Options){
			func(o *forward.Options) { o.Apps = func(string) (*authz.App, bool) { panic("boom") } },
		} {
			w := newWorld(t, tune)
			for _, do := range []func() result{
				func() result { return w.send(question("GET", "/authz/ext-authz/", "status.acme.test", nil)) },
				func() result { c := get("status.acme.test", "/"); c.scheme = ""; return extAuthzGRPC(t, w, c) },
			} {
				if res := do(); res.status != 403 {
					t.Errorf("%d", res.status)
				}
				if rec := w.one(t); rec.Reasons[0].Code != authz.CodePolicyError || rec.Result != authz.Deny {
					t.Errorf("%v", rec.Reasons)
				}
			}
		}
	})
	t.Run("a panic after an allow is a 403", func(t *testing.T) {
		for door, do := range doors() {
			w := newWorld(t, func(o *forward.Options) { o.Signer = panicking{} })
			if res := do(t, w, get("crm.acme.test", "/", ada)); res.status != 403 || res.get("X-Battery-User-Id") != "" {
				t.Errorf("%s: %d %v", door, res.status, res.header)
			}
			w.one(t)
		}
	})
	t.Run("a cookie set around the doors does not leave with an allow", func(t *testing.T) {
		w := newWorld(t)
		rec := httptest.NewRecorder()
		rec.Header().Set("Set-Cookie", "a=b")
		w.http.ServeHTTP(rec, question("GET", "/authz/ext-authz/", "status.acme.test", nil))
		if rec.Code != 200 || rec.Result().Header.Get("Set-Cookie") != "" {
			t.Errorf("%d %v", rec.Code, rec.Result().Header)
		}
	})
	t.Run("nothing secret is logged", func(t *testing.T) {
		var log strings.Builder
		w := newWorld(t, func(o *forward.Options) {
			o.Log, o.Signer, o.SharedSecret = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), panicking{}, "gateway-secret"
		})
		forwardAuth(t, w, get("crm.acme.test", "/x?token=query-secret", ada, "X-Battery-Gateway-Secret: gateway-secret", "Authorization: Bearer auth-secret"))
		if s := log.String(); !strings.Contains(s, "decision_id") || strings.Contains(s, "t-ada") || strings.Contains(s, "-secret") {
			t.Errorf("log: %s", s)
		}
	})
}

type panicking struct{}

func (panicking) Assertion(*authz.Decision, string) (string, error) { panic("boom") }

// TestOverTheWire talks to a real server by hand: what matters is what leaves.
func TestOverTheWire(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.http)
	defer srv.Close()
	question := "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: status.acme.test\r\nX-Forwarded-Uri: /\r\n"

	dial := func(t *testing.T) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	t.Run("a body that is announced but never sent delays nothing and ends the connection", func(t *testing.T) {
		for _, announced := range []string{"Content-Length: 5\r\n", "Content-Length: 900000\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\nExpect: 100-continue\r\n"} {
			c, r := dial(t)
			fmt.Fprintf(c, "POST /authz/forward-auth HTTP/1.1\r\nHost: x\r\n%s%s\r\n", question, announced)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%q: %v", announced, err)
			}
			if res.StatusCode != 200 || !res.Close {
				t.Errorf("%q: %d close=%v", announced, res.StatusCode, res.Close)
			}
			// What follows would be the next question. It must not be taken for
			// the body, nor its tail for a question.
			fmt.Fprintf(c, "GET /authz/forward-auth HTTP/1.1\r\nHost: x\r\n%s\r\n", question)
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				t.Errorf("%q: answered again: %q", announced, rest)
			}
			_ = c.Close()
		}
	})
	t.Run("questions without a body share a connection", func(t *testing.T) {
		c, r := dial(t)
		defer c.Close()
		for range 3 {
			fmt.Fprintf(c, "GET /authz/forward-auth HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n%s\r\n", question)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 200 || res.Close || res.ContentLength != 0 {
				t.Fatalf("%v %v", res, err)
			}
		}
	})
	t.Run("HEAD answers as GET", func(t *testing.T) {
		for _, path := range []string{"/", "/a/../b"} {
			var heads [2]http.Header
			var codes [2]int
			for i, m := range []string{"GET", "HEAD"} {
				req, _ := http.NewRequest(m, srv.URL+"/authz/forward-auth", nil)
				for _, l := range strings.Split(strings.TrimSpace(question), "\r\n") {
					n, v, _ := strings.Cut(l, ": ")
					req.Header.Set(n, v)
				}
				req.Header.Set("X-Forwarded-Uri", path)
				res, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				for _, n := range []string{"Date", "X-Battery-Decision-Id", "Content-Length"} {
					res.Header.Del(n)
				}
				heads[i], codes[i] = res.Header, res.StatusCode
			}
			if codes[0] != codes[1] || fmt.Sprint(heads[0]) != fmt.Sprint(heads[1]) {
				t.Errorf("%s: GET %d %v, HEAD %d %v", path, codes[0], heads[0], codes[1], heads[1])
			}
		}
	})
	t.Run("the client's header cannot be smuggled by a duplicate line", func(t *testing.T) {
		c, r := dial(t)
		defer c.Close()
		fmt.Fprintf(c, "GET /authz/forward-auth HTTP/1.1\r\nHost: x\r\n%sx-forwarded-uri: /public\r\n\r\n", question)
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 400 {
			t.Errorf("%v %v", res, err)
		}
	})
	t.Run("raw slashes reach Envoy's door as they are", func(t *testing.T) {
		c, r := dial(t)
		defer c.Close()
		w.records = nil
		fmt.Fprintf(c, "GET /authz/ext-authz//x/../y HTTP/1.1\r\nHost: status.acme.test\r\n\r\n")
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 403 {
			t.Fatalf("%v %v", res, err)
		}
		if rec := w.one(t); rec.Path != "//x/../y" {
			t.Errorf("path %q", rec.Path)
		}
	})
}
