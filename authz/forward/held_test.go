package forward_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
	"battery.app/gate/authz/forward"
)

// held are the advisories that are no single refusal: what has to hold at a door
// instead. Their names hold the ids, as those of refusals do.
func held() map[string]func(t *testing.T, door string, ask ask) {
	return map[string]func(*testing.T, string, ask){
		"headers of an untrusted peer (GHSA-7x63-xv5r-3p2x, CVE-2026-40575, GHSA-vhr5-ggp3-qq85, heimdall#3436)": holdsUntrusted,
		"what stands in the query (GHSA-7rh7-c77v-6434, CVE-2025-54576, GHSA-r8x2-fhmf-6mxp, CVE-2026-32811)":    holdsQuery,
		"a health check's name (GHSA-5hvv-m4w4-gf6v)": func(t *testing.T, door string, ask ask) {
			for _, agent := range []string{"GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0"} {
				w := newWorld(t)
				if res := ask(t, w, get("crm.acme.test", "/", "User-Agent: "+agent)); res.status != 401 {
					t.Errorf("%s: %d", agent, res.status)
				}
			}
		},
		"aliases of names that the operator chose (GHSA-vjrc-mh2v-45x6)": func(t *testing.T, door string, ask ask) {
			for _, h := range []string{"X-Auth_Request_User: evil", "X_Auth_Request_Roles: admin", "X-Auth-Request.User-Id: x"} {
				w := newWorld(t, func(o *forward.Options) { o.Prefix = "X-Auth-Request-" })
				if res := ask(t, w, get("crm.acme.test", "/", ada, h)); res.status != 400 && res.status != 403 {
					t.Errorf("%s: %d", h, res.status)
				}
			}
		},
		"the leftmost address (oauth2-proxy#3478)": func(t *testing.T, door string, ask ask) {
			w := newWorld(t)
			ask(t, w, get("status.acme.test", "/", "X-Forwarded-For: 10.0.0.1, 203.0.113.9"))
			if rec := w.one(t); rec.ClientIP != "203.0.113.9" {
				t.Errorf("%q", rec.ClientIP)
			}
		},
		"addresses that are none (GHSA-38x9-25wx-7fg2, CVE-2026-57210, CVE-2023-36456)": func(t *testing.T, door string, ask ask) {
			for _, xff := range []string{"not-an-ip", `for="junk\"x;host=evil"`, "unknown", "127.0.0.1\x00", "::1%lo", "1.2.3", "0x7f000001"} {
				w := newWorld(t)
				ask(t, w, get("status.acme.test", "/", "X-Forwarded-For: "+xff))
				if rec := w.one(t); rec.ClientIP != "" {
					t.Errorf("%q gives %q", xff, rec.ClientIP)
				}
			}
		},
		"a host that is the route's app's (GHSA-pvrc-wvj2-f59p, CVE-2023-33189)": func(t *testing.T, door string, _ ask) {
			w := newWorld(t, func(o *forward.Options) { o.BoundRoutes = []string{door} })
			if res := routed(t, door, w, get("crm.acme.test", "/", ada), "wiki.acme"); res.status != 403 {
				t.Errorf("%d", res.status)
			}
			if res := routed(t, door, w, get("crm.acme.test", "/public/../admin", ada), "crm.acme"); res.status != 403 {
				t.Errorf("%d", res.status)
			}
		},
		"prefix and port (GHSA-6384-m2mw-rf54, CVE-2026-35051, GHSA-3q9r-p662-5j8m, CVE-2026-54764, CVE-2024-52003)": holdsPrefix,
		"cookies that nobody baked (CVE-2026-25748)":                                                                 holdsCookies,
		"a bare question (authentik#6857)":                                                                           holdsBare,
		"identity that is not known (GHSA-7r4p-vjf4-gxv4)":                                                           holdsIdentity,
		"one kind of token for another (GHSA-r7rh-jww5-5fjr, CVE-2024-47616)": func(t *testing.T, door string, ask ask) {
			for _, c := range []client{
				get("api.acme.test", "/", "Cookie: __Host-battery_session="+goodBGS), get("api.acme.test", "/", "Authorization: Bearer t-ada"),
				get("crm.acme.test", "/", "Authorization: Bearer "+goodJWT), get("crm.acme.test", "/", "Cookie: __Host-battery_login=t-ada"),
			} {
				w := newWorld(t)
				if res := ask(t, w, c); res.status != 401 {
					t.Errorf("%v: %d", c.header, res.status)
				}
			}
		},
		"debugging pages (CVE-2022-24797)": func(t *testing.T, door string, _ ask) {
			for _, target := range []string{"/debug/pprof/", "/debug/metrics", "/metrics", "/debug/vars"} {
				w := newWorld(t)
				if res := w.send(question("GET", target, "status.acme.test", nil)); res.status != 400 && res.status != 403 {
					t.Errorf("%s: %d", target, res.status)
				}
			}
		},
		"ways to another site (GHSA-qqxw-m5fj-f7gv, CVE-2020-5233, GHSA-j7px-6hwj-hpjg, CVE-2020-11053, GHSA-5m6c-jp6f-2vcv, CVE-2020-4037, GHSA-4mf2-f3wh-gvf2)": holdsRedirects,
		"an address with two domains (GHSA-c5c4-8r6x-56w3)":     holdsAddress,
		"a session that is over (GHSA-f24x-5g9q-753f)":          holdsEnded,
		"a token of another app's issuer (GHSA-4mq7-pvjg-xp2r)": holdsIssuer,
		"what a page shows of credentials (CVE-2024-39315)":     holdsSecrets,
		"a user without the role (GHSA-652x-m2gr-hppm)": func(t *testing.T, door string, ask ask) {
			w := newWorld(t)
			if res := ask(t, w, get("crm.acme.test", "/", bob)); res.status != 403 {
				t.Errorf("%d", res.status)
			}
		},
		"a scheme that is a websocket's (GHSA-vhr5-ggp3-qq85)": func(t *testing.T, door string, ask ask) {
			if door == forward.DoorAuthRequest {
				t.Skip("nginx's $scheme is http or https")
			}
			w := newWorld(t)
			c := get("crm.acme.test", "/ws", ada, "Sec-WebSocket-Key: x")
			c.scheme = "wss"
			if res := ask(t, w, c); res.status != 200 || w.one(t).Scheme != "https" {
				t.Errorf("%d", res.status)
			}
		},
		"a websocket without a session (class)": func(t *testing.T, door string, ask ask) {
			w := newWorld(t)
			if res := ask(t, w, get("crm.acme.test", "/ws", browser, "Accept: text/html", "Sec-WebSocket-Version: 13")); res.status != 401 {
				t.Errorf("%d", res.status)
			}
		},
		"what a refusal tells of hosts and users (class)": func(t *testing.T, door string, ask ask) {
			w := newWorld(t)
			unknown := ask(t, w, get("nobody.test", "/", fetch))
			untold := ask(t, w, get("nobody.test", "/", ada, fetch))
			if unknown.status != 403 || untold.status != 403 || strings.Contains(unknown.body+untold.body, "ada@") || unknown.get("Location") != "" {
				t.Errorf("%s %s", unknown.body, untold.body)
			}
		},
	}
}

