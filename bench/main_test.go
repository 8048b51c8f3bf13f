package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
)

// TestMain is also the child process that opens a store, or dies on it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == openCommand || os.Args[1] == killCommand) {
		if err := command(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// tiny is as little as there can be of everything.
var tiny = scale{brief: true, rounds: 2, lasting: 20 * time.Millisecond, full: 600, history: 2_000, steps: 40}

// storeSubjects are those that are on every machine.
func storeSubjects() []subject {
	return []subject{leat(), raw(false), raw(true), hallgren(), chronicleLog(), aneshasStore(), jet()}
}

func openSubject(t *testing.T, s subject) instance {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), reachable))
	in, err := s.open(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, in.close()) })
	return in
}

func TestEverySubjectReadsBackWhatItAcknowledged(t *testing.T) {
	for _, s := range storeSubjects() {
		t.Run(s.name, func(t *testing.T) { readsBack(t, openSubject(t, s)) })
	}
}

func TestPostgresReadsBackWhatItAcknowledged(t *testing.T) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		t.Skip("no PostgreSQL is installed (no /usr/lib/postgresql/*/bin/initdb): it is not tested, and skipped by make compare")
	}
	if os.Getuid() == 0 && exec.Command("id", "postgres").Run() != nil {
		t.Skip("PostgreSQL does not run as root, and there is no user postgres: it is not tested, and skipped by make compare")
	}
	in := openSubject(t, postgres())
	stream := newStream()
	require.NoError(t, in.append(t.Context(), stream, 0, newEvents(copyFrom, dataBytes)))
	require.Error(t, in.append(t.Context(), stream, 5, newEvents(copyFrom, dataBytes)))
	require.NoError(t, in.append(t.Context(), stream, copyFrom, newEvents(3, dataBytes)))
	require.Error(t, in.append(t.Context(), stream, 0, newEvents(1, dataBytes)))
	require.NoError(t, checkStore(t.Context(), in, map[string]int64{stream: copyFrom + 3}))
	readsBack(t, openSubject(t, postgres()))
}

// readsBack appends from several goroutines, and reads log and streams.
func readsBack(t *testing.T, in instance) {
	t.Helper()
	streams := map[string]int64{}
	_, took, err := appendAll(t.Context(), in, work{appenders: 4, batch: 1, most: 60, length: 5}, streams)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(took), 60)
	require.NoError(t, checkStore(t.Context(), in, streams))
	for stream, version := range streams {
		n, err := in.load(t.Context(), stream)
		require.NoError(t, err)
		require.EqualValues(t, version, n)
	}
	// A stream that has fewer or more events than were acknowledged shows.
	streams[newStream()] = 1
	require.ErrorContains(t, checkStore(t.Context(), in, streams), "0 of 1 acknowledged events")
}

// The settings say that all of these check versions.
func TestAStaleVersionIsRefused(t *testing.T) {
	for _, s := range []subject{leat(), hallgren(), chronicleLog(), aneshasStore(), jet()} {
		t.Run(s.name, func(t *testing.T) {
			in := openSubject(t, s)
			stream, events := newStream(), newEvents(1, dataBytes)
			require.NoError(t, in.append(t.Context(), stream, 0, events))
			require.Error(t, in.append(t.Context(), stream, 0, events))
			require.NoError(t, in.append(t.Context(), stream, 1, events))
			require.NoError(t, checkStore(t.Context(), in, map[string]int64{stream: 2}))
		})
	}
}

// What the settings say of the peers is so: the drivers' own would be less
// durable, or slower.
func TestPeersAreAsDurableAsTheSettingsSay(t *testing.T) {
	db := openPeer(t.TempDir())
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	gorm, err := openSubject(t, aneshasStore()).(*aneshasInstance).DB.DB()
	require.NoError(t, err)
	for _, db := range []*sql.DB{db, gorm} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "wal_autocheckpoint": "4000", "cache_size": "-32768"} {
			var got string
			require.NoError(t, db.QueryRow("PRAGMA "+pragma).Scan(&got))
			require.Equal(t, want, got, pragma)
		}
	}
}

// tape is a store that gives back what it is told to.
type tape struct {
	instance
	places []place
}

func (f tape) all(_ context.Context, fn func(place) error) error {
	for _, p := range f.places {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

func TestTheCheckOfAStoreFindsWhatIsWrong(t *testing.T) {
	want := map[string]int64{"a": 2, "b": 1}
	whole := []place{{"a", 1}, {"b", 1}, {"a", 2}}
	require.NoError(t, checkStore(t.Context(), tape{places: whole}, want))
	for name, c := range map[string]struct {
		places []place
		says   string
	}{
		"lost at the end":     {whole[:2], "stream a: 1 of 2 acknowledged events are read back"},
		"lost in the middle":  {whole[1:], "stream a: event 1 is at version 2"},
		"a stream lost":       {[]place{{"a", 1}, {"a", 2}}, "stream b: 0 of 1 acknowledged events are read back"},
		"doubled":             {[]place{{"a", 1}, {"a", 1}, {"b", 1}, {"a", 2}}, "stream a: event 2 is at version 1"},
		"misordered":          {[]place{{"a", 2}, {"b", 1}, {"a", 1}}, "stream a: event 1 is at version 2"},
		"one too many":        {append(whole[:3:3], place{"b", 2}), "stream b: 2 of 1 acknowledged events are read back"},
		"of a strange stream": {append(whole[:3:3], place{"c", 1}), "4 events are read back, 3 were acknowledged"},
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, checkStore(t.Context(), tape{places: c.places}, want), c.says)
		})
	}
}

