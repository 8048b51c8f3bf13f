package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func TestReopenIsRefusedWhereTheWriteAheadLogIsGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	for i := range 50 {
		appendTo(t, s, batch(fmt.Sprint(i)))
	}
	stopAt(t, s, "unknown")
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	for range 3 {
		err := s.Reopen(t.Context())
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
		require.ErrorContains(t, err, "Backup")
	}
	acked := all(t, s)
	require.Len(t, acked, 150, "nothing was closed")
	dst := filepath.Join(t.TempDir(), "rescued")
	require.NoError(t, s.Backup(t.Context(), dst))
	require.NoError(t, s.Close())
	restored, _ := restore(t, dst)
	require.Equal(t, acked, all(t, open(t, restored, nil))[:150])
}

func TestReopenNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	old := filepath.Join(t.TempDir(), "old")
	require.NoError(t, s.Backup(t.Context(), old))
	appendTo(t, s, batch("b"))
	stopAt(t, s, "c")
	log, now := filepath.Join(dir, "log.db"), filepath.Join(t.TempDir(), "log.db")
	failAt(s, "closed", 1, func(func(string) error) error {
		return errors.Join(os.Rename(log, now), run("cp", filepath.Join(old, "log.db"), log))
	})
	err := s.Reopen(t.Context())
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "acknowledged")
	_, err = s.ReadStream(t.Context(), "ride-1", 1, 10)
	require.ErrorIs(t, err, eventstore.ErrCorrupt, "rather than a stream without its end")
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(6), head)
	_, err = s.Append(t.Context(), batch("d"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrCorrupt, "again")

	require.NoError(t, errors.Join(os.Remove(log), os.Rename(now, log)))
	require.NoError(t, s.Reopen(t.Context()), "the right file is back")
	require.Len(t, all(t, s), 9)
	sound(t, s)
}

func TestReopenChangesNothingWhereTheLogIsNot(t *testing.T) {
	elsewhere := t.TempDir()
	other := open(t, elsewhere, quiet)
	appendTo(t, other, batch("x"))
	for name, put := range map[string]func(dir string) error{
		"nothing": func(string) error { return nil },
		"an empty file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "log.db"), nil, 0o600)
		},
		"another log": func(dir string) error {
			return run("cp", filepath.Join(elsewhere, "log.db"), filepath.Join(elsewhere, "log.db-wal"), dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, aside := t.TempDir(), filepath.Join(t.TempDir(), "log.db")
			s := open(t, dir, quiet)
			appendTo(t, s, batch("a"))
			stopAt(t, s, "b")
			log, found := filepath.Join(dir, "log.db"), map[string]string{}
			failAt(s, "closed", 1, func(func(string) error) error {
				if err := errors.Join(os.Rename(log, aside), put(dir)); err != nil {
					return err
				}
				found = sums(t, dir)
				return nil
			})
			for range 2 {
				require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrCorrupt)
				now := sums(t, dir)
				delete(now, "log.db-shm") // every reader leaves its mark there
				require.Equal(t, found, now)
			}
			for name := range found {
				if strings.HasPrefix(name, "log.db") {
					require.NoError(t, os.Remove(filepath.Join(dir, name)))
				}
			}
			_ = os.Remove(log + "-shm")
			require.NoError(t, os.Rename(aside, log))
			require.NoError(t, s.Reopen(t.Context()), "the right file is back")
			require.Len(t, all(t, s), 6)
			sound(t, s)
		})
	}
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
