package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"
)

// pragmas are those of every subject on SQLite: what Leat sets.
const pragmas = "_journal_mode=WAL&_synchronous=FULL&_busy_timeout=60000&_foreign_keys=1"

// rawSchema is Leat's, without triggers, and with the index of streams kept by
// SQLite.
const rawSchema = `
CREATE TABLE streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, category TEXT NOT NULL) STRICT;
CREATE TABLE types (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE events (
  position INTEGER PRIMARY KEY AUTOINCREMENT, stream_id INTEGER NOT NULL, version INTEGER NOT NULL, type_id INTEGER NOT NULL,
  schema_version INTEGER NOT NULL, recorded_at INTEGER NOT NULL, batch INTEGER, event_id BLOB NOT NULL UNIQUE, hash BLOB NOT NULL,
  metadata BLOB, data BLOB NOT NULL, UNIQUE (stream_id, version)) STRICT;`

// raw is the limit: the same rows through the driver by a loop that knows what
// it writes. It has one writer, no group commit, no checks but the indexes.
// With hashed it follows the hash chain too.
func raw(hashed bool) subject {
	s := subject{
		name: "raw", settings: "WAL FULL, Leat's schema, prepared driver statements, one transaction per call; no hash chain, no checks, ids and streams held in memory",
		open: func(ctx context.Context, dir string) (instance, error) { return openRaw(dir, hashed) },
	}
	if hashed {
		s.name, s.settings = "raw+hash", s.settings+"; SHA-256 over every row"
	}
	return s
}

type rawStore struct {
	mu                    sync.Mutex // guards all but read
	conn                  *sqlite3.SQLiteConn
	begin, commit, insert driver.Stmt
	insertStream          driver.Stmt
	streams               map[string]int64
	position              int64
	hashed                bool
	hash                  [32]byte
	read                  *sql.DB
}

func openRaw(dir string, hashed bool) (*rawStore, error) {
	path := "file:" + filepath.Join(dir, "raw.db") + "?"
	c, err := (&sqlite3.SQLiteDriver{}).Open(path + pragmas)
	if err != nil {
		return nil, err
	}
	s := &rawStore{conn: c.(*sqlite3.SQLiteConn), streams: map[string]int64{}, hashed: hashed}
	if _, err := s.conn.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d;", checkpointPages)+"PRAGMA cache_size = -32768;"+rawSchema+"INSERT INTO types VALUES (1, 'ride_requested')", nil); err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	for text, to := range map[string]*driver.Stmt{
		"BEGIN IMMEDIATE":                      &s.begin,
		"COMMIT":                               &s.commit,
		"INSERT INTO streams VALUES (?, ?, ?)": &s.insertStream,
		"INSERT INTO events VALUES (?, ?, ?, 1, 1, ?, NULL, ?, ?, ?, ?)": &s.insert,
	} {
		if *to, err = s.conn.Prepare(text); err != nil {
			return nil, errors.Join(err, s.conn.Close())
		}
	}
	s.read, err = sql.Open("sqlite3", path+pragmas+"&mode=ro")
	return s, err
}

func do(st driver.Stmt, args ...driver.Value) error {
	_, err := st.Exec(args) //nolint:staticcheck // the form without a context is the fast one
	return err
}

func (s *rawStore) append(_ context.Context, stream string, version int64, events []event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := do(s.begin); err != nil {
		return err
	}
	id, known := s.streams[stream]
	if !known {
		id = int64(len(s.streams)) + 1
		s.streams[stream] = id
		if err := do(s.insertStream, id, stream, "ride"); err != nil {
			return err
		}
	}
	now := time.Now().UnixNano()
	for i, e := range events {
		eventID, err := uuid.NewV7()
		if err != nil {
			return err
		}
		s.position++
		if s.hashed {
			h := sha256.New()
			h.Write(s.hash[:])
			fmt.Fprintf(h, "%d %s %d %s %d", s.position, stream, version+int64(i)+1, e.typ, now)
			h.Write(eventID[:])
			h.Write(e.metadata)
			h.Write(e.data)
			h.Sum(s.hash[:0])
		}
		if err := do(s.insert, s.position, id, version+int64(i)+1, now, eventID[:], s.hash[:], e.metadata, e.data); err != nil {
			return err
		}
	}
	return do(s.commit)
}

func (s *rawStore) all(ctx context.Context, fn func(place) error) error {
	return s.rows(ctx, func(values []driver.Value) error { return fn(place{values[1].(string), values[2].(int64)}) })
}

// rows calls fn with the columns of each event in the order of the log:
// position, stream, version, type, schema version, time, id, metadata, data.
func (s *rawStore) rows(ctx context.Context, fn func([]driver.Value) error) error {
	conn, err := s.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was only read
	return conn.Raw(func(c any) error {
		rows, err := c.(*sqlite3.SQLiteConn).Query(`
			SELECT e.position, s.name, e.version, e.type_id, e.schema_version, e.recorded_at, e.event_id, e.metadata, e.data
			FROM events AS e NOT INDEXED JOIN streams AS s ON s.id = e.stream_id ORDER BY e.position`, nil)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // it was only read
		values := make([]driver.Value, 9)
		for {
			switch err := rows.Next(values); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if err := fn(values); err != nil {
				return err
			}
		}
	})
}

func (s *rawStore) load(ctx context.Context, stream string) (n int, err error) {
	rows, err := s.read.QueryContext(ctx, `
		SELECT position, version, type_id, recorded_at, event_id, metadata, data
		FROM events WHERE stream_id = (SELECT id FROM streams WHERE name = ?) ORDER BY version`, stream)
	if err != nil {
		return 0, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says it
	for rows.Next() {
		var position, version, typ, at int64
		var id, metadata, data []byte
		if err := rows.Scan(&position, &version, &typ, &at, &id, &metadata, &data); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

func (s *rawStore) close() error {
	return errors.Join(s.read.Close(), s.begin.Close(), s.commit.Close(), s.insert.Close(), s.insertStream.Close(), s.conn.Close())
}
