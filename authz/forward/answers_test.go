package forward_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

// TestAnswers is the table of design §3: every row at every door. nginx is what
// the nginx door answers where that differs.
func TestAnswers(t *testing.T) {
	rows := []struct {
		name   string
		ask    client
		setup  func(*world)
		want   int
		nginx  int
		reason string
		page   bool
	}{
		{name: "allowed", ask: get("crm.acme.test", "/deals?x=1", ada, browser), want: 200, reason: authz.CodeRole},
		{name: "allowed for a program", ask: get("crm.acme.test", "/deals", ada, fetch), want: 200, reason: authz.CodeRole},
		{name: "public without a session", ask: get("status.acme.test", "/"), want: 200, reason: authz.CodePublic},
		{name: "navigation without a session", ask: get("crm.acme.test", "/deals?x=1", browser), want: 302, nginx: 401, reason: authz.CodeNoSession},
		{name: "fetch without a session", ask: get("crm.acme.test", "/api", fetch), want: 401, reason: authz.CodeNoSession},
		{name: "post without a session", ask: post(get("crm.acme.test", "/api", browser)), want: 401, reason: authz.CodeNoSession},
		{name: "forged session", ask: get("crm.acme.test", "/", browser, "Cookie: __Host-battery_session=nope"), want: 302, nginx: 401, reason: authz.CodeNoSession},
		{name: "denied navigation", ask: get("crm.acme.test", "/", bob, browser), want: 403, reason: authz.CodeNoAllowedRole, page: true},
		{name: "denied fetch", ask: get("crm.acme.test", "/", bob, fetch), want: 403, reason: authz.CodeNoAllowedRole},
		{name: "unknown host", ask: get("nobody.test", "/", ada, browser), want: 403, reason: authz.CodeUnknownHost, page: true},
		{name: "port that is not the app's", ask: get("crm.acme.test:9000", "/", ada), want: 403, reason: authz.CodeUnknownHost},
		{name: "ambiguous path", ask: get("crm.acme.test", "/a/../b", ada, browser), want: 403, reason: authz.CodeAmbiguousPath, page: true},
		{name: "policy undefined", ask: get("crm.acme.test", "/", ada), setup: fails(authz.ErrPolicyUndefined), want: 403, reason: authz.CodePolicyUndefined},
		{name: "policy error", ask: get("crm.acme.test", "/", ada), setup: fails(errors.New("boom")), want: 403, reason: authz.CodePolicyError},
		{name: "policy over budget", ask: get("crm.acme.test", "/", ada), setup: fails(authz.ErrPolicyTimeout), want: 403, reason: authz.CodePolicyTimeout},
		{name: "unknown method", ask: method(get("crm.acme.test", "/", ada), "FROB"), want: 400, nginx: 403, reason: authz.CodeMalformedRequest},
		{name: "no host", ask: get("", "/", ada), want: 400, nginx: 403, reason: authz.CodeMalformedRequest},
	}
	for door, do := range doors() {
		for _, row := range rows {
			t.Run(door+"/"+row.name, func(t *testing.T) {
				w := newWorld(t)
				if row.setup != nil {
					row.setup(w)
				}
				want := row.want
				if door == "auth-request" && row.nginx != 0 {
					want = row.nginx
				}
				res := do(t, w, row.ask)
				if res.status != want {
					t.Fatalf("status %d, want %d (%s)", res.status, want, res.body)
				}
				rec := w.one(t)
				if rec.Status != want || rec.Reasons[0].Code != row.reason || rec.Door != door {
					t.Fatalf("record: status %d reason %q door %q", rec.Status, rec.Reasons[0].Code, rec.Door)
				}
				checkShape(t, res, rec, row.page)
			})
		}
	}
}

func fails(err error) func(*world) { return func(w *world) { w.evalErr = err } }

func post(c client) client { return method(c, "POST") }

func method(c client, m string) client {
	c.method = m
	return c
}

