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

// handler answers a request, or returns why not: a *problem is shown as it
// is, anything else is a fault of ours whose text nobody sees.
type handler func(w http.ResponseWriter, r *http.Request) error

// problem is a page that says what went wrong and what to do. cause goes to
// the log alone.
type problem struct {
	status int
	title  string
	text   string
	links  []link
	cause  error
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return p.title
}

func (p *problem) Unwrap() error { return p.cause }

func notFound(text string) *problem {
	return &problem{status: http.StatusNotFound, title: "Not found", text: text}
}

func badRequest(text string) *problem {
	return &problem{status: http.StatusBadRequest, title: "This link does not work", text: text}
}

// link is a way on. Its URL is one of ours or lies on an app's origin.
type link struct {
	Label string
	URL   string
}

// page is what is shown.
type page struct {
	Title string
	Text  string
	Links []link
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

const style = `:root{color-scheme:light dark}body{font:17px/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center;background:Canvas;color:CanvasText}` +
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
<style>` + style + `</style>
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

// pages renders every page of this package: self-contained, without script.
type pages struct {
	tmpl      *template.Template
	styleHash string
}

func newPages() *pages {
	sum := sha256.Sum256([]byte(style))
	return &pages{
		tmpl:      template.Must(template.New("page").Parse(pageHTML)),
		styleHash: base64.StdEncoding.EncodeToString(sum[:]),
	}
}

// policy is the page's Content-Security-Policy. Chrome holds a form's redirect
// against form-action too, so where it may lead is listed.
func (p *pages) policy(formTargets ...string) string {
	action := "'none'"
	if len(formTargets) > 0 {
		action = strings.Join(formTargets, " ")
	}
	return "default-src 'none'; style-src 'sha256-" + p.styleHash + "'; form-action " + action +
		"; base-uri 'none'; frame-ancestors 'none'"
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
		head.Set("Content-Security-Policy", s.pages.policy())
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(r.Context(), "panic while signing in or out", "path", r.URL.Path,
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
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{status: http.StatusServiceUnavailable, title: "That did not work",
			text: "Something went wrong on our side. Try again in a moment.", cause: err}
	}
	if p.cause != nil {
		s.log.WarnContext(r.Context(), "signing in or out failed", "path", r.URL.Path, "status", p.status, "cause", p.cause)
	}
	if err := s.pages.write(w, p.status, page{Title: p.title, Text: p.text, Links: p.links}); err != nil {
		s.log.ErrorContext(r.Context(), "page could not be rendered", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}
