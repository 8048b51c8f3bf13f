package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

const (
	selectUnindexed = `
		SELECT 'position ' || e.position, 'the index of streams does not lead to it'
		FROM events AS e NOT INDEXED
		WHERE e.position <= ?
		  AND e.position <= (SELECT indexed FROM meta)
		  AND NOT EXISTS (SELECT 1 FROM stream_index AS i WHERE i.stream_id = e.stream_id AND i.version = e.version AND i.position = e.position)
		LIMIT ?`
	selectIndexSize = `
		SELECT 'stream_index', 'it has ' || (SELECT COUNT(*) FROM stream_index) || ' events, and should have ' || indexed
		FROM meta
		WHERE ? >= 0 AND indexed <> (SELECT COUNT(*) FROM stream_index)
		LIMIT ?`
)

// index checks that the index of streams leads to every event that it should
// have, and to nothing else.
func (v *verification) index(ctx context.Context) error {
	for _, text := range []string{selectUnindexed, selectIndexSize} {
		err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
			return longQuery(ctx, c, text, 2, func(r *row) error {
				return v.add(eventstore.Finding{File: logName, Place: r.text(0), Reason: r.text(1), Remedy: remake})
			}, v.head, int64(MaxFindings))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// The table of the index is read in its order; only what is not in it is
	// sorted.
	selectVersions = `
		SELECT stream_id, version
		FROM stream_index
		UNION ALL
		SELECT stream_id, version
		FROM events NOT INDEXED
		WHERE position > (SELECT indexed FROM meta) AND position <= ?
		ORDER BY stream_id, version`
	selectStreamName = `
		SELECT name
		FROM streams
		WHERE id = ?`
)

// versions finds streams that have not each version from 1 on, once.
func (v *verification) versions(ctx context.Context) error {
	type holed struct {
		stream, last, events int64
		damaged              bool
	}
	var s holed
	var found []holed
	end := func() error {
		if s.damaged {
			if found = append(found, s); len(found) >= MaxFindings {
				return errEnough
			}
		}
		return nil
	}
	err := v.store.read(ctx, "verify", func(c *sqlite3.SQLiteConn) error {
		err := longQuery(ctx, c, selectVersions, 2, func(r *row) error {
			stream, version := r.int(0), r.int(1)
			if stream != s.stream || s.events == 0 {
				if err := end(); err != nil {
					return err
				}
				s = holed{stream: stream}
			}
			s.events++
			if s.last++; version != s.last {
				s.damaged, s.last = true, version
			}
			return nil
		}, v.head)
		if err == nil {
			err = end()
		}
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		for _, s := range found {
			name := fmt.Sprint("number ", s.stream)
			err := query(c, selectStreamName, 1, func(r *row) error {
				name = fmt.Sprintf("%q", r.text(0))
				return nil
			}, s.stream)
			if err != nil {
				return err
			}
			if err := v.found("stream "+name, "it has %d events, and their versions up to %d are not each once", s.events, s.last); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
