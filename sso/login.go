package sso

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"battery.app/gate/authz"
)

// query reads parameters that may be there once at most: what is there twice
// is read one way here and another way elsewhere.
func query(r *http.Request, names ...string) (map[string]string, error) {
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("Its address is malformed.")
	}
	out := make(map[string]string, len(names))
	for _, n := range names {
		if len(all[n]) > 1 {
			return nil, badRequest("Its address holds a parameter twice.")
		}
		out[n] = all.Get(n)
	}
	return out, nil
}

// loginRequest is what /login was asked, checked.
type loginRequest struct {
	app       *authz.App
	to        target
	challenge string // empty: opened directly
	hint      string
}

func (s *Service) readLogin(r *http.Request) (loginRequest, error) {
	q, err := query(r, "app", "rd", "challenge", "login_hint")
	if err != nil {
		return loginRequest{}, err
	}
	v, err := s.view()
	if err != nil {
		return loginRequest{}, err
	}
	app, ok := v.ByID(q["app"])
	if !ok {
		return loginRequest{}, notFound("No app is registered under this name.")
	}
	to, err := s.returnTo(app, q["rd"])
	if err != nil {
		p := badRequest("The address to return to is not one of the app's.")
		p.Cause = err
		return loginRequest{}, p
	}
	if q["challenge"] != "" && !isChallenge(q["challenge"]) {
		return loginRequest{}, badRequest("Its challenge is malformed.")
	}
	if !usableHint(q["login_hint"]) {
		return loginRequest{}, badRequest("Its login hint is malformed.")
	}
	return loginRequest{app: app, to: to, challenge: q["challenge"], hint: q["login_hint"]}, nil
}

// usableHint: an e-mail address is at most 254 bytes (RFC 5321 §4.5.3.1.3).
func usableHint(s string) bool {
	return len(s) <= 254 && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0
}

// login is /login on the public host. It writes nothing but cookies.
func (s *Service) login(w http.ResponseWriter, r *http.Request) error {
	if !r.URL.Query().Has("app") {
		return s.front(w, r)
	}
	in, err := s.readLogin(r)
	if err != nil {
		return err
	}
	if in.challenge == "" {
		redirect(w, appLoginURL(in.to, in.hint), http.StatusFound)
		return nil
	}
	if sec, ok := s.signedIn(r.Cookies(), in); ok {
		return s.sendTicket(w, r, in.app, in.to, in.challenge, sec)
	}
	a := attempt{App: in.app.ID, Organization: in.app.OrganizationID, Target: in.to.String(), Challenge: in.challenge,
		MaxAge: wholeSeconds(s.sessions.ageLimit(in.app))}
	return s.start(w, r, a, in.hint, []Link{{"Try again", s.loginURL(in.app, in.to, "", in.hint)}})
}

// start begins an attempt: it goes into the browser, and the browser to where
// the person signs in.
func (s *Service) start(w http.ResponseWriter, r *http.Request, a attempt, hint string, again []Link) error {
	now := s.now()
	state, number := newState(now)
	a.V, a.State, a.Begun, a.Expires = 1, state, now.UnixMilli(), now.Add(attemptLife).Unix()
	if held, ok := readLogins(s.logins, r.Cookies(), s.public.scheme).of(a.Organization); ok && s.current(held) != nil {
		a.From = held.key().id()
	}
	location, err := s.authorize(r.Context(), &a, hint, again)
	if err != nil {
		return err
	}
	cookie, err := a.cookie(s.states, s.public.scheme, number)
	if err != nil {
		return err
	}
	for _, c := range makeRoom(r.Cookies(), s.public.scheme, cookieState) {
		http.SetCookie(w, c)
	}
	http.SetCookie(w, cookie)
	s.count(r.Context(), "login", "started")
	redirect(w, location, http.StatusFound)
	return nil
}

// signedIn finds the live session of the app's organization in the login
// cookie. Asking for another person, or for a fresher login than the session
// has, leads to the identity provider instead.
func (s *Service) signedIn(sent []*http.Cookie, in loginRequest) (secret, bool) {
	sec, ok := readLogins(s.logins, sent, s.public.scheme).of(in.app.OrganizationID)
	if !ok {
		return secret{}, false
	}
	found := s.current(sec)
	ok = found != nil && found.session.OrganizationID == in.app.OrganizationID && s.sessions.fresh(found, in.app, s.now()) &&
		(in.hint == "" || strings.EqualFold(in.hint, found.session.Email))
	return sec, ok
}

