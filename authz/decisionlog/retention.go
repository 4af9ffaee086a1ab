package decisionlog

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"battery.app/gate/authz"
)

// expireBatch is how many rows one transaction deletes, so that writing never
// waits long for it.
const expireBatch = 500

// expire deletes one batch of the decisions before cutoff, oldest first, and
// reports whether there may be more. With the last batch go the gaps, and the
// facts and subjects that no row can refer to any more: their last_seen is
// not before the time of any row that does.
func (w *writer) expire(ctx context.Context, cutoff time.Time) (more bool, err error) {
	before := cutoff.UnixMicro()
	err = inTx(ctx, w.d.write, func(tx *sql.Tx) error {
		expired, err := oldest(ctx, tx, before)
		if err != nil {
			return err
		}
		for _, e := range expired {
			if err := e.delete(ctx, tx); err != nil {
				return err
			}
		}
		if more = len(expired) == expireBatch; more {
			return nil
		}
		var gone bool
		if more, gone, err = expireUnreferenced(ctx, tx, before); gone || err != nil {
			w.facts.reset() // what it knows as stored may be gone
		}
		return err
	})
	if err == nil && !more {
		err = w.d.sync(ctx) // gives the write-ahead log's space back
	}
	if err != nil {
		return false, fmt.Errorf("delete old decisions: %w", err)
	}
	return more, nil
}

type expired struct {
	place
	reasons string
}

func oldest(ctx context.Context, tx *sql.Tx, before int64) (list []expired, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT n, time, reasons FROM decisions WHERE time < ? ORDER BY time, n LIMIT ?`, before, expireBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e expired
		if err := rows.Scan(&e.n, &e.micros, &e.reasons); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

func (e *expired) delete(ctx context.Context, tx *sql.Tx) error {
	var reasons []authz.Reason
	if err := json.Unmarshal([]byte(e.reasons), &reasons); err != nil {
		return fmt.Errorf("decode reasons: %w", err)
	}
	_, codes := encodeReasons(reasons)
	for _, code := range codes {
		_, err := tx.ExecContext(ctx, `DELETE FROM decision_reasons WHERE code = ? AND time = ? AND n = ?`, code, e.micros, e.n)
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM decisions WHERE n = ?`, e.n)
	return err
}

// expireUnreferenced reports whether there may be more to delete, and whether
// it deleted anything.
func expireUnreferenced(ctx context.Context, tx *sql.Tx, before int64) (more, gone bool, err error) {
	for _, statement := range []string{
		`DELETE FROM gaps WHERE (replica, from_seq) IN (SELECT replica, from_seq FROM gaps WHERE time < ? LIMIT ?)`,
		`DELETE FROM facts WHERE id IN (SELECT id FROM facts WHERE last_seen < ? LIMIT ?)`,
		`DELETE FROM subjects WHERE id IN (SELECT id FROM subjects WHERE last_seen < ? LIMIT ?)`,
	} {
		res, err := tx.ExecContext(ctx, statement, before, expireBatch)
		if err != nil {
			return false, gone, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return false, gone, err
		}
		more, gone = more || n == expireBatch, gone || n > 0
	}
	return more, gone, nil
}
