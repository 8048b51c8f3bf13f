package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Limits of a write-ahead log.
const (
	// Checkpoint is the number of its pages after which they are moved into
	// the file (16 MiB).
	Checkpoint = 4000
	// LongWAL is the size after which a logger hears of it, and more is done
	// against it.
	LongWAL = 64 << 20
	// MaxWAL is the size after which nothing is written any more.
	MaxWAL = 4 << 30
	// shortWait and longWait are how long a checkpoint waits for readers: in
	// the ordinary case, and of a log past LongWAL. It waits for a hundredth of
	// the time at most (see patience), so that a reader that stays costs the
	// appends nothing.
	shortWait = 10 * time.Millisecond
	longWait  = 100 * time.Millisecond
	// fullRetry is the least time between two attempts to empty a full one.
	fullRetry = 250 * time.Millisecond
	// frame is the size of a page in it.
	frame = 4096 + 24
)

// ErrWALFull: the write-ahead log is at its limit and cannot be emptied.
// Nothing was written.
var ErrWALFull = errors.New("sqlite: write-ahead log full")

// WAL watches the write-ahead log of an open file. It belongs to the holder of
// the writer connection, and is not safe for concurrent use.
//
// SQLite alone lets it grow. Its own checkpoint runs inside of a commit, and
// nobody is told how that went: a page that a reader still needs is not moved,
// and a log that was moved is not begun anew while any reader is inside of it.
// Beside readers that come and go all the time there is always one; a reader
// that stays, here or in another program, keeps it for ever. So SQLite's own is
// switched off, and the writer looks at the size after each commit (it looks
// whether the file is still the one that was opened anyway), moves the pages,
// reads the result, and, because what is moved is not yet begun anew, asks for
// that too, which waits for the readers that are inside, a little. It does so
// after the commit was answered, so that no commit waits for its own.
//
//	0 ──── Checkpoint ──── LongWAL ──────────── MaxWAL
//	        moved, wait     moved, wait longer,  nothing is written
//	        a little        one line in the log  until it was moved
//
// The limit is looked at before a transaction, so the last one before it may
// pass it.
type WAL struct {
	path      string
	limit     int64 // of Checkpoint, in bytes; the file is cut to it when it begins anew
	long, max int64
	logger    *slog.Logger
	// Readers says who may be reading, for the error that needs to know.
	Readers func() string

	files   identities
	size    int64         // as last seen
	next    int64         // the size after which a checkpoint is tried
	emptied bool          // it was, and nothing was committed since
	told    bool          // that it is long
	tried   time.Time     // the last attempt to empty a full one
	waited  time.Time     // until when it has waited for readers last
	wait    time.Duration // how long
	failure error         // of the last checkpoint
	lost    error         // a ReplacedError, once there is one
}

// watchWAL begins to watch. All of the file's parts are there.
func watchWAL(path string, opts Options) (*WAL, error) {
	w := &WAL{path: path, limit: int64(opts.Checkpoint) * frame, long: opts.LongWAL, max: opts.MaxWAL, logger: opts.Logger}
	w.next = w.limit
	w.Readers = func() string { return "a long read of this program, or another program" }
	var err error
	if w.files, w.size, err = identify(path); err != nil {
		return nil, fmt.Errorf("sqlite: open: %w", err)
	}
	return w, nil
}

// Admit returns an error unless a transaction may begin: a ReplacedError where
// the files are known to be lost, ErrWALFull where the log is at its limit and
// cannot be emptied.
func (w *WAL) Admit(c *sqlite3.SQLiteConn) error {
	if w.lost != nil {
		return w.lost
	}
	if w.size < w.max {
		return nil
	}
	if now := time.Now(); now.Sub(w.tried) >= fullRetry {
		w.tried = now
		if err := w.empty(c, longWait); err != nil && !IsBusy(err) && !IsFull(err) {
			return fmt.Errorf("sqlite: empty the write-ahead log of %s: %w", w.path, err)
		}
	}
	if w.size < w.max {
		return nil
	}
	return fmt.Errorf("%w: that of %s has %d bytes, %d are allowed, and %s", ErrWALFull, w.path, w.size, w.max, w.cause())
}

// Committed looks, after a COMMIT, whether it went into the files that were
// opened, and returns a ReplacedError where it did not. Then it has everything
// moved into the database that the open connection can still read.
func (w *WAL) Committed(c *sqlite3.SQLiteConn) error {
	err := w.Check()
	if lost, ok := errors.AsType[*ReplacedError](err); ok && !lost.Saved {
		lost.Saved = w.save(c)
	}
	return err
}

// Check returns a ReplacedError where the files are not those that were opened,
// and another error where the system does not say.
func (w *WAL) Check() error {
	if w.lost != nil {
		return w.lost
	}
	size, err := w.files.check(w.path)
	if err != nil {
		if errors.Is(err, ErrReplaced) {
			w.lost = err
		}
		return err
	}
	w.size = size
	return nil
}

// save moves what the open connection has in its write-ahead log, which no
// longer has a name, into the database, unless somebody else has one with
// something in it: a process that dies after this has lost nothing.
func (w *WAL) save(c *sqlite3.SQLiteConn) bool {
	if now, _, _ := identify(w.path); now[0] != w.files[0] {
		return false // the database itself is another, or gone
	}
	if info, err := os.Lstat(w.path + "-wal"); err == nil && info.Size() > 0 {
		return false
	}
	r, err := checkpoint(c, "PASSIVE")
	return err == nil && r.moved == r.frames
}

