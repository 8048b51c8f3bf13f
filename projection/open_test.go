package projection

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

type pointy struct{}

func (*pointy) EventType() string { return "pointy" }

func TestEverythingWrongWithADefinitionIsListed(t *testing.T) {
	nop := func(context.Context, *Tx, eventstore.Of[moved]) error { return nil }
	d := Define("Bad name", 0, " ", On(nop), On(nop), On[*pointy](func(context.Context, *Tx, eventstore.Of[*pointy]) error { return nil }),
		On[noted](nil), OnFailure(9), Retries(0, -1))
	for _, want := range []string{"the name must be", "the version is 0", "the schema is empty", `"moved" has two handlers`, "a plain struct", `handler of "noted" is nil`, "policy 9", "Retries(0"} {
		require.ErrorContains(t, d.Err(), want)
	}
	_, err := Open(t.Context(), t.TempDir(), newTape(), d, nil)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, Define("x", 1, "CREATE TABLE t (x)").Err(), "it handles no event")
	require.NoError(t, ledger(1, nil).Err())
}

func TestAWrongSchemaIsRefusedAndLeavesNothing(t *testing.T) {
	on := On(func(context.Context, *Tx, eventstore.Of[moved]) error { return nil })
	for schema, want := range map[string]string{
		"CREATE TABEL t (x)":                                         `near "TABEL": syntax error`,
		"CREATE TABLE t (x); COMMIT":                                 "ends the transaction",
		"CREATE TABLE t (x); CREATE TABLE leat_t (x)":                "begins with leat_",
		"CREATE TABLE t (x); CREATE TABLE Leat_t (x)":                "begins with leat_",
		"CREATE TABLE t (x); DROP TABLE leat_attempt":                "begins with leat_",
		"CREATE TABLE t (x); CREATE INDEX i ON leat_attempt (since)": "begins with leat_",
		"SELECT 1": "creates no table",
	} {
		dir := t.TempDir()
		_, err := Open(t.Context(), dir, newTape(), Define("v", 1, schema, on), nil)
		require.ErrorIs(t, err, ErrInvalid, schema)
		require.ErrorContains(t, err, want)
		require.Empty(t, views(t, dir))
		p, err := Open(t.Context(), dir, newTape(), Define("v", 1, "CREATE TABLE t (x)", on), nil)
		require.NoError(t, err)
		require.NoError(t, p.Close())
	}
}

func TestAChangedSchemaOfTheSameVersionIsRefused(t *testing.T) {
	dir, l := t.TempDir(), newTape()
	openTest(t, dir, l, ledger(1, nil)).Close()
	changed := ledger(1, nil)
	changed.schema += ";CREATE TABLE more (x)"
	_, err := Open(t.Context(), dir, l, changed, nil)
	require.ErrorIs(t, err, ErrSchemaChanged)
	require.ErrorContains(t, err, "raise the version")
	_, err = OpenReader(t.Context(), dir, changed)
	require.ErrorIs(t, err, ErrSchemaChanged)
	openTest(t, dir, l, ledger(1, nil))
}

func TestDamageIsNamed(t *testing.T) {
	l := newTape()
	make1 := func() (string, string) {
		dir := t.TempDir()
		openTest(t, dir, l, ledger(1, nil)).Close()
		return dir, filepath.Join(dir, viewsDir)
	}
	refused := func(dir string, want error) {
		t.Helper()
		_, err := Open(t.Context(), dir, l, ledger(1, nil), nil)
		require.ErrorIs(t, err, want)
		if !errors.Is(want, ErrNewer) {
			told(t, dir, err)
		}
		require.NoError(t, Remove(dir, "ledger"))
		openTest(t, dir, l, ledger(1, nil))
	}
	dir, at := make1()
	require.NoError(t, os.Remove(filepath.Join(at, "ledger.v1.1.db")))
	refused(dir, ErrDamaged)
	dir, at = make1()
	require.NoError(t, os.WriteFile(filepath.Join(at, "ledger.live"), []byte(`{"live":"../../etc/passwd"}`), 0o600))
	refused(dir, ErrDamaged)
	dir, at = make1()
	require.NoError(t, os.Rename(filepath.Join(at, "ledger.v1.1.db"), filepath.Join(at, "ledger.v1.2.db")))
	require.NoError(t, os.WriteFile(filepath.Join(at, "ledger.live"), []byte(`{"live":"ledger.v2.2.db"}`), 0o600))
	refused(dir, ErrNewer)
	dir, at = make1()
	db, err := sqlite.Open(t.Context(), filepath.Join(at, "ledger.v1.1.db"), sqlite.Options{Durability: sqlite.Normal})
	require.NoError(t, err)
	_, err = db.Writer().Exec("PRAGMA application_id = 7")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	refused(dir, sqlite.ErrForeign)
	dir, at = make1()
	require.NoError(t, os.WriteFile(filepath.Join(at, "ledger.v1.1.db"), []byte("this is a text file, and not a short one, of no use to anybody who wants a database at all. It goes on."), 0o600))
	_, err = OpenReader(t.Context(), dir, ledger(1, nil))
	require.ErrorContains(t, err, "is not a database")
	told(t, dir, err)
	_, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.ErrorContains(t, err, "is not a database")
	told(t, dir, err)
	require.NoError(t, Remove(dir, "ledger"))
	require.Error(t, Remove(dir, "../x"))
}

// told demands that the error names the read model, the damaged file and what
// to remove.
func told(t *testing.T, dir string, err error) {
	t.Helper()
	var damaged *DamagedError
	require.ErrorAs(t, err, &damaged)
	require.ErrorIs(t, err, ErrDamaged)
	require.Equal(t, "ledger", damaged.Projection)
	require.FileExists(t, filepath.Join(dir, viewsDir, "ledger.live"))
	require.Equal(t, filepath.Join(dir, viewsDir), filepath.Dir(damaged.File))
	at := filepath.Join(dir, viewsDir, "ledger")
	require.ErrorContains(t, err, "by hand "+at+".live first, then "+at+".v*")
}

// There: only the file's head was read at Open, and the page that was damaged
// said what SQLite says, and nothing of what to do.
func TestDamageThatIsFoundLaterIsNamed(t *testing.T) {
	dir, l := t.TempDir(), newTape()
	p, err := Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.NoError(t, err)
	l.add("a", moved{Account: "a", Cents: 1})
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 10)))
	var root, size int64
	require.NoError(t, p.live.db.Writer().QueryRow(`SELECT rootpage FROM sqlite_schema WHERE name = 'account'`).Scan(&root))
	require.NoError(t, p.live.db.Writer().QueryRow(`PRAGMA page_size`).Scan(&size))
	path := p.live.db.Path()
	require.NoError(t, p.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	copy(data[(root-1)*size:root*size], make([]byte, size))
	require.NoError(t, os.WriteFile(path, data, 0o600))

	p, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	_, err = p.Rebuild(t.Context(), nil)
	told(t, dir, err)
	at := p.Position()
	l.add("a", moved{Account: "a", Cents: 2})
	told(t, dir, p.Apply(t.Context(), page(l, at, 10)))
}

func TestTheFileIsNormalDurable(t *testing.T) {
	p := openTest(t, t.TempDir(), newTape(), ledger(1, nil))
	var sync int
	require.NoError(t, p.live.db.Writer().QueryRow("PRAGMA synchronous").Scan(&sync))
	require.Equal(t, 1, sync)
}
