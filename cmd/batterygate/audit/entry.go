package audit

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"battery.app/gate/authz/engine"
	"battery.app/gate/store"
)

// Prefix is how the audit's keys in the store begin.
const Prefix = "admin/audit/"

const (
	version = 1
	headKey = Prefix + "head"
	digits  = 20 // of the greatest uint64

	maxPart = 64 << 10 // bytes of JSON that request, before and after may each have
	maxText = 2 << 10  // bytes of any text
	maxList = 64       // roles or scopes of an actor
)

// The kinds of an entry.
const (
	Intent = "intent"  // an act is about to be done
	Ended  = "outcome" // what came of an intent
	Whole  = "act"     // an act and its outcome in one
)

// Entry is one link of the chain.
type Entry struct {
	V        int             `json:"v"`
	Seq      uint64          `json:"seq"` // from 1, without gaps
	Kind     string          `json:"kind"`
	Intent   uint64          `json:"intent,omitempty"` // of an outcome: the number of its intent
	Time     time.Time       `json:"time"`             // by the clock of the process that wrote it
	Actor    engine.Actor    `json:"actor"`
	Action   string          `json:"action"`
	Resource engine.Resource `json:"resource"`
	RemoteIP string          `json:"remote_ip,omitempty"`
	Request  json.RawMessage `json:"request,omitempty"`
	Result   string          `json:"result,omitempty"`
	Status   int             `json:"status,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
	Unproven bool            `json:"unproven,omitempty"` // the head it was linked to had no valid MAC
	Prune    bool            `json:"prune,omitempty"`    // After is the anchor that a pruning left
	Lost     bool            `json:"lost,omitempty"`     // of the first: the store was in use, so there had been others
	Prev     string          `json:"prev"`               // hash of the entry before; empty in the first
	Hash     string          `json:"hash,omitempty"`     // hex SHA-256
	MAC      string          `json:"mac,omitempty"`      // base64url
}

// head names the last entry, and the one that records the last pruning: an
// older anchor, with the entries that it left, does not fit the head.
type head struct {
	V      int    `json:"v"`
	Seq    uint64 `json:"seq"`
	Hash   string `json:"hash"`
	Pruned uint64 `json:"pruned,omitempty"` // 0: nothing was pruned
	MAC    string `json:"mac,omitempty"`
}

func key(seq uint64) string { return fmt.Sprintf("%s%0*d", Prefix, digits, seq) }

func (l *Log) entry(kind string, a Act) Entry {
	actor := engine.Actor{Kind: text(a.Actor.Kind), ID: text(a.Actor.ID), OrganizationID: text(a.Actor.OrganizationID),
		Roles: texts(a.Actor.Roles), Scopes: texts(a.Actor.Scopes)}
	return Entry{
		V: version, Kind: kind, Actor: actor, Action: text(a.Action), RemoteIP: text(a.RemoteIP), Request: part(a.Request),
		Resource: engine.Resource{Type: text(a.Resource.Type), ID: text(a.Resource.ID), OrganizationID: text(a.Resource.OrganizationID)},
	}
}

func (e *Entry) outcome(o Outcome) {
	e.Result, e.Status, e.Detail, e.Before, e.After = text(o.Result), o.Status, text(o.Detail), part(o.Before), part(o.After)
}

// part is a value as it is kept: its canonical JSON, or what is left of it when
// that is too large for the store. nil is left out.
func part(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	raw, err := canonical(v)
	if err != nil {
		// What cannot be written down must not stop the entry itself.
		raw, _ = canonical(map[string]string{"unreadable": text(err.Error())})
		return raw
	}
	if len(raw) <= maxPart {
		return raw
	}
	sum := sha256.Sum256(raw)
	raw, _ = canonical(map[string]any{"sha256": hex.EncodeToString(sum[:]), "length": len(raw)}) // two members that always encode
	return raw
}

func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func texts(in []string) []string {
	out := []string{}
	for _, s := range in[:min(len(in), maxList)] {
		out = append(out, text(s))
	}
	return out
}

// canonical is JSON with sorted members, without white space and without the
// escapes that only HTML needs. Numbers stay as they are written.
func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var loose any
	if err := dec.Decode(&loose); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(loose); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// seal computes hash and MAC of an entry and returns what is stored.
func (l *Log) seal(e *Entry) ([]byte, error) {
	e.Hash, e.MAC = "", ""
	sum, err := e.digest()
	if err != nil {
		return nil, err
	}
	e.Hash = sum
	if l.mac != nil {
		e.MAC = base64.RawURLEncoding.EncodeToString(l.mac(entryMAC(e.Hash)))
	}
	return canonical(e)
}

// digest is the hash of the entry without its hash and MAC.
func (e *Entry) digest() (string, error) {
	rest := *e
	rest.Hash, rest.MAC = "", ""
	raw, err := canonical(rest)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// What a MAC is over. Entry and head are told apart, or the MAC of an old entry
// would make it a head: the way to cut off what came after.
func entryMAC(hash string) []byte { return []byte("battery audit entry\n" + hash) }

func headMAC(h head) []byte {
	words := fmt.Appendf(nil, "battery audit head\n%d\n%s", h.Seq, h.Hash)
	if h.Pruned > 0 {
		words = fmt.Appendf(words, "\n%d", h.Pruned)
	}
	return words
}

// authentic reports whether mac, as stored, is ours over data. Without a key
// everything is.
func (l *Log) authentic(data []byte, mac string) bool {
	if l.check == nil {
		return true
	}
	raw, err := base64.RawURLEncoding.DecodeString(mac)
	return err == nil && len(raw) > 0 && l.check(data, raw)
}

func (l *Log) proven(h head) bool { return h.Seq == 0 || l.authentic(headMAC(h), h.MAC) }

// readHead returns the head, which is zero before the first entry.
func readHead(get func(string) ([]byte, error)) (head, error) {
	raw, err := get(headKey)
	if errors.Is(err, store.ErrNotFound) {
		return head{}, nil
	}
	if err != nil {
		return head{}, err
	}
	var h head
	if err := json.Unmarshal(raw, &h); err != nil || h.V != version || h.Seq == 0 || h.Seq > 1<<62 || len(h.Hash) != 2*sha256.Size {
		return head{}, fmt.Errorf("%w: its head is unreadable", ErrBroken)
	}
	if whole, err := canonical(h); err != nil || !bytes.Equal(whole, raw) {
		return head{}, fmt.Errorf("%w: its head's bytes are not those that were written", ErrBroken)
	}
	return h, nil
}

func (l *Log) writeHead(tx store.Tx, h head) error {
	if l.mac != nil {
		h.MAC = base64.RawURLEncoding.EncodeToString(l.mac(headMAC(h)))
	}
	raw, err := canonical(h)
	if err != nil {
		return err
	}
	return tx.Put(headKey, raw)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
