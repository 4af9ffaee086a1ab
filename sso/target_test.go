package sso_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/authz"
)

func serve(w *world, r *http.Request, host string) *http.Response {
	rec := httptest.NewRecorder()
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), r.Body)
	in.Header, in.Host = r.Header, host
	w.engine.ServeHTTP(rec, in)
	return rec.Result()
}

// hostile are return addresses that no login or logout may lead to.
var hostile = []string{
	"//evil.example", "///evil.example", "////evil.example/%2f..", `/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`,
	"/", "/path", "path", "?x", "#x", ".", "..", "crm.acme.example", "crm.acme.example/", "/crm.acme.example",
	"/\t/evil.example", "/%09/evil.example", "/./\\evil.example", "\t//evil.example", " https://crm.acme.example/", "https://crm.acme.example/ ",
	"https://evil.example", "https://evil.example/https://crm.acme.example/", "https://crm.acme.example.evil.example/", "https://evilcrm.acme.example/",
	"https://crm.acme.example@evil.example/", "https://crm.acme.example:x@evil.example/", "https://x@crm.acme.example/", "https://@crm.acme.example/",
	"https://evil.example#.crm.acme.example/", "https://evil.example?crm.acme.example", `https://evil.example\.crm.acme.example/`,
	`https://crm.acme.example\@evil.example/`, `https:\\crm.acme.example/`, `https:/\crm.acme.example`, "https:/crm.acme.example/", "https:crm.acme.example/",
	"https:///crm.acme.example/", "https:////crm.acme.example/", "https://", "https://:443/", "://crm.acme.example/",
	"http://crm.acme.example/", "HTTP://crm.acme.example/", "ftp://crm.acme.example/", "wss://crm.acme.example/", "ws://crm.acme.example/",
	"javascript:alert(1)", "javascript://crm.acme.example/%0aalert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd",
	"blob:https://crm.acme.example/x", "view-source:https://crm.acme.example/", "intent://crm.acme.example/#Intent;end",
	"https://crm.acme.example:8443/", "https://crm.acme.example:80/", "https://crm.acme.example:0443/", "https://crm.acme.example:/", "https://crm.acme.example:99999/", "https://crm.acme.example:443:443/", "https://crm.acme.example:+443/",
	"https://wiki.acme.example/", "https://desk.globex.example/", "https://auth.example/", "https://auth.example/login", "https://example/",
	"https://crm.acme.example./", "https://.crm.acme.example/", "https://crm..acme.example/", "https://*.acme.example/", "https://crm.acme.example%2eevil.example/",
	"https://crm.acme.example%00.evil.example/", "https://crm%2eacme%2eexample/", "https://crm。acme。example/", "https://ⓒrm.acme.example/", "https://crm.acme.examplе/",
	"https://[::1]/", "https://127.0.0.1/", "https://0x7f000001/", "https://2130706433/", "https://[crm.acme.example]/",
	"https://crm.acme.example/\r\nSet-Cookie: a=b", "https://crm.acme.example/\nx", "https://crm.acme.example/\x00", "https://crm.acme.example/\x7f", "https://crm.acme.example/ü", `https://crm.acme.example/\x`,
	"https://crm.acme.example/%zz", "https://crm.acme.example/.battery/logout", "https://crm.acme.example/.battery/session?ticket=x", "https://crm.acme.example/.battery/",
	"https://crm.acme.example;evil.example/", "https://crm.acme.example,evil.example/", "https://crm.acme.example&evil.example/", "https://crm.acme.example!evil.example/", "https://crm.acme.example|evil.example/",
	"https://crm.acme.example/.battery", "https://crm.acme.example/.battery?x", "https://crm.acme.example/.battery#x", "https://crm.acme.example/./.battery/logout",
	"https://crm.acme.example/x/../.battery/logout", "https://crm.acme.example/%2ebattery/logout", "https://crm.acme.example/%2Ebattery/session?ticket=x",
	"https://crm.acme.example/x/%2e%2e/.battery/logout", "https://crm.acme.example/../../.battery/logout", "https://crm.acme.example/%2e/.battery/logout?x",
	"https://crm.acme.example//.battery/logout", "https://crm.acme.example/x/.%2E/%2ebattery/",
	"https://crm.acme.example/.b%61ttery/logout", "https://crm.acme.example/%2e%62%61ttery%2flogout", "https://crm.acme.example/x%2f..%2f.battery/session?ticket=x",
	"https://crm.acme.example/%2f.battery/login", "https://crm.acme.example/.battery/x%2f..%2f..%2flogout",
	"https://u:p@crm.acme.example/", "https://crm.acme.example%40evil.example/", "https://crm.acme.example%2f@evil.example/", "https://crm.acme.example%5c@evil.example/",
	"https://evil.example%23@crm.acme.example/", "https://evil.example%2f.crm.acme.example/", "https://evil.example/?@crm.acme.example/", "https://evil.example/#@crm.acme.example/",
	"https://evil.example:443#@crm.acme.example/", "https://evil.example:@crm.acme.example/", "https://crm.acme.example:443@evil.example/", "https://crm.acme.example#@evil.example/x y",
	"https://crm.acme.example\t/", "https://crm.acme.example\n.evil.example/", "https://crm\r.acme.example/", "\x00https://crm.acme.example/", "\ufeffhttps://crm.acme.example/", "\u00a0https://crm.acme.example/",
	"ht\ttps://crm.acme.example/", "https\x00://crm.acme.example/", "https :// crm.acme.example/", "https: //crm.acme.example/", "h\u0074tps\uff1a//crm.acme.example/", "https\u2236//crm.acme.example/",
	"https://crm.acme.example\u2028/", "https://crm.acme.example/\u202e", "https://crm.acme\u200b.example/", "https://crm.acme.example\u3002evil.example/", "https://crm\uff0eacme\uff0eexample/",
	"https://xn--crm-acme-example/", "https://crm.acme.example.com/", "https://crm.acme.exampl/", "https://rm.acme.example/", "https://acme.example/", "https://crm_acme.example/", "https://crm-acme.example/",
	"https://crm.acme.example:8080/", "https://crm.acme.example:443.evil.example/", "https://crm.acme.example:443evil/", "https://crm.acme.example:-443/", "https://crm.acme.example:4 43/", "https://crm.acme.example:\u0664\u0664\u0663/", "https://crm.acme.example:00443/",
	"https://[crm.acme.example/", "https://crm.acme.example]/", "https://<crm.acme.example>/", "https://\"crm.acme.example\"/", "https://crm.acme.example'/", "https://{crm.acme.example}/", "https://crm.acme.example^/", "https://crm.acme.example$evil.example/", "https://crm.acme.example(evil.example)/",
	"tel:1", "mailto:ada@acme.test", "sms:1", "chrome://settings", "ms-settings:", "jar:https://crm.acme.example!/", "filesystem:https://crm.acme.example/", "gopher://crm.acme.example/", "urn:x", "cid:x", "https", "https:", "https:/", "https//crm.acme.example/", "httpss://crm.acme.example/", "shttps://crm.acme.example/",
	"//crm.acme.example/", "//crm.acme.example@evil.example/", "http:crm.acme.example", "http:///crm.acme.example/", "http://crm.acme.example:443/", "@crm.acme.example", ":443", "//", "///", "\\\\", "%2f%2fevil.example", "%68ttps://crm.acme.example/", "https%3A%2F%2Fcrm.acme.example/", "https:%2f%2fcrm.acme.example/", "https:%5c%5cevil.example/",
	"null", "about:blank", "https://crm.acme.example" + strings.Repeat("/x", 1001),
}

