package sso

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"battery.app/gate/authz"
)

// ErrForeignForm: a form was not sent from a page of ours that was made for this
// session and this action within the last hour. Nothing may be changed for it.
var ErrForeignForm = errors.New("sso: the form is not one of ours for this session")

// maxForm is how large a form may be.
const maxForm = 64 << 10

// formLife is how long a page's button works.
const formLife = time.Hour

// from is who a request comes from, as far as the browser tells.
type from int

const (
	unknown from = iota // a browser that does not say
	here                // a page of this very origin, or the person themself
	elsewhere
)

// comesFrom reads Sec-Fetch-Site, which scripts cannot set, else Origin.
// "same-site" is elsewhere: the sites of other customers are same-site.
func comesFrom(r *http.Request, origin target) from {
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) > 0 {
		switch {
		case len(site) == 1 && site[0] == "same-origin":
			return here
		case len(site) == 1 && site[0] == "none" && r.Method == http.MethodGet:
			return here
		}
		return elsewhere
	}
	if o := r.Header.Values("Origin"); len(o) > 0 {
		if len(o) == 1 && o[0] == origin.origin() {
			return here
		}
		return elsewhere
	}
	return unknown
}

// FormToken makes the hidden field "token" of a form on a page of the public
// host. It is good for an hour, for that session and that action alone; action
// is any name of what the form does.
func (s *Service) FormToken(session *authz.Session, action string) (string, error) {
	context, err := formContext(session, action)
	if err != nil {
		return "", err
	}
	return s.formToken(context)
}

// CheckForm returns nil if a POST was sent from a page of the public host and
// holds the token that FormToken made for this session and action; anything else
// is ErrForeignForm. A browser that says that the form comes from elsewhere (a
// customer's app is same-site, so that counts as elsewhere) is refused whatever
// the token; one that does not say needs it all the more. It parses the form
// if that was not done before, and then takes at most 64 KiB of it; multipart
// forms are refused.
func (s *Service) CheckForm(r *http.Request, session *authz.Session, action string) error {
	context, err := formContext(session, action)
	if err != nil {
		return err
	}
	if r.Method != http.MethodPost || hostOf(r.Host) != strings.Trim(s.public.host, "[]") ||
		comesFrom(r, s.public) == elsewhere || !s.validForm(r, context) {
		return ErrForeignForm
	}
	return nil
}

// formContext is what a token is sealed for. A session id holds no NUL, so no
// two pairs read the same, nor one as the context of a logout form.
func formContext(session *authz.Session, action string) (string, error) {
	if session == nil || session.ID == "" || action == "" || strings.IndexByte(session.ID, 0) >= 0 {
		return "", fmt.Errorf("%w: there is no session or no action", ErrForeignForm)
	}
	return "form\x00" + session.ID + "\x00" + action, nil
}

func (s *Service) formToken(context string) (string, error) {
	expires, err := json.Marshal(s.now().Add(formLife).Unix())
	if err != nil {
		return "", fmt.Errorf("make form token: %w", err)
	}
	return s.forms.Seal(expires, context), nil
}

func (s *Service) validForm(r *http.Request, context string) bool {
	r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
	if r.ParseForm() != nil || len(r.PostForm["token"]) != 1 {
		return false
	}
	plain, err := s.forms.Open(r.PostForm["token"][0], context)
	var expires int64
	return err == nil && json.Unmarshal(plain, &expires) == nil && s.now().Unix() < expires
}
