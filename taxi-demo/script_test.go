package main

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
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
	for range times {
		cmd := program(ts, args[1:])
		ts.Check(cmd.Start())
		life := shortestLife + rand.N(longestLife-shortestLife)
		timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() }) // it may have ended
		err := cmd.Wait()
		timer.Stop()
		ts.Logf("lived %v at most: %v", life, err)
	}
}

// program returns a command of the script, not started yet.
func program(ts *testscript.TestScript, args []string) *exec.Cmd {
	bin, _, _ := strings.Cut(ts.Getenv("PATH"), string(os.PathListSeparator))
	cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	return cmd
}

// interrupted runs a program that has no end, interrupts it and demands exit
// code 130: interrupted PROGRAM ARG…
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: interrupted PROGRAM ARG…")
	}
	cmd := program(ts, args)
	ts.Check(cmd.Start())
	timer := time.AfterFunc(longestLife, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		ts.Fatalf("ended with %v, want exit code %d", err, exitInterrupted)
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

// captured puts what a pattern's group matches in the last output into a
// variable: captured NAME PATTERN
func captured(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: captured NAME PATTERN")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("%q is not in the output", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// setFormat writes a format number into the header of a closed database, as a
// newer program would have: format FILE NUMBER
func setFormat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: format FILE NUMBER")
	}
	const userVersion = 60 // offset in the header, big-endian
	n, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	binary.BigEndian.PutUint32(data[userVersion:], uint32(n))
	ts.Check(os.WriteFile(path, data, 0o600))
}

// damaged replaces bytes in a closed file by as many others: damaged FILE OLD NEW
func damaged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || len(args[1]) != len(args[2]) {
		ts.Fatalf("usage: damaged FILE OLD NEW, both of one length")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	bad := bytes.ReplaceAll(data, []byte(args[1]), []byte(args[2]))
	if bytes.Equal(data, bad) {
		ts.Fatalf("%s holds no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bad, 0o600))
}

// gzipped compresses a file and keeps all but so many bytes of the result:
// gzipped SOURCE TARGET MISSING
func gzipped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: gzipped SOURCE TARGET MISSING")
	}
	missing, err := strconv.Atoi(args[2])
	ts.Check(err)
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err = w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes()[:b.Len()-missing], 0o600))
}

// patience is how long waitFor waits.
const patience = 30 * time.Second

// waitFor runs a program until it succeeds, once a file is there: waitfor FILE
// PROGRAM ARG…
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor FILE PROGRAM ARG…")
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil && ts.Exec(args[1], args[2:]...) == nil {
			return
		}
	}
	ts.Fatalf("%s did not come about in %v", args[0], patience)
}

// plant puts a trigger into a database, as somebody would who wants it to run
// inside of the program that opens it: plant FILE
func plant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: plant FILE")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec("CREATE TRIGGER planted AFTER INSERT ON outbox BEGIN DELETE FROM timer; END")
	ts.Check(errors.Join(err, db.Close()))
}

// zeroed overwrites the first page of a table of a closed database with zeros,
// which no SQLite page is: zeroed FILE TABLE
func zeroed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: zeroed FILE TABLE")
	}
	path := ts.MkAbs(args[0])
	db, err := sql.Open("sqlite3", path)
	ts.Check(err)
	var root, size int
	err = db.QueryRow("SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = ?", args[1]).Scan(&root, &size)
	ts.Check(errors.Join(err, db.Close()))
	data, err := os.ReadFile(path)
	ts.Check(err)
	clear(data[(root-1)*size : root*size])
	ts.Check(os.WriteFile(path, data, 0o600))
}

// edited runs a statement in a closed database: edited FILE STATEMENT
func edited(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: edited FILE STATEMENT")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(errors.Join(err, db.Close()))
}

// onceEach demands that one line of a text at most matches: onceeach FILE REGEXP
func onceEach(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: onceeach FILE REGEXP")
	}
	pattern, n := regexp.MustCompile(args[1]), 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if pattern.MatchString(line) {
			n++
		}
	}
	if n > 1 {
		ts.Fatalf("%d lines match %s", n, args[1])
	}
}
