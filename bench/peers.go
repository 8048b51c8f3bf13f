package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	chronicle "github.com/DeluxeOwl/chronicle/event"
	"github.com/DeluxeOwl/chronicle/eventlog"
	"github.com/DeluxeOwl/chronicle/version"
	aneshas "github.com/aneshas/eventstore"
	"github.com/hallgren/eventsourcing/core"
	hallgrensql "github.com/hallgren/eventsourcing/eventstore/sql"
	"github.com/mattn/go-sqlite3"
	"gorm.io/gorm/logger"
)

const category = "ride" // of all streams here

const (
	// peerParameters are those of a peer's connections: what Leat sets, and
	// what helps whoever leaves transactions and statements to database/sql.
	peerParameters = pragmas + "&_cache_size=-32768&_txlock=immediate&_stmt_cache_size=32"
	// checkpointPages is Leat's wal_autocheckpoint.
	checkpointPages = 4000
)

// openPeer opens a database as Leat opens its own: the drivers' defaults would
// be slower or not durable. One connection at most: with more, 64 appenders
// would meet in SQLite's busy handler, which sleeps, and not in the pool's
// queue: chronicle and aneshas then append half as fast, or less.
func openPeer(dir string) *sql.DB {
	db := sql.OpenDB(connector("file:" + filepath.Join(dir, "peer.db") + "?" + peerParameters))
	db.SetMaxOpenConns(1)
	return db
}

// connector opens connections with what a DSN cannot say.
type connector string

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(string(c))
	if err != nil {
		return nil, err
	}
	if _, err := conn.(*sqlite3.SQLiteConn).Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", checkpointPages), nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// hallgren is github.com/hallgren/eventsourcing/eventstore/sql.
func hallgren() subject {
	return subject{
		name: "hallgren", settings: "v0.7.0 on mattn, WAL FULL, Leat's cache and checkpoint sizes, one writer (NewSQLiteSingelWriter), statement cache; stores seconds, checks the version by a query",
		open: func(_ context.Context, dir string) (instance, error) {
			db := openPeer(dir)
			s, err := hallgrensql.NewSQLiteSingelWriter(db)
			if err != nil {
				return nil, errors.Join(err, db.Close())
			}
			return &hallgrenStore{s}, nil
		},
	}
}

type hallgrenStore struct{ *hallgrensql.SQLite }

func (s *hallgrenStore) append(_ context.Context, stream string, version int64, events []event) error {
	rows := make([]core.Event, len(events))
	for i, e := range events {
		rows[i] = core.Event{
			AggregateID: stream, AggregateType: category, Version: core.Version(version) + core.Version(i) + 1,
			Timestamp: time.Now(), Reason: e.typ, Data: e.data, Metadata: e.metadata,
		}
	}
	return s.Save(rows)
}

func drain(it core.Iterator, fn func(place) error) error {
	defer it.Close()
	for it.Next() {
		e, err := it.Value()
		if err != nil {
			return err
		}
		if err := fn(place{e.AggregateID, int64(e.Version)}); err != nil {
			return err
		}
	}
	return nil // the iterator does not say whether it ended or failed
}

func (s *hallgrenStore) all(_ context.Context, fn func(place) error) error {
	it, err := s.All(0)()
	if err != nil {
		return err
	}
	return drain(it, fn)
}

func (s *hallgrenStore) load(ctx context.Context, stream string) (n int, err error) {
	it, err := s.Get(ctx, stream, category, 0)
	if err != nil {
		return 0, err
	}
	err = drain(it, func(place) error { n++; return nil })
	return n, err
}

func (s *hallgrenStore) close() error { s.Close(); return nil }

// chronicleLog is github.com/DeluxeOwl/chronicle/eventlog.
func chronicleLog() subject {
	return subject{
		name: "chronicle", settings: "v0.5.0 on mattn, WAL FULL, Leat's cache and checkpoint sizes, one connection, statement cache; stores no metadata, ids or times, checks versions in a trigger",
		open: func(_ context.Context, dir string) (instance, error) {
			db := openPeer(dir)
			s, err := eventlog.NewSqlite(db)
			if err != nil {
				return nil, errors.Join(err, db.Close())
			}
			return &chronicleStore{s, db}, nil
		},
	}
}

