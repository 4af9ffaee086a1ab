package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"battery.app/gate/sso"
)

// maxForm is how large a form may be: a token of ours and an id or two.
const maxForm = 16 << 10

// handler answers a request, or returns why not: a *sso.PageError is shown as it
// is, anything else is a fault of ours whose text nobody sees.
type handler func(w http.ResponseWriter, r *http.Request) error

// signedInHandler answers somebody who is signed in.
type signedInHandler func(w http.ResponseWriter, r *http.Request, v *visitor) error

// serve gives every answer its headers and keeps the console to its own origin:
// under another name, or at another port of the same host, cookies and forms
// would not mean what they mean here.
func (c *Console) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		err := c.here(r)
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			c.fail(w, r, err)
		}
	})
}

func (c *Console) here(r *http.Request) error {
	_, host, _ := strings.Cut(c.origin, "://")
	switch {
	case c.origin == "":
		return &sso.PageError{Status: http.StatusMisdirectedRequest, Title: "The console has no address",
			Text: "The admin listener is not on loopback, so the server must be told where browsers reach it: set listen.admin_url, an https address."}
	case !strings.EqualFold(r.Host, host):
		return &sso.PageError{Status: http.StatusMisdirectedRequest, Title: "The console is at another address",
			Text:  "It answers at " + c.origin + " alone. Where that is not how you reach it, set listen.admin_url.",
			Links: []sso.Link{{Label: "Open " + c.origin, URL: c.origin + "/"}}}
	}
	return nil
}

// checkOrigin takes a POST from a page of this very origin alone. Another port of
// this host is same-site and gets its cookies, so neither says anything; Origin
// must name this one, and every browser sends it with a POST.
func (c *Console) checkOrigin(r *http.Request) bool {
	from, site := r.Header.Values("Origin"), r.Header.Values("Sec-Fetch-Site")
	return r.Method == http.MethodPost && len(from) == 1 && from[0] == c.origin &&
		(len(site) == 0 || len(site) == 1 && site[0] == "same-origin")
}

var errForeignForm = &sso.PageError{Status: http.StatusForbidden, Title: "Nothing was done",
	Text:  "This did not come from a page of the console that is open now. If you pressed a button here, go back, load the page again, and repeat it.",
	Links: []sso.Link{{Label: "Open the console", URL: "/"}}}

// readForm reads the fields of a POST of ours, each there once.
func (c *Console) readForm(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, error) {
	if !c.checkOrigin(r) {
		return nil, errForeignForm
	}
	malformed := &sso.PageError{Status: http.StatusBadRequest, Title: "Nothing was done", Text: "The form was malformed or too large.",
		Links: []sso.Link{{Label: "Open the console", URL: "/"}}}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, malformed
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, malformed
	}
	out := map[string]string{}
	for _, name := range append(names, "form") {
		if len(r.PostForm[name]) > 1 {
			return nil, malformed
		}
		out[name] = r.PostForm.Get(name)
	}
	return out, nil
}

// form makes the hidden field "form" of a page's form: good for this console
// session and this action alone.
func form(v *visitor, action string) string { return mac(v.seat.key[:], "form", action) }

// checkForm reports whether a form's token is that of form.
func checkForm(v *visitor, action, token string) bool {
	return hmac.Equal([]byte(form(v, action)), []byte(token))
}

// mac is over parts none of which holds a NUL where it could be mistaken for the
// next: callers make sure.
func mac(key []byte, parts ...string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(strings.Join(parts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw)
}

var errNotOurs = errors.New("not made here, or over")

// stamp makes a value that a browser keeps instead of us: what it is for, random
// bits, until when, and our word for it.
func (c *Console) stamp(purpose, about string, life time.Duration) string {
	body := strconv.FormatInt(c.Now().Add(life).Unix(), 10) + "." + random()
	return body + "." + mac(c.key, "stamp", purpose, about, body)
}

// checkStamp takes what stamp made, until it is over.
func (c *Console) checkStamp(purpose, about, value string) error {
	i := strings.LastIndexByte(value, '.')
	if i < 0 || len(value) > 200 || !hmac.Equal([]byte(mac(c.key, "stamp", purpose, about, value[:i])), []byte(value[i+1:])) {
		return errNotOurs
	}
	until, _, _ := strings.Cut(value, ".")
	if at, err := strconv.ParseInt(until, 10, 64); err != nil || c.Now().Unix() >= at {
		return errNotOurs
	}
	return nil
}
