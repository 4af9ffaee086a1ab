package sso_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

func TestFormsOfPagesAreCheckedByOriginSessionActionAndTime(t *testing.T) {
	w := newWorld(t)
	ada, eve := &authz.Session{ID: "session_ada"}, &authz.Session{ID: "session_eve"}
	token, err := w.service.FormToken(ada, "map")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := w.service.FormToken(ada, "unmap")
	crm := w.browser()
	crm.visit(w.crm + "/")
	logout := tokenField.FindStringSubmatch(crm.get(w.crm + "/.battery/logout").body)[1]
	same := []string{"Sec-Fetch-Site", "same-origin"}
	for name, c := range map[string]struct {
		method, host string
		session      *authz.Session
		form         url.Values
		header       []string
		late         time.Duration
		ok           bool
	}{
		"our page's":                          {header: same, ok: true},
		"our page's, by Origin":               {header: []string{"Origin", w.public}, ok: true},
		"a browser's that does not say":       {ok: true},
		"just in time":                        {header: same, late: 59 * time.Minute, ok: true},
		"an hour later":                       {header: same, late: time.Hour},
		"another session's":                   {header: same, session: eve},
		"no session's":                        {header: same, session: &authz.Session{}},
		"nobody's":                            {header: same, session: nil, form: url.Values{}},
		"a sibling app's, with the token":     {header: []string{"Sec-Fetch-Site", "same-site", "Origin", w.desk}},
		"a sibling app's, by Origin":          {header: []string{"Origin", w.crm}},
		"another site's":                      {header: []string{"Sec-Fetch-Site", "cross-site"}},
		"a null origin's":                     {header: []string{"Origin", "null"}},
		"typed in":                            {header: []string{"Sec-Fetch-Site", "none"}},
		"a GET":                               {method: http.MethodGet, header: same},
		"another action's token":              {header: same, form: url.Values{"token": {other}}},
		"the logout form's token":             {header: same, form: url.Values{"token": {logout}}},
		"no token":                            {header: same, form: url.Values{"x": {"y"}}},
		"two tokens":                          {header: same, form: url.Values{"token": {token, token}}},
		"a changed token":                     {header: same, form: url.Values{"token": {token[:20] + flipped(token[20:])}}},
		"a megabyte":                          {header: same, form: url.Values{"token": {token}, "x": {strings.Repeat("x", 1<<20)}}},
		"sent to an app's host":               {header: same, host: "crm.acme.example"},
		"sent with an ambiguous fetch header": {header: append(append([]string{}, same...), "Sec-Fetch-Site", "cross-site")},
	} {
		t.Run(name, func(t *testing.T) {
			form := c.form
			if form == nil {
				form = url.Values{"token": {token}}
			}
			method, host, session := http.MethodPost, "auth.example", ada
			if c.method != "" {
				method = c.method
			}
			if c.host != "" {
				host = c.host
			}
			if c.session != nil {
				session = c.session
			} else if name == "nobody's" {
				session = nil
			}
			r := httptest.NewRequest(method, "https://"+host+"/orgs/acme/settings", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for i := 0; i+1 < len(c.header); i += 2 {
				r.Header.Add(c.header[i], c.header[i+1])
			}
			w.now.add(c.late)
			err := w.service.CheckForm(r, session, "map")
			w.now.add(-c.late)
			if c.ok != (err == nil) || (err != nil && !errors.Is(err, sso.ErrForeignForm)) {
				t.Fatal(err)
			}
		})
	}
	t.Run("a token in the address is no token", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, w.public+"/x?token="+url.QueryEscape(token), nil)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if err := w.service.CheckForm(r, ada, "map"); !errors.Is(err, sso.ErrForeignForm) {
			t.Fatal(err)
		}
	})
	t.Run("without a session or an action there is no token", func(t *testing.T) {
		for _, c := range []struct {
			s      *authz.Session
			action string
		}{{nil, "map"}, {&authz.Session{}, "map"}, {ada, ""}, {&authz.Session{ID: "a\x00b"}, "c"}} {
			if got, err := w.service.FormToken(c.s, c.action); err == nil || got != "" {
				t.Fatalf("%+v: %q", c, got)
			}
		}
	})
}

func TestPageServesAsOursAre(t *testing.T) {
	w := newWorld(t)
	var answer func(http.ResponseWriter, *http.Request) error
	page := w.service.Page(func(rw http.ResponseWriter, r *http.Request) error { return answer(rw, r) })
	ask := func(host string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		page.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "https://"+host+"/orgs/acme/settings", nil))
		return rec
	}
	t.Run("with its headers, and forms only where they are allowed", func(t *testing.T) {
		answer = func(rw http.ResponseWriter, _ *http.Request) error {
			_, err := rw.Write([]byte("x"))
			return err
		}
		head := ask("auth.example").Header()
		for k, v := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Content-Security-Policy": sso.PagePolicy()} {
			if head.Get(k) != v {
				t.Errorf("%s: %q", k, head.Get(k))
			}
		}
		if p := sso.PagePolicy(); !strings.Contains(p, "form-action 'none'") || strings.Contains(p, "unsafe") || p == sso.PagePolicyFor(sso.Style+"p{}") {
			t.Fatal(p)
		}
		answer = func(rw http.ResponseWriter, _ *http.Request) error {
			sso.AllowForms(rw, sso.Style, "'self'")
			return nil
		}
		if head := ask("auth.example").Header(); head.Get("Referrer-Policy") != "same-origin" || head.Get("Content-Security-Policy") != sso.PagePolicy("'self'") {
			t.Fatalf("%v", head)
		}
	})
	t.Run("on the public host alone", func(t *testing.T) {
		if got := ask("crm.acme.example").Code; got != http.StatusMisdirectedRequest {
			t.Fatal(got)
		}
	})
	t.Run("with errors that say what to do, and no more", func(t *testing.T) {
		answer = func(http.ResponseWriter, *http.Request) error {
			return &sso.PageError{Status: http.StatusForbidden, Title: "<b>No", Text: "Ask.", Links: []sso.Link{{Label: "Back", URL: "/"}}, Cause: errors.New("secret")}
		}
		res := ask("auth.example")
		if b := res.Body.String(); res.Code != http.StatusForbidden || !strings.Contains(b, "&lt;b&gt;No") || !strings.Contains(b, `<a href="/">Back</a>`) || strings.Contains(b, "secret") {
			t.Fatalf("%d %s", res.Code, b)
		}
		answer = func(http.ResponseWriter, *http.Request) error { return errors.New("secret") }
		if res := ask("auth.example"); res.Code != http.StatusServiceUnavailable || strings.Contains(res.Body.String(), "secret") {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
		answer = func(http.ResponseWriter, *http.Request) error { panic("secret") }
		if res := ask("auth.example"); res.Code != http.StatusServiceUnavailable || strings.Contains(res.Body.String(), "secret") {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
	})
}

// flipped is s with another first character.
func flipped(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}
