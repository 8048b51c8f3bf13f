package projection

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A semicolon that ends no statement hides none, and what follows it is text.
func TestEveryStatementOfATextIsLookedAt(t *testing.T) {
	tx := &Tx{}
	for _, refused := range []string{
		"commit", ";; -- a\n /* b */ COMMIT", "\ufeff COMMIT", "SELECT 1;\vROLLBACK", "/*/ COMMIT */ END",
		`SELECT ';'; COMMIT`, `SELECT "a""b;", [;'], ` + "`;'`" + ` /* ;' */; -- ;'` + "\n" + `; PRAGMA x`,
		"INSERT INTO t VALUES (1); RELEASE leat; SAVEPOINT leat", "SELECT 'it''s; COMMIT'; COMMIT",
	} {
		require.ErrorIs(t, tx.check(refused), ErrStatement, "%q", refused)
	}
	for _, allowed := range []string{
		"", ";", "INSERT INTO t VALUES (';COMMIT')", "DELETE FROM t; INSERT INTO t VALUES (1);", "SELECT 'it''s; COMMIT'",
		"SELECT 1 -- ; COMMIT", "SELECT 1 /* ; COMMIT */", `SELECT [;COMMIT], ";COMMIT", ` + "`;COMMIT`", "SELECT '; COMMIT",
	} {
		require.NoError(t, tx.check(allowed), "%q", allowed)
	}
}