type chronicleStore struct {
	*eventlog.Sqlite
	db *sql.DB
}

func (s *chronicleStore) append(ctx context.Context, stream string, v int64, events []event) error {
	rows := make(chronicle.RawEvents, len(events))
	for i, e := range events {
		rows[i] = chronicle.NewRaw(e.typ, e.data)
	}
	_, err := s.AppendEvents(ctx, chronicle.LogID(stream), version.CheckExact(v), rows)
	return err
}

func (s *chronicleStore) all(ctx context.Context, fn func(place) error) error {
	for r, err := range s.ReadAllEvents(ctx, version.Selector{From: 1}) {
		if err != nil {
			return err
		}
		if err := fn(place{string(r.LogID()), int64(r.Version())}); err != nil {
			return err
		}
	}
	return nil
}

func (s *chronicleStore) load(ctx context.Context, stream string) (n int, err error) {
	for _, err := range s.ReadEvents(ctx, chronicle.LogID(stream), version.SelectFromBeginning) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *chronicleStore) close() error { return s.db.Close() }

// aneshasStore is github.com/aneshas/eventstore.
func aneshasStore() subject {
	return subject{
		name: "aneshas", settings: "v1.5.2 on gorm and mattn, WAL FULL, Leat's cache and checkpoint sizes, one connection, statement cache; payloads as text; read by SubscribeAll to its end, because ReadAll drops up to a page of events at random",
		open: func(_ context.Context, dir string) (instance, error) {
			s, err := aneshas.New(passing{}, aneshas.WithSQLiteDB("file:"+filepath.Join(dir, "peer.db")+"?"+peerParameters))
			if err != nil {
				return nil, err
			}
			s.DB.Logger = logger.Discard // it prints every slow statement, whole
			in := &aneshasInstance{s}
			db, err := s.DB.DB()
			if err != nil {
				return nil, errors.Join(err, in.close())
			}
			db.SetMaxOpenConns(1) // see openPeer; it stays open, with what is set here
			if _, err := db.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", checkpointPages)); err != nil {
				return nil, errors.Join(err, in.close())
			}
			return in, nil
		},
	}
}

// passing is an encoder that leaves the payload as it is.
type passing struct{}

func (passing) Encode(e any) (*aneshas.EncodedEvt, error) {
	v := e.(event)
	return &aneshas.EncodedEvt{Data: string(v.data), Type: v.typ}, nil
}
func (passing) Decode(e *aneshas.EncodedEvt) (any, error) { return e.Data, nil }

type aneshasInstance struct{ *aneshas.EventStore }

func (s *aneshasInstance) append(ctx context.Context, stream string, version int64, events []event) error {
	rows := make([]aneshas.EventToStore, len(events))
	for i, e := range events {
		rows[i] = aneshas.EventToStore{Event: e, Meta: e.meta, OccurredOn: time.Now()}
	}
	return s.AppendStream(ctx, stream, int(version), rows)
}

// all reads pages as large as are of use and without the pause of a live
// subscription between them. ReadAll would choose at random, at the end,
// between the events that are left in its channel and the end.
func (s *aneshasInstance) all(ctx context.Context, fn func(place) error) error {
	sub, err := s.SubscribeAll(ctx, aneshas.WithBatchSize(10_000), aneshas.WithPollInterval(time.Microsecond))
	if err != nil {
		return err
	}
	defer sub.Close()
	one := func(e aneshas.StoredEvent) error { return fn(place{e.StreamID, int64(e.StreamVersion)}) }
	for {
		select {
		case e := <-sub.EventData:
			if err := one(e); err != nil {
				return err
			}
		case err := <-sub.Err:
			if !errors.Is(err, io.EOF) {
				return err
			}
			for len(sub.EventData) > 0 { // sent before the end was
				if err := one(<-sub.EventData); err != nil {
					return err
				}
			}
			return nil
		}
	}
}

func (s *aneshasInstance) load(ctx context.Context, stream string) (int, error) {
	events, err := s.ReadStream(ctx, stream)
	return len(events), err
}

func (s *aneshasInstance) close() error { return s.Close() }
