package sso

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"battery.app/gate/sso/keys"
)

// secret is what a browser holds of a session: 256 random bits. The store
// knows only its hash.
type secret [32]byte

func newSecret() secret {
	var s secret
	rand.Read(s[:]) // never fails (Go 1.24)
	return s
}

// recordKey finds the record of a secret: the first half of its SHA-256. It is
// public; the secret does not follow from it.
type recordKey [16]byte

func (s *secret) key() recordKey {
	sum := sha256.Sum256(s[:])
	return recordKey(sum[:16])
}

const idPrefix = "session_"

// id is the session's public name.
func (k recordKey) id() string { return idPrefix + hex.EncodeToString(k[:]) }

// parseID reads a public name back.
func parseID(id string) (recordKey, bool) {
	var k recordKey
	if len(id) != len(idPrefix)+2*len(k) || id[:len(idPrefix)] != idPrefix {
		return k, false
	}
	for _, c := range id[len(idPrefix):] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return k, false
		}
	}
	_, err := hex.Decode(k[:], []byte(id[len(idPrefix):]))
	return k, err == nil
}

// The app cookie's value:
//
//	1.<key id>.<payload: secret, expiry in Unix seconds>.<HMAC-SHA256>
//
// with payload and MAC in base64url. App and host are not in it: they are part
// of what the MAC covers, so a token verifies only where it was made for, and
// says nothing about where that is.
const (
	tokenVersion = "1."
	payloadSize  = 32 + 8
	payloadText  = (payloadSize*8 + 5) / 6
	macText      = (keys.MACSize*8 + 5) / 6
	payloadAt    = len(tokenVersion) + keys.IDSize + 1
	macAt        = payloadAt + payloadText + 1
	tokenSize    = macAt + macText
)

var encoding = base64.RawURLEncoding.Strict()

// separator stands between app id and host in what the MAC covers. Neither may
// hold it, so no two pairs read the same.
const separator = "\x00"

func bindable(appID, host string) bool {
	return appID != "" && host != "" && strings.IndexByte(appID, 0) < 0 && strings.IndexByte(host, 0) < 0
}

// mint makes the token of a session for one app and host. It is empty, which
// no verifier takes, if they cannot be bound or there is no key.
func mint(m *keys.MACs, now time.Time, s secret, expires time.Time, appID, host string) string {
	k := m.Key(now)
	if k == nil || !bindable(appID, host) {
		return ""
	}
	var payload [payloadSize]byte
	copy(payload[:32], s[:])
	binary.BigEndian.PutUint64(payload[32:], uint64(expires.Unix()))
	body := tokenVersion + k.ID() + "." + encoding.EncodeToString(payload[:])
	mac := k.Sum(body, appID, separator, host)
	return body + "." + encoding.EncodeToString(mac[:])
}

// parsed is what a verified token says.
type parsed struct {
	key     recordKey
	expires int64 // Unix seconds
}

// verify reads a token that was minted here for this app and host. It
// does not allocate: it runs at every request. What it refuses, it refuses
// without saying why.
func verify(m *keys.MACs, now time.Time, token, appID, host string) (parsed, bool) {
	if len(token) != tokenSize || token[:len(tokenVersion)] != tokenVersion ||
		token[payloadAt-1] != '.' || token[macAt-1] != '.' || !bindable(appID, host) {
		return parsed{}, false
	}
	var text [payloadText + macText]byte
	copy(text[:], token[payloadAt:macAt-1])
	copy(text[payloadText:], token[macAt:])
	// One byte more than needed: the decoder skips line breaks, so a token with
	// some would decode to less, which the lengths below refuse.
	var payload [payloadSize + 2]byte
	var mac [keys.MACSize + 2]byte
	n, err := encoding.Decode(payload[:], text[:payloadText])
	if err != nil || n != payloadSize {
		return parsed{}, false
	}
	n, err = encoding.Decode(mac[:], text[payloadText:])
	if err != nil || n != keys.MACSize {
		return parsed{}, false
	}
	if !m.Verify(now, token[len(tokenVersion):payloadAt-1], (*[keys.MACSize]byte)(mac[:]), token[:macAt-1], appID, separator, host) {
		return parsed{}, false
	}
	s := secret(payload[:32])
	return parsed{key: s.key(), expires: int64(binary.BigEndian.Uint64(payload[32:payloadSize]))}, true
}

var errBadSecret = errors.New("not a session secret")

func (s secret) text() string { return encoding.EncodeToString(s[:]) }

func parseSecret(text string) (secret, error) {
	var s secret
	raw, err := encoding.DecodeString(text)
	if err != nil || len(raw) != len(s) || encoding.EncodedLen(len(raw)) != len(text) {
		return s, errBadSecret
	}
	return secret(raw), nil
}
