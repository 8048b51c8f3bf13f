package sqlite

import (
	"context"
	"errors"
	"slices"

	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

const (
	// The table comes before its triggers.
	selectIndexSchema = `
		SELECT sql
		FROM sqlite_schema
		WHERE name IN ('stream_index', 'stream_index_is_not_changed', 'stream_index_is_not_deleted', 'indexed_does_not_go_back')
		ORDER BY type`
	dropIndexEnd    = `DROP TRIGGER indexed_does_not_go_back`
	dropIndex       = `DROP TABLE stream_index`
	fillStreamIndex = `
		INSERT INTO stream_index (stream_id, version, position)
		SELECT stream_id, version, position
		FROM events NOT INDEXED
		ORDER BY stream_id, version`
	setIndexed = `
		UPDATE meta
		SET indexed = (SELECT COALESCE(MAX(position), 0) FROM events)`
)

// remakeIndex makes the index of streams anew from the log, in a copy that
// nobody else has: it is all in the log, whose chain covers it.
func (s *Store) remakeIndex(ctx context.Context) error {
	err := s.db.Write(ctx, func(tx *file.Tx) (err error) {
		rows, err := tx.Query(selectIndexSchema)
		if err != nil {
			return err
		}
		var schema []string
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return errors.Join(err, rows.Close())
			}
			schema = append(schema, text)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, text := range slices.Concat([]string{dropIndexEnd, dropIndex}, schema[:1], []string{fillStreamIndex, setIndexed}, schema[1:]) {
			if _, err := tx.Exec(text); err != nil {
				return err
			}
		}
		return nil
	})
	if file.IsConstraint(err) {
		return &eventstore.CorruptError{Where: s.path(logName), Reason: "two events of a stream have one version: " + restoreStore}
	}
	if err != nil {
		return fileError(s.path(logName), "make the index of streams anew", err)
	}
	return nil
}
