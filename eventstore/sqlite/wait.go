package sqlite

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

// How often a read-only store looks whether the owner has committed: soon
// after the last commit often, later less so.
const (
	watchLeast = time.Millisecond
	watchMost  = 250 * time.Millisecond
)

const selectHead = `
	SELECT COALESCE(MAX(position), 0)
	FROM events`

// Head implements eventstore.LogReader.
func (s *Store) Head(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if t := s.tip.Load(); t != nil { // no file is used
		return t.position, s.errClosed()
	}
	end, err := s.begin(ctx, "read the head")
	if err != nil {
		return 0, err
	}
	defer end()
	return s.head(ctx)
}

// head returns the last position that reads may show. The caller has begun.
func (s *Store) head(ctx context.Context) (int64, error) {
	if t := s.tip.Load(); t != nil {
		return t.position, nil
	}
	head, err := s.watch.look()
	return head, s.readError(ctx, "read the head", err)
}

// Wait implements eventstore.LogReader. Closing the store ends it with
// eventstore.ErrClosed.
func (s *Store) Wait(ctx context.Context, after int64) (int64, error) {
	pause := watchLeast
	for {
		commit := s.nextCommit() // before the head is read
		head, err := s.Head(ctx)
		if err != nil || head > after {
			return head, err
		}
		var timeout <-chan time.Time
		if s.watch != nil {
			timeout, pause = time.After(pause), min(2*pause, watchMost)
		}
		select {
		case <-commit:
		case <-timeout:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.closing:
			return 0, eventstore.ErrClosed
		}
	}
}

// nextCommit returns a channel that the next commit closes.
func (s *Store) nextCommit() <-chan struct{} {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	if s.woken == nil {
		s.woken = make(chan struct{})
	}
	return s.woken
}

// watcher knows the head of a log that another process writes. The version of
// the data means something on one connection only, so it has its own.
type watcher struct {
	mu      sync.Mutex // guards all
	conn    *sql.Conn
	version int64
	head    int64
}

func (w *watcher) look() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := raw(w.conn, func(c *sqlite3.SQLiteConn) error {
		version := w.version
		err := query(c, "PRAGMA data_version", 1, func(r *row) error {
			version = r.int(0)
			return nil
		})
		if err != nil || version == w.version {
			return err
		}
		err = query(c, selectHead, 1, func(r *row) error {
			w.head = r.int(0)
			return nil
		})
		if err == nil {
			w.version = version
		}
		return err
	})
	return w.head, err
}
