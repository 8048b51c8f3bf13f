package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits runs a program and demands its exit code: exits CODE PROGRAM ARG…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// Bounds of the life of a program that is killed.
const (
	shortestLife = 20 * time.Millisecond
	longestLife  = 600 * time.Millisecond
)

// killed runs a program so many times and kills it each time at a random
// moment, unless it has ended before: killed TIMES PROGRAM ARG…
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: killed TIMES PROGRAM ARG…")
	}
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	program := filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], args[1])
	for range times {
		cmd := exec.Command(program, args[2:]...)
		cmd.Dir = ts.Getenv("WORK")
		cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
		ts.Check(cmd.Start())
		life := shortestLife + rand.N(longestLife-shortestLife)
		timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() }) // it may have ended
		err := cmd.Wait()
		timer.Stop()
		ts.Logf("lived %v at most: %v", life, err)
	}
}

// sameReport demands that fields of two reports are equal: same A B FIELD…
func sameReport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: same FILE FILE FIELD…")
	}
	var a, b map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &b))
	for _, field := range args[2:] {
		if a[field] == nil {
			ts.Fatalf("%s has no field %q", args[0], field)
		}
		if !reflect.DeepEqual(a[field], b[field]) {
			ts.Fatalf("%s differs: %v and %v", field, a[field], b[field])
		}
	}
}
