package projection

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

func TestStatusTellsTheLagAndWhatABuildHasDone(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 2000)
	for i := range l.events {
		l.events[i].Time = int64(i+1) * int64(time.Second)
	}
	at := func(position int64) time.Time { return time.Unix(position, 0).UTC() }
	p := openTest(t, dir, l, ledger(1, nil))
	st := p.Status()
	require.Equal(t, l.head(), st.Lag)
	require.Equal(t, at(1), st.Waiting)
	require.Equal(t, 9*time.Second, st.LagTime(at(10)))
	require.Zero(t, st.LagTime(at(0)))
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 4))) // what comes next is a note, which it does not handle
	st = p.Status()
	require.Equal(t, CatchingUp, st.State)
	require.Equal(t, "catching up: 4 of 2400", st.String())
	require.Equal(t, l.head()-4, st.Lag)
	require.Equal(t, at(6), st.Waiting)
	require.NoError(t, deliver(t, p, l, 500))
	st = p.Status()
	require.Equal(t, Running, st.State)
	require.Equal(t, "running", st.String())
	require.Zero(t, st.Lag)
	require.Zero(t, st.LagTime(time.Now()))
	require.NoError(t, p.Close())

	// A higher version: done, total, events and a rate; the total follows the log.
	p = openTest(t, dir, l, ledger(2, nil))
	for range 2 { // interrupted, it goes on where it was
		st = p.Status()
		before := st.Building.Done
		require.NoError(t, p.Apply(t.Context(), page(l, before, 300)))
		st = p.Status()
		require.Equal(t, Rebuilding, st.State)
		require.Equal(t, 2, st.BuildingVersion)
		require.Equal(t, 1, st.Version)
		require.EqualValues(t, 300, st.Building.Events)
		require.Greater(t, st.Building.Done, before)
		require.Equal(t, l.head(), st.Building.Total)
		require.Positive(t, st.Building.Rate)
		require.Positive(t, st.Building.ETA)
		require.Regexp(t, `^rebuilding \d+ %$`, st.String())
		someMoves(l, 600)
		require.Equal(t, l.head(), p.Status().Building.Total)
		require.NoError(t, p.Close())
		p = openTest(t, dir, l, ledger(2, nil))
		require.Equal(t, st.Building.Done, p.Status().Building.Done)
		require.Zero(t, p.Status().Building.Events)
	}
	require.NoError(t, deliver(t, p, l, 500))
	require.Equal(t, "running", p.Status().String())
	require.Nil(t, p.Status().Building)

	// The router says the same of what it delivers to.
	require.Equal(t, "catching up: 0 of 12", bus.ConsumerStatus{State: bus.StateCatchingUp, Checkpoint: -1, Head: 12}.String())
}

// TestTheStatusTellsWhatWaitsForAnOperator in its line, of the owner and beside.
func TestTheStatusTellsWhatWaitsForAnOperator(t *testing.T) {
	for policy, want := range map[Policy]string{Park: "parked: 3 in 2 streams", Skip: "dead letters: 2"} {
		l, dir, f := newTape(), t.TempDir(), &faults{}
		for _, id := range []string{"a-1", "b-1", "a-1", "c-1"} {
			l.add(id, moved{id, 1})
		}
		f.set(1, always)
		f.set(2, always)
		p := openTest(t, dir, l, ledger(1, f.fail, OnFailure(policy), once))
		require.NoError(t, deliver(t, p, l, 100))
		require.Equal(t, "running; "+want, p.Status().String())
		v, err := OpenReader(t.Context(), dir, p.def)
		require.NoError(t, err)
		defer func() { require.NoError(t, v.Close()) }()
		beside, err := v.Status(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, "running; "+want, beside.String())
	}
}
