package decisionlog

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// writer turns items into rows. One goroutine at a time uses it.
type writer struct {
	d       *dialect
	replica string
	facts   *facts
	inserts map[insertKey]*sql.Stmt
	args    []any // reused from batch to batch
	codes   []any
}

type insertKey struct {
	table string
	rows  int
}

func newWriter(d *dialect, replica string) *writer {
	return &writer{d: d, replica: replica, facts: newFacts(), inserts: map[insertKey]*sql.Stmt{}}
}

// write commits items, which continue what was committed before, in one
// transaction: all or none.
func (w *writer) write(ctx context.Context, items []item) error {
	err := w.prepare(ctx)
	if err == nil {
		err = inTx(ctx, w.d.write, func(tx *sql.Tx) error { return w.rows(ctx, tx, items) })
	}
	if err != nil {
		w.facts.reset() // ids of a transaction that was rolled back may be given again
		return fmt.Errorf("write decisions: %w", err)
	}
	return nil
}

func (w *writer) rows(ctx context.Context, tx *sql.Tx, items []item) error {
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(n), 0) FROM decisions`).Scan(&n); err != nil {
		return err
	}
	clear(w.args)
	clear(w.codes)
	w.args, w.codes = w.args[:0], w.codes[:0]
	for i := range items {
		it := &items[i]
		if it.rec == nil {
			_, err := tx.ExecContext(ctx, `INSERT INTO gaps (replica, from_seq, to_seq, count, reason, time) VALUES (?, ?, ?, ?, ?, ?)`,
				w.replica, int64(it.seq), int64(it.to), int64(it.to-it.seq+1), it.reason, it.at.UnixMicro())
			if err != nil {
				return err
			}
			continue
		}
		n++
		if err := w.row(ctx, tx, n, it); err != nil {
			return err
		}
	}
	if err := w.insert(ctx, tx, decisionTable(), w.args); err != nil {
		return err
	}
	if err := w.insert(ctx, tx, reasonTable(), w.codes); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE replicas SET last_seq = ? WHERE replica = ?`, int64(items[len(items)-1].to), w.replica)
	return err
}

// insert adds rows, whose values lie one after the other in args, many at a
// time: a statement's overhead costs more than a row.
func (w *writer) insert(ctx context.Context, tx *sql.Tx, t table, args []any) error {
	width := t.width()
	for _, size := range insertSizes() {
		for len(args) >= size*width {
			st := tx.StmtContext(ctx, w.inserts[insertKey{t.name, size}])
			if _, err := st.ExecContext(ctx, args[:size*width]...); err != nil {
				return err
			}
			args = args[size*width:]
		}
	}
	return nil
}

// prepare makes the insert statements, once, and outside of a transaction,
// which has the only connection.
func (w *writer) prepare(ctx context.Context) error {
	for _, t := range []table{decisionTable(), reasonTable()} {
		for _, size := range insertSizes() {
			key := insertKey{t.name, size}
			if w.inserts[key] != nil {
				continue
			}
			row := "(" + strings.Repeat("?, ", t.width()-1) + "?)"
			st, err := w.d.write.PrepareContext(ctx, "INSERT INTO "+t.name+" ("+t.columns+") VALUES "+strings.Repeat(row+", ", size-1)+row) //nolint:gosec // the names are constants of this file
			if err != nil {
				return fmt.Errorf("prepare insert: %w", err)
			}
			w.inserts[key] = st
		}
	}
	return nil
}

// insertSizes are the numbers of rows that one statement adds.
func insertSizes() [3]int { return [3]int{128, 16, 1} }
