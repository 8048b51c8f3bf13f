//go:build linux && cgo

package diskfault_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
)

const walName = "log.db-wal"

func one(id string) eventstore.Batch {
	return eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: "ride-1", Events: []eventstore.EventData{{
		Type: "asked", Data: []byte(id), Metadata: eventstore.Metadata{invariant.LabelKey: id},
	}}}}}
}

// TestAnAcknowledgementFollowsTheSyncOfItsFrames looks at the order of the
// operations themselves: when an append by a lone appender returns, nothing of
// the write-ahead log waits for a sync; with relaxed durability something does.
func TestAnAcknowledgementFollowsTheSyncOfItsFrames(t *testing.T) {
	for _, d := range []sqlite.Durability{sqlite.Full, sqlite.Relaxed} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			dir := filepath.Join(experiment.Dir(t), "store")
			record, err := faultvfs.Record(dir)
			require.NoError(t, err)
			c := newClient(dir, d, 20, func(m report) {
				if m.Event == "acked" {
					record.Mark("acked " + m.Label)
				}
			})
			s, err := c.open(t.Context())
			require.NoError(t, err)
			r := rand.New(rand.NewPCG(1, 2))
			for range 50 {
				label, b := c.batch(r)
				require.NoError(t, c.append(t.Context(), s, label, b))
			}
			log := record.Log()
			require.NoError(t, s.Close())
			record.Stop()
			disk, acks, waiting := crashstates.NewDisk(nil), 0, 0
			log.Marks(func(number int, _ string) {
				disk.Run(log, number)
				acks++
				if disk.Pending(walName) > 0 {
					waiting++
				}
			})
			require.Equal(t, 50, acks)
			if d == sqlite.Full {
				require.Zero(t, waiting)
			} else {
				require.Greater(t, waiting, 25)
			}
		})
	}
}

// TestEtcd14370_AcknowledgedBeforeItWasSynced: a single etcd node answered a
// put while its write-ahead log was still being synced; killed at that moment
// it came up without the put. Here the power goes out right after each
// acknowledgement, and nothing is there that was not synced; and where the
// sync fails, nobody is acknowledged.
func TestEtcd14370_AcknowledgedBeforeItWasSynced(t *testing.T) {
	dir := filepath.Join(experiment.Dir(t), "store")
	var tp *tape
	synctest.Test(t, func(t *testing.T) {
		record, err := faultvfs.Record(dir)
		require.NoError(t, err)
		c := newClient(dir, sqlite.Full, 100, tellMarks(t, record))
		s, err := c.open(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.round(t.Context(), s, 1, ordinary))

		sync := inject(t, faultvfs.Fault{Kind: faultvfs.Sync, Suffix: walName, Times: faultvfs.Forever})
		err = c.append(t.Context(), s, "unsynced", one("unsynced"))
		require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
		require.Positive(t, sync.Failed())
		sync.Remove()
		require.NoError(t, s.Close())
		tp = &tape{log: record.Stop()}
	})
	acks := 0
	tp.log.Marks(func(number int, text string) {
		var m report
		require.NoError(t, json.Unmarshal([]byte(text), &m))
		if m.Event != "acked" {
			return
		}
		acks++
		disk := crashstates.NewDisk(nil)
		disk.Run(tp.log, number+1)
		image := disk.Image(crashstates.None, rand.New(rand.NewPCG(1, 1)))
		_, err := checkImage(image, &invariant.Options{History: tp.history(t, number+1)})
		require.NoError(t, err)
	})
	require.Equal(t, appenders*ordinary, acks)
}

// TestS3gw702_TheWriteAheadLogWasUnlinked: a sqlite3 shell that looked at the
// database of a running s3gw removed its write-ahead log when it was closed;
// s3gw went on to acknowledge what went into a file without a name, and had
// lost it after a restart. Here the first commit after that is not
// acknowledged, and a Backup of the open store has everything before it.
func TestS3gw702_TheWriteAheadLogWasUnlinked(t *testing.T) {
	root := experiment.Dir(t)
	dir := filepath.Join(root, "store")
	s, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Logger: quiet(), IndexEvents: 20})
	require.NoError(t, err)
	for i := range 10 {
		_, err := s.Append(t.Context(), one(fmt.Sprint(i)))
		require.NoError(t, err)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, walName)))
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-shm")))
	_, err = s.Append(t.Context(), one("after"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	rescued := filepath.Join(root, "rescued")
	require.NoError(t, s.Backup(t.Context(), rescued))
	require.NoError(t, s.Close())
	r, err := sqlite.OpenReadOnly(t.Context(), rescued)
	require.NoError(t, err)
	for i := range 10 {
		commit, found, err := r.Committed(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, int64(i+1), commit.First)
	}
	require.NoError(t, r.Close())
}

// TestWhatAKilledProcessLeftIsDurableBeforeItIsAnswered: a process dies after
// it has written a commit and before it has synced it. The next one finds it,
// and is asked for it; then the power goes out.
func TestWhatAKilledProcessLeftIsDurableBeforeItIsAnswered(t *testing.T) {
	for name, is := range map[string]struct{ dead, closedWell bool }{
		"killed before the sync":                  {dead: true},
		"the sync failed":                         {},
		"the sync failed, and it was closed well": {closedWell: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(experiment.Dir(t), "store")
			record, err := faultvfs.Record(dir)
			require.NoError(t, err)
			c := newClient(dir, sqlite.Full, 100, tellMarks(t, record))
			s, err := c.open(t.Context())
			require.NoError(t, err)
			require.NoError(t, c.append(t.Context(), s, "first", one("first")))
			kind := faultvfs.Changes &^ faultvfs.Write
			end := inject(t, faultvfs.Fault{Kind: kind, Dir: dir, Times: faultvfs.Forever, Dead: is.dead})
			require.ErrorIs(t, c.append(t.Context(), s, "second", one("second")), eventstore.ErrOutcomeUnknown)
			if is.closedWell {
				end.Remove()
				require.NoError(t, s.Close())
			} else {
				_ = s.Close() // of a process that is dead
				end.Remove()
			}

			s, err = c.open(t.Context())
			require.NoError(t, err)
			require.NoError(t, c.repeat(t.Context(), s))
			tp := &tape{log: record.Log()}
			require.NoError(t, s.Close())
			record.Stop()
			disk := crashstates.NewDisk(nil)
			disk.Run(tp.log, len(tp.log))
			for i := range 14 {
				all := crashstates.Strategies()
				image := disk.Image(all[i%len(all)], rand.New(rand.NewPCG(1, uint64(i))))
				_, err = checkImage(image, &invariant.Options{History: tp.history(t, len(tp.log))})
				require.NoError(t, err)
			}
		})
	}
}

// labelOf returns the label of a batch's event.
func labelOf(e *eventstore.Recorded) (string, error) {
	m, err := e.Meta.Decode()
	return m[invariant.LabelKey], err
}
