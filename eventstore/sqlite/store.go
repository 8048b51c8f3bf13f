package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	file "github.com/leat-go/leat/internal/sqlite"
)

var (
	_ eventstore.Store     = (*Store)(nil)
	_ eventstore.Snapshots = (*Store)(nil)
	_ eventstore.Epochs    = (*Store)(nil)
)

// Store is an open store. It is safe for concurrent use.
//
// The writer holds the connection that writes and everything that is known
// about the log's end: positions, versions, names, hashes. It publishes the tip
// after each commit and before it answers, and reads show nothing past the tip:
// so what is seen is never taken back, and a commit whose fate is unknown is not
// seen at all.
type Store struct {
	dir     string
	db      *file.DB
	options Options
	logger  *slog.Logger
	id      string
	epochs  epochs   // never changed once it is open
	lock    *os.File // nil when read-only
	writer  *writer  // nil when read-only
	watch   *watcher // nil when not read-only
	witness *witness // nil when read-only

	tip     atomic.Pointer[tip]           // nil when read-only
	failed  atomic.Pointer[error]         // why writes have stopped, nil while they have not
	stopped atomic.Pointer[chan struct{}] // closed once they have
	names   names
	index   *streamIndex // the writer's; where read-only, up to the head that a stream was last read at

	gate       gate  // of calls that use the files: db, and all that comes from it
	unreadable error // why db is closed after a Reopen that failed; of the gate

	mu      sync.RWMutex // guards closed, and the queue against Close
	closed  bool
	closing chan struct{} // closed by Close
	closeMe sync.Once
	result  error // of Close

	waitMu sync.Mutex    // guards woken
	woken  chan struct{} // closed by the next commit; nil when nobody waits
}

// tip is the end of the log.
type tip struct {
	position int64
	hash     [32]byte
	// time is the last one recorded, of an event or a batch.
	time int64
	// batch and batchHash are those of the last batch with an ID.
	batch     int64
	batchHash [32]byte
	// streams and types are the last numbers given to names.
	streams, types int64
}

// Dir returns the store's directory, as an absolute path.
func (s *Store) Dir() string { return s.dir }

// Epoch names the log's current epoch, in which what is appended now is
// written. A restored log begins another.
func (s *Store) Epoch() string { return s.epochs.last().name }

// Err returns why writes have stopped, nil while they have not. Reads go on;
// appends are refused with eventstore.ErrOutcomeUnknown until Reopen succeeds.
func (s *Store) Err() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) stop(cause error) {
	if s.failed.CompareAndSwap(nil, &cause) {
		close(*s.stopped.Load())
		s.logger.Error("writes to the store have stopped until it is opened again", "store", s.dir, "cause", cause)
	}
}

// Close answers the appends that are queued, moves the write-ahead log into
// log.db, writes the witness, and lets go of the directory. It waits for the
// calls that are under way; those that wait for events return
// eventstore.ErrClosed. More calls of Close return the same.
func (s *Store) Close() error {
	s.closeMe.Do(func() { s.result = s.shut() })
	return s.result
}

func (s *Store) shut() error {
	s.mu.Lock()
	s.closed = true
	close(s.closing)
	if s.writer != nil {
		close(s.writer.queue)
	}
	s.mu.Unlock()
	s.gate.close()
	var errs []error
	if s.writer != nil {
		<-s.writer.done
		s.writer.turn <- struct{}{} // nobody appends any more
		crash.At(crash.StoreDrained)
		errs = append(errs, s.witness.close())
		crash.At(crash.StoreWitnessed)
		errs = append(errs, s.writer.close())
	}
	if s.watch != nil {
		errs = append(errs, s.watch.conn.Close())
	}
	errs = append(errs, s.db.Close())
	if s.lock != nil {
		errs = append(errs, unlockFile(s.lock))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("eventstore/sqlite: close %s: %w", s.dir, err)
	}
	return nil
}

// errClosed returns eventstore.ErrClosed where the store is closed.
func (s *Store) errClosed() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return eventstore.ErrClosed
	}
	return nil
}

// begin registers a call that uses the files, and waits for a Reopen that is
// under way. The caller ends it, and begins no other meanwhile.
func (s *Store) begin(ctx context.Context, doing string) (end func(), err error) {
	end, err = s.gate.enter(ctx, doing)
	if err == nil && s.unreadable != nil {
		end()
		return nil, fmt.Errorf("eventstore/sqlite: %s: %s: log.db is closed since it could not be opened again: %w", s.path(logName), doing, s.unreadable)
	}
	return end, err
}

// read runs fn on a connection for reading.
func (s *Store) read(ctx context.Context, doing string, fn func(*sqlite3.SQLiteConn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	end, err := s.begin(ctx, doing)
	if err != nil {
		return err
	}
	defer end()
	conn, err := s.db.Reader().Conn(ctx)
	if err != nil {
		return s.readError(ctx, doing, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return s.readError(ctx, doing, raw(conn, fn))
}

func (s *Store) readError(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case errors.Is(err, eventstore.ErrCorrupt), errors.Is(err, eventstore.ErrRewound), errors.Is(err, eventstore.ErrOutcomeUnknown):
		return err
	default:
		return fileError(s.path(logName), doing, err)
	}
}

// Append implements eventstore.Appender.
func (s *Store) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	if err := b.Check(s.options.Limits); err != nil {
		return eventstore.Commit{}, err
	}
	return s.submit(ctx, newRequest(b))
}

// submit has the request carried out and waits for its answer.
func (s *Store) submit(ctx context.Context, r *request) (eventstore.Commit, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Commit{}, err
	}
	if s.writer != nil && s.writer.direct(r) {
		return r.commit, r.err
	}
	if err := s.enqueue(r); err != nil {
		return eventstore.Commit{}, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, withdrawn) {
			return eventstore.Commit{}, ctx.Err()
		}
		<-r.done // taken: it is stored or not, whatever the context says
	}
	return r.commit, r.err
}

func (s *Store) enqueue(r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return eventstore.ErrClosed
	case s.writer == nil:
		return fmt.Errorf("%w: %s: append through the process that owns it", ErrReadOnly, s.dir)
	}
	if w := s.writer; int(w.waiting.Add(1)) > s.options.Queue {
		w.waiting.Add(-1)
		return fmt.Errorf("%w: %d appends wait already, nothing was stored", eventstore.ErrBusy, s.options.Queue)
	}
	s.writer.queue <- r // which has room for as many
	return nil
}

// publish makes t the end of the log for all to see, and wakes who waits.
func (s *Store) publish(t tip) {
	s.tip.Store(&t)
	s.waitMu.Lock()
	if s.woken != nil {
		close(s.woken)
		s.woken = nil
	}
	s.waitMu.Unlock()
	s.witness.moved()
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }
