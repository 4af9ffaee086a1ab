package sso

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/store"
)

// signedOutPath is where a provider sends the browser after logout there; it is
// registered with the provider as post-logout redirect URI.
const signedOutPath = "/signed-out"

// maxHint is how long an ID token may be to be kept for logout: it travels in
// one header line, and gateways take 8 KiB of one.
const maxHint = 6 << 10

// farewell is what comes back from a provider after logout, sealed: where the
// browser wanted to go.
type farewell struct {
	V       int    `json:"v"`
	Target  string `json:"rd"`
	Expires int64  `json:"exp"` // Unix seconds
}

const farewellContext = "after logout at the provider"

// sealHint keeps the ID token for logout. It is a secret, and the store alone
// must not give it away, so it is sealed and bound to the one session.
func (s *Service) sealHint(idToken string) func(id string) string {
	if idToken == "" || len(idToken) > maxHint {
		return nil
	}
	return func(id string) string { return s.hints.Seal([]byte(idToken), "logout hint\x00"+id) }
}

// hint is the ID token that a session came of, or "": the provider then asks
// the person.
func (s *Service) hint(ctx context.Context, id string) string {
	var e store.Entry
	var err error
	if e, err = s.store.Get(ctx, sessionKey(id)); err != nil {
		return ""
	}
	r, err := readRecord(e.Value)
	if err != nil || r.LogoutHint == "" {
		return ""
	}
	plain, err := s.hints.Open(r.LogoutHint, "logout hint\x00"+id)
	if err != nil {
		return "" // sealed under a root key that was removed since
	}
	return string(plain)
}

// providerLogout is where the browser goes to sign out at the session's OpenID
// provider as well (OpenID Connect RP-Initiated Logout 1.0), and from there on
// to to. It is empty if there is no such place, or it is not known: signing out
// here must not fail because the provider is down.
func (s *Service) providerLogout(ctx context.Context, session *authz.Session, to target) string {
	p := s.providers.byID[session.ConnectionID]
	if session.Kind != kindOIDC || p == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	state := ""
	if to.host != "" {
		plain, err := compact(farewell{V: 1, Target: to.String(), Expires: s.now().Add(attemptLife).Unix()})
		if err == nil {
			state = s.forms.Seal(plain, farewellContext)
		}
	}
	location, err := p.LogoutURL(ctx, s.hint(ctx, session.ID), s.public.origin()+signedOutPath, state)
	if err != nil {
		s.log.WarnContext(ctx, "signed out here, but not at the identity provider", "session_id", session.ID, "connection_id", p.ID(), "error", err)
		return ""
	}
	return location
}

// providerOrigin is the origin of that place, for a page whose button may lead
// there.
func (s *Service) providerOrigin(ctx context.Context, session *authz.Session) string {
	p := s.providers.byID[session.ConnectionID]
	if session.Kind != kindOIDC || p == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	location, err := p.LogoutURL(ctx, "", s.public.origin()+signedOutPath, "")
	if err != nil || location == "" {
		return ""
	}
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// afterProvider reads where the browser wanted to go before it was sent to the
// provider. Only what was sealed here counts, and only if it still is an
// address of an app.
func (s *Service) afterProvider(r *http.Request) target {
	q, err := query(r, "state")
	if err != nil || q["state"] == "" {
		return target{}
	}
	plain, err := s.forms.Open(q["state"], farewellContext)
	var f farewell
	if err != nil || json.Unmarshal(plain, &f) != nil || f.V != 1 || !s.now().Before(time.Unix(f.Expires, 0)) {
		return target{}
	}
	u, err := url.Parse(f.Target)
	v := s.apps()
	if err != nil || v == nil {
		return target{}
	}
	app, ok := v.App(hostOf(u.Host))
	if !ok {
		return target{}
	}
	to, err := parseTarget(app, f.Target)
	if err != nil {
		return target{}
	}
	return to
}
