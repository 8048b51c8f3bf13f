package sqlite

import (
	"context"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

const (
	upsertSnapshot = `
		INSERT INTO snapshots (stream, fold, version, state)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (stream, fold) DO UPDATE
		SET version = excluded.version, state = excluded.state
		WHERE excluded.version >= version`
	selectSnapshot = `
		SELECT version, state
		FROM snapshots
		WHERE stream = ? AND fold = ?`
)

// SaveSnapshot implements eventstore.Snapshots. It goes through the writer,
// with the limits and errors of an append; the state is at most MaxSnapshot.
func (s *Store) SaveSnapshot(ctx context.Context, snapshot eventstore.Snapshot) error {
	if err := eventstore.CheckName("stream name", snapshot.Stream); err != nil {
		return err
	}
	if err := eventstore.CheckName("fold name", snapshot.Fold); err != nil {
		return err
	}
	switch {
	case snapshot.Version < 1:
		return &eventstore.InvalidError{Field: "snapshot version", Value: fmt.Sprint(snapshot.Version), Reason: "must be 1 or more"}
	case len(snapshot.State) > MaxSnapshot:
		return &eventstore.InvalidError{Field: "snapshot state", Value: snapshot.Stream, Reason: fmt.Sprintf("has %d bytes, %d are allowed", len(snapshot.State), MaxSnapshot)}
	}
	_, err := s.submit(ctx, &request{snapshot: &snapshot, bytes: len(snapshot.State), done: make(chan struct{})})
	return err
}

func (g *group) saveSnapshot(s *eventstore.Snapshot) error {
	g.wrote = true
	state := s.State
	if state == nil {
		state = noData
	}
	st, err := prepare(g.conn, upsertSnapshot)
	if err != nil {
		return err
	}
	if err := st.exec(s.Stream, s.Fold, s.Version, state); err != nil {
		return err
	}
	crash.At(crash.LogSnapshot)
	return st.s.Close()
}

// LoadSnapshot implements eventstore.Snapshots.
func (s *Store) LoadSnapshot(ctx context.Context, stream, fold string) (eventstore.Snapshot, bool, error) {
	snapshot, found := eventstore.Snapshot{Stream: stream, Fold: fold}, false
	err := s.read(ctx, "load a snapshot", func(c *sqlite3.SQLiteConn) error {
		return query(c, selectSnapshot, 2, func(r *row) error {
			snapshot.Version, snapshot.State, found = r.int(0), r.blob(1), true
			return nil
		}, stream, fold)
	})
	if err != nil || !found {
		return eventstore.Snapshot{}, false, err
	}
	return snapshot, true, nil
}