func TestAReadModelThatMissesOrDoublesAnEventIsFound(t *testing.T) {
	want := map[string]int64{"a": 2}
	require.NoError(t, sameCounts(map[string]int64{"a": 2}, want))
	for _, got := range []map[string]int64{{}, {"a": 1}, {"a": 3}, {"a": 2, "b": 1}} {
		require.Error(t, sameCounts(got, want), "%v", got)
	}
}

// Everything but the peers, which TestEverySubject has, runs to its end.
func TestEveryWorkloadOfLeatRunsAndIsRight(t *testing.T) {
	mine := regexp.MustCompile("^(" + strings.ReplaceAll(strings.Join(ours, "|"), "+", `\+`) + ")$")
	for _, w := range workloads() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "w")
			rows, err := w.compare(t.Context(), dir, tiny, mine, new(bytes.Buffer))
			require.NoError(t, err)
			require.NoError(t, wrongs(rows))
			r, ok := find(rows, w.name, "leat")
			require.True(t, ok, "%+v", rows)
			require.Equal(t, w.unit, r.Unit)
			require.LessOrEqual(t, r.Min, r.Median)
			require.LessOrEqual(t, r.Median, r.Max)
			require.NotEmpty(t, r.Settings)
			if w.also != "" {
				_, ok = find(rows, w.also, "leat")
				require.True(t, ok, "%+v", rows)
			}
			require.NoDirExists(t, dir)
		})
	}
}

// An event that nobody acknowledged is in the log of each.
func TestEveryWorkloadOfLeatFindsAnEventTooMany(t *testing.T) {
	for name, contenders := range map[string][]contender{
		"update-64": updating(), "project-all": projecting()[:1], "visible": seeing(), "rebuild": rebuilding()[1:], "saga-steps": acting(), "open-full": opening(),
	} {
		for _, c := range contenders {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), name, c.name, "0")
				require.NoError(t, os.MkdirAll(dir, 0o700))
				b, err := c.begin(t.Context(), dir, tiny)
				require.NoError(t, err)
				defer func() { require.NoError(t, b.close()) }()
				_, err = b.round(t.Context())
				require.NoError(t, err)
				var log *leatStore
				switch b := b.(type) {
				case *updateBout:
					log = b.store
				case *projectBout:
					log = b.log
				case *seeBout:
					log = b.log
				case *rebuildBout:
					log = b.log
				case *actBout:
					log = b.log
				case *openBout:
					s, err := sqlite.Open(t.Context(), dir, nil)
					require.NoError(t, err)
					defer func() { require.NoError(t, s.Close()) }()
					require.NoError(t, (&leatStore{s}).append(t.Context(), newStream(), 0, newEvents(1, dataBytes)))
					require.NoError(t, s.Close())
					_, err = b.round(t.Context())
					require.ErrorContains(t, err, "acknowledged")
				}
				if log != nil {
					require.NoError(t, log.append(t.Context(), newStream(), 0, newEvents(1, dataBytes)))
				}
				require.Error(t, b.check(t.Context()))
			})
		}
	}
}

func TestLoadModelPrintsItsTables(t *testing.T) {
	var out bytes.Buffer
	l := &loader{root: t.TempDir(), out: &out, progress: new(bytes.Buffer), lasting: time.Millisecond, first: 3_000, events: 3_000}
	require.NoError(t, l.tables(t.Context()))
	for _, title := range []string{"events in the log", "streams, with", "bytes of data", "read models that follow", "appenders at once"} {
		require.Contains(t, out.String(), title)
	}
	require.Error(t, runLoad(t.Context(), []string{"-events", "1"}, &out, &out))
}

func TestUnknownArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"lod"}, {"-workloads", "("}, {"-subjects", "("}, {openCommand}, {openCommand, "/nowhere"}, {killCommand}, {killCommand, "/nowhere"}} {
		require.Error(t, command(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)), "%v", args)
	}
	require.ErrorContains(t, command(t.Context(), []string{"-workloads", "none", "-dir", t.TempDir()}, new(bytes.Buffer), new(bytes.Buffer)), "nothing to compare")
}

// faulty is a contender that fails in a way.
type faulty struct {
	rounds, failAt int
	wrong, why     error
	closed         *int
}

func (f *faulty) round(context.Context) (measure, error) {
	if f.rounds++; f.rounds == f.failAt {
		return measure{}, f.why
	}
	return measure{value: float64(f.rounds)}, nil
}
func (f *faulty) check(context.Context) error { return f.wrong }
func (f *faulty) close() error                { *f.closed++; return nil }

