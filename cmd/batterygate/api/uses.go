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

// Run writes down once a minute when tokens were used, and a last time when ctx
// ends.
func (t *Tokens) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		if err := t.saveUses(ctx); err != nil {
			t.log().WarnContext(ctx, "note the use of tokens", "error", err)
		}
	}
	return nil
}

func (t *Tokens) log() *slog.Logger {
	if t.Log == nil {
		return slog.Default()
	}
	return t.Log
}

func (t *Tokens) saveUses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	used := t.uses.take()
	for part := range slices.Chunk(slices.Sorted(maps.Keys(used)), usesAtOnce) {
		var gone []string
		_, err := t.Store.Update(ctx, func(tx store.Tx) error {
			gone = nil
			for _, id := range part {
				if ok, err := writeUse(tx, id, used[id]); err != nil {
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
		t.uses.forget(gone)
	}
	return nil
}

// writeUse reports false for a token that was revoked in between: a use must
// not bring it back.
func writeUse(tx store.Tx, id string, at time.Time) (bool, error) {
	raw, err := tx.Get(tokenKeys + id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var rec tokenRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return false, fmt.Errorf("decode token %s: %w", id, err)
	}
	if rec.LastUsed != nil && !rec.LastUsed.Before(at) {
		return true, nil // another replica knows better
	}
	rec.LastUsed = &at
	if raw, err = json.Marshal(rec); err != nil {
		return false, fmt.Errorf("encode token %s: %w", id, err)
	}
	return true, tx.Put(tokenKeys+id, raw)
}