// checkShape checks what every answer of a status must have.
func checkShape(t *testing.T, res result, rec *authz.Record, page bool) {
	t.Helper()
	if res.status == 200 {
		for _, name := range identityHeaders {
			if v, ok := res.header[http.CanonicalHeaderKey(name)]; !ok || len(v) != 1 {
				t.Errorf("header %s: %q, want exactly one, empty if unknown", name, v)
			}
		}
		if res.body != "" || res.get("Set-Cookie") != "" {
			t.Errorf("an allow has body %q, cookie %q", res.body, res.get("Set-Cookie"))
		}
		if res.get("X-Battery-Decision-Id") != rec.ID || res.get("X-Battery-App-Id") != rec.App.ID {
			t.Errorf("decision or app id: %v", res.header)
		}
		return
	}
	if res.get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", res.get("Cache-Control"))
	}
	for _, name := range identityHeaders {
		// nginx has no other way to say which decision it was.
		if said := name == "X-Battery-Decision-Id" && rec.Door == "auth-request" && res.get(name) == rec.ID; said {
			continue
		}
		if _, ok := res.header[http.CanonicalHeaderKey(name)]; ok {
			t.Errorf("a refusal carries %s", name)
		}
	}
	switch {
	case res.get("Location") != "":
		if !strings.HasPrefix(res.get("Location"), "https://auth.test/") {
			t.Errorf("Location %q", res.get("Location"))
		}
	case page:
		if !strings.HasPrefix(res.get("Content-Type"), "text/html") || !strings.Contains(res.body, rec.ID) {
			t.Errorf("no page with the decision's number: %q %s", res.get("Content-Type"), res.body)
		}
	default:
		checkProblem(t, res, rec)
	}
	if res.status == 401 && res.get("Www-Authenticate") != `Battery realm="crm.acme"` {
		t.Errorf("WWW-Authenticate %q", res.get("Www-Authenticate"))
	}
}

func checkProblem(t *testing.T, res result, rec *authz.Record) {
	t.Helper()
	if res.get("Content-Type") != "application/problem+json" {
		t.Errorf("Content-Type %q", res.get("Content-Type"))
	}
	var p struct {
		Type, Title, Reason string
		Status              int
		LoginURL            string `json:"login_url"`
		DecisionID          string `json:"decision_id"`
	}
	if err := json.Unmarshal([]byte(res.body), &p); err != nil {
		t.Fatalf("body %q: %v", res.body, err)
	}
	if p.Type == "" || p.Title == "" || p.Status != res.status || p.Reason != rec.Reasons[0].Code || p.DecisionID != rec.ID {
		t.Errorf("problem %+v", p)
	}
	if (p.LoginURL != "") != (res.status == 401) {
		t.Errorf("login_url %q with %d", p.LoginURL, res.status)
	}
}

