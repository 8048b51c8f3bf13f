package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/disk"
)

func TestADestinationIsNewAndElsewhere(t *testing.T) {
	dir, backup := filled(t)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	from := map[string]string{"backup": dir, "restore": backup}
	for what, fn := range make {
		t.Run(what, func(t *testing.T) {
			before := listing(t, from[what])
			above := t.TempDir()
			require.ErrorIs(t, fn(""), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(filepath.Join(from[what], "inside")), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(from[what]), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(filepath.Dir(from[what])), eventstore.ErrInvalid)
			require.NoError(t, os.Symlink(from[what], filepath.Join(above, "link")))
			require.ErrorIs(t, fn(filepath.Join(above, "link", "inside")), eventstore.ErrInvalid)
			require.ErrorContains(t, fn(filepath.Join(above, "link")), "one in the other")

			full := filepath.Join(above, "full")
			require.NoError(t, os.Mkdir(full, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
			require.ErrorContains(t, fn(full), "not empty")
			require.ErrorContains(t, fn(filepath.Join(full, "mine")), "not a directory")
			require.Equal(t, before, listing(t, from[what]))
			require.Equal(t, []string{"full", "link"}, names(t, above))

			empty := filepath.Join(above, "empty")
			require.NoError(t, os.Mkdir(empty, 0o700))
			require.NoError(t, fn(empty))
			require.FileExists(t, filepath.Join(empty, "log.db"))
			require.NoError(t, fn(filepath.Join(above, "a", "b", "c")))
			require.FileExists(t, filepath.Join(above, "a", "b", "c", "log.db"))
		})
	}
}

func TestASourceIsNeverEmptiedForWhatIsMadeOfIt(t *testing.T) {
	_, backup := filled(t)
	dst := filepath.Join(t.TempDir(), "store")
	from := dst + sqlite.UnfinishedSuffix
	require.NoError(t, os.CopyFS(from, os.DirFS(backup)))
	require.NoError(t, os.Remove(filepath.Join(from, "lock"))) // a copy without one
	before := listing(t, from)
	_, err := sqlite.Restore(t.Context(), from, dst, nil)
	require.ErrorIs(t, err, sqlite.ErrNotStore, "nor is it taken for a backup")
	require.Equal(t, before, listing(t, from))
	s, err := sqlite.OpenReadOnly(t.Context(), from)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.ErrorIs(t, s.Backup(t.Context(), dst), eventstore.ErrInvalid)
	require.FileExists(t, filepath.Join(from, "log.db"))
}

func TestWhatAKillLeftIsReusedAndWhatIsNotOursIsNot(t *testing.T) {
	_, backup := filled(t)
	above := t.TempDir()
	dst := filepath.Join(above, "store")
	left := dst + sqlite.UnfinishedSuffix
	require.NoError(t, os.Mkdir(left, 0o700))
	for _, name := range []string{"lock", "log.db", "log.db-wal", "sagas.db", "witness.tmp", "manifest"} {
		require.NoError(t, os.WriteFile(filepath.Join(left, name), []byte("half"), 0o600))
	}
	mine := filepath.Join(left, "mine")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	_, err := sqlite.Restore(t.Context(), backup, dst, nil)
	require.ErrorContains(t, err, "move it away")
	require.FileExists(t, mine)
	require.NoError(t, os.Remove(mine))
	_, err = sqlite.Restore(t.Context(), backup, dst, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"store"}, names(t, above))
	sound(t, open(t, dst, nil))
}

func TestBackupCopiesWhatIsLeatsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	ask(t, s, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "receipts.txt"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.db"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "views"), 0o700))
	backup := backUp(t, s)
	require.Equal(t, []string{"lock", "log.db", "manifest", "witness"}, names(t, backup))

	tamper(t, filepath.Join(dir, "sagas.db"), "CREATE TABLE t (x)")
	require.Error(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x")), "another program's file under the name of ours is not passed over")
	require.NoError(t, os.Remove(filepath.Join(dir, "sagas.db")))
	require.NoError(t, os.Symlink(filepath.Join(backup, "log.db"), filepath.Join(dir, "sagas.db")))
	require.Error(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x")))
}

func TestARefusedStepLeavesNothing(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	for what, fn := range make {
		for after := 0; ; after++ {
			above := t.TempDir()
			dst := filepath.Join(above, "store")
			steps, boom := 0, errors.New("no space left")
			stop := disk.Obstruct(func(op disk.Op) error {
				if steps++; steps == after+1 {
					return boom
				}
				return nil
			})
			err := fn(dst)
			stop()
			if steps <= after {
				require.NoError(t, err)
				require.Greater(t, after, 5)
				break
			}
			require.ErrorIs(t, err, boom, "%s, step %d", what, after+1)
			if _, gone := os.Stat(dst); gone == nil { // renamed, and not known to be durable
				whole, err := sqlite.OpenReadOnly(t.Context(), dst) // a backup is not for appending
				require.NoError(t, err)
				sound(t, whole)
				require.NoError(t, whole.Close())
				require.Equal(t, []string{"store"}, names(t, above))
				continue
			}
			require.Empty(t, names(t, above), "%s, step %d", what, after+1)
		}
	}
}

func TestACancelledBackupOrRestoreLeavesNothing(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	above := t.TempDir()
	require.ErrorIs(t, s.Backup(ctx, filepath.Join(above, "a")), context.Canceled)
	_, err := sqlite.Restore(ctx, backup, filepath.Join(above, "b"), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, names(t, above))
}

// TestLitestream1344_WhatARestoreMakesIsSyncedWithItsDirectories: litestream
// renamed a restored database into place without syncing the directory, so that
// a power cut could take it away again.
func TestLitestream1344_WhatARestoreMakesIsSyncedWithItsDirectories(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	for what, fn := range make {
		above := t.TempDir()
		dst := filepath.Join(above, "new", "store")
		var ops []disk.Op
		stop := disk.Observe(func(op disk.Op) { ops = append(ops, op) })
		require.NoError(t, fn(dst), what)
		stop()
		made := dst + sqlite.UnfinishedSuffix
		synced := map[string]int{}
		renamed := 0
		for i, op := range ops {
			switch {
			case op.Kind == disk.Sync:
				synced[op.Path] = i + 1
			case op.Kind == disk.Rename && op.To == dst:
				renamed = i + 1
			}
		}
		require.Positive(t, renamed)
		for _, file := range names(t, dst) {
			if file == "witness" || file == "manifest" {
				file += disk.TempSuffix // synced before it got its name
			}
			if file != "lock" {
				require.Positive(t, synced[filepath.Join(made, file)], "%s: %s is synced", what, file)
				require.Less(t, synced[filepath.Join(made, file)], renamed, "%s: before it has its name", what)
			}
		}
		require.Positive(t, synced[made], "%s: its entries are synced", what)
		require.Less(t, synced[made], renamed, what)
		require.Greater(t, synced[filepath.Dir(dst)], renamed, "%s: its own entry is synced after it has its name", what)
		require.Positive(t, synced[above], "%s: and so is that of the directory above, which is new", what)
	}
}

func TestABackupGoesOnWhileItsStoreIsWrittenTo(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int64, 1)
	go func() {
		last := int64(0)
		for ctx.Err() == nil {
			c, err := s.Append(context.Background(), write("ride-1", eventstore.Any(), event("asked", "x")))
			if err != nil {
				t.Error(err)
			}
			last = c.Last
		}
		written <- last
	}()
	for range 10 {
		before, err := s.Head(t.Context())
		require.NoError(t, err)
		_, r := restore(t, backUp(t, s))
		require.GreaterOrEqual(t, r.Head.Position, before)
		require.NoError(t, eventstore.CheckAnchor(t.Context(), s, r.Head))
	}
	cancel()
	require.Positive(t, <-written)
}
