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
	"time"

	"github.com/go-jose/go-jose/v4"

	"battery.app/gate/sso/keys"
	"battery.app/gate/store"
)

// The life of an assertion key. It is published before it signs, so long that
// every copy of the key set has been fetched anew by then; and published on
// after it last signed until the last assertion of it is over.
const (
	jwksAge     = 5 * time.Minute // how long apps may keep the key set
	publishLead = 2 * jwksAge
	retireGrace = 5 * time.Minute // for apps whose clocks are behind
)

// wrappedKeys is the assertion keys as the store keeps them, newest last, each
// sealed by a key that is not in the store. Version 1 held a single one.
type wrappedKeys struct {
	V    int          `json:"v"`
	Keys []wrappedKey `json:"keys,omitempty"`

	wrappedKey // of version 1
}

type wrappedKey struct {
	Alg    string    `json:"alg,omitempty"`
	Sealed string    `json:"sealed,omitempty"` // PKCS #8
	From   time.Time `json:"from,omitzero"`    // when it begins to sign
	Made   time.Time `json:"made,omitzero"`    // when it was made; zero: by a version that did not say
}

// signingKey is one of them, opened.
type signingKey struct {
	wrapped wrappedKey
	public  jose.JSONWebKey
	sign    jose.Signer
}

// keyring is the assertion keys, newest last; immutable.
type keyring []signingKey

// signing is the key that signs: the newest whose time has come.
func (k keyring) signing(now time.Time) *signingKey {
	for i := len(k) - 1; i > 0; i-- {
		if !now.Before(k[i].wrapped.From) {
			return &k[i]
		}
	}
	return &k[0]
}

// published leaves out the keys all of whose assertions are over.
func (k keyring) published(now time.Time) keyring {
	for len(k) > 1 && now.After(k[1].wrapped.From.Add(assertionLife+retireGrace)) {
		k = k[1:]
	}
	return k
}

// set is the public keys as apps fetch them (RFC 7517 §5).
func (k keyring) set() ([]byte, error) {
	var out jose.JSONWebKeySet
	for _, key := range k {
		out.Keys = append(out.Keys, key.public)
	}
	return json.Marshal(out)
}

// openKeyring reads the assertion keys from the store, or makes the first. What
// an older root key sealed is sealed anew.
func openKeyring(ctx context.Context, st store.Store, sealer *keys.Sealer, now time.Time) (keyring, error) {
	return changeKeyring(ctx, st, sealer, func(k keyring) (keyring, error) {
		if len(k) > 0 {
			return k, nil
		}
		first, err := newSigningKey(sealer, now, time.Time{})
		return keyring{first}, err
	})
}

// changeKeyring is one transaction over the keys: two replicas that rotate at
// once make one new key.
func changeKeyring(ctx context.Context, st store.Store, sealer *keys.Sealer, change func(keyring) (keyring, error)) (keyring, error) {
	var out keyring
	_, err := st.Update(ctx, func(tx store.Tx) error {
		value, err := tx.Get(signerKey)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		var now keyring
		if err == nil {
			if now, err = readKeyring(sealer, value); err != nil {
				return err
			}
		}
		if out, err = change(now); err != nil {
			return err
		}
		fresh, err := writeKeyring(sealer, out)
		if err != nil || string(fresh) == string(value) {
			return err
		}
		return tx.Put(signerKey, fresh)
	})
	return out, err
}

func readKeyring(sealer *keys.Sealer, value []byte) (keyring, error) {
	var w wrappedKeys
	if err := json.Unmarshal(value, &w); err != nil {
		return nil, errors.New("its record is not what this program writes")
	}
	switch {
	case w.V == 1 && len(w.Keys) == 0:
		w.Keys = []wrappedKey{w.wrappedKey}
	case w.V != 2 || len(w.Keys) == 0:
		return nil, errors.New("its record is not what this program writes")
	}
	var out keyring
	for _, k := range w.Keys {
		opened, err := unwrap(sealer, k)
		if err != nil {
			return nil, err
		}
		out = append(out, opened)
	}
	return out, nil
}

