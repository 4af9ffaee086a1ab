package decisionlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what differs between databases. All other SQL of this package is
// what SQLite and PostgreSQL both speak. A database that several replicas
// share differs in three more places, all of which now rely on one process
// having the file: parameters are numbered there ($1), the writer takes n from
// a sequence, and begin may judge only its own replica's last run.
type dialect struct {
	write *sql.DB // one connection; only the writer uses it
	read  *sql.DB
	types *strings.Replacer // the schema's {key} {serial} {bytes} {clustered}

	// rowFault: the database refuses what is in a row. Trying again is no use.
	rowFault func(error) bool
	// sync makes what is committed survive a power cut.
	sync  func(context.Context) error
	close func() error
}

// openDialect opens the database that a URL names. The URL is not in the
// error: it may hold a password.
func openDialect(u string) (*dialect, error) {
	scheme, rest, ok := strings.Cut(u, ":")
	switch {
	case !ok:
		return nil, errors.New("the URL has no scheme; write sqlite:PATH")
	case scheme == "sqlite":
		return openSQLite(rest)
	}
	return nil, fmt.Errorf("unknown scheme %q; write sqlite:PATH", scheme)
}

// openSQLite opens the file at path. Writes go through one connection, which
// in WAL mode neither waits for readers nor makes them wait.
func openSQLite(path string) (*dialect, error) {
	if path == "" || strings.ContainsRune(path, 0) || strings.HasPrefix(path, "//") {
		return nil, errors.New("bad path; write sqlite:PATH, as in sqlite:data/decisions.db or sqlite:/var/lib/battery/decisions.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find database file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make database directory: %w", err)
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, errors.Join(err, unlock())
	}
	const common = "_busy_timeout=5000&_dqs=0&_defensive=1"
	write, err := openFile(path, 1, common+"&_journal_mode=WAL&_synchronous=NORMAL&_txlock=immediate"+
		"&_pragma=cache_size(-16384)&_pragma=journal_size_limit(67108864)")
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	read, err := openFile(path, 4, common+"&_query_only=1")
	if err != nil {
		return nil, errors.Join(err, write.Close(), unlock())
	}
	return &dialect{
		write: write,
		read:  read,
		types: strings.NewReplacer(
			"{key}", "INTEGER PRIMARY KEY", // BIGINT PRIMARY KEY would not be the rowid
			"{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT", // never gives an id twice
			"{bytes}", "BLOB",
			"{clustered}", " WITHOUT ROWID"),
		rowFault: sqliteRowFault,
		sync: func(ctx context.Context) error {
			_, err := write.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
			return err
		},
		close: func() error { return errors.Join(read.Close(), write.Close(), unlock()) },
	}, nil
}

func openFile(path string, connections int, params string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + params)
	if err != nil {
		return nil, fmt.Errorf("open database file: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := db.Ping(); err != nil {
		return nil, errors.Join(fmt.Errorf("open database file: %w", err), db.Close())
	}
	return db, nil
}

// private makes the file, and what SQLite keeps beside it, readable by its
// owner alone: it tells who visits what.
func private(path string) error {
	if err := touch(path); err != nil {
		return fmt.Errorf("make database file: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(path+suffix, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("make database file private: %w", err)
		}
	}
	return nil
}

// touch creates the file if it is missing. It must not open one that exists:
// closing it again would drop the POSIX locks that this process holds on it.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// lockFile keeps a second process away, whose start would take this one's
// unfinished run for a crash. The lock is SQLite's own, on an empty database,
// because that works on every platform and ends with the process.
func lockFile(path string) (unlock func() error, err error) {
	if err := touch(path); err != nil {
		return nil, fmt.Errorf("make lock file: %w", err)
	}
	db, err := openFile(path, 1, "_txlock=exclusive")
	if err != nil {
		return nil, inUse(err)
	}
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, errors.Join(inUse(fmt.Errorf("lock database: %w", err)), db.Close())
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}

func inUse(err error) error {
	if code(err)&0xff == sqlite3.SQLITE_BUSY {
		return ErrInUse
	}
	return err
}

func sqliteRowFault(err error) bool {
	switch code(err) & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}

func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
