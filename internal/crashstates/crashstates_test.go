package crashstates_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/crashstates"
)

func write(path string, offset int64, data string) crashstates.Op {
	return crashstates.Op{Kind: crashstates.Write, Path: path, Offset: offset, Data: []byte(data)}
}

// log fills in when each sync began: at itself.
func log(ops ...crashstates.Op) crashstates.Log {
	for i := range ops {
		if ops[i].Start == 0 {
			ops[i].Start = i
		}
	}
	return ops
}

// image returns the state after all of the log.
func image(base map[string][]byte, l crashstates.Log, s crashstates.Strategy, seed uint64) map[string]string {
	d := crashstates.NewDisk(base)
	d.Run(l, len(l))
	files := map[string]string{}
	for name, data := range d.Image(s, rand.New(rand.NewPCG(seed, 0))).Files {
		files[name] = string(data)
	}
	return files
}

// images returns all different states after all of the log.
func images(base map[string][]byte, l crashstates.Log, name string) map[string]bool {
	seen := map[string]bool{}
	for seed := range uint64(800) {
		for _, s := range crashstates.Strategies() {
			data, found := image(base, l, s, seed)[name]
			if !found {
				data = "absent"
			}
			seen[data] = true
		}
	}
	return seen
}

var base = map[string][]byte{"a": []byte("....")}

func TestWhatWasSyncedIsThere(t *testing.T) {
	l := log(write("a", 0, "12"), crashstates.Op{Kind: crashstates.Sync, Path: "a"})
	require.Equal(t, map[string]bool{"12..": true}, images(base, l, "a"))
	require.Equal(t, "....", string(base["a"]), "the base is not changed")
}

func TestWhatWasWrittenDuringASyncMayBeLost(t *testing.T) {
	l := log(write("a", 0, "1"), write("a", 1, "2"), crashstates.Op{Kind: crashstates.Sync, Path: "a", Start: 1})
	require.Equal(t, map[string]bool{"1...": true, "12..": true}, images(base, l, "a"))
}

func TestTheSyncOfAnotherFileIsNone(t *testing.T) {
	l := log(write("a", 0, "1"), crashstates.Op{Kind: crashstates.Sync, Path: "b"})
	require.Equal(t, map[string]bool{"....": true, "1...": true}, images(base, l, "a"))
}

func TestWhatWasNotSyncedIsThereInAnyPart(t *testing.T) {
	l := log(write("a", 0, "1"), write("a", 2, "2"), write("a", 3, "3"))
	want := map[string]bool{}
	for i := range 8 {
		data := []byte("....")
		for bit, offset := range []int{0, 2, 3} {
			if i&(1<<bit) != 0 {
				data[offset] = byte('1' + bit)
			}
		}
		want[string(data)] = true
	}
	require.Equal(t, want, images(base, l, "a"))
}

func TestAWriteIsTorn(t *testing.T) {
	seen := images(map[string][]byte{"a": []byte(strings.Repeat(".", 1024))}, log(write("a", 0, strings.Repeat("x", 1024))), "a")
	require.Contains(t, seen, strings.Repeat(".", 512)+strings.Repeat("x", 512), "the second sector only")
	require.Greater(t, len(seen), 100, "anywhere")
}

func TestAFileGrowsWithoutItsData(t *testing.T) {
	require.Equal(t, map[string]bool{"....": true, "....x": true, "....\x00": true}, images(base, log(write("a", 4, "x")), "a"))
}

func TestATruncateMayBeThere(t *testing.T) {
	l := log(crashstates.Op{Kind: crashstates.Truncate, Path: "a", Size: 1})
	require.Equal(t, map[string]bool{"....": true, ".": true}, images(base, l, "a"))
}

func TestASyncThatFailedMakesNothingDurableEver(t *testing.T) {
	l := log(write("a", 0, "1"), crashstates.Op{Kind: crashstates.Sync, Path: "a", Failed: true}, write("a", 1, "2"), crashstates.Op{Kind: crashstates.Sync, Path: "a"})
	require.Equal(t, map[string]bool{".2..": true, "12..": true}, images(base, l, "a"))
	l = log(append(l, write("a", 0, "3"), crashstates.Op{Kind: crashstates.Sync, Path: "a", Start: 5})...)
	require.Equal(t, map[string]bool{"32..": true}, images(base, l, "a"), "until it is written anew")
}

