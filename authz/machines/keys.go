package machines

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// Bounds of a key set and of what is in it. Keys outside of them are left out.
const (
	maxKeySet = 256 << 10 // bytes
	maxKeys   = 64
	maxKid    = 256  // bytes
	minRSA    = 2048 // bits (RFC 7518 §3.3)
	maxRSA    = 8192 // bits: what a longer one costs to verify is the issuer's to choose
)

// key is one public key with the algorithms that fit its type.
type key struct {
	public any
	algs   []jose.SignatureAlgorithm
}

// keySet is an issuer's keys at one time. It is immutable: the pointer is its
// revision, and stays the same while the keys do.
type keySet struct {
	byKid map[string][]key // several only where the issuer gives keys of several types one name
	count int
	raw   string
}

// parseKeySet reads a JWK Set (RFC 7517 §5). Keys that are private, symmetric,
// for encryption, too weak, of an unknown type or broken are left out, so that
// they can verify nothing; a document that is no key set is an error.
func parseKeySet(text []byte) (*keySet, error) {
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("key set is larger than %d bytes", maxKeySet)
	}
	var doc struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	switch {
	case doc.Keys == nil:
		return nil, errors.New("read key set: it has no keys member")
	case len(*doc.Keys) > maxKeys:
		return nil, fmt.Errorf("read key set: more than %d keys", maxKeys)
	}
	set := &keySet{byKid: map[string][]key{}, raw: string(text)}
	for _, raw := range *doc.Keys {
		var jwk jose.JSONWebKey
		if json.Unmarshal(raw, &jwk) != nil || len(jwk.KeyID) > maxKid {
			continue
		}
		algs := algorithmsOf(&jwk)
		if len(algs) == 0 {
			continue
		}
		set.byKid[jwk.KeyID] = append(set.byKid[jwk.KeyID], key{public: jwk.Key, algs: algs})
		set.count++
	}
	return set, nil
}

// algorithmsOf are those that a published key may verify; none if it may verify
// nothing. A private key in a public document is everybody's, so it counts for
// nothing, too.
func algorithmsOf(jwk *jose.JSONWebKey) []jose.SignatureAlgorithm {
	if jwk.Use != "" && jwk.Use != "sig" || !jwk.IsPublic() || !jwk.Valid() {
		return nil
	}
	var algs []jose.SignatureAlgorithm
	switch k := jwk.Key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil
		}
		algs = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			algs = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			algs = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			algs = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		algs = []jose.SignatureAlgorithm{jose.EdDSA}
	}
	if jwk.Algorithm != "" {
		algs = slices.DeleteFunc(algs, func(a jose.SignatureAlgorithm) bool { return string(a) != jwk.Algorithm })
	}
	return algs
}

// find returns the keys that a token's header means. kid is compared and never
// followed: it is no path and no address. A token without one means the only
// key, if there is only one.
func (s *keySet) find(kid string, alg jose.SignatureAlgorithm) (fit []key, known bool) {
	if s == nil {
		return nil, false
	}
	candidates := s.byKid[kid]
	if kid == "" && s.count == 1 {
		for _, only := range s.byKid {
			candidates = only
		}
	}
	for _, k := range candidates {
		if slices.Contains(k.algs, alg) {
			fit = append(fit, k)
		}
	}
	return fit, len(candidates) > 0
}

// fetched is a key set and when it was last confirmed.
type fetched struct {
	set *keySet
	at  time.Time
}
