package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"battery.app/gate/authz"
	"battery.app/gate/sync/workosapi"
)

// callback is where WorkOS and OpenID providers send the browser back, each to an
// address of its own under /callback on the public host. A state works in the
// browser it was made for, once, whatever comes of it.
func (s *Service) callback(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "code", "state", "error", "iss", "connection_id", "organization_id")
	if err != nil {
		return err
	}
	if q["state"] == "" {
		return s.startedElsewhere(w, r, q)
	}
	a, cookie, err := readAttempt(s.states, r.Cookies(), s.public.scheme, q["state"], s.now())
	if err == nil && !s.used.use(a.State) {
		err = errState
	}
	if err != nil {
		s.count(r.Context(), "callback", "bad_state")
		return &PageError{Status: http.StatusBadRequest, Title: "This sign-in is over", Cause: err,
			Text: "It took more than ten minutes, was already finished, or began in another browser. Open the app again to sign in."}
	}
	http.SetCookie(w, bake(s.public.scheme, cookie, "", 0))

	at, err := s.placeOf(a)
	if err != nil {
		return err
	}
	if r.URL.Path != callbackPath(a.Connection) {
		s.count(r.Context(), "callback", "wrong_provider")
		return &PageError{Status: http.StatusForbidden, Title: "You were not signed in", Links: at.again,
			Cause: fmt.Errorf("an answer for the connection %q came in at %.200q (mix-up)", a.Connection, r.URL.Path),
			Text:  "The answer came from another identity provider than the one you were sent to. Try again; if it stays so, tell your administrator."}
	}
	if q["error"] != "" || q["code"] == "" {
		s.count(r.Context(), "callback", "refused")
		return refusedThere(q["error"], at.again)
	}
	who, err := s.arrive(r.Context(), a, q["code"], q["iss"], at.again)
	if err != nil {
		s.count(r.Context(), "callback", "exchange_failed")
		return err
	}
	if who.UserID == "" || who.OrganizationID == "" || who.OrganizationID != at.organization {
		s.count(r.Context(), "callback", "wrong_organization")
		return &PageError{Status: http.StatusForbidden, Title: "That account belongs elsewhere", Links: at.again,
			Cause: fmt.Errorf("profile of organization %q signed in to app %q of %s", who.OrganizationID, a.App, at.organization),
			Text:  "You signed in with an account that is not of the organization this app belongs to."}
	}
	who.came = origins{attempt: attemptName(a), from: a.From}
	if who.Beside = underWay(s.states, r.Cookies(), s.public.scheme, a, s.now()); len(who.Beside) > 0 {
		who.Attempt = who.came.attempt
	}
	return s.open(w, r, at, who)
}

// place is where a login leads: to an app, or, if app is nil, to a page of the
// public host.
type place struct {
	app          *authz.App
	organization string
	to           target
	challenge    string
	again        []Link
}

// placeOf looks an attempt's place up again: apps may have changed hands since
// it began.
func (s *Service) placeOf(a attempt) (place, error) {
	if a.App == "" {
		to := s.public
		to.path = a.Target
		return place{organization: a.Organization, to: to, again: []Link{{"Try again", to.String()}}}, nil
	}
	v, err := s.view()
	if err != nil {
		return place{}, err
	}
	app, ok := v.ByID(a.App)
	if !ok || app.OrganizationID != a.Organization {
		return place{}, notFound("The app is no longer there.")
	}
	to, err := parseTarget(app, a.Target)
	if err != nil {
		return place{}, notFound("The app is no longer at this address.")
	}
	return place{app: app, organization: app.OrganizationID, to: to, challenge: a.Challenge,
		again: []Link{{"Try again", s.loginURL(app, to, "", "")}}}, nil
}

// open makes the session and leads on, to an app with a ticket. A session of the
// same organization that this browser had ends with it, so that the next
// person at a shared browser does not inherit it.
func (s *Service) open(w http.ResponseWriter, r *http.Request, at place, who arrival) error {
	ctx, again := r.Context(), at.again
	held := readLogins(s.logins, r.Cookies(), s.public.scheme)
	var replaces []string
	if old, ok := held.of(at.organization); ok {
		replaces = append(replaces, old.key().id())
	}
	sec, session, err := s.sessions.create(ctx, who.record, replaces, s.sealHint(who.idToken))
	if err != nil {
		return s.notOpened(ctx, err, again)
	}
	if err := s.directory.Linked(ctx, session); err != nil {
		s.log.WarnContext(ctx, "session could not be linked to its directory user", "session_id", session.ID, "error", err)
	}
	if s.directory.Ended(session) {
		// Going on would end in a circle: the app refuses, and sends here again.
		s.count(ctx, "callback", "ended")
		if err := s.sessions.Revoke(ctx, session.ID); err != nil {
			s.log.WarnContext(ctx, "session of a deleted user was not removed", "session_id", session.ID, "error", err)
		}
		return &PageError{Status: http.StatusForbidden, Title: "Your account was removed", Links: again,
			Text: "Your identity provider still knows you, but your organization's directory no longer does. Ask your administrator."}
	}
	if !s.directory.MayOpen(session) {
		s.count(ctx, "callback", "held")
		if err := s.sessions.Revoke(ctx, session.ID); err != nil {
			s.log.WarnContext(ctx, "session of a user on hold was not removed", "session_id", session.ID, "error", err)
		}
		return &PageError{Status: http.StatusForbidden, Title: "Your account is being checked", Links: again,
			Text: "Your organization's directory says that it was removed, together with many others. Until an administrator has confirmed that or mended it, it opens no new session."}
	}
	cookie, err := held.with(at.organization, sec).cookie(s.logins, s.public.scheme, session.ExpiresAt.Sub(s.now()))
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie)
	s.count(ctx, "callback", "signed_in")
	s.log.InfoContext(ctx, "signed in", "session_id", session.ID, "user_id", session.UserID,
		"organization_id", session.OrganizationID, "to", at.to.origin(), "replaced", len(replaces))
	if at.app == nil {
		redirect(w, at.to.String(), http.StatusSeeOther)
		return nil
	}
	return s.sendTicket(w, r, at.app, at.to, at.challenge, sec)
}

