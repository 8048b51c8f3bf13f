package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

// How long Reopen waits for the reads that are under way in this program, and
// then for those of others. Meanwhile no other begins, so it does not begin to
// wait while one is inside that has taken longCall already, such as a Backup.
const (
	reopenPatience = 5 * time.Second
	othersPatience = time.Second
	longCall       = time.Second
)

// Reopen opens log.db again after the store has stopped (see Err), in place:
// the lock is held all along, and whoever reads, waits or follows goes on. It
// is for the owner's program to call once the cause may be gone; package
// serverless does so by itself. On a store that has not stopped it does nothing.
//
// What was acknowledged is there afterwards, at its positions, or it returns
// eventstore.ErrCorrupt and the store stays stopped. An append whose outcome
// was unknown has been stored or not: if so it is seen from now on and wakes
// who waits for it, Committed says which, and repeating it under its batch ID
// leaves one copy.
//
// An error leaves the store stopped; Reopen may be called again. While the
// cause is found to be there still, that is all: reads go on. It is refused
// with eventstore.ErrCorrupt where another program has removed or replaced a
// file of the log, since what was acknowledged may be in no file that has a
// name: take a Backup, which copies it from what is still open, then Close,
// and continue from the Backup by Restore.
//
// It is safe for concurrent use. ctx bounds the wait for reads under way, not
// what follows. Where they take longer than it waits by itself, it returns
// eventstore.ErrBusy and says which.
func (s *Store) Reopen(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Err() == nil {
		return s.errClosed()
	}
	r := &reopening{ctx: ctx, done: make(chan error, 1)}
	select {
	case s.writer.reopen <- r:
		return <-r.done
	case <-s.closing:
		return eventstore.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stopped returns a channel that is closed once writes have stopped; already
// closed where they have. After a Reopen it is another.
func (s *Store) Stopped() <-chan struct{} { return *s.stopped.Load() }

// reopening is a call of Reopen on its way to the writer.
type reopening struct {
	ctx  context.Context
	done chan error
}

// serve carries out a Reopen.
//
// It is the writer's goroutine that does, with the turn, since everything that
// is known of the log's end goes with that: no append is under way, those that
// come meanwhile queue, and a second Reopen finds that nothing is left to do. The files belong
// to the readers as well; the gate lets them all out, and in again when the
// exchange is over.
//
// The order of the steps is what keeps the log from going back:
//
//  1. On the connections that are open: are log.db, its write-ahead log and its
//     index the files that were opened? If not, they hold what no name leads
//     to, and must not be closed. Can the pages in the write-ahead log be moved
//     into log.db? That asks whether the disk works again, before anything is
//     given up, and brings what was acknowledged to where it survives anything
//     that happens to the write-ahead log.
//  2. With nobody inside, the rest of it is moved, and the write-ahead log cut to
//     nothing. A sync that failed once leaves the kernel's pages clean, so that a
//     later one says yes to what is not on the disk: the pages of the commit
//     that failed can be such, and what is appended behind them would go with
//     them at the next power cut. Other programs may be reading; then it ends
//     here.
//  3. All connections are closed. SQLite shares the index of the write-ahead log
//     between the connections of a process, and the new ones would join an old
//     one that stayed, and believe what it says of the file.
//  4. New connections are opened and the ends of the log are read from the
//     file, as Open does. What had been published must be in it, with its hash.
//     What is found in the write-ahead log now is moved once more.
//  5. What the writer knows is replaced, the tip published, and the stop taken
//     back, before anybody is let in: so nobody sees one of them without the
//     others. In between an append cannot be refused for a cause that is gone,
//     nor Committed say no to what has just been found.
//
// After step 3 there is no way back to the old connections. If opening fails,
// or what was acknowledged is not there, nothing is read any more until a later
// Reopen succeeds: a log that has lost its end would show a stream without its
// last events and say nothing. Names that readers remember stay true, since
// they are of events at or below the tip. The witness keeps to the tip, which
// never went back. A snapshot is of events below the tip.
func (w *writer) serve(r *reopening) {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	s := w.store
	if s.Err() == nil {
		r.done <- nil
		return
	}
	err := w.exchange(r.ctx)
	if err != nil {
		err = fmt.Errorf("eventstore/sqlite: reopen %s: %w", s.dir, err)
	}
	r.done <- err
}

func (w *writer) exchange(ctx context.Context) error {
	s := w.store
	if w.conn != nil {
		if err := raw(w.conn, w.secure); err != nil {
			return s.translate("move the write-ahead log into it", err)
		}
	}
	if c, ok := s.gate.oldest(); ok && time.Since(c.since) > longCall {
		return fmt.Errorf("%w: %s keeps it from being opened again: wait for that", eventstore.ErrBusy, s.gate.longest())
	}
	wait, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	release, err := s.gate.exclude(wait, s.closing)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		// The patience was its own: nobody is to take its end for that of ctx.
		return fmt.Errorf("%w: %s kept it for %v from being opened again: wait for that", eventstore.ErrBusy, s.gate.longest(), w.patience)
	}
	if err != nil {
		return err
	}
	defer release()
	if w.conn != nil {
		err := raw(w.conn, func(c *sqlite3.SQLiteConn) error { return s.db.WAL().Settle(c, othersPatience) })
		if err != nil {
			return s.translate("move the write-ahead log into it", err)
		}
	}
	// From here on it is carried through, whatever becomes of the caller.
	err = w.letGo()
	if err == nil && w.inject != nil {
		err = w.inject("closed", nil)
	}
	if err == nil {
		err = w.takeUp(context.WithoutCancel(ctx))
	}
	s.unreadable = err
	return err
}

// secure looks whether the connections that are open may be given up.
func (w *writer) secure(c *sqlite3.SQLiteConn) error {
	wal := w.store.db.WAL()
	if err := wal.Check(); err != nil {
		return err
	}
	if !c.AutoCommit() { // it could not be undone when it failed
		if err := w.statements.rollback.exec(); err != nil && !c.AutoCommit() {
			return errors.Join(errStillOpen, err)
		}
	}
	return wal.Move(c)
}

// letGo closes every connection.
func (w *writer) letGo() error {
	err := errors.Join(w.close(), w.store.db.Close())
	w.conn, w.statements = nil, statements{}
	return err
}

// takeUp opens the files again.
func (w *writer) takeUp(ctx context.Context) (err error) {
	s := w.store
	format, _, err := logFormat()
	if err != nil {
		return err
	}
	// Nothing is made where the log is not, and nothing moved into another.
	if info, err := os.Lstat(s.path(logName)); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return &eventstore.CorruptError{Where: s.path(logName), Reason: "it is missing or empty: put back what belongs there"}
	}
	format.Accept = func(ctx context.Context, db *file.DB) (err error) {
		conn, err := db.Reader().Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		return raw(conn, w.compare)
	}
	db, err := file.OpenFormat(ctx, s.path(logName), format, s.options.file())
	if err != nil {
		return s.translate("open", err)
	}
	fresh := s.blankWriter()
	defer func() {
		if err != nil {
			err = errors.Join(err, fresh.close(), db.Abandon())
		}
	}()
	if fresh.conn, err = db.Writer().Conn(ctx); err != nil {
		return fileError(s.path(logName), "open", err)
	}
	err = raw(fresh.conn, func(c *sqlite3.SQLiteConn) error {
		if err := w.compare(c); err != nil { // one of an older format was not accepted, but migrated
			return err
		}
		if err := fresh.load(c); err != nil {
			return err
		}
		if err := db.WAL().Settle(c, othersPatience); err != nil {
			return err
		}
		return fresh.statements.prepare(c)
	})
	if err != nil {
		return s.translate("open", err)
	}
	db.WAL().Readers = s.readers
	s.db = db
	w.conn, w.statements = fresh.conn, fresh.statements
	w.tip, w.streams, w.types = fresh.tip, fresh.streams, fresh.types
	w.index, w.moveAt, s.index = fresh.index, fresh.moveAt, fresh.index
	s.resume(w.tip)
	return nil
}

