package sqlite_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// fill appends to a new store in dir and closes it.
func fill(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir, nil)
	for i := range 20 {
		appendTo(t, s, withID(fmt.Sprintf("b-%d", i), eventstore.Batch{Writes: []eventstore.Write{
			{Stream: fmt.Sprintf("ride-%d", i%3), Events: []eventstore.EventData{event("asked", fmt.Sprint(i)), event("accepted", fmt.Sprint(i))}},
			{Stream: "board", Events: []eventstore.EventData{event("listed", "")}},
		}}))
	}
	appendTo(t, s, eventstore.Batch{ID: "empty"})
	sound(t, s)
	require.NoError(t, s.Close())
}

func TestVerifyFindsWhatWasChanged(t *testing.T) {
	for name, c := range map[string]struct {
		statements []string
		says       string
	}{
		"data":           {[]string{`UPDATE events SET data = X'00' WHERE position = 7`}, "position 7"},
		"metadata":       {[]string{`UPDATE events SET metadata = X'7B7D' WHERE position = 7`}, "position 7"},
		"no metadata":    {[]string{`UPDATE events SET metadata = NULL WHERE position = 7`}, "position 7"},
		"time":           {[]string{`UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 7`}, "position 7"},
		"event id":       {[]string{`UPDATE events SET event_id = randomblob(16) WHERE position = 7`}, "position 7"},
		"schema version": {[]string{`UPDATE events SET schema_version = 2 WHERE position = 7`}, "position 7"},
		"type":           {[]string{`UPDATE events SET type_id = 2 WHERE position = 7`}, "position 7"},
		"type's name":    {[]string{`UPDATE types SET name = 'other' WHERE name = 'listed'`}, "position 3"},
		"stream":         {[]string{`UPDATE events SET stream_id = 99 WHERE position = 7`}, "position 7"},
		"stream's name":  {[]string{`UPDATE streams SET name = 'ride-9' WHERE name = 'ride-1'`}, "position 4"},
		"lost name":      {[]string{`DELETE FROM streams WHERE name = 'ride-1'`}, "position 4"},
		"hash":           {[]string{`UPDATE events SET hash = randomblob(32) WHERE position = 7`}, "position 7"},
		"batch":          {[]string{`UPDATE events SET batch = 1 WHERE position = 7`}, "position 7"},
		"no batch":       {[]string{`UPDATE events SET batch = NULL WHERE position = 7`}, "position 7"},
		"deleted":        {[]string{`DELETE FROM events WHERE position = 7`}, "position 8"},
		"first deleted":  {[]string{`DELETE FROM events WHERE position = 1`}, "position 2"},
		"swapped":        {[]string{`UPDATE events SET version = version + 1000 WHERE position IN (1, 2)`, `UPDATE events SET version = 1003 - version WHERE position IN (1, 2)`}, "position 1"},
		"moved":          {[]string{`UPDATE events SET position = 1000 WHERE position = 7`, `UPDATE events SET position = 7 WHERE position = 8`, `UPDATE events SET position = 8 WHERE position = 1000`}, "position 7"},
		"doubled": {[]string{`INSERT INTO events SELECT position + 1, stream_id, version + 1, type_id, schema_version, recorded_at, batch, randomblob(16), hash, metadata, data
			FROM events WHERE position = 60`}, "position 61"},
		"index row lost":      {[]string{`DELETE FROM stream_index WHERE position = 7`}, "position 7"},
		"last index row lost": {[]string{`DELETE FROM stream_index WHERE position = 56`}, "should have"},
		"index row moved":     {[]string{`UPDATE stream_index SET position = 8 WHERE position = 7`}, "position 7"},
		"index row too many":  {[]string{`INSERT INTO stream_index VALUES (99, 1, 7)`}, "stream_index"},
		"index behind":        {[]string{`UPDATE meta SET indexed = indexed - 1`}, "should have"},
		"index ahead":         {[]string{`UPDATE meta SET indexed = indexed + 1`}, "should have"},
		"index forgotten":     {[]string{`UPDATE meta SET indexed = 0`}, "should have 0"},
		"hole in a stream":    {[]string{`UPDATE events SET version = version + 1 WHERE stream_id = 1 AND version > 3`, `UPDATE stream_index SET version = version + 1000 WHERE stream_id = 1 AND version > 3`, `UPDATE stream_index SET version = version - 999 WHERE version > 1000`}, "versions up to 15 are not each once"},
		"batch's id":          {[]string{`UPDATE batches SET id = 'x' WHERE number = 3`}, `batch 3 ("x")`},
		"batch's content":     {[]string{`UPDATE batches SET content = randomblob(32) WHERE number = 3`}, "batch 3"},
		"batch's reach":       {[]string{`UPDATE batches SET last = last + 1 WHERE number = 3`}, "batch 3"},
		"batch's time":        {[]string{`UPDATE batches SET recorded_at = 0 WHERE number = 3`}, "batch 3"},
		"batch deleted":       {[]string{`DELETE FROM batches WHERE number = 3`}, "batch 4"},
		"batch forgotten":     {[]string{`DELETE FROM batches WHERE number = 21`, `UPDATE sqlite_sequence SET seq = 20 WHERE name = 'batches'`}, "batch 21"},
		"tail forgotten":      {[]string{`DELETE FROM events WHERE position > 57`, `UPDATE sqlite_sequence SET seq = 57 WHERE name = 'events'`}, "position 60"},
		"category":            {[]string{`PRAGMA ignore_check_constraints = 1`, `UPDATE streams SET category = 'x' WHERE name = 'ride-1'`}, `stream "ride-1"`},
		"long id":             {[]string{`PRAGMA ignore_check_constraints = 1`, `UPDATE events SET event_id = CAST(event_id || X'00' AS BLOB) WHERE position = 7`}, "position 7"},
		"positions given":     {[]string{`UPDATE sqlite_sequence SET seq = 99 WHERE name = 'events'`}, "it ends at position 60, but 99 was given to an event"},
		"numbers given":       {[]string{`UPDATE sqlite_sequence SET seq = 99 WHERE name = 'batches'`}, "they end at number 21, but 99 was given to one"},
		"empty stream":        {[]string{`INSERT INTO streams VALUES (77, 'ghost-1', 'ghost')`}, `stream "ghost-1"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			change(t, dir, c.statements...)
			s, err := sqlite.OpenReadOnly(t.Context(), dir)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			r, err := s.Verify(t.Context())
			require.NoError(t, err)
			require.False(t, r.OK())
			require.Contains(t, fmt.Sprint(r.Findings), c.says)
		})
	}
}

func TestTheLogIsAppendOnly(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	appendTo(t, s, withID("b", write("ride-1", eventstore.Any(), event("asked", "x"))))
	for _, text := range []string{
		"UPDATE events SET data = X''", "DELETE FROM events", "UPDATE batches SET id = 'x'", "DELETE FROM batches",
	} {
		require.ErrorContains(t, s.WriterExec(text), "append-only", text)
	}
	sound(t, s)
}

func TestReadingADamagedLogIsAnErrorAndNotAHole(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	change(t, dir, `DELETE FROM events WHERE position = 7`)
	s := open(t, dir, nil)
	require.Less(t, s.Unindexed(), int64(50), "a hole in what the index has in memory is found by Open")
	_, err := s.ReadLog(t.Context(), 0, 100, eventstore.Filter{})
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = s.ReadLog(t.Context(), 6, 1, eventstore.Filter{})
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = s.Anchor(t.Context(), 7)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = s.ReadStream(t.Context(), "ride-2", 1, 100)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	events, err := s.ReadStream(t.Context(), "ride-0", 1, 100)
	require.NoError(t, err)
	require.NotEmpty(t, events)
}

// olderLog puts the log back to before its last event.
func olderLog(t *testing.T, dir string) {
	old, err := os.ReadFile(filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db"), old, 0o600))
}

// anotherHistory has the log go on otherwise than its witness remembers.
func anotherHistory(t *testing.T, dir string) {
	old, err := os.ReadFile(filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	its, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	witness, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db"), old, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "witness"), its, 0o600))
	s = open(t, dir, nil)
	for range 5 {
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "y")))
	}
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "witness"), witness, 0o600))
}

func TestALogBehindItsWitnessIsRefused(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"older log":       olderLog,
		"another history": anotherHistory,
		"forgotten tail": func(t *testing.T, dir string) {
			change(t, dir, `DELETE FROM events WHERE position > 57`, `UPDATE sqlite_sequence SET seq = 57 WHERE name = 'events'`)
		},
		"deleted tail": func(t *testing.T, dir string) {
			change(t, dir, `DELETE FROM events WHERE position > 57`)
			require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		},
		"forgotten batch": func(t *testing.T, dir string) {
			change(t, dir, `DELETE FROM batches WHERE number = 21`, `UPDATE sqlite_sequence SET seq = 20 WHERE name = 'batches'`)
		},
		"deleted batch": func(t *testing.T, dir string) {
			change(t, dir, `DELETE FROM batches WHERE number = 21`)
			require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		},
		"another log's": func(t *testing.T, dir string) {
			other := t.TempDir()
			fill(t, other)
			data, err := os.ReadFile(filepath.Join(other, "witness"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "witness"), data, 0o600))
		},
		"lost witness": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		},
		"torn witness": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "witness"), 40))
		},
		"huge witness": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "witness"), 1<<20))
		},
		"lost log": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "log.db")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			damage(t, dir)
			before := sums(t, dir)
			for range 2 { // refusing it does not make it good
				_, err := sqlite.Open(t.Context(), dir, nil)
				require.ErrorIs(t, err, eventstore.ErrCorrupt)
				require.NotContains(t, err.Error(), "\n")
			}
			now := sums(t, dir)
			require.Equal(t, before["witness"], now["witness"])
			require.Equal(t, before["log.db"], now["log.db"])
		})
	}
}

// witnessed returns the position that the witness remembers.
func witnessed(t *testing.T, dir string) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	var w struct{ Position int64 }
	require.NoError(t, json.Unmarshal(data, &w))
	return w.Position
}

func TestTheWitnessIsThereBeforeTheFirstEvent(t *testing.T) {
	for _, d := range []sqlite.Durability{sqlite.Full, sqlite.Relaxed} {
		dir := t.TempDir()
		s := open(t, dir, &sqlite.Options{Durability: d})
		require.Zero(t, witnessed(t, dir))
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		s = open(t, dir, &sqlite.Options{Durability: d})
		require.Zero(t, witnessed(t, dir), "an empty log without one is a new one")
		appendTo(t, s, eventstore.Batch{ID: "a batch without events"})
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		_, err := sqlite.Open(t.Context(), dir, nil)
		require.ErrorIs(t, err, eventstore.ErrCorrupt, "a batch ID is something")
		require.ErrorContains(t, err, "Restore with AcceptLoss")
		r, err := sqlite.OpenReadOnly(t.Context(), dir)
		require.NoError(t, err)
		report, err := r.Verify(t.Context())
		require.NoError(t, errors.Join(err, r.Close()))
		require.Len(t, report.Findings, 1)
		require.Equal(t, "witness", report.Findings[0].File)
		require.Empty(t, report.Findings[0].Place)
	}
}

func TestTheWitnessRemembersTheEnd(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	data, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	var w struct {
		Position, Batch int64
		Epoch           string
	}
	require.NoError(t, json.Unmarshal(data, &w))
	s := open(t, dir, nil)
	require.Equal(t, int64(60), w.Position)
	require.Equal(t, int64(21), w.Batch)
	require.Equal(t, s.Epoch(), w.Epoch)
}

func TestAFlippedByteIsFound(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	path := filepath.Join(dir, "log.db")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	bad := bytes.ReplaceAll(good, []byte(`{"actor":"ann"}`), []byte(`{"actor":"anm"}`))
	require.NotEqual(t, good, bad)
	require.NoError(t, os.WriteFile(path, bad, 0o600))
	r, err := open(t, dir, nil).Verify(t.Context())
	require.NoError(t, err)
	require.Len(t, r.Findings, 60, "one for each event, although all are changed")
	require.Equal(t, eventstore.Finding{
		File: "log.db", Place: "position 1", Reason: "the event is not what was written: its hash does not follow", Remedy: "restore the store from a backup",
	}, r.Findings[0])
}

func TestADamagedSnapshotIsNoneAndIsFound(t *testing.T) {
	for name, statement := range map[string]string{
		"state":    `UPDATE snapshots SET state = X'00'`,
		"version":  `UPDATE snapshots SET version = 1000`,
		"fold":     `UPDATE snapshots SET fold = 'other'`,
		"stream":   `UPDATE snapshots SET stream = 'ride-2'`,
		"checksum": `UPDATE snapshots SET checksum = zeroblob(32)`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			good := eventstore.Snapshot{Stream: "ride-1", Fold: "fold", Version: 5, State: []byte("state")}
			s := open(t, dir, nil)
			require.NoError(t, s.SaveSnapshot(t.Context(), good))
			got, found, err := s.LoadSnapshot(t.Context(), "ride-1", "fold")
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, good, got)
			sound(t, s)
			require.NoError(t, s.Close())
			change(t, dir, statement)

			s = open(t, dir, nil)
			for _, stream := range []string{"ride-1", "ride-2"} {
				for _, fold := range []string{"fold", "other"} {
					_, found, err := s.LoadSnapshot(t.Context(), stream, fold)
					require.NoError(t, err, "it is a convenience")
					require.False(t, found)
				}
			}
			r, err := s.Verify(t.Context())
			require.NoError(t, err)
			require.Len(t, r.Findings, 1)
			require.Contains(t, r.Findings[0].String(), "it is not what was saved")
			again := good
			again.Version = 6
			require.NoError(t, s.SaveSnapshot(t.Context(), again))
			got, found, err = s.LoadSnapshot(t.Context(), "ride-1", "fold")
			require.NoError(t, err)
			require.True(t, found, "whatever version the damaged one claims")
			require.Equal(t, again, got)
		})
	}
}