// notOpened says why there is no session for who came back.
func (s *Service) notOpened(ctx context.Context, err error, again []Link) *PageError {
	p := &PageError{Status: http.StatusForbidden, Links: again, Cause: err}
	outcome := "store_failed"
	switch {
	case errors.Is(err, errSignedOut):
		outcome, p.Title = "signed_out", "You signed out"
		p.Text = "You signed out in this browser while this sign-in was under way. Nobody is signed in. Try again to sign in."
	case errors.Is(err, errLoggedOut):
		outcome, p.Title = "logged_out", "You were signed out"
		p.Text = "Your identity provider ended its session while you were signing in. Try again."
	default:
		p.Status, p.Title = http.StatusServiceUnavailable, "Signing in is not possible right now"
		p.Text = "Your identity provider let you in, but the session could not be saved. Try again in a moment."
	}
	s.count(ctx, "callback", outcome)
	return p
}

// claimsOf is what of a profile policies may see beside its identity. Roles and
// groups are not in it: they come from the directory, at each request.
func claimsOf(p workosapi.Profile) map[string]any {
	out := map[string]any{}
	for k, v := range map[string]string{"first_name": p.FirstName, "last_name": p.LastName, "connection_type": p.ConnectionType} {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// exchange asks WorkOS for the profile, within the time that a person waits.
func (s *Service) exchange(ctx context.Context, code string) (workosapi.Profile, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	start := s.now()
	p, err := s.workos.ProfileByCode(ctx, code)
	if err == nil {
		err = plausible(p)
	}
	if took := s.now().Sub(start); took > s.timeout/2 {
		s.log.WarnContext(ctx, "WorkOS is slow to exchange a code", "took", took.Round(time.Millisecond))
	}
	return p, err
}

// plausible refuses a profile that cannot be one: it would travel in headers and
// lie in every record.
func plausible(p workosapi.Profile) error {
	for name, f := range map[string]struct {
		value string
		most  int
	}{
		"id": {p.ID, 255}, "idp_id": {p.IdpID, 1024}, "e-mail": {p.Email, 320}, "connection": {p.ConnectionID, 255},
		"first name": {p.FirstName, 1024}, "last name": {p.LastName, 1024},
	} {
		if len(f.value) > f.most || strings.ContainsFunc(f.value, unicode.IsControl) {
			return fmt.Errorf("%w: the profile's %s is too long or holds control characters", workosapi.ErrUnavailable, name)
		}
	}
	return nil
}

func exchangeProblem(err error, again []Link) *PageError {
	p := &PageError{Links: again, Cause: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Title = http.StatusGatewayTimeout, "Signing in takes too long"
		p.Text = "The sign-in service did not answer in time. Try again in a moment."
	case errors.Is(err, workosapi.ErrUnavailable), errors.Is(err, workosapi.ErrRateLimited):
		p.Status, p.Title = http.StatusBadGateway, "Signing in is not possible right now"
		p.Text = "The sign-in service is not reachable. Try again in a moment."
	default:
		p.Status, p.Title = http.StatusBadRequest, "This sign-in did not work"
		p.Text = "It was used before or is too old. Try again."
	}
	return p
}

// refusedThere explains the error codes of WorkOS's callback. The description
// that comes with them is anyone's text and is never shown.
func refusedThere(code string, again []Link) *PageError {
	p := &PageError{Status: http.StatusForbidden, Title: "You were not signed in", Links: again}
	switch code {
	case "access_denied", "signin_consent_denied":
		p.Text = "The sign-in was canceled, or your identity provider does not let you use this app."
	case "profile_not_allowed_outside_organization":
		p.Text = "Your e-mail address is outside the domains of this organization. Sign in with your work account, or ask your administrator to add the domain."
	case "organization_invalid":
		p.Text = "The organization of this app is not known to the sign-in service. Ask whoever runs this app to check its owner."
	case "connection_invalid", "connection_unlinked", "connection_strategy_invalid", "connection_domain_invalid",
		"invalid_connection_selector", "domain_connection_selector_not_allowed":
		p.Text = "The organization's sign-in connection is not set up or not active. Ask your administrator to finish its set-up."
	case "ambiguous_connection_selector":
		p.Text = "The organization has several sign-in connections and none is the default. Ask your administrator to keep one active."
	case "idp_initiated_sso_disabled":
		p.Text = "Sign-ins that begin at the identity provider are turned off. Open the app's own address instead."
	case "oauth_failed":
		p.Text = "Your identity provider broke off the sign-in. Try again; if it stays so, ask your administrator."
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		p.Text = "Your identity provider needs something of you that it could not ask for. Try again."
	case "temporarily_unavailable":
		p.Status, p.Text = http.StatusBadGateway, "Your identity provider is busy. Try again in a moment."
	case "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type":
		p.Text = "Your organization's sign-in is not set up right. Ask your administrator to check it."
	case "server_error":
		p.Status, p.Text = http.StatusBadGateway, "The sign-in service had a problem. Try again in a moment."
	default:
		code, p.Text = "unknown", "The sign-in service refused, without a reason that is known here. Try again; if it stays so, ask your administrator."
	}
	p.Cause = errors.New("the identity provider sent back the error " + code)
	return p
}
