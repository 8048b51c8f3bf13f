// Package experiment gives the experiments behind the guarantees one shape: a
// name, a seed that repeats it, a size for every day and one for the long run,
// and figures that are reported.
//
// An experiment is an ordinary test whose name begins with TestExperiment. The
// test command runs its short form; LEAT_EXPERIMENT=long runs the long one,
// LEAT_SEED repeats one, and LEAT_FIGURES names a file that gets a line of
// JSON for each, of which package report makes a table.
package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Names of the environment variables.
const (
	formVariable    = "LEAT_EXPERIMENT"
	seedVariable    = "LEAT_SEED"
	figuresVariable = "LEAT_FIGURES"
)

// Row is what an experiment reports.
type Row struct {
	Experiment string   `json:"experiment"`
	Test       string   `json:"test"`
	Promise    string   `json:"promise"`
	Passed     bool     `json:"passed"`
	Skipped    bool     `json:"skipped,omitempty"`
	Long       bool     `json:"long"`
	Seed       uint64   `json:"seed"`
	Seconds    float64  `json:"seconds"`
	Figures    []Figure `json:"figures"`
}

// Figure is one thing that was counted or measured.
type Figure struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Experiment is a running one. It is safe for concurrent use.
type Experiment struct {
	t       testing.TB
	started time.Time
	mu      sync.Mutex // guards row.Figures
	row     Row
}

// Start begins the experiment called name, which is to show what promise says.
// When the test ends its figures are logged and, where a file is named, kept.
func Start(t testing.TB, name, promise string) *Experiment {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s=%q is not a seed: give the whole number that was printed", seedVariable, text)
		}
	}
	e := &Experiment{t: t, started: time.Now(), row: Row{Experiment: name, Test: t.Name(), Promise: promise, Seed: seed, Long: Long()}}
	t.Cleanup(e.end)
	return e
}

// Long tells whether experiments run in their long form.
func Long() bool { return os.Getenv(formVariable) == "long" }

// Seed returns the seed of the experiment.
func (e *Experiment) Seed() uint64 { return e.row.Seed }

// Rand returns the source of chance of the i-th case. It is not safe for
// concurrent use; cases have their own, so that one can be looked at alone.
func (e *Experiment) Rand(i int) *rand.Rand { return rand.New(rand.NewPCG(e.row.Seed, uint64(i))) }

// N returns the size of the experiment: short for every day, long for the long
// run, and a fifth of short with -short.
func (e *Experiment) N(short, long int) int {
	switch {
	case e.row.Long:
		return long
	case testing.Short():
		return max(1, short/5)
	}
	return short
}

// Figure reports a figure; a later one of the same name replaces it.
func (e *Experiment) Figure(name string, value any) {
	text := fmt.Sprint(value)
	if d, ok := value.(time.Duration); ok {
		text = d.Round(time.Microsecond).String()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.row.Figures {
		if e.row.Figures[i].Name == name {
			e.row.Figures[i].Value = text
			return
		}
	}
	e.row.Figures = append(e.row.Figures, Figure{Name: name, Value: text})
}

// Asserted reports that there was none of what is named. It counts nothing: the
// caller has asserted it for every case before, and where one failed so has the
// experiment.
func (e *Experiment) Asserted(none string) { e.Figure(none, "0 (asserted for each)") }

func (e *Experiment) end() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.row.Seconds = time.Since(e.started).Seconds()
	e.row.Passed, e.row.Skipped = !e.t.Failed() && !e.t.Skipped(), e.t.Skipped()
	e.t.Logf("%s (%s): %s", e.row.Experiment, e.row.Promise, e.row.Text())
	if e.t.Failed() {
		root, _, _ := strings.Cut(e.t.Name(), "/")
		e.t.Logf("repeat it: make torture EXPERIMENT=%s SEED=%d", root, e.row.Seed)
	}
	path := os.Getenv(figuresVariable)
	if path == "" {
		return
	}
	if err := e.row.keep(path); err != nil {
		e.t.Errorf("keep the figures: %v", err)
	}
}

// Text returns the figures on one line.
func (r Row) Text() string {
	parts := make([]string, 0, len(r.Figures)+2)
	for _, f := range r.Figures {
		parts = append(parts, f.Name+" "+f.Value)
	}
	return strings.Join(append(parts, fmt.Sprintf("%.1f s", r.Seconds), fmt.Sprintf("seed %d", r.Seed)), ", ")
}

// keep adds the row to the file in one write, since test binaries run side by
// side.
func (r Row) keep(path string) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// memoryDir is where Linux keeps files in memory.
const memoryDir = "/dev/shm"

// Dir returns a new directory that is removed when the test ends, in memory
// where the system has such a place: for experiments that make many stores and
// in which the disk does not matter. Elsewhere it is t.TempDir.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir, "leat-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the directory of the experiment: %v", err)
		}
	})
	return dir
}
