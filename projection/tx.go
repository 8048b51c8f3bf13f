package projection

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/leat-go/leat/internal/sqlite"
)

// Tx is the transaction a handler writes through. Its methods take no context,
// because a cancelled statement would end the transaction, and there is no
// Commit: position and effects commit together, after the handler. It is not
// safe for concurrent use and of no use after the handler returned. Statements
// that were run before are kept prepared, so running the same text again costs
// no parsing; arguments are always bound.
type Tx struct {
	tx    *sqlite.Tx
	open  []*sql.Rows // of the running handler, closed after it
	fatal error       // the machine's failure, not the event's
}

// Exec runs a statement, or several. BEGIN, COMMIT, ROLLBACK, savepoints,
// PRAGMA, ATTACH and VACUUM are refused with ErrStatement, wherever in the text,
// before any of it runs. Triggers belong in the schema: their END is refused too.
func (t *Tx) Exec(query string, args ...any) (sql.Result, error) {
	if err := t.check(query); err != nil {
		return nil, err
	}
	res, err := t.tx.Exec(query, args...)
	return res, t.note(err)
}

// Query runs a query. Rows still open when the handler returns are closed, and
// an error of theirs that it did not look at fails the event.
func (t *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	if err := t.check(query); err != nil {
		return nil, err
	}
	rows, err := t.tx.Query(query, args...)
	if err != nil {
		return nil, t.note(err)
	}
	t.open = append(t.open, rows)
	return rows, nil
}

// QueryRow runs a query for one row at most.
func (t *Tx) QueryRow(query string, args ...any) *Row {
	rows, err := t.Query(query, args...)
	return &Row{rows: rows, err: err}
}

// Prepare returns a statement after checking that it can be prepared. It need
// not be closed, and is of no use after the handler returned.
func (t *Tx) Prepare(query string) (*Stmt, error) {
	if err := t.check(query); err != nil {
		return nil, err
	}
	stmt, err := t.tx.Prepare(query)
	if err != nil {
		return nil, t.note(err)
	}
	if err := stmt.Close(); err != nil { // goes to the connection's statement cache
		return nil, t.note(err)
	}
	return &Stmt{tx: t, query: query}, nil
}

// Row is the result of QueryRow.
type Row struct {
	rows *sql.Rows
	err  error
}

// Scan copies the first row into dest. It returns sql.ErrNoRows where there is
// none.
func (r *Row) Scan(dest ...any) (err error) {
	if r.err != nil {
		return r.err
	}
	defer func() { err = errors.Join(err, r.rows.Close()) }()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close() // a statement with RETURNING fails here, if at all
}

// Err returns the error of running the query, without scanning.
func (r *Row) Err() error { return r.err }

// Stmt is a prepared statement of a Tx.
type Stmt struct {
	tx    *Tx
	query string
}

// Exec runs the statement.
func (s *Stmt) Exec(args ...any) (sql.Result, error) { return s.tx.Exec(s.query, args...) }

// Query runs the statement as a query. See Tx.Query.
func (s *Stmt) Query(args ...any) (*sql.Rows, error) { return s.tx.Query(s.query, args...) }

// QueryRow runs the statement as a query for one row at most.
func (s *Stmt) QueryRow(args ...any) *Row { return s.tx.QueryRow(s.query, args...) }

// check refuses what a handler may not run.
func (t *Tx) check(query string) error {
	for query != "" {
		switch word := firstWord(query); word {
		case "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "ATTACH", "DETACH", "VACUUM":
			return fmt.Errorf("%w: %s in a handler: the transaction is the framework's", ErrStatement, word)
		}
		query = nextStatement(query)
	}
	return nil
}

// space is what SQLite passes over between words, and ends of statements.
const space = " \t\r\n\f\v;\ufeff"

// firstWord returns the keyword a statement begins with, in capitals, or ""
// for one of those that most statements begin with.
func firstWord(query string) string {
	for {
		query = strings.TrimLeft(query, space)
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
			continue
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query[2:], "*/")
			continue
		}
		break
	}
	end := strings.IndexFunc(query, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' })
	if end < 0 {
		end = len(query)
	}
	switch word := query[:end]; word {
	case "INSERT", "UPDATE", "DELETE", "SELECT", "REPLACE", "WITH":
		return ""
	default:
		return strings.ToUpper(word)
	}
}

// nextStatement returns what follows the first statement of the text, or "". A
// semicolon ends a statement unless it is in a comment, a string or a quoted
// name.
func nextStatement(query string) string {
	if strings.IndexByte(query, ';') < 0 { // of most texts
		return ""
	}
	for query != "" {
		c, rest := query[0], query[1:]
		switch {
		case c == ';':
			return strings.TrimLeft(rest, space)
		case c == '\'', c == '"', c == '`': // one that is doubled begins another
			_, rest, _ = strings.Cut(rest, string(c))
		case c == '[':
			_, rest, _ = strings.Cut(rest, "]")
		case strings.HasPrefix(query, "--"):
			_, rest, _ = strings.Cut(rest, "\n")
		case strings.HasPrefix(query, "/*"):
			_, rest, _ = strings.Cut(query[2:], "*/")
		}
		query = rest
	}
	return ""
}

// note remembers an error that is the machine's, so that a handler that
// swallows it cannot turn it into a lost write.
func (t *Tx) note(err error) error {
	if errors.Is(err, sqlite.ErrEnded) {
		return ErrTxEnded
	}
	if t.fatal == nil && infrastructure(err) {
		t.fatal = err
	}
	return err
}

// finish ends one handler's use of the transaction and returns what it left
// unsaid: rows with an error, an end of the transaction.
func (t *Tx) finish() error {
	var errs []error
	for _, rows := range t.open {
		if err := errors.Join(rows.Close(), rows.Err()); err != nil {
			errs = append(errs, t.note(err))
		}
	}
	clear(t.open)
	t.open = t.open[:0]
	if t.fatal != nil {
		errs = append(errs, t.fatal)
	} else if t.tx.Ended() {
		errs = append(errs, ErrTxEnded)
	}
	return errors.Join(errs...)
}

// infrastructure tells whether an error is the machine's and not the event's:
// it must park, skip and count nothing.
func infrastructure(err error) bool {
	return err != nil && (sqlite.IsIO(err) || sqlite.IsFull(err) || sqlite.IsCorrupt(err) || sqlite.IsBusy(err))
}
