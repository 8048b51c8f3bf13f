package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// playFullDestination runs in its own mount namespace, with a small disk for
// backups and restored stores.
func playFullDestination(dir string) (err error) {
	ctx := context.Background()
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=1m"); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	s, err := sqlite.Open(ctx, filepath.Join(dir, "store"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for range 100 {
		if _, err := s.Append(ctx, write("ride-1", eventstore.Any(), eventstore.EventData{Type: "big", Data: make([]byte, 20_000)})); err != nil {
			return err
		}
	}
	backup := filepath.Join(dir, "backup")
	if err := s.Backup(ctx, backup); err != nil {
		return err
	}
	for what, fn := range map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(ctx, dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(ctx, backup, dst, nil); return err },
	} {
		dst := filepath.Join(small, "new", what)
		if err := fn(dst); !errors.Is(err, sqlite.ErrDiskFull) {
			return fmt.Errorf("%s to a full disk: %w", what, err)
		}
		if left, err := os.ReadDir(small); err != nil || len(left) > 0 {
			return fmt.Errorf("%s to a full disk left %v, %w", what, left, err)
		}
		if err := syscall.Mount("none", small, "tmpfs", syscall.MS_REMOUNT, "size=20m"); err != nil {
			return err
		}
		if err := fn(dst); err != nil {
			return fmt.Errorf("%s after space was freed: %w", what, err)
		}
		if err := os.RemoveAll(filepath.Join(small, "new")); err != nil {
			return err
		}
		if err := syscall.Mount("none", small, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
			return err
		}
	}
	return nil
}

// ownMounts has the command run in its own mount namespace; it skips the test
// where there are none.
func ownMounts(t *testing.T, part string) {
	t.Helper()
	cmd := command(t, part, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || strings.HasPrefix(string(out), "skip:") {
		t.Skipf("no mount namespace here: %v %s", err, out)
	}
	require.NoError(t, err)
	t.Log(string(out))
}

func TestAFullDiskUnderABackupOrARestoreLeavesNothing(t *testing.T) {
	ownMounts(t, "full destination")
}

// TestARescueCopyIsRestored: another program has taken the write-ahead log away,
// and what was acknowledged is seen by the open connections only.
func TestARescueCopyIsRestored(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	ask(t, s, 10)
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	_, err := s.Append(t.Context(), write("ride-1", eventstore.Any(), event("asked", "x")))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	backup := backUp(t, s)
	acked := all(t, s)
	require.NoError(t, s.Close())
	restored, r := restore(t, backup)
	require.GreaterOrEqual(t, r.Events, int64(10))
	b := open(t, restored, nil)
	require.Equal(t, acked, all(t, b)[:10])
	sound(t, b)
}

func TestOfTwoBackupsToOnePlaceOneIsMade(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ask(t, s, 10)
	for range 20 {
		above := t.TempDir()
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() { errs <- s.Backup(t.Context(), filepath.Join(above, "backup")) }()
		}
		made := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				made++
			}
		}
		require.Equal(t, 1, made)
		require.Equal(t, []string{"backup"}, names(t, above))
		dir, _ := restore(t, filepath.Join(above, "backup"))
		sound(t, open(t, dir, nil))
	}
}
