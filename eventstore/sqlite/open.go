package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	file "github.com/leat-go/leat/internal/sqlite"
)

// Names of the files of a store.
const (
	logName     = "log.db"
	lockName    = "lock"
	witnessName = "witness"
)

// applicationID marks log.db.
const applicationID = 0x1ea70109

//go:embed migration/*.sql
var migrations embed.FS

// logFormat returns what log.db is made of and how many migrations that are.
func logFormat() (file.Format, int, error) {
	dir, err := fs.Sub(migrations, "migration")
	if err != nil {
		return file.Format{}, 0, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return file.Format{}, 0, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	return file.Format{ApplicationID: applicationID, Migrations: dir}, len(names), nil
}

// Open opens the store in dir as its owner, and creates it where dir does not
// exist or is empty. The caller closes it.
//
// Errors: eventstore.ErrInUse where somebody owns it, ErrNotStore where dir
// holds something else or a newer format, is a backup (which Restore makes a
// store of), or has a name that ends in UnfinishedSuffix, eventstore.ErrCorrupt where the log
// is behind what its witness remembers, has lost it, or is otherwise damaged. What is
// refused is left as it was.
func Open(ctx context.Context, dir string, opts *Options) (_ *Store, err error) {
	options, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	format, _, err := logFormat()
	if err != nil {
		return nil, err
	}
	s, err := newStore(dir, options)
	if err != nil {
		return nil, err
	}
	c, err := claimDir(ctx, s.dir, format)
	if err != nil {
		return nil, err
	}
	s.lock = c.lock
	s.warnOfMode()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles(), c.abandon())
		}
	}()
	format.Accept = s.accept
	if s.db, err = file.OpenFormat(ctx, s.path(logName), format, options.file()); err != nil {
		return nil, s.openError(ctx, err)
	}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	if err := s.warm(ctx, file.Readers); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// OpenReadOnly opens the store in dir for reading, beside its owner or without
// one. Nothing is created or migrated, and dir must hold a store. Wait looks
// for what the owner committed a few times a second; appends return
// ErrReadOnly. The caller closes it.
func OpenReadOnly(ctx context.Context, dir string) (_ *Store, err error) {
	options, err := (*Options)(nil).withDefaults()
	if err != nil {
		return nil, err
	}
	format, known, err := logFormat()
	if err != nil {
		return nil, err
	}
	s, err := newStore(dir, options)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(s.path(logName)); err != nil || info.Size() == 0 {
		return nil, fmt.Errorf("%w: %s holds no log (%s): name the directory of a store", ErrNotStore, s.dir, logName)
	}
	if !witnessed(s.dir) && file.CutShort(s.path(logName)) {
		return nil, s.errBegun()
	}
	// Beside an owner a header may be read half-written: only its word that it
	// is something else counts, and the true opening below says the rest.
	if err := inspectLog(ctx, s.path(logName), format); errors.Is(err, ErrNotStore) {
		return nil, err
	}
	f := options.file()
	f.ReadOnly = true
	f.Readers = file.Readers + 1 // one watches
	if s.db, err = file.Open(ctx, s.path(logName), f); err != nil {
		return nil, fileError(s.path(logName), "open", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	version, err := s.db.Check(ctx, applicationID, known)
	switch {
	case err != nil:
		return nil, fileError(s.db.Path(), "open", err)
	case version < known:
		return nil, fmt.Errorf("%w: %s has format %d and this program reads %d: open it once as its owner", ErrNotStore, s.db.Path(), version, known)
	}
	if err := s.db.CheckSchema(ctx, format.Migrations); err != nil {
		return nil, fileError(s.db.Path(), "open", err)
	}
	found, err := s.loadIdentity(ctx)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, s.unnamed(ctx)
	}
	conn, err := s.db.Reader().Conn(ctx)
	if err != nil {
		return nil, fileError(s.db.Path(), "open", err)
	}
	s.watch = &watcher{conn: conn, version: -1}
	s.index = &streamIndex{}
	return s, nil
}

func newStore(dir string, options Options) (*Store, error) {
	if dir == "" {
		return nil, &eventstore.InvalidError{Field: "store directory", Reason: "is empty"}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: open %s: %w", dir, err)
	}
	s := &Store{
		dir: abs, options: options, logger: options.Logger, closing: make(chan struct{}),
		names: names{streams: newCache[int64, string](options.CachedStreams), types: map[int64]string{}},
	}
	running := make(chan struct{})
	s.stopped.Store(&running)
	return s, nil
}

// warnOfMode tells of a directory that others may write to: they cannot read
// its files, but can put other files in their place. Who made the directory may
// have wanted that, so it is left as it is.
func (s *Store) warnOfMode() {
	if info, err := os.Stat(s.dir); err == nil && info.Mode().Perm()&0o002 != 0 {
		s.logger.Warn("others may write to the directory of the store and replace its files: chmod o-w", "store", s.dir, "mode", fmt.Sprintf("%#o", info.Mode().Perm()))
	}
}

// accept looks whether the log is the one that its witness remembers before its
// write-ahead log is moved into it: one that was left behind by another log, or
// by an older time of this one, would be mixed with what it does not belong to.
func (s *Store) accept(ctx context.Context, db *file.DB) error {
	s.db = db
	defer func() { s.db = nil }() // it is the store's once it is opened
	if found, err := s.loadIdentity(ctx); err != nil || !found {
		return err
	}
	return newWitness(s).compare(ctx)
}

func (s *Store) openError(ctx context.Context, err error) error {
	if errors.Is(err, eventstore.ErrCorrupt) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return fileError(s.path(logName), "open", err)
}

// closeFiles closes what an opening that failed had opened, and leaves its
// write-ahead log as it is: it may be another's.
func (s *Store) closeFiles() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Abandon())
	}
	return errors.Join(errs...)
}

