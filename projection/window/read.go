package window

import (
	"database/sql"
	"errors"
)

// Querier is what a query runs on: a projection.Reader, or a projection.Tx in a
// handler.
type Querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

// each calls fn with every row of a query. fn runs no statement.
func each(q Querier, fn func(scan func(...any) error) error, query string, args ...any) (err error) {
	rows, err := q.Query(query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
