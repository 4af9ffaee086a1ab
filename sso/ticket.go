package sso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// ticketLife is how long a ticket works: a redirect's worth.
const ticketLife = 30 * time.Second

// Why a ticket was refused, for the log. The browser is told less.
var (
	errTicket         = errors.New("ticket was not made here, or was changed")
	errTicketExpired  = errors.New("ticket expired")
	errTicketUsed     = errors.New("ticket was used before")
	errTicketApp      = errors.New("ticket is for another app or host")
	errTicketVerifier = errors.New("ticket is for another browser: no verifier cookie matches")
	errTicketSession  = errors.New("ticket's session is over or of another organization")
)

// ticket carries a session from the public host to an app's host. It is sealed,
// so what it holds is seen by nobody on the way.
type ticket struct {
	V         int    `json:"v"`
	ID        string `json:"jti"`
	Secret    string `json:"k"`
	App       string `json:"app"`
	Host      string `json:"host"`
	Challenge string `json:"challenge"`
	Target    string `json:"rd"`
	Expires   int64  `json:"exp"` // Unix milliseconds
}

// ticketURL is where the browser takes a ticket.
func ticketURL(sealer *keys.Sealer, app *authz.App, to target, challenge string, s secret, now time.Time) (string, error) {
	id := newSecret()
	plain, err := compact(ticket{
		V: 1, ID: id.text(), Secret: s.text(), App: app.ID, Host: to.host,
		Challenge: challenge, Target: to.String(), Expires: now.Add(ticketLife).UnixMilli(),
	})
	if err != nil {
		return "", fmt.Errorf("write ticket: %w", err)
	}
	return to.origin() + reserved + "session?ticket=" + url.QueryEscape(sealer.Seal(plain, "")), nil
}

// admission is what a redeemed ticket opens.
type admission struct {
	secret   secret
	session  *authz.Session
	to       target
	verifier string // the name of the cookie that is spent
}

// redeem checks everything about a ticket before it spends it, so that a
// ticket in the wrong hands stays good for the right ones.
func (s *Service) redeem(ctx context.Context, app *authz.App, host string, sealed string, sent []*http.Cookie) (admission, error) {
	plain, err := s.tickets.Open(sealed, "")
	if err != nil {
		return admission{}, errTicket
	}
	var t ticket
	if json.Unmarshal(plain, &t) != nil || t.V != 1 {
		return admission{}, errTicket
	}
	now := s.now()
	if now.UnixMilli() >= t.Expires {
		return admission{}, errTicketExpired
	}
	if t.App != app.ID || t.Host != host {
		return admission{}, errTicketApp
	}
	to, err := parseTarget(app, t.Target)
	if err != nil || to.host != host {
		return admission{}, errTicketApp
	}
	verifier, ok := findVerifier(sent, app.Scheme, t.Challenge)
	if !ok {
		return admission{}, errTicketVerifier
	}
	sec, err := parseSecret(t.Secret)
	if err != nil {
		return admission{}, errTicket
	}
	found := s.current(sec)
	if found == nil || found.session.OrganizationID != app.OrganizationID {
		return admission{}, errTicketSession
	}
	session := found.session
	if err := s.spend(ctx, t, session.ID); err != nil {
		return admission{}, err
	}
	return admission{secret: sec, session: session, to: to, verifier: verifier}, nil
}

// spend marks the ticket as used, in the same transaction that sees that it was
// not and that its session still stands. Of two that redeem at once, on any
// replica, one gets through.
func (s *Service) spend(ctx context.Context, t ticket, sessionID string) error {
	sum := sha256.Sum256([]byte(t.ID))
	key := ticketPrefix + hex.EncodeToString(sum[:])
	value, err := json.Marshal(mark{V: 1, Expires: time.UnixMilli(t.Expires).UTC()})
	if err != nil {
		return fmt.Errorf("spend ticket: %w", err)
	}
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(key); err == nil {
			return errTicketUsed
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := tx.Get(sessionKey(sessionID)); errors.Is(err, store.ErrNotFound) {
			return errTicketSession
		} else if err != nil {
			return err
		}
		return tx.Put(key, value)
	})
	if err != nil {
		return fmt.Errorf("spend ticket: %w", err)
	}
	return nil
}
