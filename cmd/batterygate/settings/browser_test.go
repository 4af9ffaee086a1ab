package settings_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
)

// browser is one person's: it keeps cookies and follows redirects.
type browser struct {
	w    *world
	http *http.Client
	path []string
}

func (w *world) browser() *browser {
	b := &browser{w: w}
	jar, _ := cookiejar.New(nil)
	b.http = &http.Client{Jar: jar, Transport: b, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > 8 {
			return errors.New("redirected in a circle")
		}
		return nil
	}}
	return b
}

// RoundTrip is the network: the gate, and WorkOS, which signs in at once.
func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	b.path = append(b.path, r.URL.String())
	rec := httptest.NewRecorder()
	if r.URL.Host == "workos.example" {
		q := r.URL.Query()
		back := url.Values{"state": {q.Get("state")}, "code": {b.w.workos.as + "|" + q.Get("organization")}}
		http.Redirect(rec, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	} else {
		in := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
		in.Header, in.Host = r.Header.Clone(), r.URL.Host
		b.w.engine.ServeHTTP(rec, in)
	}
	res := rec.Result()
	res.Request = r
	return res, nil
}

type reply struct {
	*http.Response
	body string
	at   string
}

func (b *browser) send(follow bool, method, address string, form url.Values, header ...string) reply {
	b.w.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", public)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	old := b.http.CheckRedirect
	if !follow {
		b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	defer func() { b.http.CheckRedirect = old }()
	res, err := b.http.Do(r)
	if err != nil {
		b.w.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return reply{Response: res, body: string(body), at: res.Request.URL.String()}
}

func (b *browser) get(address string) reply { return b.send(true, http.MethodGet, address, nil) }

// step sends a form as the page's button does, and follows nothing.
func (b *browser) step(address string, form url.Values, header ...string) reply {
	b.w.t.Helper()
	return b.send(false, http.MethodPost, address, form, header...)
}

// signIn signs a person in to an organization, over its own settings page.
func (w *world) signIn(email, slug string) *browser {
	w.t.Helper()
	b := w.browser()
	w.workos.as = email
	res := b.send(true, http.MethodPost, public+"/orgs/"+slug+"/settings/sign-in", url.Values{"email": {email}})
	if res.at != public+"/orgs/"+slug+"/settings" {
		w.t.Fatalf("%s came to %s, %d: %s", email, res.at, res.StatusCode, res.body)
	}
	return b
}

// admin is ada, an IT admin of acme, who has just signed in.
func (w *world) admin() *browser {
	w.t.Helper()
	b := w.signIn("ada@acme.test", "acme")
	if res := b.get(page + "/sign-in"); !strings.HasPrefix(res.at, page) {
		w.t.Fatalf("a fresh login came to %s", res.at)
	}
	return b
}

var (
	formRE  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	inputRE = regexp.MustCompile(`<input ([^>]*)>`)
	attrRE  = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
)

// form is what a browser would send of the page's form to an action, as it
// stands, without a button.
func form(body, action string) url.Values {
	for _, f := range formRE.FindAllStringSubmatch(body, -1) {
		if !strings.HasSuffix(f[1], action) {
			continue
		}
		out := url.Values{}
		for _, in := range inputRE.FindAllStringSubmatch(f[2], -1) {
			a := map[string]string{}
			for _, m := range attrRE.FindAllStringSubmatch(in[1], -1) {
				a[m[1]] = html.UnescapeString(m[2])
			}
			_, checked := a["checked"]
			if a["type"] != "checkbox" && a["type"] != "radio" || checked {
				out.Add(a["name"], a["value"])
			}
		}
		return out
	}
	return nil
}

// rowOf is the number of a mapping's row in a form: of "id:…" or "name:…", whose
// rows are named by a hash.
func rowOf(f url.Values, key string) string {
	sum := sha256.Sum256([]byte(key))
	for name, v := range f {
		if n, ok := strings.CutPrefix(name, "row."); ok && v[0] == "row-"+hex.EncodeToString(sum[:12]) {
			return n
		}
	}
	return "none"
}
