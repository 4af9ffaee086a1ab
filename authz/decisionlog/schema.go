package decisionlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// migrations returns the steps of the schema; step i makes version i+1. A step
// that has shipped never changes. {key}, {serial}, {bytes} and {clustered} are
// the dialect's.
//
// n, not the id, is what rows are ordered by within one microsecond: it is
// small in every index and never changes. Times are microseconds since 1970.
func migrations() [][]string {
	return [][]string{{
		`CREATE TABLE replicas (
			replica  TEXT PRIMARY KEY,
			last_seq BIGINT NOT NULL,
			clean    INTEGER NOT NULL)`,
		`CREATE TABLE gaps (
			replica  TEXT NOT NULL,
			from_seq BIGINT NOT NULL,
			to_seq   BIGINT,
			count    BIGINT,
			reason   TEXT NOT NULL,
			time     BIGINT NOT NULL,
			PRIMARY KEY (replica, from_seq))`,
		`CREATE INDEX gaps_time ON gaps (time, replica, from_seq)`,
		`CREATE TABLE facts (
			id        {serial},
			hash      {bytes} NOT NULL UNIQUE,
			kind      TEXT NOT NULL,
			json      TEXT NOT NULL,
			last_seen BIGINT NOT NULL)`,
		`CREATE INDEX facts_last_seen ON facts (last_seen)`,
		`CREATE TABLE subjects (
			id                     {serial},
			hash                   {bytes} NOT NULL UNIQUE,
			user_id                TEXT NOT NULL,
			email                  TEXT NOT NULL,
			directory_user_id      TEXT,
			folded_email           TEXT,
			folded_directory_email TEXT,
			last_seen              BIGINT NOT NULL)`,
		`CREATE INDEX subjects_user ON subjects (user_id)`,
		`CREATE INDEX subjects_directory_user ON subjects (directory_user_id)`,
		`CREATE INDEX subjects_email ON subjects (folded_email)`,
		`CREATE INDEX subjects_directory_email ON subjects (folded_directory_email)`,
		`CREATE INDEX subjects_last_seen ON subjects (last_seen)`,
		`CREATE TABLE decisions (
			n               {key},
			id              TEXT NOT NULL UNIQUE,
			replica         TEXT NOT NULL,
			seq             BIGINT NOT NULL,
			time            BIGINT NOT NULL,
			result          TEXT NOT NULL,
			status          INTEGER NOT NULL,
			reasons         TEXT NOT NULL,
			roles           TEXT NOT NULL,
			organization_id TEXT,
			app_id          TEXT,
			subject         BIGINT,
			session_id      TEXT,
			gateway         TEXT,
			door            TEXT,
			method          TEXT,
			scheme          TEXT,
			host            TEXT,
			path            TEXT,
			query           TEXT,
			headers         TEXT,
			client_ip       TEXT,
			policy_revision TEXT,
			data_revision   BIGINT NOT NULL,
			duration_us     BIGINT NOT NULL,
			cached          INTEGER NOT NULL,
			stale           INTEGER NOT NULL,
			exact           INTEGER NOT NULL,
			trace_id        TEXT,
			app_fact        BIGINT,
			session_fact    BIGINT,
			user_fact       BIGINT)`,
		`CREATE INDEX decisions_time ON decisions (time, n)`,
		`CREATE INDEX decisions_app ON decisions (app_id, time, n)`,
		`CREATE INDEX decisions_organization ON decisions (organization_id, time, n)`,
		`CREATE INDEX decisions_subject ON decisions (subject, time, n) WHERE subject IS NOT NULL`,
		`CREATE INDEX decisions_refused ON decisions (result, time, n) WHERE result <> 'allow'`,
		`CREATE TABLE decision_reasons (
			code TEXT NOT NULL,
			time BIGINT NOT NULL,
			n    BIGINT NOT NULL,
			PRIMARY KEY (code, time, n)){clustered}`,
	}, {
		`ALTER TABLE decisions ADD COLUMN reading TEXT`,
	}}
}

// migrate brings the schema to the newest version, all steps or none. A newer
// schema than this program knows is refused: an old program would write rows
// that the new one misreads.
func migrate(ctx context.Context, d *dialect, now time.Time) error {
	return inTx(ctx, d.write, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, time BIGINT NOT NULL)`)
		if err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_versions`).Scan(&have); err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		steps := migrations()
		if have > len(steps) {
			return fmt.Errorf("the database has schema version %d and this program knows %d: it was written by a newer version", have, len(steps))
		}
		for v := have; v < len(steps); v++ {
			for _, statement := range steps[v] {
				if _, err := tx.ExecContext(ctx, d.types.Replace(statement)); err != nil {
					return fmt.Errorf("migrate schema to version %d: %w", v+1, err)
				}
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO schema_versions (version, time) VALUES (?, ?)`, v+1, now.UnixMicro()); err != nil {
				return fmt.Errorf("migrate schema to version %d: %w", v+1, err)
			}
		}
		return nil
	})
}

// begin marks the replica as running and returns the last sequence number it
// has used. A run that is still marked so ended without draining its queue:
// the number after its last becomes a gap of unknown size. As only one process
// can have this database open, that goes for every replica name in it.
func begin(ctx context.Context, d *dialect, replica string, now time.Time) (last uint64, err error) {
	err = inTx(ctx, d.write, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO gaps (replica, from_seq, to_seq, count, reason, time)
			SELECT replica, last_seq + 1, NULL, NULL, ?, ? FROM replicas WHERE clean = 0`, ReasonCrash, now.UnixMicro())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE replicas SET last_seq = last_seq + 1, clean = 1 WHERE clean = 0`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO replicas (replica, last_seq, clean) VALUES (?, 0, 0)
			ON CONFLICT (replica) DO UPDATE SET clean = 0`, replica)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT last_seq FROM replicas WHERE replica = ?`, replica).Scan(&last)
	})
	if err == nil {
		// The mark must outlive a power cut that takes later commits.
		err = d.sync(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("mark the run as begun: %w", err)
	}
	return last, nil
}

// end marks the run as ended with nothing left to write.
func end(ctx context.Context, d *dialect, replica string) error {
	_, err := d.write.ExecContext(ctx, `UPDATE replicas SET clean = 1 WHERE replica = ?`, replica)
	if err == nil {
		err = d.sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("mark the run as ended: %w", err)
	}
	return nil
}

// inTx runs fn in a transaction that commits if fn returns nil.
func inTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if err := fn(tx); err != nil {
		if rb := tx.Rollback(); rb != nil && !errors.Is(rb, sql.ErrTxDone) {
			return errors.Join(err, rb)
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}
