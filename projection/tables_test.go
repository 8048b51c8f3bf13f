package projection

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func TestTablesAreAddedToTheSchemaOnce(t *testing.T) {
	count := On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
		_, err := tx.Exec(`INSERT INTO part (id) VALUES (?)`, e.Position)
		return err
	})
	const part = `CREATE TABLE part (id INTEGER PRIMARY KEY) STRICT;`
	for _, own := range []string{"", "CREATE TABLE mine (id INTEGER) STRICT", "CREATE TABLE mine (id INTEGER) STRICT; -- of mine"} {
		d := Define("parts", 1, own, Tables(part, nil), Tables(part, nil), count)
		require.NoError(t, d.Err())
		l := newTape()
		l.add("a-1", moved{"a-1", 1})
		p := openTest(t, t.TempDir(), l, d)
		require.NoError(t, deliver(t, p, l, 1))
		var n int
		require.NoError(t, p.Read(t.Context(), 1, func(r *Reader) error { return r.QueryRow(`SELECT COUNT(*) FROM part`).Scan(&n) }))
		require.Equal(t, 1, n)
		require.NotEqual(t, Define("parts", 1, own, count).schemaHash(), d.schemaHash())
	}
	wrong := errors.New("no such part")
	require.ErrorIs(t, Define("parts", 1, part, Tables("", wrong), count).Err(), wrong)
	require.ErrorIs(t, Define("parts", 1, part, Tables("", wrong), count).Err(), ErrInvalid)
	require.ErrorContains(t, Define("parts", 1, "", Tables("", nil), count).Err(), "the schema is empty")
}
