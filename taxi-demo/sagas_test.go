package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/city"
)

// halfway returns a store whose city has stopped in the middle of its rides.
func halfway(t *testing.T) (dir string, f cityFlags) {
	t.Helper()
	dir, f = filepath.Join(t.TempDir(), "store"), cityFlags{seed: 3, speed: defaultSpeed, once: true, rides: 12}
	drained(t, dir, f, serverless.Budget{Until: city.At(6)})
	return dir, f
}

func drained(t *testing.T, dir string, f cityFlags, b serverless.Budget) {
	t.Helper()
	quietly := terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	require.NoError(t, f.drain(t.Context(), quietly, dir, b, func(*app) error { return nil }))
}

// alter runs a statement in the sagas of a closed store.
func alter(t *testing.T, dir, statement string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "sagas.db"))
	require.NoError(t, err)
	result, err := db.Exec(statement, args...)
	require.NoError(t, errors.Join(err, db.Close()))
	n, err := result.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// caller runs commands over a store, and returns their exit code and what they
// said.
func caller(dir string) func(args ...string) (int, string) {
	return func(args ...string) (int, string) {
		var out bytes.Buffer
		return run(append(args, "--store", dir), terminal{out: &out, err: &out}), out.String()
	}
}

// listed returns the sagas that the flags select.
func listed(t *testing.T, dir string, flags ...string) (lines []sagaLine) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(append([]string{"sagas", "list", "--json", "--store", dir}, flags...), terminal{out: &out, err: &errs})
	require.Zero(t, code, errs.String())
	for text := range strings.Lines(out.String()) {
		var l sagaLine
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		lines = append(lines, l)
	}
	return lines
}

func shown(t *testing.T, dir, name, key string) (c sagaCase) {
	t.Helper()
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{"sagas", "show", name, key, "--json", "--store", dir}, terminal{out: &out, err: &errs}), errs.String())
	require.NoError(t, json.Unmarshal(out.Bytes(), &c))
	return c
}

// TestASagaThatFailedIsFoundAndGoesOn breaks the state of a saga under way, which
// parks it, and has an operator find it, try in vain, and try again once it is
// mended: then every ride ends as if nothing had been.
func TestASagaThatFailedIsFoundAndGoesOn(t *testing.T) {
	dir, f := halfway(t)
	call := caller(dir)
	running := listed(t, dir, "--saga", "road", "--status", "running")
	require.NotEmpty(t, running)
	require.Equal(t, running, listed(t, dir, "--saga", "road", "--status", "open"))
	key := running[0].Key
	whole := string(shown(t, dir, "road", key).State)
	const mend = `UPDATE instance SET state = ? WHERE key = ? AND saga = (SELECT id FROM saga WHERE name = 'road')`
	alter(t, dir, mend, `{"plan":7}`, key)
	drained(t, dir, f, serverless.Budget{})

	parked := listed(t, dir, "--status", "parked")
	require.Len(t, parked, 1)
	require.Equal(t, key, parked[0].Key)
	require.Equal(t, saga.Parked, parked[0].Status)
	require.Contains(t, parked[0].Reason, "decode state")
	require.Contains(t, listed(t, dir, "--stuck"), parked[0])
	code, said := call("sagas", "show", "road", key)
	require.Zero(t, code, said)
	require.Contains(t, said, "road         "+key+"  parked since 2025-06-02T")
	require.Contains(t, said, ": decode state: json")
	require.Contains(t, said, `state   version 1: {"plan":7}`)
	require.Contains(t, said, "event trip_planned at position ")
	require.Contains(t, said, "timers (")
	require.Contains(t, said, "inputs that wait (")

	by := []string{"--who", "ada@example.com", "--why", "the plan is whole again"}
	retry := append([]string{"sagas", "retry", "road", key}, by...)
	code, said = call(retry...)
	require.Equal(t, exitError, code, said)
	require.Contains(t, said, "it has failed again: ")
	alter(t, dir, mend, whole, key)
	code, said = call(retry...)
	require.Zero(t, code, said)
	require.Contains(t, said, "road "+key+": retry, asked for by ada@example.com: the plan is whole again\n")
	require.NotContains(t, said, "parked")
	drained(t, dir, f, serverless.Budget{})
	code, said = call("check")
	require.Zero(t, code, said)

	c := shown(t, dir, "road", key)
	require.Equal(t, saga.Completed, c.Status)
	require.False(t, c.Ended.IsZero())
	var asked []sagaEntry
	for _, en := range c.Journal {
		if en.Who != "" {
			asked = append(asked, en)
		}
	}
	require.Len(t, asked, 2)
	require.Equal(t, "retry", asked[0].Name)
	require.Equal(t, "ada@example.com", asked[1].Who)
	require.Equal(t, "the plan is whole again", asked[1].Why)
	code, said = call("sagas", "show", "road", key)
	require.Zero(t, code, said)
	require.Contains(t, said, "retry by ada@example.com: the plan is whole again\n")
}

// TestWhatIsNotPossibleWithASagaChangesNothing, and says what is.
func TestWhatIsNotPossibleWithASagaChangesNothing(t *testing.T) {
	dir, _ := halfway(t)
	call := caller(dir)
	key := listed(t, dir, "--saga", "road", "--status", "running")[0].Key
	before := shown(t, dir, "road", key)
	for _, verb := range []string{"retry", "skip"} {
		code, said := call("sagas", verb, "road", key, "--who", "ada", "--why", "to try")
		require.Equal(t, exitError, code, said)
		require.Contains(t, said, "not possible in this state: nothing has failed: nothing was changed; see 'taxi-demo sagas show road "+key+"'")
	}
	require.Equal(t, before, shown(t, dir, "road", key))

	code, said := call("sagas", "complete", "road", key, "--who", "ada", "--why", "the car is gone")
	require.Zero(t, code, said)
	require.Contains(t, said, key+"  completed since ")
	ended := shown(t, dir, "road", key)
	require.Empty(t, ended.Timers)
	require.Equal(t, "the car is gone", ended.Journal[len(ended.Journal)-1].Why)
	for _, verb := range []string{"retry", "skip", "cancel", "complete"} {
		code, said := call("sagas", verb, "road", key, "--who", "ada", "--why", "once more")
		require.Equal(t, exitError, code, said)
		require.Contains(t, said, "it is completed")
	}
	require.Equal(t, ended, shown(t, dir, "road", key))

	open := listed(t, dir, "--saga", "road", "--status", "open")
	require.NotEmpty(t, open)
	code, said = call("sagas", "cancel", "road", open[0].Key, "--who", "ada", "--why", "the rider left")
	require.Zero(t, code, said)
	require.Contains(t, said, "compensat")
}

func TestWhatAListOfSagasAsksFor(t *testing.T) {
	now := time.Date(2025, time.June, 2, 7, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		flags sagaFlags
		want  saga.Query
	}{
		"all":              {sagaFlags{}, saga.Query{}},
		"of a saga":        {sagaFlags{saga: "road", status: "parked"}, saga.Query{Saga: "road", Status: saga.Parked}},
		"open":             {sagaFlags{status: openStatus}, saga.Query{Open: true}},
		"old":              {sagaFlags{older: time.Minute}, saga.Query{UpdatedBefore: now.Add(-time.Minute)}},
		"stuck":            {sagaFlags{stuck: true}, saga.Query{Stuck: stuckAfter}},
		"stuck for longer": {sagaFlags{stuck: true, older: 36 * time.Hour}, saga.Query{Stuck: 36 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.flags.check(c.flags.older != 0))
			require.Equal(t, c.want, c.flags.query(now))
		})
	}
}
