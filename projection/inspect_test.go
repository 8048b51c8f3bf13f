package projection

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

func TestInspectSaysWhatIsWrongWithReadModels(t *testing.T) {
	dir, l := t.TempDir(), newTape()
	someMoves(l, 30)
	fail := func(e eventstore.Recorded) error {
		if e.Stream == "a-3" {
			return errors.New("bad")
		}
		return nil
	}
	p := openTest(t, dir, l, ledger(1, fail, OnFailure(Park), Retries(1, time.Hour)))
	require.NoError(t, deliver(t, p, l, 100))
	_, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, p.Close())

	list, err := Inspect(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, list, 2, "the live file and the one before")
	for i, file := range []string{"views/ledger.v1.2.db", "views/ledger.v1.1.db"} {
		require.Equal(t, file, list[i].File)
		require.Equal(t, l.at(l.head()), list[i].Consumers[0].Checkpoint)
		require.Empty(t, list[i].Findings)
	}

	live, at := filepath.Join(dir, viewsDir, "ledger.v1.2.db"), filepath.Join(dir, viewsDir, "ledger.live")
	edit := func(statement string) func(*testing.T) {
		return func(t *testing.T) { editFile(t, live, statement) }
	}
	write := func(path, data string) func(*testing.T) {
		return func(t *testing.T) { require.NoError(t, os.WriteFile(path, []byte(data), 0o600)) }
	}
	for says, damage := range map[string]func(*testing.T){
		"checkpoint: there are 0 in place of one":         edit(`DELETE FROM leat_checkpoint`),
		"parked event at position 1000: it lies past":     edit(`UPDATE leat_parked SET position = 1000 WHERE position = (SELECT MAX(position) FROM leat_parked)`),
		"dead letter at position 1000: it lies past":      edit(`INSERT INTO leat_dead_letter VALUES (1000, 'a', 1, 'moved', 1, 1, '')`),
		`it says that it is "other" version 1`:            edit(`UPDATE leat_view SET name = 'other'`),
		`index "leat_parked_stream" is missing`:           edit(`DROP INDEX leat_parked_stream`),
		`ledger.live: it does not name a file`:            write(at, `{"live":"../../etc/passwd"}`),
		`v2.9.db: the pointer names it, and it is missin`: write(at, `{"live":"ledger.v2.9.db"}`),
		"it is no SQLite database":                        write(live, fmt.Sprint(make([]int, 1000))),
	} {
		t.Run(says, func(t *testing.T) {
			for _, path := range []string{live, at} {
				good, err := os.ReadFile(path)
				require.NoError(t, err)
				defer func() { require.NoError(t, os.WriteFile(path, good, 0o600)) }()
			}
			damage(t)
			list, err := Inspect(t.Context(), dir)
			require.NoError(t, err)
			var found []eventstore.Finding
			for _, in := range list {
				found = append(found, in.Findings...)
			}
			require.Contains(t, fmt.Sprint(found), says)
		})
	}
	linked := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(dir, viewsDir), filepath.Join(linked, viewsDir)))
	list, err = Inspect(t.Context(), linked)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(list), "it is not a directory")
	list, err = Inspect(t.Context(), t.TempDir())
	require.NoError(t, err)
	require.Empty(t, list)
}

// editFile changes a file of a read model as another program does.
func editFile(t *testing.T, path, statement string) {
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	_, err = db.Writer().Exec(statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// FuzzPointer: whatever a pointer file holds, it is refused or names files of
// its own read model, and is written as it was understood.
func FuzzPointer(f *testing.F) {
	f.Add([]byte(`{"live":"ledger.v1.1.db","previous":"ledger.v2.9.db"}`))
	f.Add([]byte(`{"live":"ledger.v1.1.db"}`))
	f.Add([]byte(`{"live":"../x.v1.1.db"}`))
	f.Add([]byte(`{"live":"other.v1.1.db"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ok := parsePointer("ledger", raw)
		if !ok {
			return
		}
		require.Equal(t, "ledger", p.Live.name)
		require.Equal(t, filepath.Base(p.Live.String()), p.Live.String())
		if p.Previous != (fileID{}) {
			require.Equal(t, "ledger", p.Previous.name)
		}
		again, err := p.encode()
		require.NoError(t, err)
		q, ok := parsePointer("ledger", again)
		require.True(t, ok)
		require.Equal(t, p, q)
	})
}
