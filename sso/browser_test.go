package sso_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"battery.app/gate/authz"
	"battery.app/gate/sso"
)

// browser is one person's: it keeps cookies by host and follows redirects
// through apps, gate and WorkOS.
type browser struct {
	w    *world
	http *http.Client
	jar  *cookiejar.Jar
	path []string // every address it was sent to
}

func (w *world) browser() *browser {
	b := &browser{w: w}
	b.jar, _ = cookiejar.New(nil)
	b.http = &http.Client{Jar: b.jar, Transport: b, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 12 {
			return errors.New("redirected in a circle")
		}
		return nil
	}}
	return b
}

// RoundTrip is the network: the gateway sends /.battery/ of app hosts and the
// public host to the gate; the apps answer the rest.
func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	b.path = append(b.path, r.URL.String())
	providers := append([]string{b.w.workos.URL}, b.w.others...)
	if b.w.op != nil {
		providers = append(providers, b.w.op.URL)
	}
	if slices.Contains(providers, r.URL.Scheme+"://"+r.URL.Host) {
		return http.DefaultTransport.RoundTrip(r)
	}
	rec := httptest.NewRecorder()
	in := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
	in.Header, in.Host = r.Header.Clone(), r.URL.Host
	if strings.HasPrefix(r.URL.Path, "/.battery/") || "https://"+r.URL.Host == b.w.public || "http://"+r.URL.Host == b.w.public {
		b.w.engine.ServeHTTP(rec, in)
	} else {
		rec.WriteHeader(http.StatusTeapot) // an app
	}
	res := rec.Result()
	res.Request = r
	return res, nil
}

func (b *browser) get(address string, header ...string) reply {
	b.w.t.Helper()
	return b.send(http.MethodGet, address, nil, header...)
}

func (b *browser) send(method, address string, form url.Values, header ...string) reply {
	b.w.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.http.Do(r)
	if err != nil {
		b.w.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return reply{Response: res, body: string(body), at: res.Request.URL.String()}
}

// step sends one request and follows nothing.
func (b *browser) step(address string, header ...string) reply {
	b.w.t.Helper()
	old := b.http.CheckRedirect
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { b.http.CheckRedirect = old }()
	return b.get(address, header...)
}

// until follows redirects up to an address that begins with prefix, without
// going there.
func (b *browser) until(address, prefix string) string {
	b.w.t.Helper()
	for range 12 {
		res := b.step(address)
		next := res.Header.Get("Location")
		if next == "" {
			b.w.t.Fatalf("%s answers %d and leads nowhere", address, res.StatusCode)
		}
		if strings.HasPrefix(next, prefix) {
			return next
		}
		address = next
	}
	b.w.t.Fatalf("never came to %s", prefix)
	return ""
}

func (b *browser) cookies(address string) []*http.Cookie {
	u, _ := url.Parse(address)
	return b.jar.Cookies(u)
}

func (b *browser) cookie(address, name string) string {
	for _, c := range b.cookies(address) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

type reply struct {
	*http.Response
	body string
	at   string
}

// visit opens an app as a person does: the door answers for the app.
func (b *browser) visit(address string) reply {
	b.w.t.Helper()
	if s, _ := b.session(address); s != nil {
		return b.get(address)
	}
	u, _ := url.Parse(address)
	app, _ := b.w.apps.App(u.Hostname())
	location, cookies, err := b.w.service.Challenge(app, u.Scheme, u.Host, address, b.cookies(address), true)
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.jar.SetCookies(u, cookies)
	return b.get(location)
}

// session is what a door finds at an app's address.
func (b *browser) session(address string) (*authz.Session, string) {
	u, _ := url.Parse(address)
	app, _ := b.w.apps.App(u.Hostname())
	var tokens []string
	for _, c := range b.cookies(address) {
		if c.Name == sso.SessionCookieName(u.Scheme) {
			tokens = append(tokens, c.Value)
		}
	}
	s, code := b.w.sessions.Session(b.w.now.Now(), app, u.Hostname(), tokens)
	if s != nil && b.w.gone.Ended(s) {
		return nil, authz.CodeSessionRevoked
	}
	return s, code
}

func (b *browser) mustBe(address, email string) *authz.Session {
	b.w.t.Helper()
	s, code := b.session(address)
	if s == nil || s.Email != email {
		b.w.t.Fatalf("at %s: session %+v, %s; want %s", address, s, code, email)
	}
	return s
}

func (b *browser) mustBeNobody(address, code string) {
	b.w.t.Helper()
	if s, got := b.session(address); s != nil || got != code {
		b.w.t.Fatalf("at %s: session %+v, %s; want none, %s", address, s, got, code)
	}
}

// steal copies the cookies of another browser for one address.
func (b *browser) steal(from *browser, address string) {
	u, _ := url.Parse(address)
	b.jar.SetCookies(u, from.jar.Cookies(u))
}
