package sqlite_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/parts"
)

// alone appends so often, one after the other, that the next append is
// committed in its caller's goroutine.
func alone(t *testing.T, s *sqlite.Store) (appended int) {
	t.Helper()
	for range 8 {
		appendTo(t, s, one("asked"))
		appended++
	}
	require.Eventually(t, s.Alone, time.Minute, time.Millisecond)
	return appended
}

func one(typ string) eventstore.Batch { return write("ride-1", eventstore.Any(), event(typ, "x")) }

// A caller may recover what in the writer's own goroutine would end the program.
func TestAPanicInALoneAppendStopsTheStore(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, quiet)
	require.NoError(t, err)
	n := alone(t, s)
	failAt(s, "committed", 1, func(func(string) error) error { panic("boom") })
	require.PanicsWithValue(t, "boom", func() { _, _ = s.Append(context.Background(), one("lost or not")) })
	<-s.Stopped()
	require.ErrorContains(t, s.Err(), "panic")
	_, err = s.Append(t.Context(), one("refused"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.Len(t, all(t, s), n, "what was not acknowledged is not seen")
	require.Error(t, s.Close(), "database/sql has closed the connection")
	s = open(t, dir, quiet)
	require.GreaterOrEqual(t, len(all(t, s)), n)
	sound(t, s)
}

// Another program removes everything: what was acknowledged is in no file that
// has a name, and the log is worth more than what is gone beside it.
func TestARescueLeavesOutWhatWasRemovedBesideTheLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	n := alone(t, s)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sagas.db"), []byte("there"), 0o600))
	require.NoError(t, parts.List(dir, "sagas.db"))
	for _, name := range []string{"log.db", "log.db-wal", "log.db-shm", "sagas.db"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	_, err := s.Append(t.Context(), one("refused"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	backup, dst := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	require.NoError(t, s.Backup(t.Context(), backup))
	require.NoError(t, s.Close())

	_, err = sqlite.Restore(t.Context(), backup, dst, nil)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "sagas.db had been removed")
	r, err := sqlite.Restore(t.Context(), backup, dst, &sqlite.RestoreOptions{AcceptLoss: true})
	require.NoError(t, err)
	require.Contains(t, r.Lost[0], "sagas.db had been removed")
	require.GreaterOrEqual(t, r.Events, int64(n))
}
