package sso

import (
	"net/http"
	"strings"
)

// Finder finds where people belong who come without an app. Each may be nil;
// then nobody is found that way.
type Finder struct {
	// Domain returns the one organization that claims an e-mail domain, lower
	// case. It is a hint where to sign in, never a proof of anything.
	Domain func(domain string) (organizationID string, ok bool)
	// Connection returns whose a WorkOS connection is.
	Connection func(connectionID string) (organizationID string, ok bool)
	// FrontApp returns the app at which an organization's people land.
	FrontApp func(organizationID string) (appID string, ok bool)
}

// maxPickerBody is more than an e-mail address needs.
const maxPickerBody = 4 << 10

// front is what a person sees who came to the public host without an app: a
// form that asks for the e-mail address.
func (s *Service) front(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "connection_id", "organization_id")
	if err != nil {
		return err
	}
	if to := s.frontOf(s.owner(q["organization_id"], q["connection_id"])); to.host != "" {
		redirect(w, appLoginURL(to, ""), http.StatusFound)
		return nil
	}
	return s.picker(w, http.StatusOK, "Sign in",
		"Open the address of the app you want to use. It will bring you here and back. Or say who you are, and you will be led to your organization's sign-in.")
}

// pick leads from an e-mail address to the sign-in of the organization that
// claims its domain. Whatever else comes of it (nobody claims it, several do,
// there is no app, it is no address) is the same answer after the same work, so
// that asking around tells as little as can be.
func (s *Service) pick(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxPickerBody)
	if err := r.ParseForm(); err != nil || len(r.PostForm["email"]) > 1 {
		return badRequest("Its form is malformed.")
	}
	email := strings.TrimSpace(r.PostForm.Get("email"))
	local, domain, _ := strings.Cut(email, "@")
	domain = strings.ToLower(domain)
	organization := ""
	if s.find.Domain != nil {
		if found, ok := s.find.Domain(domain); ok && local != "" && isDomain(domain) && usableHint(email) {
			organization = found
		}
	}
	if to := s.frontOf(organization); to.host != "" {
		s.count(r.Context(), "picker", "found")
		redirect(w, appLoginURL(to, email), http.StatusSeeOther)
		return nil
	}
	s.count(r.Context(), "picker", "not_found")
	return s.picker(w, http.StatusOK, "Open your app's address",
		"There is no way from this e-mail address to a sign-in here. Check it, or open the address of the app you want to use; your administrator knows it.")
}

// owner is the organization that WorkOS names in what it sends back, directly
// or by its connection. It is believed no further than to begin a login.
func (s *Service) owner(organization, connection string) string {
	if organization != "" || connection == "" || s.find.Connection == nil {
		return organization
	}
	if found, ok := s.find.Connection(connection); ok {
		return found
	}
	return ""
}

// frontOf is the front page of an organization's front app; zero if there is
// none.
func (s *Service) frontOf(organization string) target {
	v := s.apps()
	if s.find.FrontApp == nil || v == nil {
		return target{}
	}
	id, ok := s.find.FrontApp(organization)
	app, known := v.ByID(id)
	if !ok || !known || organization == "" || app.OrganizationID != organization {
		return target{}
	}
	to, err := s.home(app)
	if err != nil {
		return target{}
	}
	return to
}

// picker writes the page with the form. Its answer leads over the app to the
// identity provider, whose address is not known here; browsers hold every
// redirect of a form against form-action, so that is wide on this page, which
// shows nothing that anybody sent.
func (s *Service) picker(w http.ResponseWriter, status int, title, text string) error {
	allowed := []string{"'self'", "https:"}
	if s.public.scheme == "http" {
		allowed = append(allowed, "http:")
	}
	pg := page{Title: title, Text: text}
	if s.find.Domain != nil && s.find.FrontApp != nil {
		w.Header().Set("Content-Security-Policy", PagePolicy(allowed...))
		pg.Ask = &ask{Action: "/login", Label: "Continue"}
	}
	return s.pages.write(w, status, pg)
}

// startedElsewhere answers a callback without state. It was made by a click at
// the identity provider (IdP-initiated), or by someone who wants a victim signed
// in as them. Nothing tells the two apart, so the code is not even looked at;
// the login starts anew from here.
func (s *Service) startedElsewhere(w http.ResponseWriter, r *http.Request, q map[string]string) error {
	s.count(r.Context(), "callback", "no_state")
	if e := q["error"]; e != "" && e != "idp_initiated_sso_disabled" {
		return refusedThere(e, nil)
	}
	if to := s.frontOf(s.owner(q["organization_id"], q["connection_id"])); q["error"] != "" && to.host != "" {
		redirect(w, appLoginURL(to, ""), http.StatusFound)
		return nil
	}
	return s.picker(w, http.StatusBadRequest, "Start from the app",
		"This sign-in was begun at your identity provider, which cannot say which app you want. Open the app's own address, or say who you are; you will be signed in on the way.")
}