// welcome are return addresses and what they come out as.
var welcome = map[string]string{
	"https://crm.acme.example":                    "https://crm.acme.example/",
	"https://crm.acme.example/":                   "https://crm.acme.example/",
	"HTTPS://CRM.Acme.Example/Deals":              "https://crm.acme.example/Deals",
	"https://crm.acme.example:443/x":              "https://crm.acme.example/x",
	"https://crm.acme.example?x=1":                "https://crm.acme.example/?x=1",
	"https://crm.acme.example/a?b=c&d=%2F%5C#e":   "https://crm.acme.example/a?b=c&d=%2F%5C#e",
	"https://crm.acme.example//evil.example":      "https://crm.acme.example//evil.example",
	"https://crm.acme.example/@evil.example":      "https://crm.acme.example/@evil.example",
	"https://crm.acme.example/?u=//evil.example/": "https://crm.acme.example/?u=//evil.example/",
}

func TestReturnAddresses(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for _, rd := range hostile {
		seen[rd] = true
	}
	if len(seen) < 150 || len(seen) != len(hostile) {
		t.Fatalf("only %d different hostile addresses of %d", len(seen), len(hostile))
	}
	challenge := strings.Repeat("A", 43)
	ada := w.browser()
	ada.visit(w.crm + "/")
	for _, rd := range hostile {
		q := url.Values{"app": {"crm.acme"}, "rd": {rd}}
		for name, step := range map[string]func() reply{
			"/login":                func() reply { return ada.step(w.public + "/login?" + q.Encode()) },
			"/login with challenge": func() reply { return ada.step(w.public + "/login?challenge=" + challenge + "&" + q.Encode()) },
			"/.battery/login":       func() reply { return ada.step(w.crm + "/.battery/login?" + q.Encode()) },
		} {
			if res := step(); res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
				t.Errorf("%s rd=%q: %d to %q", name, rd, res.StatusCode, res.Header.Get("Location"))
			}
		}
		for name, address := range map[string]string{"/logout": w.public + "/logout?", "/.battery/logout": w.crm + "/.battery/logout?"} {
			res := w.browser().step(address+url.Values{"rd": {rd}}.Encode(), "Sec-Fetch-Site", "same-origin")
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != w.public+"/signed-out" {
				t.Errorf("%s rd=%q: %d to %q", name, rd, res.StatusCode, res.Header.Get("Location"))
			}
		}
	}
	for rd, want := range welcome {
		res := ada.step(w.public + "/login?" + url.Values{"app": {"crm.acme"}, "rd": {rd}}.Encode())
		u, _ := url.Parse(res.Header.Get("Location"))
		if res.StatusCode != http.StatusFound || !strings.HasPrefix(u.String(), w.crm+"/.battery/login?") || u.Query().Get("rd") != want {
			t.Errorf("rd=%q: %d to %q", rd, res.StatusCode, u)
		}
		out := ada.w.browser().step(w.crm + "/.battery/logout?" + url.Values{"rd": {rd}}.Encode())
		if out.Header.Get("Location") != want {
			t.Errorf("logout rd=%q: %d to %q", rd, out.StatusCode, out.Header.Get("Location"))
		}
	}
}

