package sagatest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/leat-go/leat/internal/crash"
)

// What a repetition is as a test: its own directories, contexts and cleanups,
// and messages that say where it was killed.

// Cleanup runs fn at the end of the repetition.
func (r *repetition) Cleanup(fn func()) { r.cleanups = append(r.cleanups, fn) }

// TempDir returns a directory that is removed at the end of the repetition.
func (r *repetition) TempDir() string {
	r.Helper()
	r.dirs++
	dir := filepath.Join(r.root, "run", strconv.Itoa(r.dirs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.TB.Fatal(err)
	}
	return dir
}

// Context returns the test's, with which an engine is killed.
func (r *repetition) Context() context.Context { return crash.WithStep(r.TB.Context(), r.step) }

// told returns what a message is said with.
func (r *repetition) told(text string) string {
	if r.where == "" {
		return text
	}
	return r.where + ": " + text
}

func (r *repetition) Error(args ...any) { r.Helper(); r.TB.Error(r.told(fmt.Sprint(args...))) }

func (r *repetition) Errorf(format string, args ...any) {
	r.Helper()
	r.TB.Error(r.told(fmt.Sprintf(format, args...)))
}

func (r *repetition) Fatal(args ...any) { r.Helper(); r.TB.Fatal(r.told(fmt.Sprint(args...))) }

func (r *repetition) Fatalf(format string, args ...any) {
	r.Helper()
	r.TB.Fatal(r.told(fmt.Sprintf(format, args...)))
}
