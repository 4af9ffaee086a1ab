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
	"sync/atomic"
	"time"
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

// MACs makes and checks HMAC-SHA256 for one purpose, under the keys that stand
// for it at the moment. It is safe for concurrent use; Verify neither allocates
// nor locks.
type MACs struct {
	purpose string
	keys    atomic.Pointer[[]*MACKey] // newest first; nil: none yet
}

// MACKey is one key of MACs.
type MACKey struct {
	id string
	span
	pool *sync.Pool // of *macState, so that the key schedule is made once
}

func (k *MACKey) when() span { return k.span }

type macState struct {
	h   hash.Hash
	msg []byte
	sum []byte
}

// MACs returns the MACs of a purpose, under the root keys themselves.
func (r *Ring) MACs(purpose string) *MACs {
	m := &MACs{purpose: purpose}
	m.load(r.materials())
	return m
}

// load changes the keys. Those that stay keep what they have at hand.
func (m *MACs) load(all []material) {
	pools := map[string]*sync.Pool{}
	if old := m.keys.Load(); old != nil {
		for _, k := range *old {
			pools[k.id] = k.pool
		}
	}
	list := make([]*MACKey, 0, len(all))
	for _, x := range all {
		pool := pools[x.id]
		if pool == nil {
			key := derive(x.secret, m.purpose, 32)
			pool = &sync.Pool{New: func() any {
				return &macState{h: hmac.New(sha256.New, key), msg: make([]byte, 0, 512), sum: make([]byte, 0, MACSize)}
			}}
		}
		list = append(list, &MACKey{id: x.id, span: x.span, pool: pool})
	}
	m.keys.Store(&list)
}

// Key is the key that makes at that time, or nil while there is none.
func (m *MACs) Key(now time.Time) *MACKey {
	list := m.keys.Load()
	if list == nil {
		return nil
	}
	k, _ := making(*list, now)
	return k
}

// ID is the key's id: IDSize bytes of text.
func (k *MACKey) ID() string { return k.id }

// Sum returns the MAC of the concatenated parts. It is the caller's part to
// make the concatenation unambiguous.
func (k *MACKey) Sum(parts ...string) [MACSize]byte {
	var out [MACSize]byte
	s := k.pool.Get().(*macState)
	s.msg = s.msg[:0]
	for _, p := range parts {
		s.msg = append(s.msg, p...)
	}
	s.finish()
	copy(out[:], s.sum)
	k.pool.Put(s)
	return out
}

// Verify reports in constant time whether mac is the MAC of a+b+c+d under the
// key of that id, which must still count at that time. Four parts are what a
// session token needs; a list would be an allocation on the path of every
// request.
func (m *MACs) Verify(now time.Time, id string, mac *[MACSize]byte, a, b, c, d string) bool {
	list := m.keys.Load()
	if list == nil {
		return false
	}
	for _, k := range *list {
		if k.id != id {
			continue
		}
		if k.over(now) {
			return false
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

func (s *macState) finish() {
	s.h.Reset()
	s.h.Write(s.msg) // hash.Hash never fails
	s.sum = s.h.Sum(s.sum[:0])
}

// Sealer encrypts and authenticates for one purpose, under the keys that stand
// for it at the moment. It is safe for concurrent use.
type Sealer struct {
	purpose string
	now     func() time.Time
	keys    atomic.Pointer[[]sealKey] // newest first; nil: none yet
}

type sealKey struct {
	id string
	span
	key []byte
}

func (k sealKey) when() span { return k.span }

// Sealer returns the Sealer of a purpose, under the root keys themselves.
func (r *Ring) Sealer(purpose string) *Sealer {
	s := &Sealer{purpose: purpose, now: time.Now}
	s.load(r.materials())
	return s
}

func (s *Sealer) load(all []material) {
	list := make([]sealKey, 0, len(all))
	for _, x := range all {
		list = append(list, sealKey{id: x.id, span: x.span, key: derive(x.secret, s.purpose, 32)})
	}
	s.keys.Store(&list)
}

func (s *Sealer) all() []sealKey {
	if list := s.keys.Load(); list != nil {
		return *list
	}
	return nil
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
//
// While there is no key the result is empty, which Open does not take.
func (s *Sealer) Seal(plaintext []byte, context string) string {
	k, ok := making(s.all(), s.now())
	if !ok {
		return ""
	}
	head := make([]byte, saltSize+nonceSize, saltSize+nonceSize+len(plaintext)+16)
	rand.Read(head) // never fails (Go 1.24)
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
	for _, k := range s.all() {
		if k.id != sealed[:idSize] || k.over(s.now()) {
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

// Current reports whether sealed was made with the key that makes now, so that
// what is stored for long can be sealed anew after a rotation.
func (s *Sealer) Current(sealed string) bool {
	k, ok := making(s.all(), s.now())
	return ok && sealedBy(sealed) == k.id
}

// sealedBy is the id of the key that something sealed names.
func sealedBy(sealed string) string {
	if len(sealed) <= idSize {
		return ""
	}
	return sealed[:idSize]
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
