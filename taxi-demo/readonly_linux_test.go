package main

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAStoreThatMayNotBeWritten: what is said names the place, why, and what
// works nevertheless.
func TestAStoreThatMayNotBeWritten(t *testing.T) {
	dir := t.TempDir()
	call := func(args ...string) (code int, said string) {
		var out bytes.Buffer
		code = run(append(args, "--store", dir), terminal{out: &out, err: &out})
		return code, out.String()
	}
	code, said := call("run", "--once", "--rides", "1")
	require.Zero(t, code, said)

	if os.Geteuid() == 0 { // who writes everywhere
		if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
			t.Skipf("root writes everywhere, and may not mount here: %v", err)
		}
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
		require.NoError(t, syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	} else {
		require.NoError(t, os.Chmod(dir, 0o500))
		t.Cleanup(func() { require.NoError(t, os.Chmod(dir, 0o700)) })
	}
	for _, args := range [][]string{
		{"run", "--once", "--rides", "2"}, {"run", "--once", "--rides", "2", "--fresh"}, {"check"}, {"projections", "rebuild", "--all"},
		{"projections", "status"}, {"events", "tail"}, {"backup", "--to", t.TempDir()},
	} {
		code, said = call(args...)
		require.Equal(t, exitError, code, said)
		require.Regexp(t, `^taxi-demo: .*\S+ cannot be written \(.*\): only 'verify' works .*\n$`, said, args)
	}
	code, said = call("verify")
	require.Zero(t, code, said)
}