func TestNamesAreDurableOnceTheirDirectoryIs(t *testing.T) {
	open := crashstates.Op{Kind: crashstates.Open, Path: "views/b", Inode: 7}
	sync := crashstates.Op{Kind: crashstates.Sync, Path: "views/b"}
	dir := crashstates.Op{Kind: crashstates.SyncDir, Path: "views"}
	parent := crashstates.Op{Kind: crashstates.SyncDir, Path: "."}
	l := log(open, write("views/b", 0, "x"), sync)
	require.Equal(t, map[string]bool{"absent": true, "x": true}, images(nil, l, "views/b"))
	require.Equal(t, map[string]bool{"absent": true, "x": true}, images(nil, log(append(l, dir)...), "views/b"), "the directory itself may be missing")
	require.Equal(t, map[string]bool{"x": true}, images(nil, log(append(l, dir, parent)...), "views/b"))
}

func TestARenameIsThereOrNot(t *testing.T) {
	l := log(crashstates.Op{Kind: crashstates.Create, Path: "a.tmp", Data: []byte("new")})
	synced := log(append(l, crashstates.Op{Kind: crashstates.SyncPath, Path: "a.tmp"}, crashstates.Op{Kind: crashstates.Rename, Path: "a.tmp", To: "a"})...)
	require.Equal(t, map[string]bool{"....": true, "new": true}, images(base, synced, "a"))
	unsynced := log(append(l, crashstates.Op{Kind: crashstates.Rename, Path: "a.tmp", To: "a"})...)
	require.Contains(t, images(base, unsynced, "a"), "", "an empty file has the name")
	durable := log(append(synced, crashstates.Op{Kind: crashstates.SyncPath, Path: "."})...)
	require.Equal(t, map[string]bool{"new": true}, images(base, durable, "a"))
	require.Equal(t, map[string]bool{"absent": true}, images(base, durable, "a.tmp"))
}

func TestADeletedFileMayComeBack(t *testing.T) {
	l := log(crashstates.Op{Kind: crashstates.Delete, Path: "a"})
	require.Equal(t, map[string]bool{"....": true, "absent": true}, images(base, l, "a"))
	again := log(append(l, crashstates.Op{Kind: crashstates.Open, Path: "a", Inode: 9}, write("a", 0, "x"), crashstates.Op{Kind: crashstates.Sync, Path: "a"})...)
	require.Equal(t, map[string]bool{"....": true, "absent": true, "x": true}, images(base, again, "a"))
}

func TestSharedMemoryIsNoise(t *testing.T) {
	files := map[string][]byte{"log.db": []byte("x"), "log.db-wal": []byte("y")}
	noisy := 0
	for seed := range uint64(100) {
		if _, found := image(files, nil, crashstates.None, seed)["log.db-shm"]; found {
			noisy++
		}
	}
	require.Greater(t, noisy, 5)
	require.Less(t, noisy, 95)
}

func TestAStateIsRepeatedBySeedAndNumber(t *testing.T) {
	l := log(write("a", 0, "1"), write("a", 2, "2"), write("a", 3, "3"), crashstates.Op{Kind: crashstates.Rename, Path: "a", To: "b"})
	for i := range uint64(50) {
		one, err := crashstates.State(base, l, 0, len(l), 7, i)
		require.NoError(t, err)
		two, err := crashstates.State(base, l, 0, len(l), 7, i)
		require.NoError(t, err)
		require.Equal(t, one, two)
		dir := t.TempDir()
		require.NoError(t, one.WriteTo(dir))
		got, err := crashstates.Read(dir)
		require.NoError(t, err)
		require.Equal(t, one.Files, got)
	}
	_, err := crashstates.State(base, l, 0, 9, 1, 1)
	require.Error(t, err)
}

func TestReadLeavesSharedMemoryOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db-shm"), nil, 0o600))
	got, err := crashstates.Read(dir)
	require.NoError(t, err)
	require.Empty(t, got)
}
