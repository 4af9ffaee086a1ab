package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"hash"
	"sync"
)

// The purposes. Each has keys of its own.
const (
	Cookie  = "session cookie"
	Ticket  = "ticket"
	State   = "login state"
	Login   = "login cookie"
	Form    = "form token"
	Wrapper = "store wrapping"
	Hint    = "logout hint"
)

// ErrNotOurs: the bytes were not made by this Ring for this purpose and
// context, or were changed since. Which of these is never said.
var ErrNotOurs = errors.New("not sealed here")

// MACSize is the length of a MAC in bytes.
const MACSize = sha256.Size

// IDSize is the length of a key id in bytes of text.
const IDSize = idSize

// MACs makes and checks HMAC-SHA256 under every root for one purpose. It is
// safe for concurrent use, and Verify does not allocate.
type MACs struct {
	keys []*macKey // newest first
}

type macKey struct {
	id   string
	pool sync.Pool // of *macState, so that the key schedule is made once
}

type macState struct {
	h   hash.Hash
	msg []byte
	sum []byte
}

// MACs returns the MACs of a purpose.
func (r *Ring) MACs(purpose string) *MACs {
	m := &MACs{}
	for _, root := range r.roots {
		key := derive(root.secret, purpose, 32)
		k := &macKey{id: root.id}
		k.pool.New = func() any {
			return &macState{h: hmac.New(sha256.New, key), msg: make([]byte, 0, 512), sum: make([]byte, 0, MACSize)}
		}
		m.keys = append(m.keys, k)
	}
	return m
}

// KeyID is the id of the key that Sum uses.
func (m *MACs) KeyID() string { return m.keys[0].id }

// Sum returns the MAC of the concatenated parts under the newest key. It is
// the caller's part to make the concatenation unambiguous.
func (m *MACs) Sum(parts ...string) [MACSize]byte {
	var out [MACSize]byte
	k := m.keys[0]
	s := k.sum(parts[0], parts[1:]...)
	copy(out[:], s.sum)
	k.pool.Put(s)
	return out
}

// Verify reports in constant time whether mac is the MAC of a+b+c+d under the
// key of that id. Four parts are what a session token needs; a list would be
// an allocation on the path of every request.
func (m *MACs) Verify(id string, mac *[MACSize]byte, a, b, c, d string) bool {
	for _, k := range m.keys {
		if k.id != id {
			continue
		}
		s := k.pool.Get().(*macState)
		s.msg = append(append(append(append(s.msg[:0], a...), b...), c...), d...)
		s.finish()
		ok := subtle.ConstantTimeCompare(s.sum, mac[:]) == 1
		k.pool.Put(s)
		return ok
	}
	return false
}

func (k *macKey) sum(first string, rest ...string) *macState {
	s := k.pool.Get().(*macState)
	s.msg = append(s.msg[:0], first...)
	for _, p := range rest {
		s.msg = append(s.msg, p...)
	}
	s.finish()
	return s
}

func (s *macState) finish() {
	s.h.Reset()
	s.h.Write(s.msg) // hash.Hash never fails
	s.sum = s.h.Sum(s.sum[:0])
}

// Sealer encrypts and authenticates under every root for one purpose. It is
// safe for concurrent use.
type Sealer struct {
	keys []sealKey // newest first
}

type sealKey struct {
	id  string
	key []byte
}

// Sealer returns the Sealer of a purpose.
func (r *Ring) Sealer(purpose string) *Sealer {
	s := &Sealer{}
	for _, root := range r.roots {
		s.keys = append(s.keys, sealKey{id: root.id, key: derive(root.secret, purpose, 32)})
	}
	return s
}

const (
	saltSize  = 12
	nonceSize = 12
)

// Seal returns key id, "." and base64url of salt, nonce and AES-256-GCM
// ciphertext; context is authenticated along with it and must be given again
// to Open.
//
// Every message has a key of its own, derived from a random salt: anyone may
// start logins, so random 96-bit nonces under one key would in time come near
// the bound of 2^32 messages (NIST SP 800-38D §8.3).
func (s *Sealer) Seal(plaintext []byte, context string) string {
	head := make([]byte, saltSize+nonceSize, saltSize+nonceSize+len(plaintext)+16)
	rand.Read(head) // never fails (Go 1.24)
	k := s.keys[0]
	out := k.aead(head[:saltSize]).Seal(head, head[saltSize:], plaintext, []byte(context))
	return k.id + "." + base64.RawURLEncoding.EncodeToString(out)
}

// Open returns what Seal was given, or ErrNotOurs.
func (s *Sealer) Open(sealed, context string) ([]byte, error) {
	if len(sealed) < idSize+1 || sealed[idSize] != '.' {
		return nil, ErrNotOurs
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed[idSize+1:])
	// The decoder skips line breaks; one form only, so their absence is checked.
	if err != nil || len(raw) < saltSize+nonceSize+16 || base64.RawURLEncoding.EncodedLen(len(raw)) != len(sealed)-idSize-1 {
		return nil, ErrNotOurs
	}
	for _, k := range s.keys {
		if k.id != sealed[:idSize] {
			continue
		}
		out, err := k.aead(raw[:saltSize]).Open(nil, raw[saltSize:saltSize+nonceSize], raw[saltSize+nonceSize:], []byte(context))
		if err != nil {
			return nil, ErrNotOurs
		}
		return out, nil
	}
	return nil, ErrNotOurs
}

// Current reports whether sealed was made with the newest key, so that what is
// stored for long can be sealed anew after a rotation.
func (s *Sealer) Current(sealed string) bool {
	return len(sealed) > idSize && sealed[:idSize] == s.keys[0].id
}

func (k sealKey) aead(salt []byte) cipher.AEAD {
	block, err := aes.NewCipher(derive(k.key, "message "+string(salt), 32))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has GCM's block size
	}
	return gcm
}