// warm opens all connections for reading, and they stay open. A connection
// that was opened after another program removed the write-ahead log would not
// see what is in it; these do.
func (s *Store) warm(ctx context.Context, readers int) (err error) {
	for range readers {
		conn, err := s.db.Reader().Conn(ctx)
		if err != nil {
			return fileError(s.db.Path(), "open", err)
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
	}
	return nil
}

// start reads the end of the log and starts the writer.
func (s *Store) start(ctx context.Context) error {
	w := s.blankWriter()
	w.queue, w.reopen, w.done = make(chan *request, s.options.Queue), make(chan *reopening), make(chan struct{})
	conn, err := s.db.Writer().Conn(ctx)
	if err != nil {
		return fileError(s.db.Path(), "open", err)
	}
	w.conn = conn
	s.writer = w
	err = raw(conn, func(c *sqlite3.SQLiteConn) error {
		if err := w.load(c); err != nil {
			return err
		}
		return w.statements.prepare(c)
	})
	if err != nil {
		return s.readError(ctx, "open", err)
	}
	s.index = w.index
	s.db.WAL().Readers = s.readers
	s.witness = newWitness(s)
	if err := s.witness.compare(ctx); err != nil {
		return err
	}
	crash.At(crash.StoreLoaded)
	now := w.tip // a copy: the writer's own moves on
	s.tip.Store(&now)
	if s.witness.said == nil { // before anything is appended
		if err := s.witness.write(); err != nil {
			return fmt.Errorf("eventstore/sqlite: create %s: %w", s.dir, err)
		}
	}
	s.witness.start()
	go w.run()
	return nil
}

const (
	selectLastEvent = `
		SELECT position, hash, recorded_at, COALESCE(batch, 0)
		FROM events
		ORDER BY position DESC
		LIMIT 1`
	selectLastBatch = `
		SELECT number, hash, recorded_at
		FROM batches
		ORDER BY number DESC
		LIMIT 1`
	selectSequences = `
		SELECT COALESCE(MAX(CASE name WHEN 'events' THEN seq END), 0), COALESCE(MAX(CASE name WHEN 'batches' THEN seq END), 0),
		       (SELECT COALESCE(MAX(id), 0) FROM streams), (SELECT COALESCE(MAX(id), 0) FROM types)
		FROM sqlite_sequence`
)

// load reads what the writer must know: the ends of tables, and of the log what
// the table of its index does not have, IndexEvents at most unless that could
// not be written. So opening takes as long for a million events as for that many.
func (w *writer) load(c *sqlite3.SQLiteConn) error {
	if err := w.loadEnds(c); err != nil {
		return err
	}
	var err error
	w.index, err = loadIndex(c, w.store.path(logName), w.tip.position)
	return err
}

func (w *writer) loadEnds(c *sqlite3.SQLiteConn) error {
	t, part := &w.tip, int64(0)
	err := query(c, selectLastEvent, 4, func(r *row) error {
		t.position, t.hash, t.time, part = r.int(0), r.hash(1), r.int(2), r.int(3)
		return nil
	})
	if err != nil {
		return err
	}
	err = query(c, selectLastBatch, 3, func(r *row) error {
		t.batch, t.batchHash, t.time = r.int(0), r.hash(1), max(t.time, r.int(2))
		return nil
	})
	if err != nil {
		return err
	}
	var position, batch int64
	err = query(c, selectSequences, 4, func(r *row) error {
		position, batch, t.streams, t.types = r.int(0), r.int(1), r.int(2), r.int(3)
		return nil
	})
	switch {
	case err != nil:
		return err
	case position != t.position:
		return &eventstore.CorruptError{Where: w.store.db.Path(), Reason: fmt.Sprintf("the log ends at position %d, but %d was given to an event: restore it from a backup", t.position, position)}
	case part > t.batch:
		return &eventstore.CorruptError{Where: w.store.db.Path(), Reason: fmt.Sprintf("position %d is of a batch that was not stored whole: restore it from a backup", t.position)}
	case batch != t.batch:
		return &eventstore.CorruptError{Where: w.store.db.Path(), Reason: fmt.Sprintf("the batches end at number %d, but %d was given to one: restore it from a backup", t.batch, batch)}
	}
	return query(c, selectTypes, 2, func(r *row) error {
		w.types[r.text(1)] = r.int(0)
		return nil
	})
}
