package sqlite

import (
	"context"

	"github.com/mattn/go-sqlite3"
)

// Orphans returns rows that belong to nothing: names that no event uses,
// batches without their events, events whose batch is not there.
func (s *Store) Orphans() (list []string, err error) {
	err = s.read(context.Background(), "look for orphans", func(c *sqlite3.SQLiteConn) error {
		for what, text := range map[string]string{
			"stream": `
				SELECT name FROM streams
				WHERE id NOT IN (SELECT stream_id FROM events)`,
			"type": `
				SELECT name FROM types
				WHERE id NOT IN (SELECT type_id FROM events)`,
			"event of no batch": `
				SELECT CAST(position AS TEXT) FROM events
				WHERE batch NOT IN (SELECT number FROM batches)`,
			"batch without its events": `
				SELECT id FROM batches
				WHERE last - first + 1 <> (SELECT COUNT(*) FROM events WHERE position BETWEEN first AND last AND batch = number)`,
		} {
			err := query(c, text, 1, func(r *row) error {
				list = append(list, what+" "+r.text(0))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// InUse returns how many connections for reading were not given back.
func (s *Store) InUse() (int, error) {
	return s.db.Reader().Stats().InUse, s.Err()
}
