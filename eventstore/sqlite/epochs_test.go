package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func anchors(t *testing.T, s *sqlite.Store) (all []eventstore.Anchor) {
	t.Helper()
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	for p := range head + 1 {
		a, err := s.Anchor(t.Context(), p)
		require.NoError(t, err)
		all = append(all, a)
	}
	return all
}

func TestAnAnchorIsOfTheEpochInWhichItsEventWasWritten(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ask(t, s, 3)
	first := anchors(t, s)
	backup := backUp(t, s)
	ask(t, s, 4)
	past := anchors(t, s)[4:]

	dir, _ := restore(t, backup)
	b := open(t, dir, nil)
	require.Equal(t, first, anchors(t, b))
	for range 3 { // however far it has grown since
		for _, a := range first {
			require.NoError(t, eventstore.CheckAnchor(t.Context(), b, a))
		}
		for _, a := range past {
			err := eventstore.CheckCheckpoint(t.Context(), b, a, "board", "")
			var rewound *eventstore.RewoundError
			require.ErrorAs(t, err, &rewound)
			require.Equal(t, eventstore.Epoch{Name: b.Epoch(), After: 3, Time: rewound.Restored.Time}, rewound.Restored)
			require.ErrorContains(t, err, fmt.Sprintf(`"board" is at position %d`, a.Position))
			require.ErrorContains(t, err, "restored after position 3")
		}
		ask(t, b, 4)
	}

	// A second restore, before the end of the first one's epoch.
	second := anchors(t, b)
	dir, _ = restore(t, backUp(t, b))
	c := open(t, dir, nil)
	ask(t, c, 2)
	require.Equal(t, second, anchors(t, c)[:len(second)])
	epochs := c.Epochs()
	require.Len(t, epochs, 3)
	require.Equal(t, []int64{0, 3, 15}, []int64{epochs[0].After, epochs[1].After, epochs[2].After})
	require.Equal(t, []string{s.Epoch(), b.Epoch(), c.Epoch()}, []string{epochs[0].Name, epochs[1].Name, epochs[2].Name})
	page, err := c.ReadLog(t.Context(), 0, 3, eventstore.Filter{})
	require.NoError(t, err)
	require.Equal(t, s.Epoch(), page.Through.Epoch)
	r, err := c.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.Equal(t, c.Epoch(), r.Head.Epoch)
	beside, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, anchors(t, c), anchors(t, beside))
	require.NoError(t, beside.Close())
}

func TestAnEmptyStoreIsRestored(t *testing.T) {
	dir, r := restore(t, backUp(t, open(t, t.TempDir(), nil)))
	require.Equal(t, eventstore.Anchor{}, r.Head)
	s := open(t, dir, nil)
	ask(t, s, 1)
	require.Equal(t, r.Epoch, anchors(t, s)[1].Epoch)
	sound(t, s)
}

func TestAnEpochThatWasChangedIsFound(t *testing.T) {
	for name, statements := range map[string][]string{
		"name":           {`UPDATE epochs SET name = 'x' WHERE number = 2`},
		"first name":     {`UPDATE epochs SET name = 'x' WHERE number = 1`},
		"place":          {`UPDATE epochs SET began_after = 30 WHERE number = 2`},
		"past the end":   {`UPDATE epochs SET began_after = 3000 WHERE number = 3`},
		"batch":          {`UPDATE epochs SET batch = 5 WHERE number = 2`},
		"time":           {`UPDATE epochs SET began_at = began_at + 1 WHERE number = 2`},
		"first time":     {`UPDATE epochs SET began_at = began_at + 1 WHERE number = 1`},
		"hash":           {`UPDATE epochs SET hash = randomblob(32) WHERE number = 2`},
		"first hash":     {`UPDATE epochs SET hash = randomblob(32) WHERE number = 1`},
		"last forgotten": {`DELETE FROM epochs WHERE number = 3`},
		"one forgotten":  {`DELETE FROM epochs WHERE number = 2`},
		"merged":         {`DELETE FROM epochs WHERE number = 2`, `UPDATE epochs SET number = 2 WHERE number = 3`},
		"all forgotten":  {`DELETE FROM epochs`},
		"one more":       {`INSERT INTO epochs VALUES (4, 'x', 61, 21, 0, randomblob(32))`},
		"store":          {`UPDATE meta SET store_id = 'x'`},
		"event there":    {`UPDATE events SET hash = randomblob(32) WHERE position = 60`},
	} {
		t.Run(name, func(t *testing.T) {
			_, backup := filled(t)
			dir, _ := restore(t, backup)
			s := open(t, dir, nil)
			ask(t, s, 1)
			require.NoError(t, s.Close())
			s, err := sqlite.OpenReadOnly(t.Context(), dir)
			require.NoError(t, err)
			dir, _ = restore(t, backUp(t, s))
			require.NoError(t, s.Close())
			s = open(t, dir, nil)
			ask(t, s, 1)
			require.NoError(t, s.Close())

			change(t, dir, statements...)
			_, err = sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.NotContains(t, err.Error(), "\n")
			t.Log(err)
			s, err = sqlite.OpenReadOnly(t.Context(), dir)
			if err != nil {
				require.ErrorIs(t, err, eventstore.ErrCorrupt)
				return
			}
			r, err := s.Verify(t.Context())
			require.NoError(t, errors.Join(err, s.Close()))
			require.NotEmpty(t, r.Findings)
			t.Log(r.Findings)
		})
	}
}

// TestALogFromBeforeEpochsGetsItsFirst opens a log as the first program that
// made some left it.
func TestALogFromBeforeEpochsGetsItsFirst(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile("migration/0001_log.sql")
	require.NoError(t, err)
	db, err := sql.Open("sqlite3", filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	_, err = db.Exec(string(script) + `;
		PRAGMA application_id = 0x1ea70109;
		PRAGMA user_version = 1;
		INSERT INTO meta (id, store_id, epoch, created_at) VALUES (1, 'its store', 'its epoch', 7)`)
	require.NoError(t, errors.Join(err, db.Close()))
	s := open(t, dir, nil)
	require.Equal(t, []eventstore.Epoch{{Name: "its epoch", Time: 7}}, s.Epochs())
	ask(t, s, 1)
	require.Equal(t, "its epoch", anchors(t, s)[1].Epoch)
	sound(t, s)
	dir, _ = restore(t, backUp(t, s))
	sound(t, open(t, dir, nil))
}

// TestLitestream783_APositionAfterARestoreIsNotTakenForTheOldOne: after a
// restore litestream went on from the position that it had in memory or in its
// files, and what it wrote then did not follow what was there.
func TestLitestream783_APositionAfterARestoreIsNotTakenForTheOldOne(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ask(t, s, 10)
	backup := backUp(t, s)
	ask(t, s, 10)
	old, err := s.Anchor(t.Context(), 20)
	require.NoError(t, err)
	dir, _ := restore(t, backup)
	b := open(t, dir, nil)
	for range 20 { // the same events, to the same positions and beyond
		c := appendTo(t, b, write("ride-1", eventstore.Any(), event("asked", "x")))
		require.ErrorIs(t, eventstore.CheckAnchor(t.Context(), b, old), eventstore.ErrRewound)
		a, err := b.Anchor(t.Context(), c.Last)
		require.NoError(t, err)
		require.Equal(t, b.Epoch(), a.Epoch)
		require.ErrorIs(t, eventstore.CheckAnchor(t.Context(), s, a), eventstore.ErrRewound, "nor the other way round")
	}
	sound(t, b)
}
