package saga

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

func TestInspectSaysWhatIsNotAsAnEngineWritesIt(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.After("late", time.Hour)
			c.Send(reserve{e.Order})
			c.Alias("alias-" + e.Order)
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error { return nil }),
		On(byShipped, func(o *order, c *Context, e shipped) error { return &permanentError{errBoom} }),
		Waits(On(byPaid, func(o *order, c *Context, e paid) error { c.Complete(); return nil })),
		Timer("late", func(*order, *Context) error { return nil }),
		IgnoreRejected[order, reserve](), Was("orders")))
	w.emit("in", placed{"a"}, placed{"b"}, placed{"c"}, reserved{"a"}, shipped{"a"}, paid{"b"}, paid{"z"})
	w.feed(100)
	w.close()

	in, err := Inspect(t.Context(), w.dir)
	require.NoError(t, err)
	require.Empty(t, in.Findings)
	require.Len(t, in.Consumers, 1)
	require.Equal(t, "order", in.Consumers[0].Consumer)
	now, err := w.log.Anchor(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, now, in.Consumers[0].Checkpoint)
	require.Equal(t, int64(7), in.Consumers[0].Last, "the early event")

	path := filepath.Join(w.dir, FileName)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for statement, says := range map[string]string{
		`DELETE FROM engine`: `engine: it has 0 rows`,
		`DELETE FROM saga`:   `saga "1" key "a": its saga is missing`,
		`UPDATE instance SET cursor = 99 WHERE key = 'b'`:                                          `saga "order" key "b": it was given the event at position 99`,
		`UPDATE instance SET state = '{' WHERE key = 'b'`:                                          `saga "order" key "b": its state or its undos are no JSON`,
		`DELETE FROM instance WHERE key = 'c'`:                                                     `timer "late": its instance 3 does not exist`,
		`UPDATE timer SET instance = 2 WHERE instance = 1`:                                         `saga "order" key "b": it is completed, but its timer "late" is set`,
		`UPDATE timer SET due = due + 1 WHERE instance = 1`:                                        `saga "order" key "a": its timer "late", due at `,
		`UPDATE instance SET timers = '' WHERE key = 'a'`:                                          `saga "order" key "a": it does not know of its timer "late"`,
		`UPDATE instance SET timers = '{' WHERE key = 'a'`:                                         `saga "order" key "a": its timers are no JSON`,
		`UPDATE alias SET instance = 77 WHERE key = 'alias-c'`:                                     `alias "alias-c": its instance 77 does not exist`,
		`UPDATE former SET saga = 7`:                                                               `former saga name "orders": its saga 7 does not exist`,
		`UPDATE former SET name = 'order'`:                                                         `saga "order": its name is a former one`,
		`UPDATE saga SET identity = 'other'`:                                                       `saga "order": it is said to have begun as "other", which is none of its names`,
		`UPDATE early SET saga = 7`:                                                                `early event at position 7: its saga does not exist`,
		`UPDATE outbox SET sequence = 9 WHERE instance = 1`:                                        `is number 9 of 1`,
		`UPDATE outbox SET instance = 9 WHERE instance = 1`:                                        `its instance 9 does not exist`,
		`UPDATE waiting SET position = 99`:                                                         `saga "order" key "a": its waiting input 1 is the event at position 99`,
		`UPDATE waiting SET instance = 99`:                                                         `waiting input 1: its instance 99 does not exist`,
		`UPDATE journal SET instance = 99 WHERE id = 1`:                                            `entry 1 of the journal: its instance 99 does not exist`,
		`DELETE FROM journal WHERE instance = 1 AND sequence = 1`:                                  `the entry before it, 1, is missing or another`,
		`DELETE FROM journal WHERE instance = 2`:                                                   `saga "order" key "b": the last entry of its journal`,
		`PRAGMA ignore_check_constraints = 1; UPDATE instance SET status = 'lost' WHERE key = 'b'`: `it is in no status that there is: lost`,
		`DROP INDEX instance_failing`:                                                              `index "instance_failing" is missing`,
		`DROP INDEX instance_failing; CREATE INDEX instance_failing ON instance (key)`:             `index "instance_failing" was changed`,
	} {
		require.NoError(t, os.WriteFile(path, good, 0o600))
		db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		require.NoError(t, err)
		_, err = db.Writer().Exec(statement)
		require.NoError(t, err, statement)
		require.NoError(t, db.Close())
		in, err := Inspect(t.Context(), w.dir)
		require.NoError(t, err, statement)
		require.Contains(t, fmt.Sprint(in.Findings), says, statement)
	}
	_, err = Inspect(t.Context(), t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}
