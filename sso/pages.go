package sso

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"runtime/debug"
	"strings"
)

// handler answers a request, or returns why not: a *PageError is shown as it
// is, anything else is a fault of ours whose text nobody sees.
type handler func(w http.ResponseWriter, r *http.Request) error

// PageError is a page that says what went wrong and what to do. Title, Text and
// the links are shown, escaped; Cause goes to the log alone.
type PageError struct {
	Status int // of the answer
	Title  string
	Text   string
	Links  []Link
	Cause  error // nil: nothing is logged
}

// Error is what the log says: the cause, or the title where there is none.
func (p *PageError) Error() string {
	if p.Cause != nil {
		return p.Cause.Error()
	}
	return p.Title
}

// Unwrap returns the cause.
func (p *PageError) Unwrap() error { return p.Cause }

func notFound(text string) *PageError {
	return &PageError{Status: http.StatusNotFound, Title: "Not found", Text: text}
}

func badRequest(text string) *PageError {
	return &PageError{Status: http.StatusBadRequest, Title: "This link does not work", Text: text}
}

// Link is a way on. Its URL is one of ours or lies on an app's origin.
type Link struct {
	Label string
	URL   string
}

// page is what is shown.
type page struct {
	Title string
	Text  string
	Links []Link
	Form  *form
	Ask   *ask
}

// ask is a field for an e-mail address. It changes nothing, so it has no token.
type ask struct {
	Action string
	Label  string
}

// form is one button that changes something.
type form struct {
	Action string
	Token  string
	Label  string
}

// Style is the style sheet of every page here. A page that embeds it, as it is,
// in one <style> element may be served under PagePolicy.
const Style = `:root{color-scheme:light dark}body{font:17px/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center;background:Canvas;color:CanvasText}` +
	`main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;line-height:1.2;margin:0 0 .75rem}p{margin:0 0 1.25rem}` +
	`a,button{display:inline-block;font:inherit;padding:.6rem 1.1rem;margin:0 .5rem .5rem 0;border-radius:.4rem;border:1px solid #1d4ed8;background:#1d4ed8;color:#fff;text-decoration:none;cursor:pointer}` +
	`label{display:block;margin:0 0 1rem}input{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.55rem .7rem;margin-top:.3rem;border:1px solid GrayText;border-radius:.4rem;background:Field;color:FieldText}` +
	`a:focus-visible,input:focus-visible,button:focus-visible{outline:3px solid #f59e0b;outline-offset:2px}`

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + Style + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Form}}<form method="post" action="{{.Action}}"><input type="hidden" name="token" value="{{.Token}}"><button type="submit">{{.Label}}</button></form>
{{end}}{{with .Ask}}<form method="post" action="{{.Action}}"><label>Work e-mail <input type="email" name="email" autocomplete="email" required maxlength="254"></label><button type="submit">{{.Label}}</button></form>
{{end}}{{range .Links}}<a href="{{.URL}}">{{.Label}}</a>
{{end}}</main>
</body>
</html>
`

// PagePolicy is the Content-Security-Policy of a page with Style: no script,
// nothing from elsewhere, no frame around it. Chrome holds a form's redirect
// against form-action too, so where it may lead is listed; without targets no
// form may be sent.
func PagePolicy(formTargets ...string) string { return PagePolicyFor(Style, formTargets...) }

// PagePolicyFor is PagePolicy for a page with a style sheet of its own, Style
// and more: exactly what stands in its one <style> element.
func PagePolicyFor(style string, formTargets ...string) string {
	action := "'none'"
	if len(formTargets) > 0 {
		action = strings.Join(formTargets, " ")
	}
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action " + action +
		"; base-uri 'none'; frame-ancestors 'none'"
}

// AllowForms sets the headers of a page with forms that are checked by their
// origin: where they may lead, and that the browser says where they come from
// (under no-referrer it would send "Origin: null"). style is as for
// PagePolicyFor.
func AllowForms(w http.ResponseWriter, style string, formTargets ...string) {
	w.Header().Set("Content-Security-Policy", PagePolicyFor(style, formTargets...))
	w.Header().Set("Referrer-Policy", "same-origin")
}

// Page serves a page of the public host as this package serves its own: no-store,
// no-referrer, nosniff, never framed, no script and no form (AllowForms allows
// some), and on no other host name. An error is shown: a *PageError as it says,
// any other as a fault of ours whose text only the log gets. A panic is one, too.
func (s *Service) Page(h func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return s.serve(s.onPublicHost(h))
}

// pages renders every page of this package: self-contained, without script.
type pages struct {
	tmpl   *template.Template
	policy string // of a page without a form
}

func newPages() *pages {
	return &pages{tmpl: template.Must(template.New("page").Parse(pageHTML)), policy: PagePolicy()}
}

func (p *pages) write(w http.ResponseWriter, status int, pg page) error {
	var b bytes.Buffer
	if err := p.tmpl.Execute(&b, pg); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

// redirect sends the browser on. Where to is never what a request says: it is an
// address of ours, one on an app's checked origin (target), or one that WorkOS's
// client or a provider's checked metadata gives.
func redirect(w http.ResponseWriter, location string, status int) {
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}

// serve runs a handler and writes what it returns. Nothing that is answered
// here may be kept, framed, or leak its address: tickets and codes are in the
// query. The query is never logged.
func (s *Service) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Content-Security-Policy", s.pages.policy)
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(r.Context(), "panic in a page of the public host or of /.battery", "path", r.URL.Path,
					"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.fail(w, r, errors.New("panic"))
			}
		}()
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *PageError
	if !errors.As(err, &p) {
		p = &PageError{Status: http.StatusServiceUnavailable, Title: "That did not work",
			Text: "Something went wrong on our side. Try again in a moment.", Cause: err}
	}
	if p.Cause != nil {
		s.log.WarnContext(r.Context(), "a page of the public host or of /.battery failed or refused", "path", r.URL.Path, "status", p.Status, "cause", p.Cause)
	}
	if err := s.pages.write(w, p.Status, page{Title: p.Title, Text: p.Text, Links: p.Links}); err != nil {
		s.log.ErrorContext(r.Context(), "page could not be rendered", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}
