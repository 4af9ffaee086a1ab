package sso

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
)

// Prefix is where everything of this package lies in the store.
const Prefix = "sso/"

const (
	sessionPrefix = Prefix + "session/"
	ticketPrefix  = Prefix + "ticket/"
	logoutPrefix  = Prefix + "logout/" // what a provider said of its sessions
	signerKey     = keys.AssertionKey
)

const recordVersion = 1

// Kinds of sessions.
const (
	kindSSO  = "sso"  // through WorkOS
	kindOIDC = "oidc" // at the organization's own OpenID provider
)

// record is a session as the store keeps it, under its public id. The browser's
// secret is not in it.
type record struct {
	V              int            `json:"v"`
	UserID         string         `json:"user_id"`
	IdpID          string         `json:"idp_id,omitempty"`
	Email          string         `json:"email"`
	OrganizationID string         `json:"organization_id"`
	ConnectionID   string         `json:"connection_id"`
	Kind           string         `json:"kind"`
	IssuedAt       time.Time      `json:"issued_at"`
	ExpiresAt      time.Time      `json:"expires_at"`
	LastSeen       time.Time      `json:"last_seen"`
	Claims         map[string]any `json:"claims,omitempty"`

	// AuthenticatedAt is when the person is known to have signed in at the
	// identity provider; zero: nobody says. A login that the provider answered
	// from its own session is no proof of a fresh one.
	AuthenticatedAt time.Time `json:"authenticated_at,omitzero"`
	// ProviderSession is the provider's name of its session (sid).
	ProviderSession string `json:"provider_session,omitempty"`
	// Attempt is the login that it came of, and Beside those that the browser had
	// under way with it (tabs); empty if there were none.
	Attempt string   `json:"attempt,omitempty"`
	Beside  []string `json:"beside,omitempty"`
	// LogoutHint is the ID token, sealed by a key that is not in the store.
	LogoutHint string `json:"logout_hint,omitempty"`

	// Of a record that is being made alone: when its login began, and out of what.
	begun time.Time
	came  origins
}

// readRecord decodes a value. A version it does not know is an error: guessing
// at a session is worse than asking for a new login.
func readRecord(value []byte) (record, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("read session record: %w", err)
	}
	if r.V != recordVersion || r.UserID == "" || r.OrganizationID == "" || r.ExpiresAt.IsZero() {
		return r, fmt.Errorf("read session record: version %d or its fields are not what this program writes", r.V)
	}
	return r, nil
}

func (r record) session(id string) *authz.Session {
	return &authz.Session{
		ID: id, UserID: r.UserID, Email: r.Email, OrganizationID: r.OrganizationID,
		ConnectionID: r.ConnectionID, Kind: r.Kind, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt,
		Claims: r.Claims, IdpID: r.IdpID,
	}
}

// mark is what a redeemed ticket or a logout token leaves behind, so that it
// works once.
type mark struct {
	V       int       `json:"v"`
	Expires time.Time `json:"expires_at"`
	At      time.Time `json:"at,omitzero"` // of a provider's logout
}

func sessionKey(id string) string { return sessionPrefix + id }

// keyOf tells the record that a store key holds.
func keyOf(key string) (recordKey, bool) {
	id, ok := strings.CutPrefix(key, sessionPrefix)
	if !ok {
		return recordKey{}, false
	}
	return parseID(id)
}