func TestHeld(t *testing.T) {
	for name, holds := range held() {
		for door, ask := range doors() {
			t.Run(name+"/"+door, func(t *testing.T) { holds(t, door, ask) })
		}
	}
}

func holdsUntrusted(t *testing.T, door string, ask ask) {
	if _, err := forward.New(func() forward.Options { o := newWorld(t).options; o.Trusted = nil; return o }()); err == nil {
		t.Error("nobody in particular is trusted")
	}
	for _, tune := range []func(*forward.Options){
		func(o *forward.Options) { o.ClientCertificate = true },
		func(o *forward.Options) { o.SharedSecret = "s3cret" },
	} {
		w := newWorld(t, tune)
		res := ask(t, w, get("status.acme.test", "/public", "X-Forwarded-For: 10.0.0.1", browser))
		rec := w.one(t)
		if res.status != 403 || rec.Reasons[0].Code != authz.CodeUntrustedPeer || rec.Host != "" || rec.Path != "" || rec.ClientIP != "" || rec.Scheme != "" {
			t.Errorf("%d %+v", res.status, rec)
		}
	}
}

func holdsQuery(t *testing.T, door string, ask ask) {
	for _, uri := range []string{"/admin", "/admin?path=/public", "/admin?/public/status", "/admin?x=1&y=%2Fpublic"} {
		w := newWorld(t)
		res := ask(t, w, get("crm.acme.test", uri, ada))
		if rec := w.one(t); res.status != 403 || rec.Path != "/admin" || rec.Reasons[0].Code != authz.CodeNoAllowedRole {
			t.Errorf("%s: %d, path %q, %v", uri, res.status, rec.Path, rec.Reasons)
		}
	}
}

