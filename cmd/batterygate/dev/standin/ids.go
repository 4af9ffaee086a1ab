package standin

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"
)

// crockford is the alphabet of ULIDs: no I, L, O, U.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulid writes a ULID: 48 bits of milliseconds, then 80 bits of entropy, as 26
// characters that sort as the time does (github.com/ulid/spec).
func ulid(ms int64, entropy [10]byte) string {
	var out [26]byte
	for i := 9; i >= 0; i-- {
		out[i] = crockford[ms&31]
		ms >>= 5
	}
	var acc, bits uint
	n := 10
	for _, b := range entropy {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			out[n] = crockford[acc>>bits&31]
			n++
		}
	}
	return string(out[:])
}

// newID makes an identifier in WorkOS's form: a prefix such as "org_" and a
// ULID of that millisecond.
func newID(prefix string, ms int64) string {
	var entropy [10]byte
	_, _ = rand.Read(entropy[:]) // never fails since Go 1.24
	return prefix + ulid(ms, entropy)
}

// fixedID makes a readable identifier of the fixed world: the ULID time of
// 2020-01-01T00:00:00.000Z, then the words, padded with zeros.
func fixedID(prefix string, words ...string) string {
	const start, random = "01DXF6DT00", 16
	// What Crockford's alphabet lacks is written as the digit it is read as.
	word := strings.NewReplacer("I", "1", "L", "1", "O", "0", "U", "V").Replace(strings.ToUpper(strings.Join(words, "")))
	if len(word) > random {
		word = word[:random]
	}
	return prefix + start + word + strings.Repeat("0", random-len(word))
}

// token is an unguessable string of 160 bits, for codes and the like.
func token() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// timeline hands out milliseconds that only grow. Every event has its own, so
// that a burst of opposite events has one order by time as by id, also for a
// receiver that orders by created_at.
type timeline struct{ last int64 }

func (t *timeline) next(now time.Time) int64 {
	t.last = max(now.UnixMilli(), t.last+1)
	return t.last
}
