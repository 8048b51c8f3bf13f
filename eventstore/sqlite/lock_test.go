package sqlite

import (
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process that is being started has all descriptors of the one that starts
// it, until it becomes another program: here it takes its time.
func TestAClosedStoreIsFreeAlsoWhileAProcessIsBeingStarted(t *testing.T) {
	dir, opts := t.TempDir(), &Options{Logger: slog.New(slog.DiscardHandler)}
	s, err := Open(t.Context(), dir, opts)
	require.NoError(t, err)
	inherited, err := syscall.Dup(int(s.lock.Fd()))
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Close(inherited)) }()
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), dir, opts)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestAHeldStoreIsFreeAlsoWhileAProcessIsBeingStarted(t *testing.T) {
	dir, opts := t.TempDir(), &Options{Logger: slog.New(slog.DiscardHandler)}
	s, err := Open(t.Context(), dir, opts)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	release, err := Hold(dir)
	require.NoError(t, err)
	var held, other syscall.Stat_t
	require.NoError(t, syscall.Stat(filepath.Join(dir, lockName), &held))
	descriptor := 3
	for syscall.Fstat(descriptor, &other) != nil || other.Dev != held.Dev || other.Ino != held.Ino {
		descriptor++
		require.Less(t, descriptor, 10_000)
	}
	inherited, err := syscall.Dup(descriptor)
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Close(inherited)) }()
	require.NoError(t, release())
	s, err = Open(t.Context(), dir, opts)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
