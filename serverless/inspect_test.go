package serverless

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

func TestInspectConsumersTellsCheckpointsAndWhatIsWrong(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	l, err := openLedger(ctx, dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = l.enroll(ctx, "mail", 2, anchor(10))
	require.NoError(t, err)
	_, err = l.enroll(ctx, "note", 1, anchor(3))
	require.NoError(t, err)
	event := func(position int64) eventstore.Recorded {
		return eventstore.Recorded{Position: position, Stream: "a-1", Type: "moved", ID: uuid.New()}
	}
	require.NoError(t, l.write(ctx, "park", func(tx *sqlite.Tx) error {
		if err := insertLetter(tx, "mail", stateParked, event(7), attempt{Attempts: 1}, 1); err != nil {
			return err
		}
		return insertWaiting(tx, "mail", event(9))
	}))
	require.NoError(t, l.failed(ctx, "note", attempt{Position: 4, Attempts: 1}))
	require.NoError(t, l.close())

	in, err := InspectConsumers(ctx, dir)
	require.NoError(t, err)
	require.Empty(t, in.Findings)
	var got []string
	for _, c := range in.Consumers {
		got = append(got, fmt.Sprint(c.Consumer, " ", c.Checkpoint.Position, " ", c.Last))
	}
	require.Equal(t, []string{"mail#0/2 10 9", "mail#1/2 10 9", "note 3 4"}, got)
	require.Equal(t, anchor(3), in.Consumers[2].Checkpoint)

	path := filepath.Join(dir, ledgerFile)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for statement, says := range map[string]string{
		`DELETE FROM dead_letter`:       `consumers.db: function "mail": the event at position 9 waits, but none of its stream "a-1" is parked`,
		`DROP INDEX dead_letter_parked`: `index "dead_letter_parked" is missing`,
		`PRAGMA application_id = 7`:     `another program's database`,
		`PRAGMA ignore_check_constraints = 1; UPDATE dead_letter SET state = 'lost'`: `function "mail": its dead letter at position 7 is in no state that there is: lost`,
	} {
		require.NoError(t, os.WriteFile(path, good, 0o600))
		db, err := sqlite.Open(ctx, path, sqlite.Options{})
		require.NoError(t, err)
		_, err = db.Writer().Exec(statement)
		require.NoError(t, err, statement)
		require.NoError(t, db.Close())
		in, err := InspectConsumers(ctx, dir)
		require.NoError(t, err, statement)
		require.Contains(t, fmt.Sprint(in.Findings), says, statement)
	}
	_, err = InspectConsumers(ctx, t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}