// Whatever rd is, a redirect of /login leads to the app's own host, as the URL
// parser of net/url, which is not ours, reads it.
func TestLoginNeverLeadsElsewhere(t *testing.T) {
	w := newWorld(t)
	piece := rapid.SampledFrom([]string{"https", "http", ":", "/", "//", `\`, "@", "#", "?", "crm.acme.example", "evil.example", "wiki.acme.example", ".", ":443", ":8443", "%2f", "%00", "\t", "\n", " ", "[", "]", "a"})
	rapid.Check(t, func(t *rapid.T) {
		rd := strings.Join(rapid.SliceOfN(piece, 1, 8).Draw(t, "pieces"), "")
		r, _ := http.NewRequest(http.MethodGet, w.public+"/login?"+url.Values{"app": {"crm.acme"}, "rd": {rd}}.Encode(), nil)
		res := serve(w, r, "auth.example")
		loc := res.Header.Get("Location")
		if loc == "" {
			return
		}
		u, err := url.Parse(loc)
		if err != nil || u.Scheme != "https" || u.Host != "crm.acme.example" || u.User != nil {
			t.Fatalf("rd=%q leads to %q", rd, loc)
		}
		to, err := url.Parse(u.Query().Get("rd"))
		if err != nil || to.Scheme != "https" || to.Host != "crm.acme.example" || to.User != nil {
			t.Fatalf("rd=%q is carried as %q", rd, u.Query().Get("rd"))
		}
	})
}

func TestPortsOfOrigins(t *testing.T) {
	w := newLoopback(t)
	two := *w.apps["crm.acme"]
	two.Hosts = []string{"crm.acme.battery.localhost", "crm.localhost:9000"}
	w.apps["crm.acme"] = &two
	for rd, ok := range map[string]bool{
		"http://crm.acme.battery.localhost:8000/": true,
		"http://crm.acme.battery.localhost/":      true,
		"http://crm.acme.battery.localhost:80/":   true,
		"http://crm.localhost:9000/":              true,
		"http://crm.acme.battery.localhost:9000/": false,
		"http://crm.localhost:8000/":              false,
		"http://crm.localhost/":                   false,
		"https://crm.acme.battery.localhost/":     false,
	} {
		res := w.browser().step(w.public + "/login?" + url.Values{"app": {"crm.acme"}, "rd": {rd}}.Encode())
		if (res.StatusCode == http.StatusFound) != ok {
			t.Errorf("%s: %d", rd, res.StatusCode)
		}
	}
	public := authz.App{ID: "x", OrganizationID: "org_acme", Hosts: []string{"x.example"}, Scheme: "http"}
	w.apps["x"] = &public
	for _, q := range []string{"", "&rd=http://x.example/"} {
		if res := w.browser().step(w.public + "/login?app=x" + q); res.StatusCode != http.StatusBadRequest {
			t.Errorf("an app on plain http outside loopback: %d", res.StatusCode)
		}
	}
}
