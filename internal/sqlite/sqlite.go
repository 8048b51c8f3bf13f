// Package sqlite says how every SQLite file of Leat is opened, migrated and
// transacted.
//
// A file has one writer connection, which begins every transaction IMMEDIATE
// (a transaction that starts by reading and then writes fails at once when
// another has written, whatever the busy timeout), and a pool of read-only
// connections. What mattn would leave to chance is set on every connection and
// read back: WAL, the durability asked for, foreign keys, an untrusted schema.
//
// A context never reaches a statement of a write transaction: a cancelled
// statement ends the transaction silently, and the next statement commits by
// itself. Tx therefore takes none, and Write looks at the connection's
// autocommit flag before it commits.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mattn/go-sqlite3"
)

// MinVersion is the oldest SQLite that is safe to use: 3.7.0 to 3.51.2 can
// corrupt a WAL that is reset while two connections of a process write.
const MinVersion = 3_051_003

// Limits of a file's connections.
const (
	// Readers is the number of read-only connections of a file.
	Readers = 4
	// BusyTimeout is how long a statement waits for another process's lock.
	BusyTimeout = 5 * time.Second
	// StatementCache is the number of prepared statements kept a connection.
	StatementCache = 128
)

// Durability says when a commit is on the disk.
type Durability int

const (
	// Full syncs every commit before it is acknowledged. It is the default.
	Full Durability = iota
	// Normal syncs at checkpoints only: a power cut takes the last commits
	// away, in order and whole. A killed process loses nothing.
	Normal
	// Off never syncs: a power cut may damage the file. It is for one that is
	// thrown away unless it is closed, synced and opened again otherwise.
	Off
)

func (d Durability) pragma() string {
	switch d {
	case Normal:
		return "NORMAL"
	case Off:
		return "OFF"
	default:
		return "FULL"
	}
}

// Options say how a file is opened.
type Options struct {
	// Durability defaults to Full.
	Durability Durability
	// ReadOnly opens the file without a writer, as it is: nothing is created
	// or migrated.
	ReadOnly bool
	// Immutable says that the file does not change and has no WAL: with
	// ReadOnly, so that nothing is made beside it and no lock is taken.
	Immutable bool
	// Checkpoint is the number of WAL pages after which they are moved into the
	// file. Defaults to Checkpoint.
	Checkpoint int
	// LongWAL and MaxWAL are the sizes of the WAL, in bytes, after which Logger
	// hears of it and after which Write returns ErrWALFull until it has been
	// emptied. Default to LongWAL and MaxWAL.
	LongWAL, MaxWAL int64
	// Logger hears of a WAL that grows. Defaults to slog.Default().
	Logger *slog.Logger
	// Readers is the number of read-only connections. Defaults to Readers.
	Readers int
	// Cache is the memory that the writer may keep pages in, in KiB. Defaults
	// to SQLite's own 2000; more is worth it where an index of random names
	// outgrows that.
	Cache int
}

// DB is an open file. It is safe for concurrent use.
type DB struct {
	path  string
	write *sql.DB // one connection; nil when read-only
	read  *sql.DB
	wal   *WAL // of the holder of the writer connection; nil when read-only
}

// Open opens the file at path, creating it (mode 0600) unless opts.ReadOnly.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if _, n, _ := sqlite3.Version(); n < MinVersion {
		return nil, fmt.Errorf("sqlite: SQLite %d is older than %d, which is the first without the WAL-reset corruption", n, MinVersion)
	}
	opts = opts.withDefaults()
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	if err := prepare(path, opts.ReadOnly); err != nil {
		return nil, err
	}
	db := &DB{path: path}
	if !opts.ReadOnly {
		db.write = sql.OpenDB(connector{path: path, opts: opts, writer: true})
		db.write.SetMaxOpenConns(1)
		db.write.SetMaxIdleConns(1)
		if err := db.write.PingContext(ctx); err != nil {
			return nil, errors.Join(wrapOpen(path, err), db.Close())
		}
	}
	db.read = sql.OpenDB(connector{path: path, opts: opts})
	db.read.SetMaxOpenConns(opts.Readers)
	db.read.SetMaxIdleConns(opts.Readers)
	if err := db.read.PingContext(ctx); err != nil {
		return nil, errors.Join(wrapOpen(path, err), db.Close())
	}
	if opts.ReadOnly {
		return db, nil
	}
	err = db.warm(ctx, opts.Readers)
	if err == nil {
		db.wal, err = watchWAL(path, opts)
	}
	if err != nil {
		return nil, errors.Join(wrapOpen(path, err), db.Close())
	}
	return db, nil
}

