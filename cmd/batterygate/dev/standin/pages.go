package standin

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"
)

// pageStyle is shared by the two pages that a person sees.
const pageStyle = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#1b1f24}
h1{font-size:1.4rem}button{font:inherit;display:block;width:100%;text-align:left;margin:.5rem 0;padding:.7rem 1rem;border:1px solid #c8ccd1;border-radius:.5rem;background:#fff;cursor:pointer}
button:hover,button:focus{border-color:#3451d1;background:#f5f7ff}small{color:#57606a;display:block}.plain{border:0;color:#57606a;text-align:center}</style>`

var signinPage = template.Must(template.New("signin").Parse(pageStyle + `<title>Sign in to {{.Title}}</title></head><body>
<h1>Sign in to {{.Title}}</h1><p>This is the stand-in for WorkOS. Who are you?</p>
<form method="post" action="/sso/authorize"><input type="hidden" name="request" value="{{.Request}}">
{{range .People}}<button name="user" value="{{.ID}}"><strong>{{.Name}}</strong> {{.Email}}<small>{{.Groups}}{{if ne .State "active"}} ({{.State}}){{end}}</small></button>
{{else}}<p>Nobody is in the directory.</p>{{end}}<button class="plain" name="user" value="">Cancel</button></form></body></html>`))

var messagePage = template.Must(template.New("message").Parse(pageStyle + `<title>{{.Title}}</title></head><body>
<h1>{{.Title}}</h1><p>{{.Text}}</p></body></html>`))

var portalPage = template.Must(template.New("portal").Parse(pageStyle + `<title>Admin Portal: {{.Title}}</title></head><body>
<h1>Admin Portal: {{.Title}}</h1><p>This is the stand-in for WorkOS's Admin Portal ({{.Intent}}).</p>
<form method="post" action="/portal/session"><input type="hidden" name="token" value="{{.Token}}">
{{range .Actions}}<button name="action" value="{{.Name}}"><strong>{{.Label}}</strong><small>{{.State}}</small></button>
{{else}}<p>There is nothing to set up here.</p>{{end}}</form>
{{if .ReturnURL}}<p><a href="{{.ReturnURL}}">Go back</a></p>{{end}}</body></html>`))

// show writes a page that no other page may frame, and that runs nothing. It
// has no form-action: the form's answer redirects on to the application.
func (s *Server) show(w http.ResponseWriter, status int, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		s.answer(w, 0, nil, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (s *Server) message(w http.ResponseWriter, status int, title, text string) {
	s.show(w, status, messagePage, struct{ Title, Text string }{title, text})
}

// shownPeople bounds the sign-in page; the rest sign in by login_hint.
const shownPeople = 200

// people lists an organization's directory users; all of them for "".
func (st *state) people(organization string) []User {
	var out []User
	for _, d := range st.directories.all() {
		if matches(organization, d.OrganizationID) {
			out = append(out, st.users.some(st.usersIn.of(d.ID))...)
		}
	}
	return out
}

// personButton is one person on the sign-in page.
type personButton struct{ ID, Name, Email, State, Groups string }

// showPeople shows the organization's directory users, each as a button. The
// page holds a request id that is good for one answer.
func (s *Server) showPeople(w http.ResponseWriter, in signin) {
	s.mu.Lock()
	var people []personButton
	for _, u := range s.st.people(in.organization.ID) {
		if u.Email == "" {
			continue
		}
		if len(people) == shownPeople {
			break
		}
		var names []string
		for _, g := range s.st.groupsOf(u.ID) {
			names = append(names, g.Name)
		}
		people = append(people, personButton{u.ID, string(u.Name), string(u.Email), u.State, strings.Join(names, ", ")})
	}
	s.mu.Unlock()
	title := in.organization.Name
	if title == "" {
		title = in.connection.Type
	}
	s.show(w, http.StatusOK, signinPage, struct {
		Title, Request string
		People         []personButton
	}{title, s.signin.ask(in), people})
}

// picked is the sign-in page's answer. 303: the browser goes on with GET.
func (s *Server) picked(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.message(w, http.StatusBadRequest, "That did not work", "The form could not be read.")
		return
	}
	in, ok := s.signin.answered(r.PostForm.Get("request"))
	if !ok {
		s.message(w, http.StatusBadRequest, "This sign-in is over", "It was finished already, or took too long. Go back to the app and start again.")
		return
	}
	s.mu.Lock()
	u, ok := s.st.users.byID[r.PostForm.Get("user")]
	if !ok || !matches(in.organization.ID, u.OrganizationID) {
		s.mu.Unlock()
		in.refuse(w, http.StatusSeeOther, oauthError("access_denied", "The sign-in was cancelled."))
		return
	}
	p, err := s.profileOf(in, u, string(u.Email))
	s.mu.Unlock()
	if err != nil {
		s.opt.Log.Error("sign-in failed", "err", err)
		in.refuse(w, http.StatusSeeOther, err)
		return
	}
	s.enter(w, http.StatusSeeOther, in, p)
}
