package projection

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/sqlite"
)

// applicationID marks a file of a read model.
const applicationID = 0x1ea70176

// lazyCheckpoint is how many positions without a matching event are scanned
// before the file is told. Until then only the memory knows.
const lazyCheckpoint = 10_000

//go:embed migration/*.sql
var migrationFiles embed.FS

// formats is the number of migrations.
const formats = 2

func migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migration")
	if err != nil { // the directory is embedded
		panic("projection: " + err.Error())
	}
	return sub
}

// format is that of every read model's file.
func format() sqlite.Format {
	return sqlite.Format{ApplicationID: applicationID, Migrations: migrations(), Shared: true}
}

// Why a file was made: what a leftover of it is worth. An upgrade is picked up
// where it stopped; the others are begun anew.
const (
	purposeFirst   = "first"
	purposeUpgrade = "upgrade"
	purposeRebuild = "rebuild"
)

// view is one open file: user tables, checkpoint, attempts, parked events and
// dead letters, which all change in the same transactions. What memory holds
// of the file is changed only after its commit. One goroutine at a time works
// on a view: whoever holds the projection's gate, or, for a file that is being
// rebuilt, the rebuild.
type view struct {
	id     fileID
	def    *Definition
	db     *sqlite.DB
	log    eventstore.LogReader
	logger *slog.Logger
	// verdict says what becomes of an event that failed for good, and whether it
	// has already: then it is not tried again.
	verdict func(ctx context.Context, position int64) (p Policy, already bool, err error)
	once    bool // a failing event is not retried
	// discarded are events that a build leaves out, as the live file does, by
	// position.
	discarded map[int64]discarded

	saved   eventstore.Anchor // the checkpoint in the file
	through eventstore.Anchor // scanned; at or past saved
	parked  map[string]int    // waiting events by stream
	dead    int
	attempt attempt
	stale   bool   // a commit's outcome is unknown: load before going on
	ahead   *ahead // of the page that is being applied; nil where nothing was decoded ahead
	wary    int    // pages to apply with savepoints from the start
	run     int    // how many events more than one share a savepoint
}

// attempt is the failing event and how often it was tried.
type attempt struct {
	position int64
	attempts int
	since    time.Time
	err      string
}

// createView makes a new file: the framework's tables, then, in one
// transaction, the user's and the row that says what the file is.
func createView(ctx context.Context, f files, id fileID, def *Definition, purpose string) (_ *view, err error) {
	durability := sqlite.Normal
	if purpose == purposeRebuild {
		durability = sqlite.Off // see syncRebuilt
	}
	db, err := f.open(ctx, id, durability)
	if err != nil {
		return nil, fmt.Errorf("projection %s: %w", def.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close(), f.remove(id))
		}
	}()
	if err := db.Write(ctx, func(tx *sqlite.Tx) error { return createSchema(tx, def, purpose) }); err != nil {
		return nil, err
	}
	crash.At(crash.ViewMade)
	v := &view{id: id, def: def, db: db}
	return v, v.load(ctx)
}

// open opens a file of the read model for writing.
func (f files) open(ctx context.Context, id fileID, durability sqlite.Durability) (*sqlite.DB, error) {
	return sqlite.OpenFormat(ctx, f.path(id), format(), sqlite.Options{Durability: durability, Logger: f.logger})
}

const countOwn = `
	SELECT COUNT(*)
	FROM sqlite_schema
	WHERE name LIKE 'leat\_%' ESCAPE '\' OR tbl_name LIKE 'leat\_%' ESCAPE '\'`

func createSchema(tx *sqlite.Tx, def *Definition, purpose string) error {
	var before, after, tables int
	if err := tx.QueryRow(countOwn).Scan(&before); err != nil {
		return fmt.Errorf("projection %s: %w", def.name, err)
	}
	refuse := func(err error) error {
		return fmt.Errorf("%w: projection %q version %d: schema: %w", ErrInvalid, def.name, def.version, err)
	}
	if _, err := tx.Exec(def.schema); err != nil {
		return refuse(err)
	}
	if tx.Ended() {
		return refuse(errors.New("it ends the transaction it runs in: leave out COMMIT and ROLLBACK"))
	}
	if err := tx.QueryRow(countOwn).Scan(&after); err != nil {
		return fmt.Errorf("projection %s: %w", def.name, err)
	}
	if before != after {
		return refuse(errors.New("it touches a table whose name begins with leat_, which are the framework's"))
	}
	err := tx.QueryRow(`
		SELECT COUNT(*)
		FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'leat\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`).Scan(&tables)
	if err != nil {
		return fmt.Errorf("projection %s: %w", def.name, err)
	}
	if tables == 0 {
		return refuse(errors.New("it creates no table"))
	}
	_, err = tx.Exec(`
		INSERT INTO leat_view (id, name, version, schema_hash, purpose)
		VALUES (1, ?, ?, ?, ?)`, def.name, def.version, def.schemaHash(), purpose)
	if err != nil {
		return fmt.Errorf("projection %s: %w", def.name, err)
	}
	return nil
}

