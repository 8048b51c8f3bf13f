package sqlite

import (
	"context"
	"math"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

const (
	selectBatch = `
		SELECT content, first, last, recorded_at
		FROM batches
		WHERE id = ? AND number <= ?`
	selectBatchStreams = `
		SELECT s.name, e.version
		FROM events AS e NOT INDEXED
		JOIN streams AS s ON s.id = e.stream_id
		WHERE e.position BETWEEN ? AND ?
		ORDER BY e.position`
)

// Committed implements eventstore.Appender.
func (s *Store) Committed(ctx context.Context, id string) (commit eventstore.Commit, found bool, err error) {
	err = s.read(ctx, "look up a batch", func(c *sqlite3.SQLiteConn) (err error) {
		// Inside, so that no Reopen comes between the tip, the file and Err.
		through := int64(math.MaxInt64)
		if t := s.tip.Load(); t != nil {
			through = t.batch
		}
		commit, _, found, err = committed(c, id, through)
		if cause := s.Err(); err == nil && cause != nil && !found {
			// The commit that failed may still hold it.
			err = &eventstore.OutcomeUnknownError{BatchID: id, Err: cause}
		}
		return err
	})
	if err != nil {
		return eventstore.Commit{}, false, err
	}
	return commit, found, nil
}

// committed returns the commit of the batch with this ID, its number being
// through at most, and the hash of its content.
func committed(c *sqlite3.SQLiteConn, id string, through int64) (commit eventstore.Commit, content [32]byte, found bool, err error) {
	err = query(c, selectBatch, 4, func(r *row) error {
		found = true
		content = r.hash(0)
		commit = eventstore.Commit{ID: id, First: r.int(1), Last: r.int(2), Time: r.int(3), Duplicate: true}
		return nil
	}, id, through)
	if err != nil || !found {
		return eventstore.Commit{}, content, false, err
	}
	err = query(c, selectBatchStreams, 2, func(r *row) error {
		name, version := r.text(0), r.int(1)
		if n := len(commit.Streams); n > 0 && commit.Streams[n-1].Stream == name {
			commit.Streams[n-1].Last = version
			return nil
		}
		commit.Streams = append(commit.Streams, eventstore.StreamCommit{Stream: name, First: version, Last: version})
		return nil
	}, commit.First, commit.Last)
	return commit, content, true, err
}
