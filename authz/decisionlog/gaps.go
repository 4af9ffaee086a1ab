package decisionlog

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Gap is a stretch of decisions of one replica that the log does not hold.
type Gap struct {
	Replica string `json:"replica"`
	FromSeq uint64 `json:"from_seq"`
	// ToSeq and Count are nil (null) where nobody knows: after a crash an
	// unknown number of decisions, possibly none, is missing from FromSeq on.
	ToSeq  *uint64   `json:"to_seq"`
	Count  *uint64   `json:"count"`
	Reason string    `json:"reason"` // ReasonQueueFull, ReasonWriteFailed or ReasonCrash
	Time   Timestamp `json:"time"`   // of the first drop; of the next start after a crash
}

// GapPage is a part of the gaps, newest first.
type GapPage struct {
	Gaps       []Gap
	NextCursor string // empty on the last page
}

const gapCursorVersion = 2

// Gaps returns a page of gaps; limit is as in Filter. Errors: ErrBadCursor,
// ErrBadFilter.
func (l *Log) Gaps(ctx context.Context, cursor string, limit int) (GapPage, error) {
	if limit < 0 {
		return GapPage{}, fmt.Errorf("%w: limit is negative", ErrBadFilter)
	}
	limit = limited(limit)
	q := &query{}
	q.text.WriteString(`SELECT replica, from_seq, to_seq, count, reason, time FROM gaps WHERE 1 = 1`)
	if cursor != "" {
		replica, p, err := parseGapCursor(cursor)
		if err != nil {
			return GapPage{}, err
		}
		q.and(`(time, replica, from_seq) < (?, ?, ?)`, p.micros, replica, p.n)
	}
	q.text.WriteString(` ORDER BY time DESC, replica DESC, from_seq DESC LIMIT ?`)
	gaps, err := l.gaps(ctx, q, limit+1)
	if err != nil {
		return GapPage{}, fmt.Errorf("query gaps: %w", err)
	}
	page := GapPage{Gaps: gaps}
	if len(gaps) > limit {
		page.Gaps = gaps[:limit]
		page.NextCursor = gapCursor(&gaps[limit-1])
	}
	return page, nil
}

func (l *Log) gaps(ctx context.Context, q *query, limit int) ([]Gap, error) {
	rows, err := l.read.QueryContext(ctx, q.text.String(), append(q.args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	gaps := []Gap{}
	for rows.Next() {
		var g Gap
		var micros int64
		if err := rows.Scan(&g.Replica, &g.FromSeq, &g.ToSeq, &g.Count, &g.Reason, &micros); err != nil {
			return nil, err
		}
		g.Time = timestamp(micros)
		gaps = append(gaps, g)
	}
	return gaps, rows.Err()
}

func gapCursor(g *Gap) string {
	b := []byte{gapCursorVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(g.Time.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, g.FromSeq)
	return seal(append(b, g.Replica...))
}

func parseGapCursor(s string) (replica string, p place, err error) {
	b, ok := unseal(s)
	if !ok || len(b) < 17 || b[0] != gapCursorVersion {
		return "", place{}, ErrBadCursor
	}
	p = place{micros: int64(binary.BigEndian.Uint64(b[1:])), n: int64(binary.BigEndian.Uint64(b[9:]))}
	return string(b[17:]), p, nil
}
