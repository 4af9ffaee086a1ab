package sso

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"battery.app/gate/authz"
)

// mayEnd reports whether this request may end sessions at once. A GET may from the
// same origin, as a navigation or by its own script: not as a picture or a frame,
// which somebody may have put into a page of it, and not as a prefetch. A
// POST may from the same origin. One with neither Sec-Fetch-Site nor Origin is no
// form of another site's, for browsers send at least Origin with those (net/http's
// CrossOriginProtection rests on the same): a script's with the person's cookies
// may; a form of ours must have been made for this session. A GET without them may
// be another site's link in a browser that sends no Sec-Fetch-Site: it is asked.
func (s *Service) mayEnd(r *http.Request, origin target, formContext string) bool {
	where := comesFrom(r, origin)
	if r.Method == http.MethodGet {
		return where == here && r.Header.Get("Sec-Fetch-Site") != "" && deliberate(r)
	}
	switch where {
	case here:
		return true
	case unknown:
		return s.validForm(r, formContext) || r.PostForm != nil && !r.PostForm.Has("token")
	}
	return false
}

// deliberate reports whether a request of the same origin is a navigation or its
// script's, and no prefetch. What else a page asks for (a picture, a frame) others
// may have put there.
func deliberate(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return slices.Contains([]string{"", "document", "empty"}, r.Header.Get("Sec-Fetch-Dest"))
}

// confirm asks before it ends anything. leadsTo are origins the answer may lead
// to; empty ones are left out.
func (s *Service) confirm(w http.ResponseWriter, r *http.Request, status int, formContext string, leadsTo ...string) error {
	token, err := s.formToken(formContext)
	if err != nil {
		return err
	}
	allowed := []string{"'self'", s.public.origin()}
	for _, origin := range leadsTo {
		if origin != "" {
			allowed = append(allowed, origin)
		}
	}
	AllowForms(w, Style, allowed...)
	action := r.URL.Path
	if rd := r.URL.Query().Get("rd"); rd != "" {
		action += "?" + url.Values{"rd": {rd}}.Encode()
	}
	return s.pages.write(w, status, page{Title: "Sign out?",
		Text: "You will be signed out of all apps of your organization in this browser.",
		Form: &form{Action: action, Token: token, Label: "Sign out"}})
}

// askStatus: a POST that may not end anything is refused, a GET is answered
// with the question.
func askStatus(r *http.Request) int {
	if r.Method == http.MethodPost {
		return http.StatusForbidden
	}
	return http.StatusOK
}

// appLogout is /.battery/logout on an app's host.
func (s *Service) appLogout(w http.ResponseWriter, r *http.Request, app *authz.App, origin target) error {
	q, err := query(r, "rd")
	if err != nil {
		return err
	}
	to, _ := parseTarget(app, q["rd"]) // zero: the page that says signed out
	// The keeper alone is asked: a session whose user is gone still has a record.
	found, _ := s.sessions.named(s.now(), app, origin.host, values(r.Cookies(), SessionCookieName(app.Scheme)))
	next := s.signedOutAt(to)
	if found != nil {
		session := found.session
		formContext := "logout\x00" + origin.host + "\x00" + session.ID
		if !s.mayEnd(r, origin, formContext) {
			return s.confirm(w, r, askStatus(r), formContext, to.origin(), s.providerOrigin(r.Context(), session))
		}
		if there := s.providerLogout(r.Context(), session, to); there != "" {
			next = there
		}
		if err := s.end(r, session.ID); err != nil {
			return err
		}
	}
	http.SetCookie(w, bake(app.Scheme, cookieSession, "", 0))
	redirect(w, next, http.StatusSeeOther) // a GET, so that reloading sends nothing twice
	return nil
}

// publicLogout is /logout on the public host. It ends the sessions of every
// organization that this browser is signed in to. A browser can be led to one
// provider alone; with several, it is the first that has a place for it.
func (s *Service) publicLogout(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "rd")
	if err != nil {
		return err
	}
	held := s.held(r)
	to := s.ownersTarget(q["rd"], held)
	next := s.signedOutAt(to)
	if len(held) > 0 {
		ids := make([]string, len(held))
		for i, h := range held {
			ids[i] = h.ID
		}
		formContext := "logout\x00" + s.public.host + "\x00" + strings.Join(ids, "\x00")
		if !s.mayEnd(r, s.public, formContext) {
			leads := []string{to.origin()}
			for _, h := range held {
				leads = append(leads, s.providerOrigin(r.Context(), h))
			}
			return s.confirm(w, r, askStatus(r), formContext, leads...)
		}
		for _, h := range held {
			if there := s.providerLogout(r.Context(), h, to); there != "" {
				next = there
				break
			}
		}
		for _, id := range ids {
			if err := s.end(r, id); err != nil {
				return err
			}
		}
	}
	http.SetCookie(w, bake(s.public.scheme, cookieLogin, "", 0))
	redirect(w, next, http.StatusSeeOther)
	return nil
}

// held is the live sessions in the login cookie, by id.
func (s *Service) held(r *http.Request) []*authz.Session {
	var out []*authz.Session
	for _, l := range readLogins(s.logins, r.Cookies(), s.public.scheme).Sessions {
		if sec, err := parseSecret(l.Secret); err == nil {
			if found := s.sessions.bySecret(s.now(), sec); found != nil {
				out = append(out, found.session)
			}
		}
	}
	slices.SortFunc(out, func(a, b *authz.Session) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// ownersTarget reads a return address on an app of one of the organizations
// that are being signed out of. Any registered app would not do: one customer
// could send another's people to its own.
func (s *Service) ownersTarget(rd string, held []*authz.Session) target {
	v := s.apps()
	u, err := url.Parse(rd)
	if v == nil || err != nil || rd == "" {
		return target{}
	}
	app, ok := v.App(hostOf(u.Host))
	if !ok || !slices.ContainsFunc(held, func(h *authz.Session) bool { return h.OrganizationID == app.OrganizationID }) {
		return target{}
	}
	to, err := parseTarget(app, rd)
	if err != nil {
		return target{}
	}
	return to
}

// end ends a session, and those that the same browser opened at once with it.
func (s *Service) end(r *http.Request, id string) error {
	for _, each := range append(s.sessions.together(id), id) {
		if err := s.sessions.logOut(r.Context(), each); err != nil && !errors.Is(err, ErrNoSession) {
			return &PageError{Status: http.StatusServiceUnavailable, Title: "You are still signed in", Cause: err,
				Text: "Signing out did not work. Try again in a moment."}
		}
	}
	s.count(r.Context(), "logout", "ended")
	s.log.InfoContext(r.Context(), "signed out", "session_id", id)
	return nil
}

// signedOutAt is where logout leads here: to the address that was asked for, or
// to the page that says so.
func (s *Service) signedOutAt(to target) string {
	if to.host == "" {
		return s.public.origin() + signedOutPath
	}
	return to.String()
}

// signedOut is where logout leads if nothing else is asked for, and where a
// provider sends the browser back, which then goes on to where it wanted.
func (s *Service) signedOut(w http.ResponseWriter, r *http.Request) error {
	if to := s.afterProvider(r); to.host != "" {
		redirect(w, to.String(), http.StatusSeeOther)
		return nil
	}
	return s.pages.write(w, http.StatusOK, page{Title: "Signed out",
		Text: "You are signed out here. Your identity provider may still know you; close the browser on a shared computer."})
}
