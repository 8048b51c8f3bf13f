package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"reflect"
	"strconv"

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