func TestIdentity(t *testing.T) {
	for door, do := range doors() {
		t.Run(door+"/full identity", func(t *testing.T) {
			w := newWorld(t)
			res := do(t, w, get("CRM.acme.test.:443", "/deals", ada, "X-Battery-User-Id: root", "X-Plan: gold"))
			want := map[string]string{
				"X-Battery-User-Id": "prof_ada", "X-Battery-Org-Id": "org_acme", "X-Battery-User-Email": "ada@acme.test",
				"X-Battery-Roles": "editor,member", "X-Battery-App-Id": "crm.acme", "X-Battery-Groups": "Engineering%2C%20R%26D,Everyone",
				"X-Battery-Assertion": "jwt.s1.crm.acme.test", "X-Plan": "pro",
			}
			for name, v := range want {
				if res.get(name) != v {
					t.Errorf("%s = %q, want %q", name, res.get(name), v)
				}
			}
		})
		t.Run(door+"/groups and assertion only where the app asks", func(t *testing.T) {
			w := newWorld(t)
			res := do(t, w, get("wiki.acme.test", "/", ada))
			if res.status != 200 || res.get("X-Battery-Groups") != "" || res.get("X-Battery-Assertion") != "" {
				t.Fatalf("%d %v", res.status, res.header)
			}
		})
		t.Run(door+"/public app without a session", func(t *testing.T) {
			w := newWorld(t)
			res := do(t, w, get("status.acme.test", "/"))
			if res.get("X-Battery-Org-Id") != "org_acme" || res.get("X-Battery-User-Id") != "" || res.get("X-Battery-Roles") != "" {
				t.Fatalf("%v", res.header)
			}
		})
		t.Run(door+"/no assertion, no access", func(t *testing.T) {
			w := newWorld(t)
			w.signErr = errors.New("no key")
			if res := do(t, w, get("crm.acme.test", "/", ada)); res.status != 403 || res.get("X-Battery-User-Id") != "" {
				t.Fatalf("%d %v", res.status, res.header)
			}
			w.one(t)
		})
		t.Run(door+"/values cannot break out of their header", func(t *testing.T) {
			w := newWorld(t)
			w.sessions["t-ada"].Email = "ada\r\nX-Battery-Roles: admin%@ä.test"
			w.users["prof_ada"].Roles = []string{"editor", "a,admin", "member"}
			res := do(t, w, get("crm.acme.test", "/", ada))
			if got := res.get("X-Battery-User-Email"); got != "ada%0D%0AX-Battery-Roles:%20admin%25@%C3%A4.test" {
				t.Errorf("e-mail %q", got)
			}
			if got := res.get("X-Battery-Roles"); got != "a%2Cadmin,editor,member" {
				t.Errorf("roles %q", got)
			}
		})
		t.Run(door+"/groups are cut to fit, at a whole name", func(t *testing.T) {
			w := newWorld(t)
			var groups []authz.Group
			for range 500 {
				groups = append(groups, authz.Group{Name: "twenty-characters-xx"})
			}
			w.users["prof_ada"].Groups = groups
			res := do(t, w, get("crm.acme.test", "/", ada))
			total := 0
			for _, name := range identityHeaders {
				total += len(name) + len(": \r\n") + len(res.get(name))
			}
			if total > 3584 || total < 3500 {
				t.Errorf("identity headers take %d bytes", total)
			}
			for _, g := range strings.Split(res.get("X-Battery-Groups"), ",") {
				if g != "twenty-characters-xx" {
					t.Errorf("a group was cut: %q", g)
				}
			}
			if res.get("X-Battery-User-Id") == "" || res.get("X-Battery-Assertion") == "" {
				t.Error("identity gave way to groups")
			}
		})
	}
}

