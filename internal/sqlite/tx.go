package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

// CommitError is the error of a COMMIT that was issued: the transaction may or
// may not be stored.
type CommitError struct{ Err error }

func (e *CommitError) Error() string { return fmt.Sprintf("sqlite: commit: %v", e.Err) }
func (e *CommitError) Unwrap() error { return e.Err }

// ErrEnded: the transaction ended before, so the statement was not run: it
// would have committed by itself.
var ErrEnded = errors.New("sqlite: the transaction ended before this statement, which was not run")

// Tx is a write transaction. Its statements take no context, on purpose, and
// return ErrEnded once it is over (see Ended). It is not safe for concurrent
// use, and is of no use after the function it was given to returns.
type Tx struct {
	conn *sql.Conn
	args []driver.NamedValue // of the statement under way
}

// Exec runs a statement. A text of several is looked at once, before the first:
// it must not end the transaction.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	return tx.run(query, args, true)
}

// exec runs a statement whether a transaction is open or not.
func (tx *Tx) exec(query string, args ...any) (sql.Result, error) {
	return tx.run(query, args, false)
}

// run runs a statement of the connection's cache. It spares what database/sql
// does for each, and takes the same arguments. These are converted before the
// driver's connection is taken: a driver.Valuer is the caller's code, and a
// panic in there would close the connection.
func (tx *Tx) run(query string, args []any, inside bool) (result sql.Result, err error) {
	named := tx.args[:0]
	tx.args = nil // a Valuer may come here again
	for i, a := range args {
		n := driver.NamedValue{Ordinal: i + 1}
		if arg, ok := a.(sql.NamedArg); ok {
			n.Name, a = arg.Name, arg.Value
		}
		if n.Value, err = driver.DefaultParameterConverter.ConvertValue(a); err != nil {
			return nil, fmt.Errorf("sqlite: argument %d: %w", i+1, err)
		}
		named = append(named, n)
	}
	tx.args = named
	err = withRaw(tx.conn, func(c *sqlite3.SQLiteConn) error {
		if inside && c.AutoCommit() {
			return ErrEnded
		}
		result, err = c.ExecContext(context.Background(), query, named)
		return err
	})
	return result, err
}

// Query runs a query. The caller closes the rows and looks at their Err.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	if tx.Ended() {
		return nil, ErrEnded
	}
	return tx.conn.QueryContext(context.Background(), query, args...)
}

// QueryRow runs a query for one row at most.
func (tx *Tx) QueryRow(query string, args ...any) *Row {
	if tx.Ended() {
		return &Row{err: ErrEnded}
	}
	return &Row{row: tx.conn.QueryRowContext(context.Background(), query, args...)}
}

// Row is the result of QueryRow.
type Row struct {
	row *sql.Row // nil where err is not
	err error
}

// Scan copies the row into dest, as that of sql.Row does.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.row.Scan(dest...)
}

// Prepare prepares a statement for the life of the transaction. The caller
// closes it, and looks at Ended before it runs it.
func (tx *Tx) Prepare(query string) (*sql.Stmt, error) {
	if tx.Ended() {
		return nil, ErrEnded
	}
	return tx.conn.PrepareContext(context.Background(), query)
}

// Ended tells whether the transaction is over although nobody ended it: SQLite
// rolls it back by itself after some errors (a full disk, INSERT OR ROLLBACK).
// A statement that follows would commit by itself.
func (tx *Tx) Ended() bool { return autocommit(tx.conn) }

// Savepoint runs fn inside a savepoint: what fn wrote is undone when it
// returns an error or panics, and the transaction goes on.
func (tx *Tx) Savepoint(fn func() error) (err error) {
	if _, err := tx.Exec("SAVEPOINT leat"); err != nil {
		return fmt.Errorf("sqlite: savepoint: %w", err)
	}
	done := false
	defer func() {
		if done {
			return
		}
		// fn returned an error or panicked; a panic goes on after this.
		if _, undo := tx.Exec("ROLLBACK TO leat; RELEASE leat"); undo != nil {
			err = errors.Join(err, fmt.Errorf("sqlite: undo savepoint: %w", undo))
		}
	}()
	if err := fn(); err != nil {
		return err
	}
	if _, err := tx.Exec("RELEASE leat"); err != nil {
		return fmt.Errorf("sqlite: release savepoint: %w", err)
	}
	done = true
	return nil
}

// Write runs fn in a transaction on the writer connection and commits it where
// fn returns nil. ctx is looked at until the transaction begins, then no more:
// fn checks it between statements where that is wanted. The error is fn's, or
// a CommitError where the outcome is unknown, or another: nothing was stored.
//
// A commit into a WAL that another program has removed or replaced is a
// CommitError with ErrReplaced; after it Write returns ErrReplaced and stores
// nothing, until the file is closed and opened again. ErrWALFull: see WAL.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) (err error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: begin: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := withRaw(conn, db.wal.Admit); err != nil {
		return err
	}
	tx := &Tx{conn: conn}
	if _, err := tx.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("sqlite: begin: %w", err)
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		if _, undo := tx.exec("ROLLBACK"); undo != nil && !autocommit(conn) {
			err = errors.Join(err, fmt.Errorf("sqlite: roll back: %w", undo))
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if autocommit(conn) {
		finished = true
		return errors.New("sqlite: the transaction ended before its commit: a statement was cancelled or failed inside it, what it wrote is undone")
	}
	if _, err := tx.exec("COMMIT"); err != nil {
		return &CommitError{Err: err}
	}
	finished = true
	if err := withRaw(conn, db.wal.Committed); err != nil {
		return &CommitError{Err: err}
	}
	// What it fails to move is safe in the WAL and is tried again. It is not the
	// transaction's error; the WAL tells its logger, and Write at its limit.
	_ = withRaw(conn, db.wal.Tend)
	return nil
}

// withRaw runs fn with the driver's connection.
func withRaw(conn *sql.Conn, fn func(*sqlite3.SQLiteConn) error) error {
	return conn.Raw(func(c any) error { return fn(c.(*sqlite3.SQLiteConn)) })
}

// autocommit tells whether no transaction is open on the connection.
func autocommit(conn *sql.Conn) bool {
	var auto bool
	err := conn.Raw(func(c any) error {
		auto = c.(*sqlite3.SQLiteConn).AutoCommit()
		return nil
	})
	return err == nil && auto
}
