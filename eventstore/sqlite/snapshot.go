package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

const (
	replaceSnapshot = `
		INSERT OR REPLACE INTO snapshots (stream, fold, version, state, checksum)
		VALUES (?, ?, ?, ?, ?)`
	selectSnapshot = `
		SELECT stream, fold, version, state, checksum
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

// saveSnapshot keeps the snapshot unless a sound one of a later version is
// kept already.
func (g *group) saveSnapshot(s *eventstore.Snapshot) error {
	later := false
	err := query(g.conn, selectSnapshot, 5, func(r *row) error {
		kept, sound := readSnapshot(r)
		later = sound && kept.Version > s.Version
		return nil
	}, s.Stream, s.Fold)
	if err != nil || later {
		return err
	}
	g.wrote = true
	state := s.State
	if state == nil {
		state = noData
	}
	st, err := prepare(g.conn, replaceSnapshot)
	if err != nil {
		return err
	}
	sum := g.w.chain.snapshot(s)
	err = g.exec(st, s.Stream, s.Fold, s.Version, state, sum[:])
	crash.At(crash.LogSnapshot)
	return errors.Join(err, st.s.Close()) // one left open would keep the connection from closing
}

// LoadSnapshot implements eventstore.Snapshots. A damaged snapshot is none:
// the state is folded again.
func (s *Store) LoadSnapshot(ctx context.Context, stream, fold string) (snapshot eventstore.Snapshot, found bool, err error) {
	err = s.read(ctx, "load a snapshot", func(c *sqlite3.SQLiteConn) error {
		return query(c, selectSnapshot, 5, func(r *row) error {
			snapshot, found = readSnapshot(r)
			return nil
		}, stream, fold)
	})
	if err != nil || !found {
		return eventstore.Snapshot{}, false, err
	}
	return snapshot, true, nil
}

// readSnapshot returns the snapshot of a row, and whether it is what was saved.
func readSnapshot(r *row) (s eventstore.Snapshot, sound bool) {
	s = eventstore.Snapshot{Stream: r.text(0), Fold: r.text(1), Version: r.int(2), State: r.blob(3)}
	sum := r.hash(4)
	if r.err != nil {
		r.err = nil
		return s, false
	}
	return s, new(chain).snapshot(&s) == sum
}

const snapshotForm = "leat/snapshot/1\n"

// snapshot returns the checksum of s.
func (c *chain) snapshot(s *eventstore.Snapshot) [32]byte {
	b := append(c.buf[:0], snapshotForm...)
	b = appendString(b, s.Stream)
	b = appendString(b, s.Fold)
	b = appendNumber(b, s.Version)
	b = appendBytes(b, s.State)
	c.buf = b
	return sha256.Sum256(b)
}