// holdsPrefix: no value of them changes anything about the question.
func holdsPrefix(t *testing.T, door string, ask ask) {
	w := newWorld(t)
	want := ask(t, w, get("crm.acme.test", "/deals", ada))
	plain := *w.asked[0]
	w.one(t)
	for _, headers := range [][]string{
		{"X-Forwarded-Prefix: /public"}, {"X-Forwarded-Prefix: /public", "X-Forwarded-Prefix: /x"}, {"X-Forwarded-Port: 443"}, {"X-Forwarded-Port: 8443, 80"},
		{"X-Forwarded-Server: status.acme.test"}, {"Forwarded: for=10.0.0.1;host=status.acme.test;proto=http"}, {"X-Real-Ip: 10.0.0.1"}, {"Via: 1.1 Caddy"},
	} {
		res := ask(t, w, get("crm.acme.test", "/deals", append(headers, ada)...))
		got := *w.asked[0]
		w.one(t)
		if res.status != want.status || got.Path != plain.Path || got.Host != plain.Host || got.Port != plain.Port || got.Scheme != plain.Scheme || got.ClientIP != plain.ClientIP || len(got.Headers) != len(plain.Headers) {
			t.Errorf("%v: %d, %+v", headers, res.status, got)
		}
	}
	for _, name := range []string{"x-forwarded-prefix", "x-forwarded-port", "forwarded", "x-original-url", "x-rewrite-url"} {
		o := w.options
		if o.RequestHeaders = []string{name}; true {
			if _, err := forward.New(o); err == nil {
				t.Errorf("a policy may read %s", name)
			}
		}
	}
}

func holdsCookies(t *testing.T, door string, ask ask) {
	for _, value := range []string{"x", strings.Repeat("x", 1<<20), "%%%", "e30.e30.e30", "\x80\xff", "", "t-ada; __Host-battery_session=x", "\"t-ada\""} {
		w := newWorld(t)
		c := get("crm.acme.test", "/")
		c.header["Cookie"] = []string{"__Host-battery_session=" + value}
		if door == forward.DoorGRPC {
			c.header["Cookie"] = []string{strings.ToValidUTF8("__Host-battery_session="+value, "!")}
		}
		res := ask(t, w, c)
		if res.status != 401 {
			t.Errorf("%.20q: %d", value, res.status)
		}
		w.one(t)
	}
}

func holdsBare(t *testing.T, door string, _ ask) {
	w := newWorld(t)
	var res result
	switch door {
	case forward.DoorGRPC:
		in := checkRequest(get("crm.acme.test", "/"))
		in.Attributes = nil
		res = w.check(t, context.Background(), in)
	default:
		res = w.send(question("GET", "/authz/"+door, "status.acme.test", nil))
	}
	if want := map[bool]int{true: 403, false: 400}[door == forward.DoorAuthRequest]; res.status != want {
		t.Errorf("%d", res.status)
	}
	w.one(t)
}

// holdsIdentity: whoever asks, every identity header is in the answer, so that
// the client's copies are overwritten.
func holdsIdentity(t *testing.T, door string, ask ask) {
	for _, c := range []client{
		get("crm.acme.test", "/", ada), get("status.acme.test", "/"), get("status.acme.test", "/", "Cookie: __Host-battery_session=t-nobody"),
		get("wiki.acme.test", "/", bob), get("api.acme.test", "/", "Authorization: Bearer "+goodJWT),
		method(get("spa.acme.test", "/", "Origin: https://a.test", "Access-Control-Request-Method: PUT"), "OPTIONS"),
	} {
		w := newWorld(t)
		res := ask(t, w, c.with("X-Battery-Groups: admin", "X-Battery-Roles: admin", "X-Battery-User-Id: root", "X-Plan: gold", "X-Battery-Assertion: forged"))
		if res.status != 200 {
			t.Fatalf("%s: %d", c.authority, res.status)
		}
		for _, name := range identityHeaders {
			v, ok := res.header[http.CanonicalHeaderKey(name)]
			if !ok || len(v) != 1 || strings.Contains(v[0], "root") || strings.Contains(v[0], "forged") || v[0] == "gold" || v[0] == "admin" {
				t.Errorf("%s: %s is %q", c.authority, name, v)
			}
		}
	}
}

