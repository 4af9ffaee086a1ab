package standin

import (
	"net/http"
	"net/url"
	"sync"
	"time"
)

// portalLife is how long an Admin Portal link lives.
const portalLife = 5 * time.Minute

// intents are what a portal link may be for.
var intents = [...]string{"sso", "dsync", "audit_logs", "log_streams", "domain_verification", "certificate_renewal", "bring_your_own_key"}

// portalSession is what a link's token stands for, until it expires.
type portalSession struct {
	organization, intent, returnURL, successURL string
}

type portalLinks struct {
	now func() time.Time

	mu    sync.Mutex
	links map[string]expiring[portalSession]
}

func newPortalLinks(now func() time.Time) *portalLinks {
	return &portalLinks{now: now, links: map[string]expiring[portalSession]{}}
}

func (p *portalLinks) add(s portalSession) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return put(p.links, s, p.now(), portalLife)
}

func (p *portalLinks) find(token string) (portalSession, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.links[token]
	return e.value, ok && p.now().Before(e.until)
}

func (s *Server) routePortal(mux *http.ServeMux) {
	mux.Handle("POST /portal/generate_link", s.repeat.wrap(s.api(s.generateLink)))
	mux.HandleFunc("GET /portal/session", s.portalPage)
	mux.HandleFunc("POST /portal/session", s.portalAction)
}

// generateLink is POST /portal/generate_link. The Go SDK v4 sends empty URLs
// where none are meant.
func (s *Server) generateLink(r *http.Request) (int, any, error) {
	body, err := readObject(r, "organization", "intent", "intent_options", "return_url", "success_url", "it_contact_emails")
	if err != nil {
		return 0, nil, err
	}
	link := portalSession{
		organization: body.str("organization"), intent: body.str("intent"), returnURL: body.str("return_url"), successURL: body.str("success_url"),
	}
	if link.organization == "" {
		return 0, nil, invalid(fieldError{Code: "required", Field: "organization"})
	}
	if link.intent != "" && !contains(intents[:], link.intent) {
		return 0, nil, invalid(fieldError{Code: "intent is not a known one", Field: "intent"})
	}
	for field, raw := range map[string]string{"return_url": link.returnURL, "success_url": link.successURL} {
		if u, err := url.Parse(raw); raw != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return 0, nil, invalid(fieldError{Code: field + " must be a URL", Field: field})
		}
	}
	s.mu.Lock()
	_, ok := s.st.organizations.byID[link.organization]
	s.mu.Unlock()
	if !ok {
		return 0, nil, notFound("Organization", link.organization)
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	to := url.URL{Scheme: scheme, Host: r.Host, Path: "/portal/session", RawQuery: url.Values{"token": {s.portal.add(link)}}.Encode()}
	return http.StatusCreated, map[string]string{"link": to.String()}, nil
}

// portalButton is one thing that an IT admin can do in the portal.
type portalButton struct{ Name, Label, State string }

// portalPage is what an IT admin sees.
func (s *Server) portalPage(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	link, ok := s.portal.find(token)
	s.mu.Lock()
	o, exists := s.st.organizations.byID[link.organization]
	buttons := s.st.portalButtons(link)
	s.mu.Unlock()
	if !ok || !exists {
		s.message(w, http.StatusNotFound, "This link has expired", "Ask for a new one: a portal link lives five minutes.")
		return
	}
	s.show(w, http.StatusOK, portalPage, struct {
		Title, Intent, Token, ReturnURL string
		Actions                         []portalButton
	}{o.Name, link.intent, token, link.returnURL, buttons})
}

// portalButtons offers what the intent is about; with no intent, both.
func (st *state) portalButtons(link portalSession) []portalButton {
	var out []portalButton
	organization := object{"organization_id": must(compact(link.organization))}
	if link.intent == "sso" || link.intent == "" {
		switch c, err := st.aboutConnection(organization); {
		case err != nil:
			out = append(out, portalButton{"connection.activated", "Set up single sign-on", "none yet"})
		case c.State == "active":
			out = append(out, portalButton{"connection.deactivated", "Switch single sign-on off", "it is active"})
		default:
			out = append(out, portalButton{"connection.activated", "Switch single sign-on on", "it is " + c.State})
		}
	}
	if link.intent == "dsync" || link.intent == "" {
		switch d, err := st.aboutDirectory(organization); {
		case err != nil:
			out = append(out, portalButton{"dsync.activated", "Connect a directory", "none yet"})
		case d.State == "linked":
			out = append(out, portalButton{"dsync.deleted", "Remove the directory", "it is linked"})
		default:
			out = append(out, portalButton{"dsync.activated", "Connect the directory", "it is " + d.State})
		}
	}
	return out
}

// portalAction does what a button says, if the page would still offer it.
func (s *Server) portalAction(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.message(w, http.StatusBadRequest, "That did not work", "The form could not be read.")
		return
	}
	token, action := r.PostForm.Get("token"), r.PostForm.Get("action")
	link, ok := s.portal.find(token)
	if !ok {
		s.message(w, http.StatusNotFound, "This link has expired", "Ask for a new one: a portal link lives five minutes.")
		return
	}
	_, _, err := s.commit(terms{}, func(st *state, m moment) (change, error) {
		for _, b := range st.portalButtons(link) {
			if b.Name == action {
				return st.complete(action, object{"organization_id": must(compact(link.organization))}, m)
			}
		}
		return change{}, unprocessable("the portal does not offer %q", action)
	})
	if err != nil {
		s.answer(w, 0, nil, err)
		return
	}
	to := link.successURL
	if to == "" {
		to = "/portal/session?" + url.Values{"token": {token}}.Encode()
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
