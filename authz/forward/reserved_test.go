package forward_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"battery.app/gate/authz"
)

func TestReserved(t *testing.T) {
	c := post(get("crm.acme.test:8443", "/.battery/session?ticket=tk&rd=%2F", ada, "Origin: https://crm.acme.test:8443", "Referer: https://auth.test/",
		"Sec-Fetch-Site: cross-site", "X-Forwarded-For: 203.0.113.9", "Authorization: Bearer x", "Content-Type: text/plain"))
	relaying := []string{"forward-auth", "ext-authz", "ext-authz-grpc"}

	t.Run("the endpoint gets the app's request", func(t *testing.T) {
		for _, door := range relaying {
			w := newWorld(t)
			var got *http.Request
			w.endpoint = func(rw http.ResponseWriter, r *http.Request) {
				got = r
				if b, err := io.ReadAll(r.Body); err != nil || len(b) > 0 {
					t.Errorf("body %q %v", b, err)
				}
				http.SetCookie(rw, &http.Cookie{Name: "a", Value: "1"})
				http.SetCookie(rw, &http.Cookie{Name: "b", Value: "2"})
				rw.Header().Set("Referrer-Policy", "no-referrer")
				rw.Header().Set("X-Broken", "a\r\nSet-Cookie: c=3")
				rw.Header().Set("Connection", "X-Broken")
				http.Redirect(rw, r, "/deals", http.StatusSeeOther)
			}
			res := doors()[door](t, w, c)
			if got.Method != "POST" || got.URL.String() != "https://crm.acme.test:8443/.battery/session?ticket=tk&rd=%2F" || got.Host != "crm.acme.test:8443" ||
				got.RequestURI != "/.battery/session?ticket=tk&rd=%2F" || got.RemoteAddr != "203.0.113.9:0" {
				t.Errorf("%s: %s %s %s %s %s", door, got.Method, got.URL, got.Host, got.RequestURI, got.RemoteAddr)
			}
			if names := keys(got.Header); !slices.Equal(names, []string{"Cookie", "Origin", "Referer", "Sec-Fetch-Site"}) {
				t.Errorf("%s: headers %v", door, names)
			}
			if res.status != 303 || res.get("Location") != "https://crm.acme.test:8443/deals" || len(res.header["Set-Cookie"]) != 2 ||
				res.get("X-Broken") != "" || res.get("Connection") != "" || res.get("Cache-Control") != "no-store" || res.get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%s: %d %v", door, res.status, res.header)
			}
			rec := w.one(t)
			if rec.Status != 303 || rec.Reasons[0].Code != authz.CodeReservedPath || rec.Path != "/.battery/session" || rec.Query != "" || rec.Result != authz.Deny {
				t.Errorf("%s: %+v", door, rec)
			}
		}
	})
	t.Run("nginx can relay no such answer, so none is asked for", func(t *testing.T) {
		w := newWorld(t)
		w.endpoint = func(http.ResponseWriter, *http.Request) { t.Error("asked") }
		if res := authRequest(t, w, c); res.status != 403 {
			t.Errorf("%d", res.status)
		}
		w.one(t)
	})
	t.Run("only 3xx and 4xx of bearable size pass", func(t *testing.T) {
		for name, row := range map[string]struct {
			endpoint http.HandlerFunc
			want     int
		}{
			"200":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, 403},
			"silence":  {func(http.ResponseWriter, *http.Request) {}, 403},
			"text":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, 403},
			"204":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 403},
			"500":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 403},
			"panic":    {func(http.ResponseWriter, *http.Request) { panic("boom") }, 403},
			"405":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(405) }, 405},
			"302":      {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://auth.test/x", 302) }, 302},
			"too long": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); _, _ = w.Write(make([]byte, 9000)) }, 403},
		} {
			for _, door := range relaying {
				w := newWorld(t)
				w.endpoint = row.endpoint
				res := doors()[door](t, w, c)
				if res.status != row.want {
					t.Errorf("%s %s: %d, want %d", door, name, res.status, row.want)
				}
				if rec := w.one(t); rec.Status != row.want {
					t.Errorf("%s %s: recorded %d", door, name, rec.Status)
				}
			}
		}
	})
	t.Run("what belongs to a connection or a body stays", func(t *testing.T) {
		for _, door := range relaying {
			w := newWorld(t)
			w.endpoint = func(w http.ResponseWriter, _ *http.Request) {
				for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Content-Length"} {
					w.Header().Set(name, "9")
				}
				w.Header().Set("X-Kept", "9")
				w.WriteHeader(404)
			}
			res := doors()[door](t, w, c)
			for name, v := range res.header {
				if v[0] == "9" && name != "X-Kept" {
					t.Errorf("%s: %s", door, name)
				}
			}
			if res.status != 404 || res.get("X-Kept") == "" {
				t.Errorf("%s: %d %v", door, res.status, res.header)
			}
		}
	})
	t.Run("only an app's host has endpoints", func(t *testing.T) {
		for _, authority := range []string{"nobody.test", "crm.acme.test:1"} {
			for door, do := range doors() {
				w := newWorld(t)
				w.endpoint = func(http.ResponseWriter, *http.Request) { t.Error("asked") }
				if res := do(t, w, get(authority, "/.battery/login")); res.status != 403 {
					t.Errorf("%s: %d", door, res.status)
				}
				if rec := w.one(t); rec.Reasons[0].Code != authz.CodeUnknownHost {
					t.Errorf("%s: %v", door, rec.Reasons)
				}
			}
		}
	})
	t.Run("everything else below it is refused, however it is spelled", func(t *testing.T) {
		for _, uri := range []string{"/.battery", "/.battery/", "/.battery/userinfo", "/.BATTERY/login", "/.battery/Login", "/.battery/login/", "/.battery//login",
			"/%2ebattery/login", "/.%62attery/login", "/.battery%2flogin", "/.battery;x/login", `/.battery\login`, "//.battery/login", "/%252ebattery/login", "/.battery/../deals", "/.battery/session/../login"} {
			for door, do := range doors() {
				w := newWorld(t)
				w.endpoint = func(http.ResponseWriter, *http.Request) { t.Errorf("%s: asked", uri) }
				if res := do(t, w, get("status.acme.test", uri)); res.status != 403 {
					t.Errorf("%s %s: %d", door, uri, res.status)
				}
				if rec := w.one(t); rec.Reasons[0].Code != authz.CodeReservedPath {
					t.Errorf("%s %s: %v", door, uri, rec.Reasons)
				}
			}
		}
	})
}

