package sqlite

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Queued returns how many appends the writer has not looked at.
func (s *Store) Queued() int {
	s.mu.Lock() // who is counted is in the queue then
	defer s.mu.Unlock()
	return int(s.writer.waiting.Load())
}

// WriterExec runs a statement on the writer's connection.
func (s *Store) WriterExec(text string) error {
	return raw(s.writer.conn, func(c *sqlite3.SQLiteConn) error {
		_, err := c.Exec(text, nil)
		return err
	})
}

// LimitPages makes the disk full at so many pages more than there are; a
// negative number takes the limit away.
func (s *Store) LimitPages(more int) error {
	pages := 1 << 30
	if more >= 0 {
		err := s.db.Reader().QueryRowContext(context.Background(), "PRAGMA page_count").Scan(&pages)
		if err != nil {
			return err
		}
		pages += more
	}
	return s.WriterExec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
}

// Plan returns SQLite's plan for a filtered page.
func (s *Store) Plan() (plan string, err error) {
	err = s.read(context.Background(), "plan", func(c *sqlite3.SQLiteConn) error {
		text := "EXPLAIN QUERY PLAN " + selectLogPage + whereType + whereStream + whereCategory + orderLogPage
		return query(c, text, 4, func(r *row) error {
			plan += r.text(3) + "\n"
			return nil
		}, int64(1), int64(2), "[1]", "[1]", "[1]", int64(1))
	})
	return plan, err
}

// WriterPragma reads a setting of the writer's connection.
func (s *Store) WriterPragma(name string) (value string, err error) {
	err = raw(s.writer.conn, func(c *sqlite3.SQLiteConn) error {
		return query(c, "PRAGMA "+name, 1, func(r *row) error {
			value = fmt.Sprint(r.values[0])
			return nil
		})
	})
	return value, err
}

// Inject has fn called at the points of the writer's transactions: "write",
// before each statement that stores something, "committed", "index write" and
// "index committed" where the index is moved, and "closed", while a Reopen has
// every connection closed. It executes SQL on the writer's connection, not at
// "closed".
func (s *Store) Inject(fn func(point string, exec func(text string) error) error) {
	s.writer.turn <- struct{}{} // an append that is answered may still move the index
	defer func() { <-s.writer.turn }()
	if fn == nil {
		s.writer.inject = nil
		return
	}
	s.writer.inject = func(point string, c *sqlite3.SQLiteConn) error {
		return fn(point, func(text string) error {
			_, err := c.Exec(text, nil)
			return err
		})
	}
}

// Unindexed returns how many events the table of the index does not have.
func (s *Store) Unindexed() int64 { return s.index.size() }

// Formats returns the log's migrations.
func Formats() embed.FS { return migrations }

// ApplicationID marks log.db.
const ApplicationID = applicationID

// Alone tells whether the next append is committed in its caller's goroutine.
func (s *Store) Alone() bool { return s.writer.alone.Load() >= aloneAfter && len(s.writer.turn) == 0 }

// Enter begins a call that uses the files and does nothing.
func (s *Store) Enter(t interface{ Fatal(...any) }) (leave func()) {
	leave, err := s.begin(context.Background(), "test")
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

// SetPatience sets how long a Reopen waits for the reads under way. None is.
func (s *Store) SetPatience(d time.Duration) { s.writer.patience = d }

// Excluding tells whether a Reopen keeps others from the files.
func (s *Store) Excluding() bool {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return s.gate.over != nil
}
