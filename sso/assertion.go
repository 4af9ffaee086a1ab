package sso

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"battery.app/gate/authz"
	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// assertionLife is how long an assertion is good for; one is used again until
// assertionFresh of it is left, because signing costs more than deciding.
const (
	assertionLife  = 5 * time.Minute
	assertionFresh = time.Minute
)

// maxAssertions bounds the cache. Past it the cache starts anew, which costs
// one signature for each session and host in use.
const maxAssertions = 1 << 16

// signer makes assertions with the ES256 keys that all replicas share.
type signer struct {
	issuer string
	now    func() time.Time
	log    *slog.Logger
	store  store.Store
	sealer *keys.Sealer
	keys   atomic.Pointer[keyring]

	mu    sync.Mutex
	cache map[assertionFor]assertion
}

// assertionFor is what an assertion depends on beside its roles. The user is
// one by pointer: a changed directory user is another value.
type assertionFor struct {
	session, app, host string
	user               *authz.User
}

type assertion struct {
	token string
	roles []string
	renew time.Time // from then on another one is made
}

// openSigner reads the assertion keys from the store, or makes the first.
func openSigner(ctx context.Context, st store.Store, ring *keys.Ring, issuer string, now func() time.Time, log *slog.Logger) (*signer, error) {
	g := &signer{issuer: issuer, now: now, log: log, store: st, sealer: ring.Sealer(keys.Wrapper), cache: make(map[assertionFor]assertion)}
	k, err := openKeyring(ctx, st, g.sealer, now().UTC().Truncate(time.Second))
	if err != nil {
		return nil, fmt.Errorf("open assertion key: %w", err)
	}
	g.keys.Store(&k)
	return g, nil
}

// claims of an assertion. Groups is how many groups the user has, so that an
// app sees whether X-Battery-Groups had to leave some out; it is there only
// for apps that ask for groups.
type claims struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	Subject      string   `json:"sub"`
	Organization string   `json:"org"`
	Roles        []string `json:"roles"`
	Email        string   `json:"email"`
	Session      string   `json:"sid"`
	Groups       *int     `json:"groups_count,omitempty"`
	IssuedAt     int64    `json:"iat"`
	Expires      int64    `json:"exp"`
}

// Assertion is the identity of a decision as a signed token (ES256, RFC 7519)
// for the app of that host: iss is the public URL, aud the host without port,
// sub the user id
// (the WorkOS profile's, or oidc_… of an OpenID provider's subject). It lives at most five minutes and never longer
// than its session. A decision that does not allow, or has no session, has
// none: the result is empty.
func (s *Service) Assertion(d *authz.Decision, host string) (string, error) {
	return s.signer.assertion(d, host)
}

func (g *signer) assertion(d *authz.Decision, host string) (string, error) {
	if d.Result() != authz.Allow || d.Session == nil || d.App == nil {
		return "", nil
	}
	now := g.now()
	k := assertionFor{session: d.Session.ID, app: d.App.ID, host: host, user: d.User}
	g.mu.Lock()
	a, ok := g.cache[k]
	g.mu.Unlock()
	if ok && now.Before(a.renew) && slices.Equal(a.roles, d.Roles) {
		return a.token, nil
	}
	a, err := g.issue(d, host, now)
	if err != nil {
		return "", err
	}
	g.mu.Lock()
	if len(g.cache) >= maxAssertions {
		clear(g.cache)
	}
	g.cache[k] = a
	g.mu.Unlock()
	return a.token, nil
}

func (g *signer) issue(d *authz.Decision, host string, now time.Time) (assertion, error) {
	expires := now.Add(assertionLife)
	if d.Session.ExpiresAt.Before(expires) {
		expires = d.Session.ExpiresAt
	}
	expires = expires.Truncate(time.Second)
	roles := slices.Clone(d.Roles)
	slices.Sort(roles)
	c := claims{
		Issuer: g.issuer, Audience: host, Subject: d.Session.UserID,
		Organization: d.Session.OrganizationID, Roles: slices.Compact(roles), Email: d.Session.Email,
		Session: d.Session.ID, IssuedAt: now.Unix(), Expires: expires.Unix(),
	}
	if c.Roles == nil {
		c.Roles = []string{}
	}
	if d.App.WantsGroups() {
		n := 0
		if d.User != nil {
			n = len(d.User.Groups)
		}
		c.Groups = &n
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return assertion{}, fmt.Errorf("write assertion: %w", err)
	}
	signed, err := g.keys.Load().signing(now).sign.Sign(payload)
	if err != nil {
		return assertion{}, fmt.Errorf("sign assertion: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return assertion{}, fmt.Errorf("write assertion: %w", err)
	}
	return assertion{token: token, roles: slices.Clone(d.Roles), renew: expires.Add(-assertionFresh)}, nil
}
