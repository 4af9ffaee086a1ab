package standin

import (
	"errors"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
)

func (s *Server) routeSSO(mux *http.ServeMux) {
	mux.HandleFunc("GET /sso/authorize", s.authorize)
	mux.HandleFunc("POST /sso/authorize", s.picked)
	mux.HandleFunc("POST /sso/token", s.token)
	mux.HandleFunc("GET /sso/profile", s.profile)
	mux.HandleFunc("GET /sso/jwks/{client}", s.jwks)
}

// providers are those that WorkOS signs in with apart from any organization.
var providers = [...]string{"AppleOAuth", "GitHubOAuth", "GoogleOAuth", "MicrosoftOAuth"}

// signin is one request to sign in, once it is known to be sound.
type signin struct {
	redirect     *url.URL
	state        string
	hasState     bool
	organization Organization // zero for a provider
	connection   Connection
}

// authorize is GET /sso/authorize. With login_hint it signs in at once, else it
// shows whom there is. What is wrong with client or redirect_uri is said here
// (RFC 6749 §4.1.2.1: never redirect to what was not checked), all else by a
// redirect with error, error_description and state.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if len(q["redirect_uri"]) != 1 || err != nil || !isLoopbackURL(redirect) {
		s.answer(w, 0, nil, oauthError("invalid_redirect_uri", "The redirect URI is not an allowed one: the stand-in sends browsers to loopback only."))
		return
	}
	if q.Get("client_id") != s.opt.ClientID {
		s.answer(w, 0, nil, oauthError("invalid_client", "There is no such client."))
		return
	}
	in := signin{redirect: redirect, state: q.Get("state"), hasState: q.Has("state")}
	if err := s.selected(&in, q); err != nil {
		in.refuse(w, http.StatusFound, err)
		return
	}
	hint := q.Get("login_hint")
	if hint == "" {
		s.showPeople(w, in)
		return
	}
	p, err := s.profileFor(in, hint)
	if err != nil {
		in.refuse(w, http.StatusFound, err)
		return
	}
	s.enter(w, http.StatusFound, in, p)
}

// selected checks response_type and finds the connection by exactly one of
// organization, connection and provider.
func (s *Server) selected(in *signin, q url.Values) error {
	if q.Get("response_type") != "code" {
		return oauthError("unsupported_response_type", "The response_type is not 'code'.")
	}
	if q.Get("domain") != "" {
		return oauthError("domain_connection_selector_not_allowed", "The domain selector is not allowed. Use organization.")
	}
	selectors := 0
	for _, k := range []string{"organization", "connection", "provider"} {
		if q.Get(k) != "" {
			selectors++
		}
	}
	if selectors != 1 {
		return oauthError("invalid_connection_selector", "A connection selector is required: exactly one of organization, connection and provider.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := q.Get("provider"); p != "" {
		if !contains(providers[:], p) {
			return oauthError("invalid_connection_selector", "The provider is not known.")
		}
		in.connection = Connection{ID: fixedID("conn_", p), Type: p, State: "active"}
		return nil
	}
	return s.st.selectConnection(in, q.Get("organization"), q.Get("connection"))
}

func (st *state) selectConnection(in *signin, organization, connection string) error {
	if connection != "" {
		c, ok := st.connections.byID[connection]
		if !ok {
			return oauthError("connection_invalid", "There is no such connection.")
		}
		in.connection = c
	} else {
		if _, ok := st.organizations.byID[organization]; !ok {
			return oauthError("organization_invalid", "There is no such organization.")
		}
		var found []Connection
		for _, c := range st.connections.all() {
			if c.OrganizationID == organization && c.State == "active" {
				found = append(found, c)
			}
		}
		if len(found) > 1 {
			return oauthError("ambiguous_connection_selector", "The organization has several connections.")
		}
		if len(found) == 0 {
			return oauthError("connection_invalid", "The organization has no active connection.")
		}
		in.connection = found[0]
	}
	if in.connection.State != "active" {
		return oauthError("connection_unlinked", "The connection is not active.")
	}
	in.organization = st.organizations.byID[in.connection.OrganizationID]
	return nil
}

// profileFor says who an e-mail is at the connection. SSO vouches for a person,
// whether or not the directory knows them as active; that is for policy. A
// person whom the directory does not know can sign in under a domain of the
// organization only.
func (s *Server) profileFor(in signin, email string) (Profile, error) {
	a, err := mail.ParseAddress(email)
	if err != nil || a.Address != email || strings.Count(email, "@") != 1 {
		return Profile{}, oauthError("access_denied", "The login_hint is not an e-mail address.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user, known := s.st.personByEmail(in.organization.ID, email)
	_, domain, _ := strings.Cut(email, "@")
	if !known && !inDomain(domain, in.organization) {
		return Profile{}, oauthError("access_denied", "There is no such person in the organization.")
	}
	return s.profileOf(in, user, email)
}

// personByEmail finds the directory user; one who is active before others. With
// no organization (a provider) it finds anyone.
func (st *state) personByEmail(organization, email string) (found User, ok bool) {
	for _, u := range st.users.some(st.usersByMail.of(lower(email))) {
		if matches(organization, u.OrganizationID) {
			if !ok || found.State != "active" && u.State == "active" {
				found, ok = u, true
			}
		}
	}
	return found, ok
}

// profileOf finds the person's profile at the connection, or makes it. u is
// zero for one whom the directory does not know. s.mu is held.
func (s *Server) profileOf(in signin, u User, email string) (Profile, error) {
	known := s.st.profilesByMail.of(lower(email))
	if u.ID != "" {
		known = s.st.profilesAt.of(in.connection.ID + " " + u.IdpID)
	}
	for _, p := range s.st.profiles.some(known) {
		if p.ConnectionID != in.connection.ID {
			continue
		}
		if u.ID != "" { // the directory knows the names better
			p.Email, p.FirstName, p.LastName = string(u.Email), u.FirstName, u.LastName
		}
		return p, nil
	}
	local, _, _ := strings.Cut(email, "@")
	p := Profile{
		ID: newID("prof_", s.st.time.next(s.opt.Now())), OrganizationID: Nullable(in.organization.ID),
		ConnectionID: in.connection.ID, ConnectionType: in.connection.Type,
		IdpID: "idp|" + lower(email), Email: email, FirstName: Nullable(capital(local)),
	}
	if u.ID != "" {
		p.IdpID, p.Email, p.FirstName, p.LastName = u.IdpID, string(u.Email), u.FirstName, u.LastName
	}
	s.st.putProfile(p)
	return p, s.save(journalEntry[op]{})
}

// enter sends the browser back with a code.
func (s *Server) enter(w http.ResponseWriter, status int, in signin, p Profile) {
	in.back(w, status, url.Values{"code": {s.signin.newCode(in, p)}})
}

// refuse sends the browser back with an error.
func (in signin) refuse(w http.ResponseWriter, status int, err error) {
	code, description := "server_error", "Something went wrong."
	var p *problem
	if errors.As(err, &p) && p.OAuth != "" {
		code, description = p.OAuth, p.Description
	}
	in.back(w, status, url.Values{"error": {code}, "error_description": {description}})
}

// back redirects with what is new and the caller's state, verbatim. The
// redirect URI's own query stays.
func (in signin) back(w http.ResponseWriter, status int, with url.Values) {
	to := *in.redirect
	if in.hasState {
		with.Set("state", in.state)
	}
	if to.RawQuery != "" {
		to.RawQuery += "&"
	}
	to.RawQuery += with.Encode()
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", to.String())
	w.WriteHeader(status)
}
