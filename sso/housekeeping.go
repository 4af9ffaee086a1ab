package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"battery.app/gate/store"
)

// Run writes down when sessions were last used and removes what is over, until
// ctx ends. It then writes once more, so that a restart forgets no use.
func (s *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(min(s.grain(), 10*time.Minute))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tidy(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if err := s.saveSeen(last, time.Second); err != nil && !errors.Is(err, store.ErrClosed) {
				s.log.Warn("last use of sessions was not saved", "error", err)
			}
			return ctx.Err()
		}
	}
}

// Tidy does at once what Run does from time to time.
func (s *Sessions) Tidy(ctx context.Context) error {
	return errors.Join(s.saveSeen(ctx, s.grain()), s.removeExpired(ctx), s.removeMarks(ctx))
}

func (s *Sessions) tidy(ctx context.Context) {
	if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "session housekeeping failed; it will be tried again", "error", err)
	}
}

// grain is how coarsely the last use is kept: a tenth of the idle limit, but no
// write more often than once a minute.
func (s *Sessions) grain() time.Duration { return max(s.idle/10, time.Minute) }

// saveSeen persists the last use of sessions where it moved by more than grain.
// A record that was deleted meanwhile stays deleted.
func (s *Sessions) saveSeen(ctx context.Context, grain time.Duration) error {
	type use struct {
		id   string
		seen int64
	}
	var moved []use
	s.each(func(k recordKey, e *entry) {
		if seen := e.seen.Load(); seen-e.saved.Load() > int64(grain) {
			moved = append(moved, use{k.id(), seen})
		}
	})
	for part := range slices.Chunk(moved, chunk) {
		_, err := s.store.Update(ctx, func(tx store.Tx) error {
			for _, u := range part {
				if err := touch(tx, sessionKey(u.id), time.Unix(0, u.seen).UTC()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("save last use of sessions: %w", err)
		}
	}
	return nil
}

func touch(tx store.Tx, key string, seen time.Time) error {
	value, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	r, err := readRecord(value)
	if err != nil || !r.LastSeen.Before(seen) {
		return nil // another program's record, or another replica saw a later use
	}
	r.LastSeen = seen
	if value, err = json.Marshal(r); err != nil {
		return err
	}
	return tx.Put(key, value)
}

// removeExpired deletes the records that are past their absolute limit, and those
// of sessions that ended with their user, connection or organization. One
// that is only idle stays till then, so that its cookie is told it expired and
// not that someone ended it.
func (s *Sessions) removeExpired(ctx context.Context) error {
	now := s.now()
	var ids []string
	s.each(func(k recordKey, e *entry) {
		if !now.Before(e.session.ExpiresAt) || s.ended(e.session) {
			ids = append(ids, k.id())
		}
	})
	if _, _, err := s.deleteAll(ctx, ids, sessionKey); err != nil {
		return fmt.Errorf("remove expired sessions: %w", err)
	}
	return nil
}

// removeMarks deletes the marks of tickets and logout tokens that could not be
// used again anyway.
func (s *Sessions) removeMarks(ctx context.Context) error {
	var entries []store.Entry
	for _, prefix := range []string{ticketPrefix, logoutPrefix} {
		found, _, err := s.store.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list marks: %w", err)
		}
		entries = append(entries, found...)
	}
	now := s.now()
	var old []string
	for _, e := range entries {
		var m mark
		if json.Unmarshal(e.Value, &m) == nil && now.After(m.Expires.Add(time.Minute)) {
			old = append(old, e.Key)
		}
	}
	if _, _, err := s.deleteAll(ctx, old, func(k string) string { return k }); err != nil {
		return fmt.Errorf("remove marks: %w", err)
	}
	return nil
}
