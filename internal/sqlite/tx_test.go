package sqlite_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

// Exec takes what database/sql takes, and leaves nothing of one statement's
// arguments to the next.
func TestExecTakesTheArgumentsOfDatabaseSQL(t *testing.T) {
	type status string
	db := open(t, sqlite.Options{}, chained)
	var none *string
	require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
		for _, insert := range []struct {
			query string
			args  []any
		}{
			{"INSERT INTO t (v) VALUES (?)", []any{status("own type")}},
			{"INSERT INTO t (v) VALUES (? || ?)", []any{"two", "parts"}},
			{"INSERT INTO t (v) VALUES (:b || :a)", []any{sql.Named("a", "A"), sql.Named("b", "B")}},
			{"INSERT INTO t (v) VALUES (?)", []any{sql.NullString{String: "valuer", Valid: true}}},
			{"INSERT INTO t (v) VALUES (COALESCE(?, 'null'))", []any{none}},
			{"INSERT INTO t (v) VALUES (CASE WHEN ? THEN 'true' END)", []any{true}},
		} {
			result, err := tx.Exec(insert.query, insert.args...)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
		}
		_, err := tx.Exec("INSERT INTO t (v) VALUES (?)", struct{}{})
		require.ErrorContains(t, err, "argument 1")
		_, err = tx.Exec("INSERT INTO t (v) VALUES (? || ?)", "one")
		require.ErrorContains(t, err, "not enough args")
		return nil
	}))
	var got []string
	rows, err := db.Reader().Query("SELECT v FROM t ORDER BY rowid")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
		got = append(got, v)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{"own type", "twoparts", "BA", "valuer", "null", "true"}, got)
}
