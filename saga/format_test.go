package saga

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

// asOf makes dir/sagas.db a file that has seen this many migrations only, with
// what is in it.
func asOf(t *testing.T, dir string, migrated int) {
	t.Helper()
	ctx, path := t.Context(), filepath.Join(dir, FileName)
	names, err := fs.Glob(migrations, "migration/*.sql")
	require.NoError(t, err)
	seen := fstest.MapFS{}
	for _, name := range names[:migrated] {
		data, err := migrations.ReadFile(name)
		require.NoError(t, err)
		seen[filepath.Base(name)] = &fstest.MapFile{Data: data}
	}
	now, err := sqlite.Open(ctx, path, sqlite.Options{ReadOnly: true})
	require.NoError(t, err)
	former, err := sqlite.Open(ctx, path+".former", sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, former.Migrate(ctx, applicationID, seen))
	list := func(db *sqlite.DB, query string) (all []string) {
		rows, err := db.Reader().Query(query)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			require.NoError(t, rows.Scan(&s))
			all = append(all, s)
		}
		require.NoError(t, rows.Err())
		return all
	}
	for _, table := range list(former, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
		columns := list(former, "SELECT name FROM pragma_table_info('"+table+"')")
		_, err := former.Writer().Exec("DELETE FROM " + table)
		require.NoError(t, err)
		rows, err := now.Reader().Query("SELECT " + strings.Join(columns, ", ") + " FROM " + table)
		require.NoError(t, err)
		for rows.Next() {
			row, to := make([]any, len(columns)), make([]any, len(columns))
			for n := range row {
				to[n] = &row[n]
			}
			require.NoError(t, rows.Scan(to...))
			_, err := former.Writer().Exec("INSERT INTO "+table+" ("+strings.Join(columns, ", ")+") VALUES (?"+strings.Repeat(", ?", len(columns)-1)+")", row...)
			require.NoError(t, err)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	require.NoError(t, now.Close())
	require.NoError(t, former.Close())
	require.NoError(t, os.Rename(path+".former", path))
}

// chiming has timers with names that are not the same in JSON, and fails where
// it is told to.
type chiming struct{ Rung []string }

var ringNames = []string{"plain", `"quoted" \ <&> ü`, "a'b"}

func chimingSaga() *Definition {
	options := []Option[chiming]{
		Starts(armingKey, func(_ *chiming, c *Context, e did) error {
			_, verb, _ := strings.Cut(e.What, " ")
			switch verb {
			case "fail":
				return fmt.Errorf("it fails")
			case "cancel":
				c.Cancel("plain")
			case "later":
				c.After("plain", 2*time.Hour)
			default:
				for n, name := range ringNames {
					c.After(name, time.Duration(n+1)*time.Minute)
				}
			}
			return nil
		}), Retries(1, time.Hour),
	}
	for _, name := range ringNames {
		options = append(options, Timer(name, func(r *chiming, c *Context) error {
			r.Rung = append(r.Rung, name)
			return nil
		}))
	}
	return Define("chiming", 1, options...)
}

// A store of a program of before has each timer at its place afterwards, held
// where it was: it fires once, or is cancelled, or set anew.
func TestTimersOfAFileOfBeforeGoOn(t *testing.T) {
	w := newWorld(t, chimingSaga())
	for _, what := range []string{"a set", "b set", "c set", "d set", "d fail"} {
		w.emit("s", did{what})
	}
	w.feed(100)
	before, err := w.Timers(t.Context(), 100)
	require.NoError(t, err)
	require.Len(t, before, 4*len(ringNames))
	w.close()

	asOf(t, w.dir, timersByDue-1)
	file, err := sqlite.Open(t.Context(), filepath.Join(w.dir, FileName), sqlite.Options{})
	require.NoError(t, err)
	_, err = file.Writer().Exec(`UPDATE timer SET held = 0`) // as programs of then could leave it
	require.NoError(t, err)
	require.NoError(t, file.Close())
	in, err := Inspect(t.Context(), w.dir)
	require.NoError(t, err)
	require.Empty(t, in.Findings, "a file that nobody has opened since is as it should be")

	w.open()
	after, err := w.Timers(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, before, after)
	held := 0
	for _, timer := range after {
		if timer.Held {
			held++
			require.Equal(t, "d", timer.Key)
		}
	}
	require.Equal(t, len(ringNames), held)
	require.Equal(t, len(after), w.stats().Timers)
	w.reopen() // as sound as one that was made anew

	w.emit("s", did{"b cancel"})
	w.emit("s", did{"c later"})
	w.feed(100)
	w.advance(time.Hour)
	rung := func(key string) string {
		i, err := w.Instance(t.Context(), "chiming", key)
		require.NoError(t, err)
		return string(i.State)
	}
	all := `{"Rung":["plain","\"quoted\" \\ \u003c\u0026\u003e ü","a'b"]}`
	require.JSONEq(t, all, rung("a"))
	require.JSONEq(t, strings.Replace(all, `"plain",`, "", 1), rung("b"))
	require.JSONEq(t, strings.Replace(all, `"plain",`, "", 1), rung("c"))
	require.JSONEq(t, `{"Rung":null}`, rung("d"), "it is parked")
	require.NoError(t, w.Skip(t.Context(), "chiming", "d", By{Who: "x", Why: "y"}))
	w.advance(2 * time.Hour)
	require.JSONEq(t, all, rung("d"))
	require.Contains(t, rung("c"), `a'b","plain"`)
	require.Zero(t, w.stats().Timers)
}

// The timers of one instance are found without a look at those of the others.
func TestTimersOfOneInstanceAreFoundByTheirKey(t *testing.T) {
	w := newWorld(t, chimingSaga())
	w.emit("s", did{"a set"})
	w.feed(100)
	plan := w.plan(timersOfOne, 1, 10)
	require.Contains(t, plan, "SEARCH t USING PRIMARY KEY (held=? AND due=? AND instance=? AND name=?)")
	shown, err := w.Show(t.Context(), "chiming", "a")
	require.NoError(t, err)
	require.Len(t, shown.Timers, len(ringNames))
}
