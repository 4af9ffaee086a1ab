package settings

import (
	"bytes"
	_ "embed" // the pages
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"battery.app/gate/sso"
)

//go:embed pages.html
var pagesHTML string

//go:embed style.css
var styleCSS string

// parse reads the pages. The style sheet goes in as it is: the page's policy
// names its hash.
func parse() (*template.Template, error) {
	t, err := template.New("pages").Parse(pagesHTML)
	if err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	if _, err = t.New("style").Parse("<style>" + strings.TrimSpace(styleCSS) + "</style>"); err != nil {
		return nil, fmt.Errorf("parse style: %w", err)
	}
	return t, nil
}

// render writes a page: forms may lead to targets alone, and nothing on it runs.
func (p *Pages) render(w http.ResponseWriter, status int, name string, data any, targets ...string) error {
	var b bytes.Buffer
	if err := p.tmpl.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	sso.AllowForms(w, strings.TrimSpace(styleCSS), targets...)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
	return nil
}

func (p *Pages) renderScreen(w http.ResponseWriter, status int, s *screen) error {
	return p.render(w, status, "settings", s, p.targets...)
}
