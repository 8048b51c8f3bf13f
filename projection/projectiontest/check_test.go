package projectiontest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/projectiontest"
)

type seatTaken struct {
	Show string
	Row  int
}

func (seatTaken) EventType() string { return "seat_taken" }

type lightsOut struct{}

func (lightsOut) EventType() string { return "lights_out" }

const seatsSchema = `CREATE TABLE seats (show TEXT PRIMARY KEY, taken INTEGER NOT NULL, last_row INTEGER) STRICT`

func seats(taken func(ctx context.Context, tx *projection.Tx, e eventstore.Of[seatTaken]) error) *projection.Definition {
	return projection.Define("seats", 1, seatsSchema, projection.On(taken))
}

func take(_ context.Context, tx *projection.Tx, e eventstore.Of[seatTaken]) error {
	_, err := tx.Exec(`
		INSERT INTO seats (show, taken, last_row)
		VALUES (?, 1, ?)
		ON CONFLICT (show) DO UPDATE SET taken = taken + 1, last_row = excluded.last_row`, e.Payload.Show, e.Payload.Row)
	return err
}

var evening = projectiontest.Case{
	Given: projectiontest.Log(
		projectiontest.In("show-1", seatTaken{"hamlet", 3}, seatTaken{"hamlet", 9}),
		projectiontest.In("house", lightsOut{}),
		projectiontest.In("show-2", seatTaken{"faust", 1}),
		projectiontest.In("show-1", seatTaken{"hamlet", 4}),
	),
	Then: []projectiontest.Rows{
		{Query: "SELECT show, taken, last_row FROM seats ORDER BY show", Want: [][]any{{"faust", 1, 1}, {"hamlet", 3, int64(4)}}},
		{Query: "SELECT NULL, 1.5, x'01' FROM seats WHERE show = ?", Args: []any{"faust"}, Want: [][]any{{nil, 1.5, []byte{1}}}},
		{Query: "SELECT 1 FROM seats WHERE taken > 3"},
	},
}

func TestCheck(t *testing.T) {
	projectiontest.Check(t, seats(take), evening)
	projectiontest.Check(t, seats(take), projectiontest.Case{Then: []projectiontest.Rows{{Query: "SELECT * FROM seats"}}})
	long := projectiontest.Case{Then: []projectiontest.Rows{{Query: "SELECT taken FROM seats", Want: [][]any{{100}}}}}
	for i := range 100 {
		long.Given = append(long.Given, projectiontest.In("show-1", seatTaken{"hamlet", i}))
	}
	projectiontest.Check(t, seats(take), long)
}

// recorder is a testing.TB that remembers why it failed.
type recorder struct {
	*testing.T
	failed string
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(r)
}

func failure(t *testing.T, def *projection.Definition, c projectiontest.Case) (why string) {
	t.Helper()
	r := &recorder{T: t}
	defer func() {
		if v := recover(); v != nil && v != any(r) {
			panic(v)
		}
		why = r.failed
	}()
	projectiontest.Check(r, def, c)
	return ""
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	wrong := evening
	wrong.Then = []projectiontest.Rows{{Query: "SELECT taken FROM seats ORDER BY show", Want: [][]any{{1}, {2}}}}
	require.Contains(t, failure(t, seats(take), wrong), "all events in one page: SELECT taken FROM seats ORDER BY show:\ngot:\n\t1\n\t3\nwant:\n\t1\n\t2")

	calls := 0 // state outside the tables
	got := failure(t, seats(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[seatTaken]) error {
		calls++
		e.Payload.Row += calls / 5
		return take(ctx, tx, e)
	}), evening)
	require.Contains(t, got, "depends on more than the event and the tables")

	got = failure(t, seats(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[seatTaken]) error {
		_, err := tx.Exec("INSERT INTO nowhere (x) VALUES (1)")
		return err
	}), evening)
	require.Contains(t, got, "no such table: nowhere")

	require.True(t, strings.Contains(failure(t, projection.Define("x", 0, ""), evening), "the version is 0"))
}
