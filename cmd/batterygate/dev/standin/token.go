package standin

import (
	"crypto/subtle"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// How long things of a sign-in live: WorkOS's codes 10 minutes, its access
// tokens as long as expires_in says, a sign-in page 5 minutes.
const (
	codeLife   = 10 * time.Minute
	tokenLife  = 10 * time.Minute
	signinLife = 5 * time.Minute
)

// signins holds the sign-ins under way. They do not survive a restart.
type signins struct {
	now func() time.Time

	mu     sync.Mutex
	asked  map[string]expiring[signin]  // pages that are shown, by request id
	codes  map[string]expiring[entry]   // codes not yet exchanged
	tokens map[string]expiring[Profile] // access tokens
}

type expiring[T any] struct {
	value T
	until time.Time
}

// entry is what a code stands for; it is bound to its redirect URI.
type entry struct {
	profile  Profile
	redirect string
}

func newSignins(now func() time.Time) *signins {
	return &signins{now: now, asked: map[string]expiring[signin]{}, codes: map[string]expiring[entry]{}, tokens: map[string]expiring[Profile]{}}
}

// put keeps a value under a new unguessable name.
func put[T any](m map[string]expiring[T], v T, now time.Time, life time.Duration) string {
	for name, e := range m {
		if !now.Before(e.until) {
			delete(m, name)
		}
	}
	name := token()
	m[name] = expiring[T]{v, now.Add(life)}
	return name
}

// take gives a value out once.
func take[T any](m map[string]expiring[T], name string, now time.Time) (T, bool) {
	e, ok := m[name]
	delete(m, name)
	if !ok || !now.Before(e.until) {
		var zero T
		return zero, false
	}
	return e.value, true
}

func (s *signins) newCode(in signin, p Profile) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s.codes, entry{p, in.redirect.String()}, s.now(), codeLife)
}

// exchange takes a code; redirect is checked where the caller sends one.
func (s *signins) exchange(code, redirect string) (access string, p Profile, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := take(s.codes, code, s.now())
	if !ok || redirect != "" && redirect != e.redirect {
		return "", Profile{}, false
	}
	return put(s.tokens, e.profile, s.now(), tokenLife), e.profile, true
}

func (s *signins) ask(in signin) (request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s.asked, in, s.now(), signinLife)
}

func (s *signins) answered(request string) (signin, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return take(s.asked, request, s.now())
}

func (s *signins) bearer(access string) (Profile, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.tokens[access]
	return e.value, ok && s.now().Before(e.until)
}

// token is POST /sso/token: a form as the SDKs up to v6 send it, or JSON.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(r)
	if err != nil {
		s.answer(w, 0, nil, err)
		return
	}
	secret := subtle.ConstantTimeCompare([]byte(form.Get("client_secret")), []byte(s.opt.APIKey))
	switch {
	case form.Get("client_id") != s.opt.ClientID:
		err = oauthError("invalid_client", "Invalid client ID.")
	case secret != 1:
		err = oauthError("invalid_client", "Invalid client secret.")
	case form.Get("grant_type") != "authorization_code":
		err = oauthError("unsupported_grant_type", "The grant type is not 'authorization_code'.")
	}
	if err != nil {
		s.answer(w, 0, nil, err)
		return
	}
	access, p, ok := s.signin.exchange(form.Get("code"), form.Get("redirect_uri"))
	if !ok {
		s.answer(w, 0, nil, oauthError("invalid_grant", "The code has expired, was used, or is not known."))
		return
	}
	s.answer(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "access_token": access, "expires_in": int(tokenLife.Seconds()), "profile": p.wire(),
	}, nil)
}

// readForm reads a form body or a JSON object of strings.
func readForm(r *http.Request) (url.Values, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		if err := r.ParseForm(); err != nil {
			return nil, &problem{status: http.StatusBadRequest, Message: "The body is not a form."}
		}
		return r.PostForm, nil
	}
	var fields map[string]string
	if err := json.NewDecoder(r.Body).Decode(&fields); err != nil {
		return nil, &problem{status: http.StatusBadRequest, Message: "Problems parsing JSON"}
	}
	form := url.Values{}
	for k, v := range fields {
		form.Set(k, v)
	}
	return form, nil
}

// profile is GET /sso/profile, for who bears an access token.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) {
	access, _ := bearer(r)
	p, ok := s.signin.bearer(access)
	if !ok {
		s.answer(w, 0, nil, &problem{status: http.StatusUnauthorized, OAuth: "Unauthorized"})
		return
	}
	s.answer(w, http.StatusOK, p.wire(), nil)
}
