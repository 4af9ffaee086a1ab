package forward

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"

	"battery.app/gate/authz"
)

// page is what a person sees who may not go on: which app, as whom, why, and
// how to sign in as somebody else. It needs nothing from anywhere else, and its
// policy lets nothing else in: what it shows comes from the request and the
// directory.
type page struct {
	tmpl   *template.Template
	policy string // Content-Security-Policy
}

const pageStyle = `:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem;background:Canvas;color:CanvasText}
main{max-width:36rem;margin:0 auto}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1.5rem 0}
dt{font-weight:600}
dd{margin:0;overflow-wrap:anywhere}
a{color:LinkText}
a:focus-visible{outline:3px solid Highlight;outline-offset:2px}
nav a{display:inline-block;padding:.5rem 1rem .5rem 0}`

const pageText = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Access denied</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{if .App}}You have no access to {{.App}}{{else}}Access denied{{end}}</h1>
{{range .Reasons}}<p>{{.}}</p>
{{end}}<dl>
{{if .App}}<dt>App</dt><dd>{{.App}}</dd>
{{end}}{{if .Email}}<dt>Signed in as</dt><dd>{{.Email}}</dd>
{{end}}<dt>Decision</dt><dd><code>{{.Decision}}</code></dd>
</dl>
<p>If you think this is wrong, give the decision's number to your administrator.</p>
{{if .Email}}<nav aria-label="Account">
<a href="{{.Again}}">Sign in as somebody else</a>
<a href="{{.Logout}}">Sign out</a>
</nav>
{{end}}</main>
</body>
</html>
`

func newPage() *page {
	sum := sha256.Sum256([]byte(pageStyle))
	return &page{
		tmpl: template.Must(template.New("denied").Parse(pageText)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// answer is the page with status 403. Where it cannot be made, the answer is a
// problem.
func (p *page) answer(req *authz.Request, dec *authz.Decision, why []authz.Reason) answer {
	data := struct {
		App, Email, Decision, Again, Logout string
		Reasons                             []string
	}{Decision: dec.ID, Logout: "/.battery/logout"}
	if dec.App != nil {
		data.App = shorten(dec.App.ID, 200)
		data.Again = "/.battery/logout?rd=" + url.QueryEscape(returnTarget(req))
		if dec.Session != nil {
			data.Email = shorten(dec.Session.Email, 254)
		}
	}
	for i, r := range why {
		if i == 5 {
			break
		}
		text := r.Message
		if text == "" {
			text = r.Code
		}
		data.Reasons = append(data.Reasons, shorten(text, 200))
	}
	var b bytes.Buffer
	if err := p.tmpl.Execute(&b, data); err != nil || b.Len() > maxBody {
		reason := firstReason(dec)
		if len(why) > 0 {
			reason = why[0]
		}
		return problemOf(dec, http.StatusForbidden, reason).answer(dec)
	}
	return answer{decision: dec, status: http.StatusForbidden, body: b.String(), header: http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Cache-Control":           {"no-store"},
		"Content-Security-Policy": {p.policy},
		"X-Content-Type-Options":  {"nosniff"},
		"Referrer-Policy":         {"same-origin"},
	}}
}
