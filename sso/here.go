package sso

import (
	"net/http"
	"strings"
	"time"

	"battery.app/gate/authz"
)

// SignedIn finds the live session that a browser has for an organization, by
// the login cookie of the public host. It is for pages of the public host
// alone: apps have cookies of their own. With a maxAge above zero the person
// must have signed in at the identity provider no longer ago than that.
func (s *Service) SignedIn(r *http.Request, organizationID string, maxAge time.Duration) (*authz.Session, bool) {
	if hostOf(r.Host) != strings.Trim(s.public.host, "[]") {
		return nil, false
	}
	sec, ok := readLogins(s.logins, r.Cookies(), s.public.scheme).of(organizationID)
	if !ok {
		return nil, false
	}
	found := s.current(sec)
	if found == nil || found.session.OrganizationID != organizationID {
		return nil, false
	}
	if maxAge > 0 && !found.youngerThan(maxAge, s.now()) {
		return nil, false
	}
	return found.session, true
}

// SignIn leads the browser to an organization's sign-in and back to a page of
// the public host, for whom SignedIn does not find. uri is that page's path with
// query; maxAge above zero asks for a login no longer ago than that. It answers
// the request. Whether the person may see the page is the page's business: the
// session says who they are, no more.
func (s *Service) SignIn(w http.ResponseWriter, r *http.Request, organizationID, uri string, maxAge time.Duration) {
	s.SignInAs(w, r, organizationID, uri, "", maxAge)
}

// SignInAs is SignIn for a page that was told who wants in: the identity provider
// gets the hint, so that nobody types an e-mail address twice. It proves nothing
// and holds nobody to it; one that cannot be an address is left out.
func (s *Service) SignInAs(w http.ResponseWriter, r *http.Request, organizationID, uri, hint string, maxAge time.Duration) {
	if !usableHint(hint) {
		hint = ""
	}
	s.serve(s.onPublicHost(s.limited(s.loginLimit, func(w http.ResponseWriter, r *http.Request) error {
		to := s.public
		to.path = escapeURI(uri)
		// "//" would be another host to a browser, and is no page of ours.
		if organizationID == "" || !strings.HasPrefix(uri, "/") || strings.HasPrefix(uri, "//") || strings.HasPrefix(uri, `/\`) || len(to.path) > maxTarget {
			return badRequest("It leads to no page here.")
		}
		a := attempt{Organization: organizationID, Target: to.path, MaxAge: wholeSeconds(max(maxAge, 0))}
		return s.start(w, r, a, hint, []Link{{"Try again", to.String()}})
	}))).ServeHTTP(w, r)
}
