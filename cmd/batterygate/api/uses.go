package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"battery.app/gate/store"
)

// usesAtOnce keeps a transaction under the store's limit of operations.
const usesAtOnce = store.MaxTxOps / 2

// uses remembers when tokens were last used, so that no request waits for the
// store to write it down. The zero value is ready.
type uses struct {
	mu      sync.Mutex
	at      map[string]time.Time // id → last use
	unsaved map[string]bool
}

func (u *uses) note(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at == nil {
		u.at, u.unsaved = map[string]time.Time{}, map[string]bool{}
	}
	u.at[id], u.unsaved[id] = at, true
}

func (u *uses) last(id string) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok := u.at[id]
	return at, ok
}

// take returns what is not saved yet, and counts it as saved.
func (u *uses) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[string]time.Time, len(u.unsaved))
	for id := range u.unsaved {
		out[id] = u.at[id]
	}
	clear(u.unsaved)
	return out
}

// forget drops tokens that are no more.
func (u *uses) forget(ids []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		delete(u.at, id)
	}
}

// run writes down once a minute what was used, and a last time when ctx ends.
func (u *uses) run(ctx context.Context, st store.Store, write writeUse, log *slog.Logger) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		if err := u.save(ctx, st, write); err != nil {
			log.WarnContext(ctx, "note the use of tokens", "error", err)
		}
	}
}

// writeUse writes a use into a token's record. It reports false for a token that
// was revoked in between: a use must not bring it back.
type writeUse func(tx store.Tx, id string, at time.Time) (bool, error)

func (u *uses) save(ctx context.Context, st store.Store, write writeUse) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	used := u.take()
	for part := range slices.Chunk(slices.Sorted(maps.Keys(used)), usesAtOnce) {
		var gone []string
		_, err := st.Update(ctx, func(tx store.Tx) error {
			gone = nil
			for _, id := range part {
				if ok, err := write(tx, id, used[id]); err != nil {
					return err
				} else if !ok {
					gone = append(gone, id)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("store uses: %w", err)
		}
		u.forget(gone)
	}
	return nil
}

// writeUseOf is writeUse for a record of type R under key; lastUsed finds its
// field.
func writeUseOf[R any](tx store.Tx, key string, at time.Time, lastUsed func(*R) **time.Time) (bool, error) {
	raw, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var rec R
	if err := json.Unmarshal(raw, &rec); err != nil {
		return false, fmt.Errorf("decode %s: %w", key, err)
	}
	last := lastUsed(&rec)
	if *last != nil && !(*last).Before(at) {
		return true, nil // another replica knows better
	}
	*last = &at
	if raw, err = json.Marshal(rec); err != nil {
		return false, fmt.Errorf("encode %s: %w", key, err)
	}
	return true, tx.Put(key, raw)
}

// Run writes down once a minute when tokens were used, and a last time when ctx
// ends.
func (t *Tokens) Run(ctx context.Context) error {
	t.uses.run(ctx, t.Store, writeTokenUse, t.log())
	return nil
}

func (t *Tokens) log() *slog.Logger {
	if t.Log == nil {
		return slog.Default()
	}
	return t.Log
}

func (t *Tokens) saveUses(ctx context.Context) error { return t.uses.save(ctx, t.Store, writeTokenUse) }

func writeTokenUse(tx store.Tx, id string, at time.Time) (bool, error) {
	return writeUseOf(tx, tokenKeys+id, at, func(r *tokenRecord) **time.Time { return &r.LastUsed })
}
