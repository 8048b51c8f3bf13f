package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
)

// Limits of every connection, below SQLite's own: a statement or a row that a
// file, or somebody's text in a statement, could bring in is refused before it
// costs memory or time. They are far from what programs need. The number of
// bound parameters (32,766) and of columns (2,000) are SQLite's own, because
// read models insert many rows with one statement.
const (
	// MaxRow is the size of a row, and of any one value, in bytes.
	MaxRow = 128 << 20
	// MaxSQL is the length of a statement in bytes.
	MaxSQL = 1 << 20
	// MaxDepth is how deep an expression may be: a chain of so many ANDs.
	MaxDepth = 250
	// MaxCompound is the number of SELECTs in a UNION; the rows of a VALUES do
	// not count.
	MaxCompound = 100
	// MaxProgram is the number of instructions that a statement compiles to.
	MaxProgram = 250_000
	// MaxArguments is the number of arguments of a function.
	MaxArguments = 127
	// MaxPattern is the length of a LIKE or GLOB pattern in bytes.
	MaxPattern = 1000
	// MaxTriggers is how deep triggers may fire one another.
	MaxTriggers = 32
)

// restrict lowers the limits of a connection. Nothing is attached: VacuumInto
// alone lifts that, for its own statement.
func restrict(conn *sqlite3.SQLiteConn) {
	for limit, most := range map[int]int{
		sqlite3.SQLITE_LIMIT_LENGTH:              MaxRow,
		sqlite3.SQLITE_LIMIT_SQL_LENGTH:          MaxSQL,
		sqlite3.SQLITE_LIMIT_EXPR_DEPTH:          MaxDepth,
		sqlite3.SQLITE_LIMIT_COMPOUND_SELECT:     MaxCompound,
		sqlite3.SQLITE_LIMIT_VDBE_OP:             MaxProgram,
		sqlite3.SQLITE_LIMIT_FUNCTION_ARG:        MaxArguments,
		sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: MaxPattern,
		sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH:       MaxTriggers,
		sqlite3.SQLITE_LIMIT_WORKER_THREADS:      0,
		sqlite3.SQLITE_LIMIT_ATTACHED:            0,
	} {
		conn.SetLimit(limit, most)
	}
}

// sideSuffixes end the names of what SQLite keeps beside a database.
var sideSuffixes = [...]string{"-wal", "-shm", "-journal"}

// prepare refuses what SQLite must not be led to and creates a missing file
// with the right mode, before SQLite has it open.
func prepare(path string, readOnly bool) error {
	if !readOnly {
		if err := disk.CheckLocal(filepath.Dir(path)); err != nil {
			return fmt.Errorf("sqlite: open: %w", err)
		}
	}
	for _, suffix := range sideSuffixes {
		if _, err := disk.CheckPlain(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("sqlite: open: %w", err)
		}
	}
	info, err := disk.CheckPlain(path)
	switch {
	case err == nil && !readOnly:
		return checkJournal(path, info.Size())
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist) || readOnly:
		return fmt.Errorf("sqlite: open: %w", err)
	}
	if err := disk.CreateFile(path); err != nil {
		return fmt.Errorf("sqlite: create: %w", err)
	}
	crash.At(crash.FileMade)
	return nil
}

// Of SQLite's rollback journal: its first and, where it names another journal,
// last bytes, and the size of its header.
var journalMagic = []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}

const (
	journalHeader = 28
	maxPageSize   = 64 << 10
)

