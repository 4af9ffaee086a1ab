package console_test

import (
	"errors"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// browser is one person's. Its cookies do not tell ports apart, as no browser's
// do.
type browser struct {
	w    *world
	jar  *cookiejar.Jar
	http *http.Client
}

func (w *world) browser() *browser {
	jar, _ := cookiejar.New(nil)
	b := &browser{w: w, jar: jar}
	b.http = &http.Client{Jar: jar, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > 12 {
			return errors.New("redirected in a circle")
		}
		return nil
	}}
	return b
}

type reply struct {
	*http.Response
	body string
	at   string
}

// send sends a request as a page of the console would, but for what header says;
// an empty value leaves a header out. Host stands for the request's Host.
func (b *browser) send(follow bool, method, address string, fields url.Values, header ...string) reply {
	t := b.w.t
	t.Helper()
	r := must(http.NewRequest(method, address, strings.NewReader(fields.Encode())))(t)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", b.w.admin)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	c := *b.http
	if !follow {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	res := must(c.Do(r))(t)
	defer res.Body.Close()
	return reply{Response: res, body: read(t, res.Body), at: res.Request.URL.String()}
}

func (b *browser) get(path string) reply {
	b.w.t.Helper()
	return b.send(true, http.MethodGet, b.w.admin+path, nil)
}

func (b *browser) post(path string, fields url.Values, header ...string) reply {
	b.w.t.Helper()
	return b.send(false, http.MethodPost, b.w.admin+path, fields, header...)
}

var (
	formRE  = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	inputRE = regexp.MustCompile(`<input ([^>]*)>`)
	attrRE  = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

// fields are what a browser would send of a page's form to an action.
func fields(body, action string) url.Values {
	for _, f := range formRE.FindAllStringSubmatch(body, -1) {
		if f[1] != action {
			continue
		}
		out := url.Values{}
		for _, in := range inputRE.FindAllStringSubmatch(f[2], -1) {
			a := map[string]string{}
			for _, m := range attrRE.FindAllStringSubmatch(in[1], -1) {
				a[m[1]] = html.UnescapeString(m[2])
			}
			out.Add(a["name"], a["value"])
		}
		return out
	}
	return nil
}

// byToken signs in with a token.
func (w *world) byToken(secret string) *browser {
	w.t.Helper()
	b := w.browser()
	f := fields(b.get("/").body, "/sign-in/token")
	f.Set("token", secret)
	if res := b.post("/sign-in/token", f); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/" {
		w.t.Fatalf("sign-in answered %d: %s", res.StatusCode, res.body)
	}
	return b
}

// bySSO signs somebody in over the public host and returns what they see.
func (w *world) bySSO(email string) (*browser, reply) {
	w.t.Helper()
	w.as = email
	b := w.browser()
	return b, b.get("/sign-in/sso")
}

// ticket goes the way of an SSO sign-in up to the address with the pass, and does
// not open it.
func (b *browser) ticket() string {
	b.w.t.Helper()
	at := b.w.admin + "/sign-in/sso"
	for range 12 {
		res := b.send(false, http.MethodGet, at, nil)
		at = res.Header.Get("Location")
		if strings.HasPrefix(at, b.w.admin+"/sign-in/sso/done") {
			return at
		}
		if at == "" {
			b.w.t.Fatalf("no way on from %s: %d %s", res.at, res.StatusCode, res.body)
		}
		at = must(must(url.Parse(res.at))(b.w.t).Parse(at))(b.w.t).String()
	}
	b.w.t.Fatal("redirected in a circle")
	return ""
}

// seated reports whether the browser is signed in.
func (b *browser) seated() bool {
	b.w.t.Helper()
	return strings.Contains(b.get("/").body, `action="/sign-out"`)
}
