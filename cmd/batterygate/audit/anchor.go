package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"battery.app/gate/store"
)

const anchorKey = Prefix + "anchor"

// Anchor stands where the entries that were pruned stood: the chain goes on
// from its hash. The entry that recorded the pruning holds the same words, so an
// anchor and a chain of different times do not fit together, though each be true.
type Anchor struct {
	V      int       `json:"v"`
	Seq    uint64    `json:"seq"`    // of the last entry that was pruned: it and all before it are gone
	Hash   string    `json:"hash"`   // of that entry
	Time   time.Time `json:"time"`   // of that entry
	Count  uint64    `json:"count"`  // how many went with the last pruning
	At     time.Time `json:"at"`     // when that was
	Before time.Time `json:"before"` // it was for entries older than this
	Kept   string    `json:"kept"`   // the retention then, as a duration
	Entry  uint64    `json:"entry"`  // number of the entry that records it
	MAC    string    `json:"mac,omitempty"`
}

// words is the anchor without its MAC, as the entry that records the pruning
// holds it.
func (a Anchor) words() ([]byte, error) {
	a.MAC = ""
	return canonical(a)
}

// anchorMAC is what an anchor's MAC is over; told apart from those of entries
// and head, or an old one of these would make an anchor.
func anchorMAC(words []byte) []byte { return append([]byte("battery audit anchor\n"), words...) }

// sealAnchor is the anchor as it is stored.
func (l *Log) sealAnchor(a Anchor) ([]byte, error) {
	words, err := a.words()
	if err != nil {
		return nil, err
	}
	if l.mac != nil {
		a.MAC = base64.RawURLEncoding.EncodeToString(l.mac(anchorMAC(words)))
	}
	return canonical(a)
}

// readAnchor returns the anchor, which is zero where nothing was pruned. One
// that can be read but not believed is returned with the error.
func (l *Log) readAnchor(get func(string) ([]byte, error)) (Anchor, error) {
	raw, err := get(anchorKey)
	if errors.Is(err, store.ErrNotFound) {
		return Anchor{}, nil
	}
	if err != nil {
		return Anchor{}, err
	}
	var a Anchor
	if err := json.Unmarshal(raw, &a); err != nil || a.V != version || a.Seq == 0 || a.Seq > 1<<62 || a.Entry <= a.Seq || len(a.Hash) != 2*sha256.Size {
		return Anchor{}, fmt.Errorf("%w: its anchor is unreadable", ErrBroken)
	}
	words, err := a.words()
	if err != nil {
		return Anchor{}, err
	}
	if whole, err := canonical(a); err != nil || !bytes.Equal(whole, raw) {
		return a, fmt.Errorf("%w: its anchor's bytes are not those that were written", ErrBroken)
	}
	if !l.authentic(anchorMAC(words), a.MAC) {
		return a, fmt.Errorf("%w: its anchor's MAC is not ours", ErrBroken)
	}
	return a, nil
}

// get reads one value of the store.
func (l *Log) get(ctx context.Context) func(string) ([]byte, error) {
	return func(k string) ([]byte, error) {
		e, err := l.store.Get(ctx, k)
		return e.Value, err
	}
}