// openView opens a file that exists. Its version may be another than the
// definition's: then it can be read and not applied to.
func openView(ctx context.Context, f files, id fileID, def *Definition) (_ *view, purpose string, err error) {
	path := f.path(id)
	if !exists(path) {
		return nil, "", &DamagedError{Projection: id.name, File: path, Err: errors.New("it is missing")}
	}
	db, err := f.open(ctx, id, sqlite.Normal)
	if err != nil {
		return nil, "", damage(id.name, path, fmt.Errorf("projection %s: %w", id.name, err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(damage(id.name, path, err), db.Close())
		}
	}()
	purpose, err = checkView(ctx, db, id, def)
	if err != nil {
		return nil, "", err
	}
	v := &view{id: id, def: def, db: db}
	return v, purpose, v.load(ctx)
}

// checkView returns why the file was made. It returns ErrSchemaChanged where
// it was made with another schema, or for other events, of the definition's
// version.
func checkView(ctx context.Context, db *sqlite.DB, id fileID, def *Definition) (purpose string, err error) {
	var name string
	var version int
	var hash []byte
	err = db.Reader().QueryRowContext(ctx, `
		SELECT name, version, schema_hash, purpose
		FROM leat_view`).Scan(&name, &version, &hash, &purpose)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("projection %s: read %s: %w", id.name, db.Path(), err)
	}
	if err != nil || name != id.name || version != id.version {
		return "", &DamagedError{Projection: id.name, File: db.Path(), Err: fmt.Errorf("it says that it is %s v%d", name, version)}
	}
	if version == def.version && !bytes.Equal(hash, def.schemaHash()) {
		return "", fmt.Errorf("%w: the schema or the event types of %q are not those that version %d was made with: raise the version, so that a new file is built beside it", ErrSchemaChanged, name, version)
	}
	return purpose, nil
}

// load reads what memory holds of the file.
func (v *view) load(ctx context.Context) error {
	before := v.saved
	read := v.db.Reader()
	var err error
	if v.saved, err = readCheckpoint(read.QueryRowContext(ctx, selectCheckpoint)); err != nil {
		return v.wrap(err)
	}
	if v.saved != before || v.through.Position < v.saved.Position {
		v.through = v.saved
	}
	v.attempt = attempt{}
	var since int64
	err = read.QueryRowContext(ctx, `SELECT position, attempts, since, error FROM leat_attempt`).
		Scan(&v.attempt.position, &v.attempt.attempts, &since, &v.attempt.err)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return v.wrap(err)
	}
	v.attempt.since = time.Unix(0, since)
	if err := read.QueryRowContext(ctx, `SELECT COUNT(*) FROM leat_dead_letter`).Scan(&v.dead); err != nil {
		return v.wrap(err)
	}
	if v.parked, err = readParked(ctx, read); err != nil {
		return v.wrap(err)
	}
	v.stale = false
	return nil
}

func readParked(ctx context.Context, read *sql.DB) (_ map[string]int, err error) {
	rows, err := read.QueryContext(ctx, `SELECT stream, COUNT(*) FROM leat_parked GROUP BY stream`)
	if err != nil {
		return nil, err
	}
	parked := map[string]int{}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var stream string
		var n int
		err := rows.Scan(&stream, &n)
		parked[stream] = n
		return err
	})
	return parked, err
}

const selectCheckpoint = `
	SELECT epoch, position, hash
	FROM leat_checkpoint`

func readCheckpoint(row *sql.Row) (a eventstore.Anchor, err error) {
	var hash []byte
	if err := row.Scan(&a.Epoch, &a.Position, &hash); err != nil {
		return eventstore.Anchor{}, err
	}
	copy(a.Hash[:], hash)
	return a, nil
}

// saveScanned tells the file how far memory has scanned.
func (v *view) saveScanned(ctx context.Context) error {
	if v.through == v.saved || v.stale {
		return nil
	}
	return v.write(ctx, func(s *step) error { return s.save(v.through) })
}

func (v *view) wrap(err error) error {
	return damage(v.def.name, v.db.Path(), fmt.Errorf("projection %s: %s: %w", v.def.name, v.id, err))
}

// shown is what readers may know of a view without its gate.
type shown struct {
	through       eventstore.Anchor
	parkedStreams int
	parkedEvents  int
	dead          int
	version       int
	attempt       attempt
}

func (v *view) show() shown {
	s := shown{through: v.through, parkedStreams: len(v.parked), dead: v.dead, version: v.id.version, attempt: v.attempt}
	for _, n := range v.parked {
		s.parkedEvents += n
	}
	return s
}