func writeKeyring(sealer *keys.Sealer, k keyring) ([]byte, error) {
	w := wrappedKeys{V: 2}
	for i := range k {
		if !sealer.Current(k[i].wrapped.Sealed) {
			der, err := sealer.Open(k[i].wrapped.Sealed, signerKey)
			if err != nil {
				return nil, err
			}
			k[i].wrapped.Sealed = sealer.Seal(der, signerKey)
		}
		w.Keys = append(w.Keys, k[i].wrapped)
	}
	return json.Marshal(w)
}

func newSigningKey(sealer *keys.Sealer, made, from time.Time) (signingKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signingKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return signingKey{}, err
	}
	return opened(key, wrappedKey{Alg: string(jose.ES256), Sealed: sealer.Seal(der, signerKey), From: from, Made: made})
}

func unwrap(sealer *keys.Sealer, w wrappedKey) (signingKey, error) {
	if w.Alg != string(jose.ES256) {
		return signingKey{}, errors.New("its record is not what this program writes")
	}
	der, err := sealer.Open(w.Sealed, signerKey)
	if err != nil {
		return signingKey{}, fmt.Errorf("%w: no root key opens it; put the root key it was wrapped by back into session.keys_dir", keys.ErrUnusable)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return signingKey{}, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return signingKey{}, errors.New("it is not a P-256 key")
	}
	return opened(key, w)
}

func opened(key *ecdsa.PrivateKey, w wrappedKey) (signingKey, error) {
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return signingKey{}, fmt.Errorf("name assertion key: %w", err)
	}
	public.KeyID = encoding.EncodeToString(thumb[:16])
	sign, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return signingKey{}, fmt.Errorf("make assertion signer: %w", err)
	}
	return signingKey{wrapped: w, public: public, sign: sign}, nil
}

var errYoung = errors.New("the newest assertion key is not that old")

// rotate makes a new key unless the newest began to sign less than age ago, and
// reports whether it did. It is published at once and signs ten minutes later,
// when every app has fetched it; the old one stays published until the last
// assertion of it is over. The first key of all counts as old.
func (g *signer) rotate(ctx context.Context, age time.Duration) (bool, error) {
	now := g.now().UTC().Truncate(time.Second)
	fresh, err := changeKeyring(ctx, g.store, g.sealer, func(k keyring) (keyring, error) {
		if len(k) > 0 {
			switch newest := k[len(k)-1].wrapped.From; {
			case now.Before(newest):
				return nil, ErrRotating
			case now.Sub(newest) < age:
				return nil, errYoung
			}
		}
		next, err := newSigningKey(g.sealer, now, now.Add(publishLead))
		if err != nil {
			return nil, err
		}
		return append(append(keyring{}, k.published(now)...), next), nil
	})
	switch {
	case errors.Is(err, errYoung):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("rotate assertion key: %w", err)
	}
	g.keys.Store(&fresh)
	return true, nil
}

// prune deletes the keys from the store all of whose assertions are over.
func (g *signer) prune(ctx context.Context) error {
	now := g.now()
	fresh, err := changeKeyring(ctx, g.store, g.sealer, func(k keyring) (keyring, error) {
		if len(k) == 0 {
			return nil, errors.New("it is gone from the store; a restart makes a new one")
		}
		return k.published(now), nil
	})
	if err != nil {
		return fmt.Errorf("remove old assertion keys: %w", err)
	}
	g.keys.Store(&fresh)
	return nil
}

// changed takes what the store holds now: another replica rotated. What cannot
// be read changes nothing; the keys at hand stay good for what they signed.
func (g *signer) changed(value []byte) {
	k, err := readKeyring(g.sealer, value)
	if err != nil {
		g.log.Error("assertion keys in the store are unreadable; the ones at hand are used on", "error", err)
		return
	}
	g.keys.Store(&k)
}