func (o Options) withDefaults() Options {
	if o.Checkpoint == 0 {
		o.Checkpoint = Checkpoint
	}
	if o.Readers == 0 {
		o.Readers = Readers
	}
	if o.LongWAL == 0 {
		o.LongWAL = LongWAL
	}
	if o.MaxWAL == 0 {
		o.MaxWAL = MaxWAL
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func wrapOpen(path string, err error) error {
	if IsNotDatabase(err) {
		return fmt.Errorf("sqlite: %s is not a database of this program (%w): name another directory, or restore the file from a backup", path, err)
	}
	return fmt.Errorf("sqlite: open %s: %w", path, err)
}

// Path returns the file's absolute path.
func (db *DB) Path() string { return db.path }

// Reader returns the pool of read-only connections. Read a page, close the
// rows, then use what was read: an open row keeps the WAL from being reset.
func (db *DB) Reader() *sql.DB { return db.read }

// Writer returns the pool of the one writer connection, nil when read-only.
// Whoever takes the connection out of it (Conn) holds up every Write.
func (db *DB) Writer() *sql.DB { return db.write }

// Close closes the connections. The last connection of the last process moves
// the WAL into the file and removes it.
func (db *DB) Close() error {
	var errs []error
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(errs...)
}

// connector opens connections without the global driver registry.
type connector struct {
	path   string
	opts   Options
	writer bool
}

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	d := &sqlite3.SQLiteDriver{ConnectHook: c.assert}
	return d.Open(c.dsn())
}

func (c connector) dsn() string {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.Itoa(int(BusyTimeout.Milliseconds())))
	q.Set("_synchronous", c.opts.Durability.pragma())
	q.Set("_foreign_keys", "1")
	q.Set("_stmt_cache_size", strconv.Itoa(StatementCache))
	if c.writer {
		q.Set("mode", "rw")
		q.Set("_journal_mode", "WAL")
		q.Set("_txlock", "immediate")
	} else {
		q.Set("mode", "ro")
		q.Set("_query_only", "1")
		if c.opts.Immutable {
			q.Set("immutable", "1")
		}
	}
	u := url.URL{Scheme: "file", Path: c.path, RawQuery: q.Encode()}
	return u.String()
}

// assert sets what the DSN cannot and reads back what durability rests on.
func (c connector) assert(conn *sqlite3.SQLiteConn) error {
	settings := "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
	if c.writer {
		// On macOS a sync ends in the drive's memory unless it is asked for more.
		settings += "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;"
		settings += fmt.Sprintf("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = %d;", c.opts.Checkpoint*frame) // see WAL
		if c.opts.Cache > 0 {
			settings += fmt.Sprintf("PRAGMA cache_size = -%d;", c.opts.Cache)
		}
	}
	if _, err := conn.Exec(settings, nil); err != nil {
		return err
	}
	restrict(conn)
	want := map[string]string{"synchronous": strconv.Itoa(2 - int(c.opts.Durability)), "foreign_keys": "1", "trusted_schema": "0"}
	if c.writer {
		want["journal_mode"], want["fullfsync"], want["checkpoint_fullfsync"] = "wal", "1", "1"
	} else {
		want["query_only"] = "1"
	}
	for name, value := range want {
		got, err := pragma(conn, name)
		if err != nil {
			return err
		}
		if got != value {
			return fmt.Errorf("sqlite: %s: PRAGMA %s is %s, want %s", c.path, name, got, value)
		}
	}
	return nil
}

func pragma(conn *sqlite3.SQLiteConn, name string) (_ string, err error) {
	rows, err := conn.Query("PRAGMA "+name, nil)
	if err != nil {
		return "", fmt.Errorf("read PRAGMA %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return "", fmt.Errorf("read PRAGMA %s: %w", name, err)
	}
	if b, ok := value[0].([]byte); ok {
		return string(b), nil
	}
	return fmt.Sprint(value[0]), nil
}
