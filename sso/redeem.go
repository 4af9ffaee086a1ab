package sso

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"battery.app/gate/authz"
)

// appSession is /.battery/session on an app's host: it turns a ticket into the
// app's cookie. A ticket that does not work ends on a page, never in a redirect
// that could come back.
func (s *Service) appSession(w http.ResponseWriter, r *http.Request, app *authz.App, origin target) error {
	q, err := query(r, "ticket")
	if err != nil {
		return err
	}
	got, err := s.redeem(r.Context(), app, origin.host, q["ticket"], r.Cookies())
	if err != nil {
		s.count(r.Context(), "redeem", "refused")
		return ticketProblem(err, origin)
	}
	token := mint(s.sessions.macs, s.now(), got.secret, got.session.ExpiresAt, app.ID, origin.host)
	if token == "" {
		return errors.New("app id or host cannot be bound, or there is no key")
	}
	http.SetCookie(w, bake(app.Scheme, cookieSession, token, got.session.ExpiresAt.Sub(s.now())))
	http.SetCookie(w, bake(app.Scheme, got.verifier, "", 0))
	s.count(r.Context(), "redeem", "opened")
	redirect(w, got.to.String(), http.StatusFound)
	return nil
}

func ticketProblem(err error, origin target) error {
	p := &PageError{Status: http.StatusForbidden, Title: "This sign-in link does not work here", Cause: err,
		Links: []Link{{"Open the app", origin.String()}}}
	switch {
	case errors.Is(err, errTicketUsed), errors.Is(err, errTicketExpired):
		p.Status, p.Text = http.StatusBadRequest, "It works once, for half a minute. Open the app again; if you are signed in, you will not be asked anything."
	case errors.Is(err, errTicketVerifier):
		p.Text = "It was made for another browser, or this one did not keep its cookie. Open the app here and sign in."
	case errors.Is(err, errTicketSession):
		p.Text = "The session it belongs to has ended. Open the app to sign in again."
	case errors.Is(err, errTicket), errors.Is(err, errTicketApp):
		p.Status, p.Text = http.StatusBadRequest, "It is not complete, or was made for another app. Open the app to sign in."
	default:
		p.Status, p.Title = http.StatusServiceUnavailable, "Signing in is not possible right now"
		p.Text = "The session could not be saved. Try again in a moment."
	}
	return p
}

// userinfo is /.battery/userinfo on an app's host: who is signed in, for the
// app's own pages.
func (s *Service) userinfo(w http.ResponseWriter, r *http.Request, app *authz.App, origin target) error {
	w.Header().Set("Content-Type", "application/json")
	session, code := s.appCookie(r, app, origin)
	if session == nil {
		w.WriteHeader(http.StatusUnauthorized)
		return json.NewEncoder(w).Encode(map[string]string{
			"reason": code, "login_url": s.LoginURL(app, origin.String()),
		})
	}
	return json.NewEncoder(w).Encode(map[string]string{
		"user_id": session.UserID, "email": session.Email, "organization_id": session.OrganizationID,
		"expires_at": session.ExpiresAt.Format(time.RFC3339),
	})
}

// appCookie finds the session that a request to an app's host carries.
func (s *Service) appCookie(r *http.Request, app *authz.App, origin target) (*authz.Session, string) {
	tokens := values(r.Cookies(), SessionCookieName(app.Scheme))
	session, code := s.sessions.Session(s.now(), app, origin.host, tokens)
	switch {
	case session == nil:
		return nil, code
	case s.directory.Ended(session):
		return nil, authz.CodeSessionRevoked
	case session.OrganizationID != app.OrganizationID:
		// The app was another customer's when the cookie was made. Its owner now is
		// not told who that customer's people are.
		return nil, authz.CodeWrongOrganization
	}
	return session, ""
}