func TestWhoFailsIsReportedAndTheOthersGoOn(t *testing.T) {
	closed := 0
	kept := func(name string, f faulty) contender {
		return contender{name: name, kept: true, settings: "as it is", begin: func(context.Context, string, scale) (bout, error) {
			f.closed = &closed
			return &f, nil
		}}
	}
	w := workload{name: "w", unit: "u", contenders: []contender{
		kept("leat", faulty{}),
		kept("loser", faulty{wrong: fmt.Errorf("lost one")}),
		kept("breaker", faulty{failAt: 2, why: fmt.Errorf("broke")}),
		{name: "absent", begin: func(context.Context, string, scale) (bout, error) { return nil, errUnavailable }},
		{name: "unable", cannot: "has no such thing"},
		{name: "other"},
	}}
	rows, err := w.compare(t.Context(), t.TempDir(), scale{rounds: 3}, regexp.MustCompile("leat|loser|breaker|absent|unable"), new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, 3, closed, "every bout that began is closed")
	require.Len(t, rows, 5)
	require.Equal(t, row{Workload: "w", Subject: "leat", Unit: "u", Settings: "as it is", Median: 2, Min: 1, Max: 3}, rows[0])
	require.Equal(t, "lost one", rows[1].Wrong)
	require.Equal(t, "broke", rows[2].Wrong)
	require.Equal(t, errUnavailable.Error(), rows[3].Skipped)
	require.Equal(t, "has no such thing", rows[4].Skipped)
	require.NoError(t, wrongs(rows), "a peer's fault is no fault of the comparison")
	rows[0].Wrong = "lost two"
	require.EqualError(t, wrongs(rows), "w, leat: lost two")
}

func TestJSONHasTheRowsAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "compare.json")
	require.NoError(t, write(path, []row{
		{Workload: "append-64x1", Subject: "leat", Unit: "events/s", Median: 2, Min: 1, Max: 3, P99: 4.5, Settings: "WAL FULL"},
		{Workload: "append-64x1", Subject: "postgres", Skipped: "not available"},
		{Workload: "append-64x1", Subject: "aneshas", Unit: "events/s", Median: 9, Min: 9, Max: 9, P99: 9, Settings: "s", Wrong: "lost one"},
	}))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.JSONEq(t, `{"rows":[
		{"workload":"append-64x1","subject":"leat","unit":"events/s","median":2,"min":1,"max":3,"p99_us":4.5,"settings":"WAL FULL"},
		{"workload":"append-64x1","subject":"aneshas","unit":"events/s","median":0,"min":0,"max":0,"p99_us":0,"settings":"WRONG: lost one; s"}]}`, string(data))
	require.True(t, json.Valid(data))
}

func TestMediansAndRatios(t *testing.T) {
	var r row
	r.summarise([]measure{{value: 30, p99: 3 * time.Millisecond}, {value: 10, p99: 9 * time.Millisecond}, {value: 20, p99: time.Millisecond}}, func(m measure) float64 { return m.value })
	require.Equal(t, row{Median: 20, Min: 10, Max: 30, P99: 3000}, r)
	require.Equal(t, "2.50", ratio(50, 20))
	require.Empty(t, ratio(0, 20))
	require.Empty(t, ratio(20, 0))
	took := make([]time.Duration, 200)
	for i := range took {
		took[i] = time.Duration(i)
	}
	require.Equal(t, time.Duration(198), percentile(took, 99))
	require.Zero(t, percentile(nil, 99))
}

func TestGoalsAreJudgedByWhatWasMeasuredRightly(t *testing.T) {
	rows := []row{
		{Workload: "append-64x1", Subject: "leat", Median: 60_000, P99: 4_000},
		{Workload: "append-64x1", Subject: "hallgren", Median: 4_000, P99: 30_000},
		{Workload: "append-64x1", Subject: "chronicle", Median: 5_000, P99: 400_000},
		{Workload: "append-64x1", Subject: "aneshas", Median: 90_000, P99: 10, Wrong: "lost one"},
		{Workload: "append-64x1", Subject: "postgres", Skipped: "not available"},
	}
	var out bytes.Buffer
	require.NoError(t, judge(&out, rows))
	said := strings.Join(strings.Fields(out.String()), " ")
	require.Contains(t, said, "append-64x1 ÷ best Go peer 12.00 ≥ 10 reached")
	require.Contains(t, said, "append-64x1, p99 ÷ best Go peer's 0.13 ≤ 0.2 reached")
	require.NotContains(t, said, "PostgreSQL")
	require.NotContains(t, said, "saga")

	rows[0].P99 = 7_000
	out.Reset()
	require.NoError(t, judge(&out, rows))
	require.Contains(t, strings.Join(strings.Fields(out.String()), " "), "0.23 ≤ 0.2 missed")

	out.Reset()
	require.NoError(t, table(&out, rows))
	require.Contains(t, out.String(), "append-64x1, aneshas: lost one")
	require.Contains(t, out.String(), "15.00")
}