// Tend empties the log where it has grown past its next mark. The caller has no
// transaction open. An error is that of moving pages into the file: the commits
// before it are safe.
func (w *WAL) Tend(c *sqlite3.SQLiteConn) error {
	emptied := w.emptied
	w.emptied = false
	switch {
	case w.lost != nil, w.size <= w.next:
		return nil
	case emptied: // by the last call, and yet not cut since: one large transaction
		w.next = w.size + w.limit
		return nil
	}
	return w.empty(c, w.patience())
}

// patience returns how long to wait for readers.
func (w *WAL) patience() time.Duration {
	if time.Since(w.waited) < 100*w.wait {
		return 0
	}
	if w.size > w.long {
		return longWait
	}
	return shortWait
}

// empty moves the log into the file and has it begin anew, and waits this long
// for readers, if it comes to that.
func (w *WAL) empty(c *sqlite3.SQLiteConn, wait time.Duration) error {
	r, err := checkpoint(c, "PASSIVE") // most of the work, without waiting
	if err == nil {
		r, err = restart(c, 0)
	}
	if err == nil && r.busy && wait > 0 {
		began := time.Now()
		r, err = restart(c, wait)
		w.waited = time.Now()
		w.wait = w.waited.Sub(began)
	}
	w.failure = err
	if err == nil && !r.busy {
		if w.told {
			w.logger.Info("the write-ahead log is short again", "file", w.path)
		}
		w.size, w.next, w.emptied, w.told = 0, w.limit, true, false
		return nil
	}
	w.next = w.size + w.limit/2
	if w.size > w.long {
		w.next = w.size + max(w.limit, w.long/4)
	}
	if (w.size > w.long || err != nil) && !w.told {
		w.told = true
		w.logger.Warn("the write-ahead log grows", "file", w.path, "bytes", w.size, "limit", w.max, "cause", w.cause())
	}
	return err
}

// cause says what keeps it from being emptied.
func (w *WAL) cause() string {
	if w.failure != nil {
		return fmt.Sprintf("it cannot be moved into the file: %v", w.failure)
	}
	return "it is kept by " + w.Readers() + ": end that read"
}

// restart has a log that was moved begin anew, and moves the rest first. It
// waits this long for readers.
func restart(c *sqlite3.SQLiteConn, wait time.Duration) (r checkpointed, err error) {
	if err := setTimeout(c, wait); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, setTimeout(c, BusyTimeout)) }()
	return checkpoint(c, "RESTART")
}

// Move moves into the file what no reader keeps from it. An error is the disk's.
func (w *WAL) Move(c *sqlite3.SQLiteConn) error {
	if _, err := checkpoint(c, "PASSIVE"); err != nil && !IsBusy(err) {
		return err
	}
	return nil
}

// Settle moves everything into the file, syncs it and cuts the write-ahead log
// to nothing: nothing that was committed then rests on what an earlier sync
// left in doubt. It returns an error where a reader keeps it from that for this
// long.
func (w *WAL) Settle(c *sqlite3.SQLiteConn, wait time.Duration) (err error) {
	if err := setTimeout(c, wait); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, setTimeout(c, BusyTimeout)) }()
	r, err := checkpoint(c, "TRUNCATE")
	if err == nil && r.busy {
		err = fmt.Errorf("sqlite: %s: its write-ahead log cannot be moved into it: it is kept by %s", w.path, w.Readers())
	}
	if err == nil {
		w.size, w.next, w.emptied, w.told = 0, w.limit, true, false
	}
	return err
}

// checkpointed is the result of a checkpoint.
type checkpointed struct {
	busy          bool // a reader or writer kept it from its end
	frames, moved int64
}

// checkpoint runs a checkpoint and reads its result.
func checkpoint(c *sqlite3.SQLiteConn, mode string) (r checkpointed, err error) {
	rows, err := c.Query("PRAGMA wal_checkpoint("+mode+")", nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, 3)
	if err := rows.Next(values); err != nil {
		return r, err
	}
	numbers := [3]int64{}
	for i, v := range values {
		n, ok := v.(int64)
		if !ok {
			return r, fmt.Errorf("sqlite: a checkpoint answered %v", values)
		}
		numbers[i] = n
	}
	return checkpointed{busy: numbers[0] != 0, frames: numbers[1], moved: numbers[2]}, nil
}

func setTimeout(c *sqlite3.SQLiteConn, d time.Duration) error {
	_, err := c.Exec(fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()), nil)
	return err
}

// WAL returns the watch on the file's write-ahead log, for the holder of the
// writer connection; nil when read-only.
func (db *DB) WAL() *WAL { return db.wal }

// warm opens every connection of the file, and they stay open: one that was
// opened after another program removed the write-ahead log would not see what
// is in it.
func (db *DB) warm(ctx context.Context, readers int) (err error) {
	for range readers {
		conn, err := db.read.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		// A connection has the write-ahead log open once it has read.
		if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema").Scan(new(int)); err != nil {
			return err
		}
	}
	return nil
}
