package sqlite_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

var chained = fstest.MapFS{
	"0001_first.sql": {Data: []byte(`
		CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT NOT NULL UNIQUE CHECK (v <> '')) STRICT;
		CREATE TRIGGER t_is_kept BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'kept'); END;`)},
	"0002_second.sql": {Data: []byte(`
		CREATE TABLE u (id INTEGER PRIMARY KEY) STRICT;
		CREATE INDEX t_v ON t (v);
		INSERT INTO u (id) SELECT id FROM t;`)},
}

// many returns a migration of n tables with long names.
func many(n int) fstest.MapFS {
	var script strings.Builder
	for i := range n {
		fmt.Fprintf(&script, "CREATE TABLE t%d (id INTEGER PRIMARY KEY, %s TEXT) STRICT;\n", i, strings.Repeat("x", 500))
	}
	return fstest.MapFS{"0001_many.sql": {Data: []byte(script.String())}}
}

// alter changes a file as somebody else's program would.
func alter(t *testing.T, db *sqlite.DB, statements string) {
	t.Helper()
	_, err := db.Writer().Exec(statements)
	require.NoError(t, err)
}

func TestASchemaThatIsNotOursIsRefused(t *testing.T) {
	rewrite := func(from, to string) string {
		return `PRAGMA writable_schema = ON;
			UPDATE sqlite_schema SET sql = replace(sql, '` + from + `', '` + to + `');
			PRAGMA writable_schema = RESET`
	}
	for _, c := range []struct{ name, statements, object string }{
		{"an extra table", "CREATE TABLE x (id)", `table "x"`},
		{"an extra view", "CREATE VIEW x AS SELECT 1", `view "x"`},
		{"an extra trigger", "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM u; END", `trigger "x"`},
		{"an extra index", "CREATE INDEX x ON u (id)", `index "x"`},
		{"a temporary trigger is of no file", "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", ""},
		{"a dropped trigger", "DROP TRIGGER t_is_kept", `trigger "t_is_kept"`},
		{"a dropped index", "DROP INDEX t_v", `index "t_v"`},
		{"a dropped table", "DROP TABLE u", `table "u"`},
		{"another trigger of the name", "DROP TRIGGER t_is_kept; CREATE TRIGGER t_is_kept BEFORE DELETE ON t BEGIN SELECT 1; END", `trigger "t_is_kept"`},
		{"a column more", "ALTER TABLE u ADD COLUMN x INTEGER", `table "u"`},
		{"a generated column", "ALTER TABLE u ADD COLUMN x INTEGER AS (id + 1)", `table "u"`},
		{"another CHECK", rewrite("<> ''''", "<> ''x''"), `table "t"`},
		{"no CHECK", rewrite("CHECK (v <> '''')", ""), `table "t"`},
		{"not STRICT", rewrite(") STRICT", ")"), `table "t"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, sqlite.Options{}, chained)
			require.NoError(t, db.CheckSchema(t.Context(), chained))
			alter(t, db, c.statements)
			err := db.CheckSchema(t.Context(), chained)
			if c.object == "" {
				require.NoError(t, err)
				return
			}
			var schema *sqlite.SchemaError
			require.ErrorIs(t, err, sqlite.ErrSchema)
			require.ErrorAs(t, err, &schema)
			require.Equal(t, c.object, schema.Object)
			require.ErrorIs(t, db.Migrate(t.Context(), appID, chained), sqlite.ErrSchema, "nor is it migrated")
		})
	}
}

func TestAForeignSchemaIsRefusedBeforeItIsMigrated(t *testing.T) {
	first := fstest.MapFS{"0001_first.sql": chained["0001_first.sql"]}
	db := open(t, sqlite.Options{}, first)
	alter(t, db, "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END")
	require.ErrorIs(t, db.Migrate(t.Context(), appID, chained), sqlite.ErrSchema)
	var tables int
	require.NoError(t, db.Reader().QueryRow("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'u'").Scan(&tables))
	require.Zero(t, tables, "what is refused is not changed")

	alter(t, db, "DROP TRIGGER x")
	require.NoError(t, db.Migrate(t.Context(), appID, chained))
	require.NoError(t, db.CheckSchema(t.Context(), chained))
	alter(t, db, "PRAGMA user_version = 1")
	require.ErrorIs(t, db.Migrate(t.Context(), appID, chained), sqlite.ErrSchema, "a file that says it has seen less")
}

func TestTablesOfOthersAreTheirs(t *testing.T) {
	for statements, fine := range map[string]bool{
		"CREATE TABLE x (id); CREATE INDEX y ON x (id); CREATE VIEW z AS SELECT * FROM t": true,
		"CREATE TRIGGER x AFTER INSERT ON T BEGIN SELECT 1; END":                          false,
		"CREATE UNIQUE INDEX x ON t (v)":                                                  false,
		"DROP TABLE u":                                                                    false,
	} {
		db := open(t, sqlite.Options{}, chained)
		alter(t, db, statements)
		for _, err := range []error{db.CheckOwnTables(t.Context(), chained), db.MigrateOwnTables(t.Context(), appID, chained)} {
			if fine {
				require.NoError(t, err, statements)
			} else {
				require.ErrorIs(t, err, sqlite.ErrSchema, statements)
			}
		}
	}
}

func TestTheSchemaIsCheckedInNoTime(t *testing.T) {
	db := open(t, sqlite.Options{}, chained)
	least := time.Hour
	for range 20 {
		began := time.Now()
		require.NoError(t, db.CheckSchema(t.Context(), chained))
		least = min(least, time.Since(began))
	}
	require.Less(t, least, 2*time.Millisecond)
}
