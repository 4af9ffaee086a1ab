package sso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"battery.app/gate/sso/oidc"
	"battery.app/gate/store"
)

const backchannelPath = "/backchannel-logout/"

// maxLogoutBody is more than any logout token has.
const maxLogoutBody = 64 << 10

var (
	// errLogoutUsed: the logout token did its work before.
	errLogoutUsed = errors.New("logout token was used before")
	// errLoggedOut: the provider ended its session while the login was under way.
	errLoggedOut = errors.New("the provider's session ended while signing in")
)

// backchannel is where an OpenID provider says that a session there ended
// (OpenID Connect Back-Channel Logout 1.0): /backchannel-logout/{connection} on
// the public host, for the provider itself, not for browsers. The sessions that
// came of it end before the answer leaves.
func (s *Service) backchannel(w http.ResponseWriter, r *http.Request) error {
	answer := func(status int, code string) error {
		s.count(r.Context(), "backchannel", code)
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "5")
		}
		w.WriteHeader(status)
		return json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	p := s.providers.byID[strings.TrimPrefix(r.URL.Path, backchannelPath)]
	if p == nil {
		return answer(http.StatusNotFound, "unknown_connection")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutBody)
	if err := r.ParseForm(); err != nil || len(r.PostForm["logout_token"]) != 1 {
		return answer(http.StatusBadRequest, "invalid_request")
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	out, err := p.VerifyLogout(ctx, r.PostForm["logout_token"][0])
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		s.log.WarnContext(ctx, "logout token could not be checked", "connection_id", p.ID(), "error", err)
		return answer(http.StatusServiceUnavailable, "temporarily_unavailable")
	case err != nil:
		s.log.WarnContext(ctx, "logout token was refused", "connection_id", p.ID(), "error", err)
		return answer(http.StatusBadRequest, "invalid_request")
	}
	n, err := s.sessions.endedAtProvider(ctx, p, out, s.now())
	switch {
	case errors.Is(err, errLogoutUsed):
		return answer(http.StatusBadRequest, "invalid_request")
	case err != nil:
		s.log.ErrorContext(ctx, "sessions that ended at their provider could not be ended here", "connection_id", p.ID(), "error", err)
		return answer(http.StatusServiceUnavailable, "temporarily_unavailable")
	}
	s.count(ctx, "backchannel", "ended")
	s.log.InfoContext(ctx, "signed out by the identity provider", "connection_id", p.ID(), "sessions", n)
	w.WriteHeader(http.StatusOK)
	return nil
}

// endedAtProvider ends the sessions that a logout token names. First it leaves
// a mark, which logins under way run into; then it waits until it knows every
// session older than the mark, so none slips through, on whatever replica it
// was made. Last it remembers the token: if ending failed, the provider may
// send it again.
func (s *Sessions) endedAtProvider(ctx context.Context, p *oidc.Provider, l oidc.Logout, now time.Time) (int, error) {
	used := markKey(p.ID(), "token", l.TokenID)
	revision, err := s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(used); err == nil {
			return errLogoutUsed
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return putMark(tx, logoutMark(p.ID(), l.Subject, l.SessionID), l.Replayable, now)
	})
	if err != nil {
		return 0, fmt.Errorf("note logout at the provider: %w", err)
	}
	if err := s.wait(ctx, revision); err != nil {
		return 0, err
	}
	var ids []string
	s.each(func(k recordKey, e *entry) {
		if e.session.Kind == kindOIDC && e.session.ConnectionID == p.ID() && e.session.OrganizationID == p.OrganizationID() && named(l, e) {
			ids = append(ids, k.id())
		}
	})
	n, revision, err := s.deleteAll(ctx, ids, sessionKey)
	if err != nil {
		return n, fmt.Errorf("end sessions of the provider: %w", err)
	}
	if n > 0 {
		if err := s.wait(ctx, revision); err != nil {
			return n, err
		}
	}
	if _, err = s.store.Update(ctx, func(tx store.Tx) error { return putMark(tx, used, l.Replayable, now) }); err != nil {
		return n, fmt.Errorf("remember logout token: %w", err)
	}
	return n, nil
}

// named reports whether a logout token is about a session. A session whose
// provider never gave it a name ends with any of its subject's.
func named(l oidc.Logout, e *entry) bool {
	if l.Subject != "" && e.session.IdpID != l.Subject {
		return false
	}
	return l.SessionID == "" || e.providerSession == l.SessionID || (e.providerSession == "" && l.Subject != "")
}

// notLoggedOut refuses the record of a login whose session at the provider ended
// meanwhile: the provider's word came before the record was there to be ended.
func notLoggedOut(tx store.Tx, r record) error {
	if r.Kind != kindOIDC {
		return nil
	}
	if r.ProviderSession != "" {
		switch _, err := tx.Get(logoutMark(r.ConnectionID, "", r.ProviderSession)); {
		case err == nil:
			return errLoggedOut
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	value, err := tx.Get(logoutMark(r.ConnectionID, r.IdpID, ""))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	var m mark
	if json.Unmarshal(value, &m) != nil || !r.begun.After(m.At) {
		return errLoggedOut
	}
	return nil
}

// logoutMark is where a logout at the provider is noted: of one session, or of
// all of a subject's until then.
func logoutMark(connection, subject, session string) string {
	if session != "" {
		return markKey(connection, "session", session)
	}
	return markKey(connection, "subject", subject)
}

func markKey(connection, kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return logoutPrefix + connection + "/" + kind + "/" + hex.EncodeToString(sum[:])
}

func putMark(tx store.Tx, key string, until, at time.Time) error {
	value, err := json.Marshal(mark{V: 1, Expires: until.UTC(), At: at.UTC()})
	if err != nil {
		return err
	}
	return tx.Put(key, value)
}
