package disk_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/disk"
)

// strange makes what is no plain file, each under its name in a new directory.
func strange(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("file"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink(at("file"), at("link")))
	require.NoError(t, os.Symlink(at("nowhere"), at("dangling")))
	require.NoError(t, os.Mkdir(at("directory"), 0o700))
	require.NoError(t, syscall.Mkfifo(at("pipe"), 0o600))
	return map[string]string{
		"a link": at("link"), "a dangling link": at("dangling"), "a directory": at("directory"),
		"a pipe": at("pipe"), "a device": os.DevNull,
	}
}

func TestWhatIsNoPlainFileIsRefused(t *testing.T) {
	for name, path := range strange(t) {
		_, err := disk.CheckPlain(path)
		require.ErrorIs(t, err, disk.ErrNotPlain, name)
		_, err = disk.ReadSmall(path, 10)
		require.ErrorIs(t, err, disk.ErrNotPlain, name)
		if name == "a directory" {
			continue
		}
		_, err = disk.MakeDir(path)
		require.ErrorIs(t, err, disk.ErrNotPlain, name)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	_, err := disk.CheckPlain(absent)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = disk.ReadSmall(absent, 10)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAFileWithTwoNamesIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, disk.CreateFile(path))
	_, err := disk.CheckPlain(path)
	require.NoError(t, err)
	require.NoError(t, os.Link(path, path+"2"))
	_, err = disk.CheckPlain(path)
	require.ErrorIs(t, err, disk.ErrNotPlain)
}

func TestASmallFileIsReadUpToItsBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 10)), 0o600))
	data, err := disk.ReadSmall(path, 10)
	require.NoError(t, err)
	require.Len(t, data, 10)
	_, err = disk.ReadSmall(path, 9)
	require.ErrorIs(t, err, disk.ErrNotPlain)
}

// The umask is the process's: this test runs alone, as all here do.
func TestModesDoNotDependOnTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o277, 0o777} {
		dir := t.TempDir()
		before := syscall.Umask(umask)
		path := filepath.Join(dir, "made")
		created, err := disk.MakeDir(path)
		file := filepath.Join(path, "file")
		made := disk.CreateFile(file)
		replaced := disk.Replace(filepath.Join(path, "small"), []byte("x"))
		syscall.Umask(before)
		require.NoError(t, err)
		require.True(t, created)
		require.NoError(t, made)
		require.NoError(t, replaced)
		for name, mode := range map[string]fs.FileMode{path: 0o700, file: 0o600, filepath.Join(path, "small"): 0o600} {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), "umask %o: %s", umask, name)
		}
		created, err = disk.MakeDir(path)
		require.NoError(t, err)
		require.False(t, created)
	}
}

func TestNetworkFileSystemsAreRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, disk.CheckLocal(dir))
	require.ErrorIs(t, disk.CheckLocal(filepath.Join(dir, "absent")), fs.ErrNotExist)
	stop := disk.PretendFileSystem(func(string) (uint32, bool) { return 0x6969, true })
	defer stop()
	err := disk.CheckLocal(dir)
	require.ErrorIs(t, err, disk.ErrNotLocal)
	require.ErrorContains(t, err, "NFS")
}