func TestChallenge(t *testing.T) {
	t.Run("the attempt is bound to the page asked for", func(t *testing.T) {
		for door, do := range doors() {
			w := newWorld(t)
			res := do(t, w, get("crm.acme.test:8443", "/deals?a=1&b=2", browser, "Cookie: one=1; two=2"))
			want := login{app: "crm.acme", scheme: "https", authority: "crm.acme.test:8443", target: "https://crm.acme.test:8443/deals?a=1&b=2", relayed: door != "auth-request"}
			got := w.logins[0]
			if strings.Join(got.sent, " ") != "one two" {
				t.Errorf("%s: cookies sent %v", door, got.sent)
			}
			got.sent = nil
			if got.app != want.app || got.scheme != want.scheme || got.authority != want.authority || got.target != want.target || got.relayed != want.relayed {
				t.Errorf("%s: %+v, want %+v", door, got, want)
			}
			if cookies := res.header["Set-Cookie"]; door != "auth-request" && len(cookies) != 2 || door == "auth-request" && len(cookies) != 0 {
				t.Errorf("%s: cookies %q", door, cookies)
			}
		}
	})
	t.Run("a login that cannot start is a denial", func(t *testing.T) {
		for door, do := range doors() {
			for _, broken := range []func(*world){
				func(w *world) { w.loginErr = errors.New("five attempts") },
				func(w *world) { w.location = "/login" },
				func(w *world) { w.location = "https://auth.test/\r\nSet-Cookie: x=1" },
			} {
				w := newWorld(t)
				broken(w)
				if res := do(t, w, get("crm.acme.test", "/", browser)); res.status != 403 || res.get("Location") != "" || res.get("Set-Cookie") != "" {
					t.Errorf("%s: %d %v", door, res.status, res.header)
				}
			}
		}
	})
	t.Run("a program's user comes back to the page, not to the API", func(t *testing.T) {
		for referer, want := range map[string]string{
			"":                                     "https%3A%2F%2Fcrm.acme.test%2F",
			"https://crm.acme.test/deals?open=7":   "https%3A%2F%2Fcrm.acme.test%2Fdeals%3Fopen%3D7",
			"https://evil.test/":                   "https%3A%2F%2Fcrm.acme.test%2F",
			"https://crm.acme.test.evil.test/":     "https%3A%2F%2Fcrm.acme.test%2F",
			"https://crm.acme.test@evil.test/":     "https%3A%2F%2Fcrm.acme.test%2F",
			"https://x@crm.acme.test/":             "https%3A%2F%2Fcrm.acme.test%2F",
			"javascript:alert(1)":                  "https%3A%2F%2Fcrm.acme.test%2F",
			`https://crm.acme.test\@evil.test/`:    "https%3A%2F%2Fcrm.acme.test%2F",
			"https://crm.acme.test:8443/elsewhere": "https%3A%2F%2Fcrm.acme.test%2F",
		} {
			w := newWorld(t)
			c := get("crm.acme.test", "/api/deals", fetch)
			if referer != "" {
				c = c.with("Referer: " + referer)
			}
			res := forwardAuth(t, w, c)
			var p struct {
				LoginURL string `json:"login_url"`
			}
			if err := json.Unmarshal([]byte(res.body), &p); err != nil || !strings.HasSuffix(p.LoginURL, "&rd="+want) {
				t.Errorf("referer %q: %q (%v)", referer, p.LoginURL, err)
			}
		}
	})
	t.Run("a very long address loses its query, not the login", func(t *testing.T) {
		w := newWorld(t)
		forwardAuth(t, w, get("crm.acme.test", "/deals?"+strings.Repeat("x", 5000), browser))
		if got := w.logins[0].target; got != "https://crm.acme.test/deals" {
			t.Errorf("target %q", got)
		}
	})
}

func TestNavigation(t *testing.T) {
	rows := []struct {
		name string
		ask  client
		nav  bool
	}{
		{"navigate", get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate"), true},
		{"navigate to a document", get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), true},
		{"HEAD", method(get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate"), "HEAD"), true},
		{"iframe", get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"), false},
		{"cors", get("crm.acme.test", "/", "Sec-Fetch-Mode: cors", "Accept: text/html"), false},
		{"image", get("crm.acme.test", "/", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"), false},
		{"only Sec-Fetch-Dest", get("crm.acme.test", "/", "Sec-Fetch-Dest: document", "Accept: text/html"), false},
		{"old browser", get("crm.acme.test", "/", "Accept: application/xml;q=0.9, text/HTML ;q=0.8,*/*"), true},
		{"html refused", get("crm.acme.test", "/", "Accept: text/html;q=0.0, */*"), false},
		{"curl", get("crm.acme.test", "/", "Accept: */*"), false},
		{"nothing", get("crm.acme.test", "/"), false},
		{"POST", post(get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate")), false},
		{"websocket", get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate", "Sec-WebSocket-Key: x"), false},
		{"websocket of an old browser", get("crm.acme.test", "/", "Accept: text/html", "Sec-WebSocket-Version: 13"), false},
		{"two modes", get("crm.acme.test", "/", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors"), false},
	}
	for door, do := range doors() {
		for _, row := range rows {
			t.Run(door+"/"+row.name, func(t *testing.T) {
				w := newWorld(t)
				res := do(t, w, row.ask)
				if got := res.get("Location") != ""; got != row.nav {
					t.Errorf("sent to log in: %v, want %v (%d)", got, row.nav, res.status)
				}
			})
		}
	}
}