func keys(h http.Header) []string {
	var names []string
	for n := range h {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func TestPage(t *testing.T) {
	w := newWorld(t)
	w.sessions["t-bob"].Email = `<script>alert("x")</script>@acme.test`
	res := forwardAuth(t, w, get("crm.acme.test", "/deals?a=1&b=%22", bob, browser))
	t.Run("says which app, as whom, why, and where to go", func(t *testing.T) {
		for _, want := range []string{"crm.acme", "alert(&#34;x&#34;)", "Your roles &lt;b&gt;do not&lt;/b&gt; allow this.", w.records[0].ID,
			`href="/.battery/logout"`, `href="/.battery/logout?rd=https%3A%2F%2Fcrm.acme.test%2Fdeals%3Fa%3D1%26b%3D%2522"`, `<html lang="en">`, "<main>", "<h1>"} {
			if !strings.Contains(res.body, want) {
				t.Errorf("%q is missing from\n%s", want, res.body)
			}
		}
		if strings.Contains(res.body, "<script") || strings.Contains(res.body, "<b>") {
			t.Error("text became markup")
		}
	})
	t.Run("stands alone", func(t *testing.T) {
		csp := res.get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || res.get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q", csp)
		}
		_, rest, _ := strings.Cut(res.body, "<style>")
		style, _, _ := strings.Cut(rest, "</style>")
		if !strings.Contains(csp, "'sha256-"+sha256Base64(style)+"'") {
			t.Error("the policy does not let the page's own style in")
		}
		for _, word := range []string{"src=", "<link", "url(", "http://"} {
			if strings.Contains(res.body, word) {
				t.Errorf("page holds %q", word)
			}
		}
	})
	t.Run("stays small", func(t *testing.T) {
		w.sessions["t-bob"].Email = strings.Repeat("<", 5000)
		for _, uri := range []string{"/" + strings.Repeat("%22", 2000), "/" + strings.Repeat("'", 1000)} {
			if res := forwardAuth(t, w, get("crm.acme.test", uri, bob, browser)); res.status != 403 || len(res.body) >= 8192 {
				t.Errorf("%d, %d bytes", res.status, len(res.body))
			}
		}
	})
	t.Run("nobody signed in, nobody to sign out", func(t *testing.T) {
		if res := forwardAuth(t, w, get("nobody.test", "/", browser)); strings.Contains(res.body, "/.battery/") {
			t.Errorf("%s", res.body)
		}
	})
}
