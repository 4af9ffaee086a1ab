package sso_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"battery.app/gate/sso"
)

// withFinder is a directory in which acme.test is acme's, "both.test" is claimed by
// several, and hollow.test's organization has no app.
func withFinder(o *sso.Options) {
	o.Find = sso.Finder{
		Domain: func(d string) (string, bool) {
			org, ok := map[string]string{"acme.test": "org_acme", "globex.test": "org_globex", "hollow.test": "org_hollow"}[d]
			return org, ok
		},
		Connection: func(c string) (string, bool) { return "org_acme", c == "conn_acme" },
		FrontApp: func(org string) (string, bool) {
			// globex's front app is registered wrongly: it is acme's.
			app, ok := map[string]string{"org_acme": "crm.acme", "org_globex": "wiki.acme"}[org]
			return app, ok
		},
	}
}

func newPicker(t *testing.T) *world {
	t.Helper()
	return build(t, "https", "example", "", nil, func(w *world) { w.tune = append(w.tune, withFinder) })
}

func (b *browser) ask(email string) reply {
	old := b.http.CheckRedirect
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { b.http.CheckRedirect = old }()
	return b.send(http.MethodPost, b.w.public+"/login", url.Values{"email": {email}})
}

func TestPicker(t *testing.T) {
	t.Run("leads from an address to the organization's sign-in, with the address as hint", func(t *testing.T) {
		w := newPicker(t)
		b := w.browser()
		for _, p := range []string{"/", "/login"} {
			if res := b.get(w.public + p); res.StatusCode != http.StatusOK || !strings.Contains(res.body, `name="email"`) || strings.Contains(res.body, "acme") {
				t.Fatalf("%s: %d %s", p, res.StatusCode, res.body)
			}
		}
		res := b.send(http.MethodPost, w.public+"/login", url.Values{"email": {" Bob@ACME.test "}})
		if res.at != w.crm+"/" {
			t.Fatalf("ended at %s: %s", res.at, res.body)
		}
		b.mustBe(w.crm, "Bob@ACME.test")
	})
	t.Run("answers everything else alike", func(t *testing.T) {
		w := newPicker(t)
		first := w.browser().ask("x@unknown.test")
		if first.StatusCode != http.StatusOK || !strings.Contains(first.body, `name="email"`) {
			t.Fatalf("%d %s", first.StatusCode, first.body)
		}
		for _, email := range []string{"", "acme.test", "@acme.test", "x@", "x@hollow.test", "x@globex.test", "x@acme.test@evil.test", "x@sub.acme.test",
			"x@acme.test.", "x@acme.test\x00", "x@acme\u3002test", "<script>alert(1)</script>@x.test", "x@10.0.0.1", "x y@acme.te st", strings.Repeat("a", 250) + "@acme.test", "a\nb@acme.test", "x@аcme.test"} {
			res := w.browser().ask(email)
			if res.StatusCode != first.StatusCode || res.body != first.body || len(res.Cookies()) != 0 {
				t.Errorf("%q is answered differently: %d %s %s", email, res.StatusCode, res.Header.Get("Location"), res.body)
			}
			if res.Header.Get("Content-Security-Policy") != first.Header.Get("Content-Security-Policy") {
				t.Errorf("%q: another policy", email)
			}
		}
	})
	t.Run("refuses a form that is none", func(t *testing.T) {
		w := newPicker(t)
		for _, body := range []string{"email=a@acme.test&email=b@acme.test", "%zz", "email=" + strings.Repeat("x", 1<<20)} {
			r, _ := http.NewRequest(http.MethodPost, w.public+"/login", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if res := serve(w, r, "auth.example"); res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
				t.Errorf("%.40q: %d", body, res.StatusCode)
			}
		}
	})
	t.Run("never leads anywhere but to an app of the one organization", func(t *testing.T) {
		w := newPicker(t)
		rapid.Check(t, func(rt *rapid.T) {
			piece := rapid.SampledFrom([]string{"a", "@", "acme.test", "globex.test", "hollow.test", ".", "//evil.example", "\r\n", "?rd=", "%40", "é", " "})
			email := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(rt, "email"), "")
			r, _ := http.NewRequest(http.MethodPost, w.public+"/login", strings.NewReader(url.Values{"email": {email}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res := serve(w, r, "auth.example")
			loc := res.Header.Get("Location")
			if loc == "" {
				return
			}
			if !strings.HasPrefix(loc, w.crm+"/.battery/login?") || !strings.HasSuffix(strings.TrimSpace(email), "@acme.test") {
				rt.Fatalf("%q leads to %s", email, loc)
			}
		})
	})
	t.Run("without a way to find organizations there is no form", func(t *testing.T) {
		w := newWorld(t)
		if res := w.browser().get(w.public + "/login"); strings.Contains(res.body, "<form") {
			t.Fatal(res.body)
		}
		if res := w.browser().ask("x@acme.test"); res.StatusCode != http.StatusOK || res.Header.Get("Location") != "" {
			t.Fatalf("%d", res.StatusCode)
		}
	})
}

func TestLoginsBegunAtTheIdentityProvider(t *testing.T) {
	t.Run("never use their code, and are led to the start", func(t *testing.T) {
		w := newPicker(t)
		b := w.browser()
		back, _ := url.Parse(b.until(b.challenge(w.crm+"/"), w.public+"/callback"))
		code := back.Query().Get("code")
		for _, q := range []string{"code=" + code, "code=" + code + "&state=", "code=" + code + "&connection_id=conn_acme", ""} {
			res := w.browser().step(w.public + "/callback?" + q)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, `name="email"`) || len(res.Cookies()) != 0 {
				t.Errorf("%q: %d %s", q, res.StatusCode, res.body)
			}
		}
		// The code is still good in the browser it belongs to.
		b.get(back.String())
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("that WorkOS turned away begin anew, at whose connection it was", func(t *testing.T) {
		w := newPicker(t)
		for _, q := range []string{"error=idp_initiated_sso_disabled&connection_id=conn_acme", "error=idp_initiated_sso_disabled&organization_id=org_acme"} {
			b := w.browser()
			if res := b.get(w.public + "/callback?" + q + "&error_description=x"); res.at != w.crm+"/" {
				t.Fatalf("%s ended at %s: %s", q, res.at, res.body)
			}
			b.mustBe(w.crm, "ada@acme.test")
		}
		b := w.browser()
		b.get(w.public + "/login?connection_id=conn_acme")
		b.mustBe(w.crm, "ada@acme.test")
	})
	t.Run("of nobody we know end on the page", func(t *testing.T) {
		w := newPicker(t)
		for _, q := range []string{"connection_id=conn_other", "connection_id=%3Cscript%3E", "organization_id=org_none", "organization_id=org_globex", "organization_id=org_hollow", ""} {
			res := w.browser().step(w.public + "/callback?error=idp_initiated_sso_disabled&" + q)
			if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" || strings.Contains(res.body, "<script") {
				t.Errorf("%s: %d %s", q, res.StatusCode, res.body)
			}
		}
		if res := w.browser().step(w.public + "/callback?error=idp_initiated_sso_disabled&connection_id=conn_acme&connection_id=conn_other"); res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("twice: %d", res.StatusCode)
		}
	})
}
