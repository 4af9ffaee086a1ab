package keys

import (
	"math"
	"time"
)

// material is a secret that the keys of purposes are derived from, and when it
// counts: a root key, or a generation of a keyring in the store.
type material struct {
	id     string
	secret []byte
	span
}

// span is when a key counts, in Unix nanoseconds.
type span struct {
	from  int64 // when it begins to make; never: it verifies alone
	until int64 // when it stops verifying; 0: it never does
}

// never is the beginning of a key that makes nothing any more.
const never = math.MaxInt64

func (s span) over(now time.Time) bool { return s.until != 0 && now.UnixNano() >= s.until }

// making chooses the key that makes: the first, of those that stand newest
// first, whose time has come. On a replica whose clock is behind, the oldest
// makes rather than none. ok is false if there is no key that ever makes.
func making[K interface{ when() span }](keys []K, now time.Time) (k K, ok bool) {
	at := now.UnixNano()
	for _, x := range keys {
		from := x.when().from
		if from == never {
			continue
		}
		k, ok = x, true
		if from <= at {
			break
		}
	}
	return k, ok
}

// materials is the root keys as they are: the newest makes, all verify.
func (r *Ring) materials() []material {
	out := make([]material, 0, len(r.roots))
	for _, x := range r.roots {
		out = append(out, material{id: x.id, secret: x.secret})
	}
	return out
}
