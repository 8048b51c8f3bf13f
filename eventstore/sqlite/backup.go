package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/parts"
	file "github.com/leat-go/leat/internal/sqlite"
)

// Backup copies the store, as of now and compact, into a new directory dst,
// from which Restore makes a store again. It may run beside appends and
// consumers, on an owner's store and on one that OpenReadOnly opened beside an
// owner in another process. It holds nobody up; while it copies the log the
// log's write-ahead log cannot begin anew, and grows.
//
// Every database at the top of the store's directory is copied: consumers.db
// and sagas.db, where there are any, and log.db last. So every checkpoint in
// the copy is at or below the copy's head, and what sagas sent after they were
// copied is in the log, which answers Duplicate when they send it again. Read
// models are not copied, since the log builds them again, nor is what is not
// Leat's.
//
// dst must not exist, or be empty; it appears under its name when it is whole
// and synced, with a witness and a manifest. After an error it is not there (see
// UnfinishedSuffix for what a kill leaves), unless it was its name that could not
// be synced: then it is whole, but a power cut may take it away. Backup returns
// eventstore.ErrCorrupt where the log is behind what was acknowledged, or what
// its witness remembers: such a log continues from a copy of the directory by
// Restore only. It returns it too where the store had sagas.db or consumers.db
// and has it no more, unless that was given up in the file "parts".
//
// On a store whose writes have stopped the copy is taken from the connections
// that are open, which still see what was acknowledged where another program
// has taken the files away. sagas.db and consumers.db are left out where they
// were taken away as well: then Restore demands that their loss is accepted.
func (s *Store) Backup(ctx context.Context, dst string) (err error) {
	end, err := s.begin(ctx, "back up")
	if err != nil {
		return err
	}
	defer end()
	fail := func(err error) error { return fmt.Errorf("eventstore/sqlite: back up %s: %w", s.dir, diskFull(err)) }
	least, err := s.acknowledged()
	if err != nil {
		return fail(err)
	}
	missing, err := parts.Missing(s.dir)
	if err == nil && len(missing) > 0 && s.Err() == nil {
		err = &eventstore.CorruptError{Where: s.path(missing[0]), Reason: parts.Reason + ": " + parts.Remedy}
	}
	if err != nil {
		return fail(err)
	}
	st, err := stage(dst, s.dir)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.abandon())
		}
	}()
	m := manifest{Format: manifestFormat, Missing: missing}
	for _, c := range companions() {
		if err := c.copy(ctx, s.dir, st, &m); err != nil {
			return fail(err)
		}
	}
	crash.At(crash.BackupBegun)
	if err := s.db.VacuumInto(ctx, st.path(logName)); err != nil {
		return fail(fileError(s.path(logName), "copy", err))
	}
	crash.At(crash.BackupCopied)
	if err := m.add(ctx, st, logName); err != nil {
		return fail(err)
	}
	said, err := attest(ctx, st, s.options, least)
	if err != nil {
		return fail(relocate(err, st.dir, s.dir))
	}
	m.Store, m.Epoch, m.Position = said.Store, said.Epoch, said.Position
	if err := m.add(ctx, st, witnessName); err != nil {
		return fail(err)
	}
	if err := m.keep(st.path(manifestName)); err != nil {
		return fail(err)
	}
	crash.At(crash.BackupWritten)
	if err := st.publish(func() { crash.At(crash.BackupNamed) }); err != nil {
		return fail(err)
	}
	return st.close()
}

// acknowledged returns what a copy of the log must hold at least: what its
// owner has acknowledged, else what the witness remembers; nil where that is
// nothing yet. It is asked before the log is copied: the witness is never ahead
// of the log.
func (s *Store) acknowledged() (*testimony, error) {
	if t := s.tip.Load(); t != nil {
		said := s.testify(*t)
		return &said, nil
	}
	return readTestimony(s.path(witnessName))
}

// copy copies the database, where the store has it and it holds something.
func (c companion) copy(ctx context.Context, dir string, to *staging, m *manifest) (err error) {
	path := filepath.Join(dir, c.name)
	info, err := disk.CheckPlain(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, unused := os.Lstat(path + "-wal"); info.Size() == 0 && errors.Is(unused, os.ErrNotExist) {
		return nil // it is being made
	}
	db, err := file.Open(ctx, path, file.Options{ReadOnly: true, Readers: 1})
	if err != nil {
		return fileError(path, "copy", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	version, err := db.Check(ctx, c.applicationID, len(c.schemas))
	if err != nil {
		return fileError(path, "copy", err)
	}
	if version == 0 {
		return nil
	}
	if err := db.VacuumInto(ctx, to.path(c.name)); err != nil {
		return fileError(path, "copy", err)
	}
	return m.add(ctx, to, c.name)
}

// add names a file that is in the staging directory.
func (m *manifest) add(ctx context.Context, st *staging, name string) error {
	p, err := measure(ctx, st.path(name), name)
	m.Files = append(m.Files, p)
	return err
}

// attest writes the witness of the log that was copied to st, and returns what
// it says. It returns ErrCorrupt unless the copy holds what it must at least.
func attest(ctx context.Context, st *staging, options Options, least *testimony) (said testimony, err error) {
	log, err := newStore(st.dir, options)
	if err != nil {
		return said, err
	}
	if log.db, err = file.Open(ctx, log.path(logName), file.Options{ReadOnly: true, Readers: 1}); err != nil {
		return said, fileError(log.path(logName), "open the copy", err)
	}
	defer func() { err = errors.Join(err, log.db.Close()) }()
	found, err := log.loadIdentity(ctx)
	if err == nil && !found {
		err = errNameless(log.path(logName))
	}
	if err != nil {
		return said, err
	}
	end, err := log.readEnd(ctx)
	if err != nil {
		return said, err
	}
	said = log.testify(end)
	if err := log.bearsOut(ctx, least, end); err != nil {
		return said, err
	}
	return said, said.keep(st.path(witnessName))
}

// readEnd reads the end of the log from a store that has no writer.
func (s *Store) readEnd(ctx context.Context) (tip, error) {
	w := s.blankWriter()
	err := s.read(ctx, "read its end", func(c *sqlite3.SQLiteConn) error { return w.loadEnds(c) })
	return w.tip, err
}

// bearsOut returns ErrCorrupt unless the log, which ends here, holds what is
// remembered of it. Of an empty log nothing need be.
func (s *Store) bearsOut(ctx context.Context, said *testimony, end tip) error {
	if said == nil {
		if end.position == 0 && end.batch == 0 {
			return nil
		}
		return &eventstore.CorruptError{Where: s.path(witnessName), Reason: "the log has lost its witness, so that nobody knows whether it is whole"}
	}
	if err := said.belongsTo(s.id, s.Epoch()); err != nil {
		return &eventstore.CorruptError{Where: s.path(witnessName), Reason: err.Error()}
	}
	return s.compareTo(ctx, *said)
}
