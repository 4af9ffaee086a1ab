package feed

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the header WorkOS signs with:
// "t=<Unix ms>, v1=<hex HMAC-SHA256 of \"<t>.<raw body>\">".
const SignatureHeader = "WorkOS-Signature"

// Tolerance is how far a signature's time may lie from ours, before or after.
// WorkOS's SDK bounds the past alone; a signature dated ahead could then be
// replayed until its time has come.
const Tolerance = 180 * time.Second

// What Verify refuses.
var (
	// ErrNoSignature: there is no signature header.
	ErrNoSignature = errors.New("no signature")
	// ErrSignatureMalformed: the header is not of the form above.
	ErrSignatureMalformed = errors.New("malformed signature")
	// ErrSignatureWrong: no secret of ours made any of its signatures.
	ErrSignatureWrong = errors.New("wrong signature")
	// ErrSignatureExpired: it is genuine, but its time is too far from ours.
	ErrSignatureExpired = errors.New("signature outside the time tolerance")
)

const (
	maxHeader     = 4 << 10
	maxSignatures = 8 // v1 parts; WorkOS sends one
)

// Verify checks a webhook's signature header against the raw body. Every secret
// is tried, so that one can be replaced without losing events. It returns nil
// only for a signature over exactly these bytes by one of the secrets, made at
// most tolerance from now; otherwise one of the errors above. It compares in
// constant time and takes any bytes: the SDK's verifier panics on some headers
// (workos-go v4 webhooks.ValidatePayload), and this one is open to the internet.
func Verify(secrets [][]byte, header string, body []byte, now time.Time, tolerance time.Duration) error {
	if strings.TrimSpace(header) == "" {
		return ErrNoSignature
	}
	stamp, signatures, err := parseSignature(header)
	if err != nil {
		return err
	}
	genuine := 0
	for _, secret := range secrets {
		want := sign(secret, stamp, body)
		for _, got := range signatures {
			genuine |= subtle.ConstantTimeCompare(want, []byte(got))
		}
	}
	if genuine != 1 {
		return ErrSignatureWrong
	}
	ms, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: time", ErrSignatureMalformed)
	}
	if off := now.Sub(time.UnixMilli(ms)); off > tolerance || off < -tolerance {
		return ErrSignatureExpired
	}
	return nil
}

// sign returns the lower-case hex signature of a body, as it stands in v1.
func sign(secret []byte, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(stamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return hex.AppendEncode(nil, mac.Sum(nil))
}

// parseSignature reads exactly one t and at least one v1, in any order, with or
// without spaces around the parts. Parts with other names are left for later
// versions of the scheme.
func parseSignature(header string) (stamp string, signatures []string, err error) {
	if len(header) > maxHeader {
		return "", nil, fmt.Errorf("%w: too long", ErrSignatureMalformed)
	}
	for part := range strings.SplitSeq(header, ",") {
		name, val, ok := strings.Cut(part, "=")
		if !ok {
			return "", nil, fmt.Errorf("%w: a part without a value", ErrSignatureMalformed)
		}
		val = strings.TrimSpace(val)
		switch strings.TrimSpace(name) {
		case "t":
			if stamp != "" || !isTime(val) {
				return "", nil, fmt.Errorf("%w: time", ErrSignatureMalformed)
			}
			stamp = val
		case "v1":
			if !isDigest(val) || len(signatures) == maxSignatures {
				return "", nil, fmt.Errorf("%w: v1", ErrSignatureMalformed)
			}
			signatures = append(signatures, val)
		}
	}
	if stamp == "" || len(signatures) == 0 {
		return "", nil, fmt.Errorf("%w: t or v1 is missing", ErrSignatureMalformed)
	}
	return stamp, signatures, nil
}

// isTime: 1 to 15 decimal digits, so milliseconds that no arithmetic overflows.
func isTime(s string) bool {
	if s == "" || len(s) > 15 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// isDigest: a SHA-256 in lower-case hex, the one form that WorkOS sends.
func isDigest(s string) bool {
	return len(s) == hex.EncodedLen(sha256.Size) && strings.Trim(s, "0123456789abcdef") == ""
}