func (s *Service) sendTicket(w http.ResponseWriter, r *http.Request, app *authz.App, to target, challenge string, sec secret) error {
	location, err := ticketURL(s.tickets, app, to, challenge, sec, s.now())
	if err != nil {
		return err
	}
	s.count(r.Context(), "login", "ticket")
	redirect(w, location, http.StatusFound)
	return nil
}

// loginURL is /login on the public host.
func (s *Service) loginURL(app *authz.App, to target, challenge, hint string) string {
	q := url.Values{"app": {app.ID}, "rd": {to.String()}}
	if challenge != "" {
		q.Set("challenge", challenge)
	}
	if hint != "" {
		q.Set("login_hint", hint)
	}
	return s.public.origin() + "/login?" + q.Encode()
}

// appLoginURL is /.battery/login on the host to return to.
func appLoginURL(to target, hint string) string {
	q := url.Values{"rd": {to.String()}}
	if hint != "" {
		q.Set("login_hint", hint)
	}
	return to.origin() + reserved + "login?" + q.Encode()
}

// appLogin is /.battery/login on an app's host: it sets the verifier cookie
// where the gateway could not, and leads on to /login.
func (s *Service) appLogin(w http.ResponseWriter, r *http.Request, app *authz.App, origin target) error {
	q, err := query(r, "rd", "login_hint")
	if err != nil {
		return err
	}
	to := origin
	if q["rd"] != "" {
		if to, err = parseTarget(app, q["rd"]); err != nil || to.host != origin.host {
			p := badRequest("The address to return to is not on this host.")
			p.Cause, p.Links = errTarget, []Link{{"Go to the app", origin.String()}}
			return p
		}
	}
	if !usableHint(q["login_hint"]) {
		return badRequest("Its login hint is malformed.")
	}
	challenge, cookies := s.begin(app.Scheme, r.Cookies())
	for _, c := range cookies {
		http.SetCookie(w, c)
	}
	redirect(w, s.loginURL(app, to, challenge, q["login_hint"]), http.StatusFound)
	return nil
}

// begin makes a verifier cookie and the challenge that goes with it.
func (s *Service) begin(scheme string, sent []*http.Cookie) (string, []*http.Cookie) {
	v := newVerifier()
	cookies := append(makeRoom(sent, scheme, cookieVerifier),
		bake(scheme, cookieVerifier+numbered(s.now(), v), v, attemptLife))
	return challengeOf(v), cookies
}

// Challenge begins one attempt to log in, for the doors: the absolute URL to go
// to, and the verifier cookie (with deletions of the oldest) for the app's
// host. scheme and authority are the origin that was asked for, uri the
// absolute URL or the path to come back to, sent the request's cookies. Where
// the gateway does not relay cookies, or the app was asked over a scheme that
// is not its own, the URL leads over the app's /.battery/login and there are
// none. It fails if the authority is not the app's or may not carry cookies.
func (s *Service) Challenge(app *authz.App, scheme, authority, uri string, sent []*http.Cookie, relayed bool) (string, []*http.Cookie, error) {
	if app == nil {
		return "", nil, errTarget
	}
	if rest, ok := strings.CutPrefix(uri, scheme+"://"+authority); ok {
		uri = rest
	}
	to, err := asked(app, authority, uri)
	if err != nil {
		return "", nil, err
	}
	if !relayed || scheme != app.Scheme {
		return appLoginURL(to, ""), nil, nil
	}
	challenge, cookies := s.begin(app.Scheme, sent)
	return s.loginURL(app, to, challenge, ""), cookies, nil
}

// LoginURL is where a person signs in to an app by hand: it begins no attempt.
// An address that is not the app's is left out.
func (s *Service) LoginURL(app *authz.App, uri string) string {
	if app == nil {
		return s.public.origin() + "/login"
	}
	to, err := parseTarget(app, uri)
	if err != nil {
		return s.public.origin() + "/login?" + url.Values{"app": {app.ID}}.Encode()
	}
	return s.loginURL(app, to, "", "")
}