// checkJournal refuses a file beside which lies a rollback journal that is not
// that of its creation. SQLite would follow what such a journal says: put back
// pages, and remove the other journal that it may name, whatever file has that
// name. Leat keeps write-ahead logs, and has a rollback journal only until the
// first page of a file is written.
func checkJournal(path string, size int64) error {
	refuse := &SchemaError{Path: path, Object: fmt.Sprintf("rollback journal %q", filepath.Base(path)+"-journal"), Problem: "is another program's, which wrote to the file", Remedy: remedy(false)}
	data, err := disk.ReadSmall(path+"-journal", 2*maxPageSize)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, disk.ErrNotPlain):
		return refuse
	case err != nil:
		return fmt.Errorf("sqlite: open: %w", err)
	case len(data) == 0 || data[0] == 0: // not in force
		return nil
	case bytes.HasSuffix(data, journalMagic): // it names another
		return refuse
	case len(data) < journalHeader || !bytes.HasPrefix(data, journalMagic):
		return nil // nor is one that was cut short: SQLite puts nothing back from it
	}
	pages := binary.BigEndian.Uint32(data[16:]) // that the file had
	if pages > 0 || size > maxPageSize {
		return refuse
	}
	return nil
}

// CutShort tells whether the creation of the file was cut short: a rollback
// journal beside it takes its first page back. A file that has ever been more
// than created has none.
func CutShort(path string) bool {
	data, err := disk.ReadSmall(path+"-journal", 2*maxPageSize)
	return err == nil && len(data) >= journalHeader && bytes.HasPrefix(data, journalMagic)
}

// Preflight looks at what a file says it is and changes nothing: no lock is
// taken, no WAL is made or looked at. It goes through SQLite, because opening
// and closing the file by other means would drop the locks that this process
// holds on it. It returns ErrForeign, ErrNewer or ErrSchema, nil for a file
// that is empty or absent. What is in a WAL it cannot see: Migrate looks again.
func Preflight(ctx context.Context, path string, of Format) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	switch info, err := disk.CheckPlain(path); {
	case errors.Is(err, os.ErrNotExist), err == nil && info.Size() == 0:
		return nil
	case err != nil:
		return fmt.Errorf("sqlite: open: %w", err)
	}
	scripts, err := readScripts(of.Migrations)
	if err != nil {
		return err
	}
	_, closed, err := stat(path)
	if err != nil {
		return err
	}
	db := &DB{path: path, read: sql.OpenDB(connector{path: path, opts: Options{ReadOnly: true, Immutable: true}})}
	db.read.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	h, err := readHeader(ctx, db.read)
	switch {
	case err != nil && !closed && !IsNotDatabase(err):
		return nil // a page of it is in the WAL
	case IsNotDatabase(err) && CutShort(path):
		return nil // SQLite takes back what was written of its first page
	case err != nil:
		return wrapOpen(path, err)
	}
	if err := h.Check(path, of.ApplicationID, len(scripts)); err != nil || !closed {
		return err
	}
	return db.compareSchema(ctx, scripts, h.Version, of.Shared)
}

// OpenFormat opens the file at path for writing, as Open does, and brings it to
// the last of its migrations, as Migrate does. What it refuses it has not
// changed, its WAL included. With Durability Full, what the WAL holds is durable
// once it returns, whoever left it there.
func OpenFormat(ctx context.Context, path string, of Format, opts Options) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	opts.ReadOnly = false
	if err := Preflight(ctx, path, of); err != nil {
		return nil, err
	}
	left, err := os.Lstat(path + "-wal")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("sqlite: open: %w", err)
	}
	db, err := Open(ctx, path, opts)
	if err != nil {
		return nil, err
	}
	migrated, err := db.migrate(ctx, of.ApplicationID, of.Migrations, of.Shared)
	if err == nil && !migrated && of.Accept != nil {
		err = of.Accept(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Abandon())
	}
	if opts.Durability == Full {
		if err := db.settle(ctx, left != nil); err != nil {
			return nil, errors.Join(err, db.Abandon())
		}
	}
	return db, nil
}

// Abandon closes a file that was opened and then refused: where it has a WAL,
// that stays what it is, while Close would move it into the file.
func (db *DB) Abandon() error {
	if info, err := os.Lstat(db.path + "-wal"); err != nil || info.Size() == 0 || db.write == nil {
		return db.Close()
	}
	// The last connection to close moves the WAL, if it may write.
	return errors.Join(db.write.Close(), db.read.Close())
}
