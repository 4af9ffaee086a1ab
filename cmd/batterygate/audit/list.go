package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"battery.app/gate/store"
)

const (
	// block is how many entries one List of the store brings: those whose
	// numbers differ in their last two digits alone.
	block = 100
	// lookAt is how many blocks one List of ours reads at most: a filter that
	// matches nothing must not read years in one request.
	lookAt = 100

	defaultLimit = 50
	maxLimit     = 500

	// skew is by how much the clocks of replicas may differ: entries are in the
	// order of their numbers, not quite in that of their times.
	skew = 10 * time.Minute
)

// Query chooses entries. Empty fields choose all.
type Query struct {
	From, To     time.Time // from inclusive, to exclusive
	Actor        string    // kind:id, or the id alone
	Action       string    // "apps.create", or "apps.*"
	Resource     string    // type:id, or the id alone
	Organization string    // of the resource
	Cursor       string    // what the page before gave
	Limit        int       // 0: 50; at most 500
}

func (q *Query) matches(e *Entry) bool {
	family, wild := strings.CutSuffix(q.Action, "*")
	return (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) &&
		(q.Actor == "" || q.Actor == e.Actor.ID || q.Actor == e.Actor.Kind+":"+e.Actor.ID) &&
		(q.Action == "" || q.Action == e.Action || wild && strings.HasPrefix(e.Action, family)) &&
		(q.Resource == "" || q.Resource == e.Resource.ID || q.Resource == e.Resource.Type+":"+e.Resource.ID) &&
		(q.Organization == "" || q.Organization == e.Resource.OrganizationID)
}

// List returns the entries that match, newest first, and the cursor of the next
// page, empty at the end. A page may hold fewer than Limit, even none, and yet
// have a next. It shows what the store holds; whether that is true is Verify's
// to say. An entry that cannot be read is left out: Verify names it. Errors:
// ErrBadCursor, ErrBroken for an unreadable head, or the store's.
func (l *Log) List(ctx context.Context, q Query) (entries []Entry, next string, err error) {
	limit := min(q.Limit, maxLimit)
	if limit <= 0 {
		limit = defaultLimit
	}
	h, err := l.head(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list audit: %w", err)
	}
	// Below an anchor there is nothing. One that is not ours would hide entries.
	pruned, err := l.readAnchor(l.get(ctx))
	if errors.Is(err, ErrBroken) {
		pruned = Anchor{}
	} else if err != nil {
		return nil, "", fmt.Errorf("list audit: %w", err)
	}
	at := h.Seq
	if q.Cursor != "" {
		before, err := strconv.ParseUint(q.Cursor, 10, 64)
		if err != nil || before == 0 {
			return nil, "", ErrBadCursor
		}
		at = min(at, before-1)
	}
	for range lookAt {
		if at <= pruned.Seq {
			return entries, "", nil
		}
		found, err := l.block(ctx, at)
		if err != nil {
			return nil, "", fmt.Errorf("list audit: %w", err)
		}
		for i := len(found) - 1; i >= 0; i-- {
			e, seq, ok := decoded(found[i])
			if !ok || seq > at {
				continue
			}
			if !q.From.IsZero() && e.Time.Before(q.From.Add(-skew)) {
				return entries, "", nil
			}
			if !q.matches(&e) {
				continue
			}
			if len(entries) == limit {
				return entries, strconv.FormatUint(seq+1, 10), nil
			}
			entries = append(entries, e)
		}
		at -= at%block + 1 // the last of the block before
		if at+1 == 0 {     // it was the first block, which begins with 0
			return entries, "", nil
		}
	}
	return entries, strconv.FormatUint(at+1, 10), nil
}

// head returns the head; zero before the first entry.
func (l *Log) head(ctx context.Context) (head, error) { return readHead(l.get(ctx)) }

// block returns the stored entries of the block of seq, by number.
func (l *Log) block(ctx context.Context, seq uint64) ([]store.Entry, error) {
	k := key(seq)
	entries, _, err := l.store.List(ctx, k[:len(k)-2])
	return entries, err
}

// decoded reads a stored entry, and the number in its key.
func decoded(s store.Entry) (e Entry, seq uint64, ok bool) {
	number := strings.TrimPrefix(s.Key, Prefix)
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || len(number) != digits {
		return Entry{}, 0, false
	}
	return e, seq, json.Unmarshal(s.Value, &e) == nil
}