// compare returns ErrCorrupt unless the file that was opened is of this log and
// holds what was acknowledged.
func (w *writer) compare(c *sqlite3.SQLiteConn) error {
	s := w.store
	id, path := "", s.path(logName)
	err := query(c, selectMeta, 1, func(r *row) error {
		id = r.text(0)
		return nil
	})
	if err != nil {
		return err
	}
	epochs, err := loadEpochs(c, path)
	if err != nil {
		return err
	}
	if id != s.id || epochs.last().name != s.Epoch() {
		return &eventstore.CorruptError{Where: path, Reason: "it is another log than the one that was open: put back what belongs there"}
	}
	return checkEnd(c, path, *s.tip.Load())
}

// checkEnd returns ErrCorrupt unless the log at path has the end t, or goes on
// from it.
func checkEnd(c *sqlite3.SQLiteConn, path string, t tip) error {
	event, batch, err := hashesAt(c, t.position, t.batch)
	switch {
	case err != nil:
		return err
	case t.position > 0 && event != t.hash:
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("position %d is not what was acknowledged there: acknowledged events are lost; restore it from a backup", t.position)}
	case t.batch > 0 && batch != t.batchHash:
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("batch %d is not what was acknowledged: acknowledged batch IDs are lost; restore it from a backup", t.batch)}
	}
	return nil
}

// resume lets appends go on from the tip.
func (s *Store) resume(t tip) {
	running := make(chan struct{})
	s.publish(t)
	s.stopped.Store(&running)
	s.failed.Store(nil)
}

// translate explains an error of the open log.
func (s *Store) translate(doing string, err error) error {
	if lost, ok := errors.AsType[*file.ReplacedError](err); ok {
		return errReplaced(lost)
	}
	if errors.Is(err, eventstore.ErrCorrupt) {
		return err
	}
	return fileError(s.path(logName), doing, err)
}

// errReplaced says what to do where a file of the open log was removed or
// replaced: commits went where nobody will find them.
func errReplaced(lost *file.ReplacedError) error {
	return &eventstore.CorruptError{
		Where:  lost.Path,
		Reason: lost.Reason + ": another program removed or replaced a file of an open store; take a Backup of this store before closing it, and continue from that by Restore",
	}
}

// readers says who may keep the write-ahead log from being emptied.
func (s *Store) readers() string {
	if c, ok := s.gate.oldest(); ok && time.Since(c.since) > longCall {
		return s.gate.longest()
	}
	return "another program"
}