// holdsRedirects: whatever is asked for without a session, the person is sent to
// the login of the app, to come back to it and nowhere else.
func holdsRedirects(t *testing.T, door string, ask ask) {
	for _, uri := range []string{
		"//evil.test", `/\evil.test`, "/%09/evil.test", "/%5cevil.test", `/./\evil.test`, "/@evil.test", "/.evil.test", "/https://evil.test", "/?rd=//evil.test", "/evil.test%2f..",
		"/%0d%0aLocation:%20https://evil.test", "/;@evil.test", "/javascript:alert(1)", "/a?rd=https://app.test%40evil.test",
	} {
		w := newWorld(t)
		res := ask(t, w, get("crm.acme.test", uri, browser))
		if res.status != 302 && res.status != 401 {
			if len(w.logins) > 0 {
				t.Errorf("%s: refused, and yet sent to log in", uri)
			}
			continue
		}
		if len(w.logins) != 1 {
			t.Fatalf("%s: %d logins", uri, len(w.logins))
		}
		u, err := url.Parse(w.logins[0].target)
		if err != nil || u.Scheme != "https" || u.Host != "crm.acme.test" || u.User != nil || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
			t.Errorf("%s: comes back to %q", uri, w.logins[0].target)
		}
		if loc := res.get("Location"); loc != w.location {
			t.Errorf("%s: sent to %q", uri, loc)
		}
	}
	for _, host := range []string{"crm.acme.test.evil.test", "evil.test", "evil.test#.crm.acme.test", "crm.acme.test@evil.test"} {
		w := newWorld(t)
		if res := ask(t, w, get(host, "/", browser)); res.status != 403 && res.status != 400 || len(w.logins) > 0 {
			t.Errorf("%s: %d", host, res.status)
		}
	}
}

// TestEveryAdvisoryIsReplayed compares the ids in the names of the tests with the
// list of what is known to have gone wrong in doors. What is not a door's is tested
// in its own room: see TestTheOtherAdvisoriesAreReplayedElsewhere.
func TestEveryAdvisoryIsReplayed(t *testing.T) {
	want := strings.Fields(`
		GHSA-7x63-xv5r-3p2x CVE-2026-40575 GHSA-7rh7-c77v-6434 CVE-2025-54576 GHSA-pxq7-h93f-9jrg GHSA-5hvv-m4w4-gf6v
		GHSA-vjrc-mh2v-45x6 CVE-2025-64484 GHSA-5m6w-wvh7-57vm CVE-2026-39858 oauth2-proxy#3478 GHSA-38x9-25wx-7fg2 CVE-2026-57210 CVE-2023-36456
		GHSA-9f29-v6mm-pw6w CVE-2026-26205 GHSA-p224-6x5r-fjpm GHSA-3q34-rx83-r6mq CVE-2026-42274 GHSA-xf64-8mw2-4gr2 GHSA-6jwx-7vp4-9847 CVE-2026-40912
		GHSA-cxjq-mrr5-89rv CVE-2026-65600 GHSA-vrch-868g-9jx5 GHSA-gm3x-23wp-hc2c CVE-2025-66490 GHSA-f52w-8j3h-j724 CVE-2026-88009
		CVE-2021-32779 CVE-2021-29492 CVE-2019-9901 GHSA-r8x2-fhmf-6mxp CVE-2026-32811 GHSA-pvrc-wvj2-f59p CVE-2023-33189 heimdall#3436
		GHSA-6384-m2mw-rf54 CVE-2026-35051 GHSA-3q9r-p662-5j8m CVE-2026-54764 CVE-2024-52003 GHSA-vhr5-ggp3-qq85
		GHSA-j748-h363-wqj8 CVE-2026-48794 CVE-2026-27588 CVE-2026-25748 authentik#6857 GHSA-7r4p-vjf4-gxv4 GHSA-r7rh-jww5-5fjr CVE-2024-47616 CVE-2022-24797
		GHSA-qqxw-m5fj-f7gv CVE-2020-5233 GHSA-j7px-6hwj-hpjg CVE-2020-11053 GHSA-5m6c-jp6f-2vcv CVE-2020-4037 GHSA-4mf2-f3wh-gvf2 GHSA-652x-m2gr-hppm
		GHSA-c5c4-8r6x-56w3 GHSA-f24x-5g9q-753f GHSA-4mq7-pvjg-xp2r CVE-2024-39315`)
	id := regexp.MustCompile(`GHSA(-[0-9a-z]{4}){3}|CVE-[0-9]{4}-[0-9]+|[a-z0-9-]+#[0-9]+`)
	var got []string
	for name := range held() {
		got = append(got, id.FindAllString(name, -1)...)
	}
	for _, row := range refusals() {
		got = append(got, id.FindAllString(row.name, -1)...)
		if len(row.cases) == 0 || len(row.doors) == 0 {
			t.Errorf("%s replays nothing", row.name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		for _, g := range got {
			if !slices.Contains(want, g) {
				t.Errorf("%s is replayed and not on the list", g)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s is on the list and not replayed", w)
			}
		}
	}
}
