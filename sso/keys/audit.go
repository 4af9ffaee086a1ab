package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

// auditGroup is the keyring of the audit. It has one generation, which is never
// rotated away: what it vouches for must be verified as long as it is kept.
const auditGroup = "audit"

const auditPurpose = "audit chain"

// AuditMAC returns HMAC-SHA256 under the audit's key, which lies wrapped in the
// store; it is made there if it is missing. The key stays the same for the life
// of the store, whatever root wraps it, so old entries verify for ever. The
// function is safe for concurrent use. A key that no root unwraps is an error.
func (r *Ring) AuditMAC(ctx context.Context, st store.Store) (func(data []byte) []byte, error) {
	s := shelf{store: st, sealer: r.Sealer(Wrapper), key: Prefix + auditGroup}
	kept, err := s.change(ctx, func(_ store.Tx, k record, found bool) (record, error) {
		if !found {
			now := time.Now().UTC().Truncate(time.Second)
			k.Generations = []generation{newGeneration(now, now, time.Second)}
		}
		return k, nil
	})
	if err != nil {
		return nil, fmt.Errorf("open the audit's key: %w", err)
	}
	key := derive(kept.Generations[0].secret, auditPurpose, 32)
	return func(data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data) // hash.Hash never fails
		return h.Sum(nil)
	}, nil
}

// Used reports whether a store holds keys of another purpose than the audit's:
// a server makes them at its first start, once it has opened the audit.
func Used(ctx context.Context, st store.Store) (bool, error) {
	entries, _, err := st.List(ctx, Prefix)
	if err != nil {
		return false, fmt.Errorf("list keys: %w", err)
	}
	return slices.ContainsFunc(entries, func(e store.Entry) bool { return e.Key != Prefix+auditGroup }), nil
}
