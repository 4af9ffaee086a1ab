package console

import (
	"bytes"
	_ "embed" // the pages
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"battery.app/gate/cmd/batterygate/words"
	"battery.app/gate/sso"
)

//go:embed pages.html
var pagesHTML string

//go:embed style.css
var styleCSS string

// style is what stands in the pages' one <style>; their policy names its hash.
var style = strings.TrimSpace(styleCSS)

func parse() (*template.Template, error) {
	t, err := template.New("pages").Parse(pagesHTML)
	if err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	if _, err = t.New("style").Parse("<style>" + style + "</style>"); err != nil {
		return nil, fmt.Errorf("parse style: %w", err)
	}
	return t, nil
}

// frame is what every page of somebody signed in has around it.
type frame struct {
	Title   string
	Name    string
	Kind    string
	Glass   bool
	Nav     []place
	SignOut string
}

type place struct {
	Label, URL string
	Here       bool
}

// places are the console's pages, with what the policy is asked about each.
var places = []struct{ label, path, action, kind string }{
	{"Sessions", "/sessions", "sessions.list", "session"},
	{"Audit", "/audit", "audit.list", "audit"},
}

// frame makes it; its navigation has only what the policy allows.
func (c *Console) frame(r *http.Request, v *visitor, title string) frame {
	f := frame{Title: title, Name: words.Shown(v.name), Kind: kinds[v.actor.Kind], Glass: v.actor.Kind == kindBreakGlass, SignOut: form(v, "sign out")}
	f.Nav = append(f.Nav, place{"Start", "/", r.URL.Path == "/"})
	for _, p := range places {
		if org, ok := c.within(r.Context(), v, p.action, p.kind); ok {
			f.Nav = append(f.Nav, place{p.label, link(p.path, "org", org), r.URL.Path == p.path})
		}
	}
	return f
}

func (c *Console) render(w http.ResponseWriter, status int, name string, data any) error {
	return c.renderUnder(w, status, name, data, "same-origin")
}

// renderUnder writes a page: its forms lead here alone, and nothing on it runs.
func (c *Console) renderUnder(w http.ResponseWriter, status int, name string, data any, referrer string) error {
	var b bytes.Buffer
	if err := c.tmpl.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	sso.AllowForms(w, style, "'self'")
	w.Header().Set("Referrer-Policy", referrer)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

// fail shows what went wrong: as it says, or as a fault whose text only the log
// gets.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *sso.PageError
	var told *problem
	switch {
	case errors.As(err, &p):
	case errors.As(err, &told):
		p = told.page()
	default:
		p = &sso.PageError{Status: http.StatusServiceUnavailable, Title: "That did not work", Text: "Something went wrong on the server; its log says what. Try again in a moment.", Cause: err}
	}
	if p.Cause != nil {
		c.Log.ErrorContext(r.Context(), "a page of the console failed", "path", r.URL.Path, "error", p.Cause)
	}
	if err := c.renderUnder(w, p.Status, "error", p, referrerFor(r)); err != nil {
		c.Log.ErrorContext(r.Context(), "page could not be rendered", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func referrerFor(r *http.Request) string {
	if r.URL.Path == "/sign-in/sso/done" {
		return "no-referrer"
	}
	return "same-origin"
}
