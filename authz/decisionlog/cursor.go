package decisionlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// place is where a row stands: rows are ordered by time, then by n.
type place struct{ micros, n int64 }

// A cursor is opaque to callers: a version, the place of the last row, and a
// checksum of both. The checksum is no secret; it turns a cut or edited cursor
// into an error instead of a page from somewhere else.
const (
	cursorVersion = 1
	cursorSum     = 8
)

func (p place) cursor() string {
	b := []byte{cursorVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(p.micros))
	b = binary.BigEndian.AppendUint64(b, uint64(p.n))
	return seal(b)
}

// parseCursor returns nil for the empty cursor and ErrBadCursor for any string
// that cursor did not make.
func parseCursor(s string) (*place, error) {
	if s == "" {
		return nil, nil
	}
	b, ok := unseal(s)
	if !ok || len(b) != 17 || b[0] != cursorVersion {
		return nil, ErrBadCursor
	}
	return &place{micros: int64(binary.BigEndian.Uint64(b[1:])), n: int64(binary.BigEndian.Uint64(b[9:]))}, nil
}

func seal(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:cursorSum]...))
}

func unseal(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < cursorSum {
		return nil, false
	}
	body := b[:len(b)-cursorSum]
	return body, seal(append([]byte(nil), body...)) == s
}
