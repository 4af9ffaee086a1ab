package sso

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

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

// wrappedKey is the assertion key as the store keeps it: sealed by a key that
// is not in the store.
type wrappedKey struct {
	V      int    `json:"v"`
	Alg    string `json:"alg"`
	Sealed string `json:"sealed"` // PKCS #8
}

// signer makes assertions with the ES256 key that all replicas share.
type signer struct {
	issuer string
	now    func() time.Time
	sign   jose.Signer
	jwks   []byte

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

// openSigner reads the assertion key from the store, or makes it. It is sealed
// anew if the root key that sealed it is no longer the newest.
func openSigner(ctx context.Context, st store.Store, ring *keys.Ring, issuer string, now func() time.Time) (*signer, error) {
	sealer := ring.Sealer(keys.Wrapper)
	var key *ecdsa.PrivateKey
	_, err := st.Update(ctx, func(tx store.Tx) error {
		value, err := tx.Get(signerKey)
		if err == nil {
			var stale bool
			if key, stale, err = unwrap(sealer, value); err != nil || !stale {
				return err
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		} else if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
		if value, err = wrap(sealer, key); err != nil {
			return err
		}
		return tx.Put(signerKey, value)
	})
	if err != nil {
		return nil, fmt.Errorf("open assertion key: %w", err)
	}
	return newSigner(key, issuer, now)
}

func wrap(sealer *keys.Sealer, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wrappedKey{V: 1, Alg: string(jose.ES256), Sealed: sealer.Seal(der, signerKey)})
}

func unwrap(sealer *keys.Sealer, value []byte) (key *ecdsa.PrivateKey, stale bool, err error) {
	var w wrappedKey
	if err := json.Unmarshal(value, &w); err != nil || w.V != 1 || w.Alg != string(jose.ES256) {
		return nil, false, errors.New("its record is not what this program writes")
	}
	der, err := sealer.Open(w.Sealed, signerKey)
	if err != nil {
		return nil, false, errors.New("no root key opens it; put the root key it was made under back into session.keys_dir")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, false, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, false, errors.New("it is not a P-256 key")
	}
	return key, !sealer.Current(w.Sealed), nil
}

func newSigner(key *ecdsa.PrivateKey, issuer string, now func() time.Time) (*signer, error) {
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("name assertion key: %w", err)
	}
	public.KeyID = encoding.EncodeToString(thumb[:16])
	sign, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("make assertion signer: %w", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	if err != nil {
		return nil, fmt.Errorf("write key set: %w", err)
	}
	return &signer{issuer: issuer, now: now, sign: sign, jwks: set, cache: make(map[assertionFor]assertion)}, nil
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
// sub the WorkOS profile id. It lives at most five minutes and never longer
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
	signed, err := g.sign.Sign(payload)
	if err != nil {
		return assertion{}, fmt.Errorf("sign assertion: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return assertion{}, fmt.Errorf("write assertion: %w", err)
	}
	return assertion{token: token, roles: slices.Clone(d.Roles), renew: expires.Add(-assertionFresh)}, nil
}
