package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/disk"
)

func TestReplaceSyncsBeforeItRenamesAndAfter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "witness")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	var steps []disk.Op
	defer disk.Observe(func(op disk.Op) { steps = append(steps, op) })()
	require.NoError(t, disk.Replace(path, []byte("new")))
	require.Equal(t, []disk.Op{
		{Kind: disk.Write, Path: path + ".tmp", Data: []byte("new")},
		{Kind: disk.Sync, Path: path + ".tmp"},
		{Kind: disk.Rename, Path: path + ".tmp", To: path},
		{Kind: disk.Sync, Path: dir},
	}, steps)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(data))
}

func TestReplaceFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "witness")
	require.NoError(t, os.WriteFile(victim, []byte("dear"), 0o600))
	require.NoError(t, os.Symlink(victim, path))
	require.NoError(t, os.Symlink(victim, path+disk.TempSuffix))
	require.NoError(t, disk.Replace(path, []byte("new")))
	data, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "dear", string(data))
}

func TestReplaceGivesUpBetweenItsSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pointer")
	boom := errors.New("boom")
	fail := func() error { return boom }
	require.ErrorIs(t, disk.ReplaceIn(path, []byte("new"), disk.Steps{Written: fail}), boom)
	require.NoFileExists(t, path)
	require.ErrorIs(t, disk.ReplaceIn(path, []byte("new"), disk.Steps{Renamed: fail}), boom)
	require.FileExists(t, path)
}

func TestAStepThatFailsLeavesTheFileAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pointer")
	require.NoError(t, disk.Replace(path, []byte("old")))
	boom := errors.New("boom")
	for _, kind := range []disk.Kind{disk.Write, disk.Sync, disk.Rename} {
		told := 0
		stop := disk.Obstruct(func(op disk.Op) error {
			if op.Kind == kind {
				return boom
			}
			return nil
		})
		forget := disk.Observe(func(op disk.Op) {
			if op.Kind == kind {
				told++
			}
		})
		require.ErrorIs(t, disk.Replace(path, []byte("new")), boom)
		stop()
		forget()
		require.Zero(t, told, "a step that was not taken is not told of")
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "old", string(data))
	}
	require.NoError(t, disk.Replace(path, []byte("new")))
}

func TestEveryDirectoryOnTheWayIsSyncedIntoTheOneAbove(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	defer disk.Observe(func(op disk.Op) { synced = append(synced, strings.TrimPrefix(op.Path, dir)) })()
	created, err := disk.MakeDir(filepath.Join(dir, "a", "b", "c"))
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, []string{"", "/a", "/a/b"}, synced)
}

func TestADirectoryIsMovedAndThenSynced(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "x.unfinished"), filepath.Join(dir, "x")
	require.NoError(t, os.Mkdir(from, 0o700))
	var ops []disk.Op
	defer disk.Observe(func(op disk.Op) { ops = append(ops, op) })()
	require.NoError(t, disk.MoveDir(from, to, func() { require.Len(t, ops, 1) }))
	require.Equal(t, []disk.Op{{Kind: disk.Rename, Path: from, To: to}, {Kind: disk.Sync, Path: dir}}, ops)
	require.DirExists(t, to)
	require.NoError(t, os.Mkdir(from, 0o700))
	require.Error(t, disk.MoveDir(from, to, nil), "never over another")
}
