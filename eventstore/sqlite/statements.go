package sqlite

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// statements are those of the writer's hot path.
type statements struct {
	begin, commit, rollback                            *stmt
	insertStream, insertType, insertEvent, insertBatch *stmt
	insertEvents                                       *stmt // so many at once
	insertIndex, insertIndexes, updateIndexed          *stmt
}

func (s *statements) prepare(c *sqlite3.SQLiteConn) error {
	for text, to := range map[string]**stmt{
		"BEGIN IMMEDIATE": &s.begin,
		"COMMIT":          &s.commit,
		"ROLLBACK":        &s.rollback,
		insertStream:      &s.insertStream,
		insertType:        &s.insertType,
		insertEvent:       &s.insertEvent,
		insertEvents:      &s.insertEvents,
		insertBatch:       &s.insertBatch,
		insertIndex:       &s.insertIndex,
		insertIndexes:     &s.insertIndexes,
		updateIndexed:     &s.updateIndexed,
	} {
		st, err := prepare(c, text)
		if err != nil {
			return err
		}
		*to = st
	}
	return nil
}

// close ends the statements: a connection that has some is never closed
// wholly, and leaves its write-ahead log behind.
func (s *statements) close() error {
	var errs []error
	for _, st := range []*stmt{s.begin, s.commit, s.rollback, s.insertStream, s.insertType, s.insertEvent, s.insertEvents, s.insertBatch, s.insertIndex, s.insertIndexes, s.updateIndexed} {
		if st != nil {
			errs = append(errs, st.s.Close())
		}
	}
	return errors.Join(errs...)
}
