package sso

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"battery.app/gate/authz"
)

// ErrPass: a pass opens nothing. What wraps it says why, for the log alone.
var ErrPass = errors.New("sso: the pass opens nothing")

// pass tells another origin of the operators' own who signed in at the public
// host. Unlike a ticket it holds no secret of the session, only its public name:
// who redeems it learns who it is and can ask Live from then on, and can sign
// nobody in anywhere else.
type pass struct {
	V         int    `json:"v"`
	ID        string `json:"jti"`
	Session   string `json:"sid"`
	Challenge string `json:"challenge"`
	Expires   int64  `json:"exp"` // Unix milliseconds
}

// passContext keeps passes and tickets apart, which are sealed by the same keys,
// and binds a pass to the origin that it is for.
func passContext(audience string) string { return "pass\x00" + audience }

// IsChallenge reports whether s can be a challenge: a SHA-256 in base64url
// without padding, as Challenge makes it.
func IsChallenge(s string) bool { return isChallenge(s) }

// Challenge is what of a verifier may travel.
func Challenge(verifier string) string { return challengeOf(verifier) }

// Pass makes a pass for a live session: good for thirty seconds, once, at the
// origin audience, for the browser whose verifier has this challenge. It is
// sealed, and is meant for the query of a redirect.
func (s *Service) Pass(session *authz.Session, audience, challenge string) (string, error) {
	if session == nil || session.ID == "" || audience == "" || !isChallenge(challenge) {
		return "", fmt.Errorf("%w: it needs a session, an origin and a challenge", ErrPass)
	}
	id := newSecret()
	plain, err := compact(pass{V: 1, ID: id.text(), Session: session.ID, Challenge: challenge, Expires: s.now().Add(ticketLife).UnixMilli()})
	if err != nil {
		return "", fmt.Errorf("write pass: %w", err)
	}
	return s.tickets.Seal(plain, passContext(audience)), nil
}

// RedeemPass returns the session of a pass and spends it: of two that redeem at
// once, on any replica, one gets through. All else is checked first, so that a
// pass in the wrong hands stays good for the right ones. Errors wrap ErrPass,
// or are the store's.
func (s *Service) RedeemPass(ctx context.Context, sealed, audience, verifier string) (*authz.Session, error) {
	p, err := s.readPass(sealed, audience, verifier)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPass, err)
	}
	session, ok := s.Live(p.Session)
	if !ok {
		return nil, fmt.Errorf("%w: %w", ErrPass, errTicketSession)
	}
	err = s.spend(ctx, ticket{ID: p.ID, Expires: p.Expires}, session.ID)
	if errors.Is(err, errTicketUsed) || errors.Is(err, errTicketSession) {
		return nil, fmt.Errorf("%w: %w", ErrPass, err)
	}
	if err != nil {
		return nil, err
	}
	return session, nil
}

func (s *Service) readPass(sealed, audience, verifier string) (pass, error) {
	plain, err := s.tickets.Open(sealed, passContext(audience))
	if err != nil {
		return pass{}, errTicket
	}
	var p pass
	if json.Unmarshal(plain, &p) != nil || p.V != 1 {
		return pass{}, errTicket
	}
	if !s.now().Before(time.UnixMilli(p.Expires)) {
		return pass{}, errTicketExpired
	}
	if verifier == "" || subtle.ConstantTimeCompare([]byte(challengeOf(verifier)), []byte(p.Challenge)) != 1 {
		return pass{}, errTicketVerifier
	}
	return p, nil
}

// Live finds a session by its public id, if it still stands: not ended, within
// its limits, and its user, connection and organization not gone. It is no sign
// of use: asking keeps no session from its idle limit.
func (s *Service) Live(id string) (*authz.Session, bool) {
	session, err := s.sessions.Get(id)
	if err != nil || s.directory.Ended(session) {
		return nil, false
	}
	return session, true
}
