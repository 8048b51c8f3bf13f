package aggregatetest_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
)

type deposited struct{ Cents int64 }

func (deposited) EventType() string { return "deposited" }

type withdrawn struct{ Cents int64 }

func (withdrawn) EventType() string { return "withdrawn" }
func (withdrawn) EventVersion() int { return 2 }
func (withdrawn) Upcast(_ int, data []byte) ([]byte, error) {
	if !strings.HasPrefix(string(data), `{"Euros":`) {
		return nil, errors.New("no Euros")
	}
	return []byte(strings.Replace(strings.Replace(string(data), "Euros", "Cents", 1), "}", "00}", 1)), nil
}

type noted struct {
	Text   string
	hidden int
}

func (noted) EventType() string { return "noted" }

type closed struct{}

func (closed) EventType() string { return "closed" }

type account struct {
	Balance int64
	Notes   []string
}

var (
	errOverdrawn = aggregate.Reject("overdrawn", "the account does not hold so much")
	errOther     = aggregate.Reject("other", "another refusal")
	errBroken    = errors.New("broken")

	accounts = aggregate.Define("account",
		aggregate.On(func(a *account, e deposited) { a.Balance += e.Cents; a.Notes = append(a.Notes, "in") }),
		aggregate.On(func(a *account, e withdrawn) { a.Balance -= e.Cents }),
		aggregate.Ignore[account]("noted"))
)

func withdraw(cents int64) func(*account) (aggregate.Events, error) {
	return func(a *account) (aggregate.Events, error) {
		if a.Balance < cents {
			return nil, fmt.Errorf("withdraw %d: %w", cents, errOverdrawn)
		}
		return aggregate.Events{withdrawn{Cents: cents}}, nil
	}
}

func decided(events ...any) func(*account) (aggregate.Events, error) {
	return func(*account) (list aggregate.Events, err error) {
		for _, e := range events {
			switch e := e.(type) {
			case error:
				err = e
			case interface{ EventType() string }:
				list = append(list, e)
			}
		}
		return list, err
	}
}

func TestScenarioGoesOn(t *testing.T) {
	aggregatetest.Given(t, accounts, deposited{Cents: 500}).
		When(withdraw(200)).Then(withdrawn{Cents: 200}).
		When(withdraw(400)).ThenRejected(errOverdrawn).
		When(withdraw(300)).Then(withdrawn{Cents: 300}).
		State(func(a *account) { require.Equal(t, int64(0), a.Balance) }).
		When(decided()).Then().
		When(decided(errBroken)).ThenError(errBroken)
}

func TestGivenStoredIsUpcast(t *testing.T) {
	aggregatetest.Given(t, accounts, deposited{Cents: 500}).GivenStored("withdrawn", 1, `{"Euros":3}`).
		When(withdraw(201)).ThenRejected(errOverdrawn).
		When(withdraw(200)).Then(withdrawn{Cents: 200})
}

// recorder is a test that keeps why it failed.
type recorder struct{ failure string }

func (*recorder) Helper() {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what a scenario that must fail says.
func failure(scenario func(t aggregatetest.TB)) string {
	r, done := &recorder{}, make(chan struct{})
	go func() {
		defer close(done)
		scenario(r)
	}()
	<-done
	return r.failure
}

func TestFailuresSayWhatIsWrong(t *testing.T) {
	given := func(t aggregatetest.TB) *aggregatetest.Scenario[account] {
		return aggregatetest.Given(t, accounts, deposited{Cents: 500})
	}
	for name, c := range map[string]struct {
		scenario func(t aggregatetest.TB)
		says     []string
	}{
		"other events": {
			func(t aggregatetest.TB) {
				given(t).When(decided(deposited{Cents: 1}, withdrawn{Cents: 2}, deposited{Cents: 4})).
					Then(deposited{Cents: 1}, withdrawn{Cents: 3}, deposited{Cents: 4})
			},
			[]string{"    deposited {\"Cents\":1}\n  - withdrawn v2 {\"Cents\":3}\n  + withdrawn v2 {\"Cents\":2}\n    deposited {\"Cents\":4}\n"},
		},
		"too few":   {func(t aggregatetest.TB) { given(t).When(decided()).Then(deposited{Cents: 1}) }, []string{`- deposited {"Cents":1}`}},
		"too many":  {func(t aggregatetest.TB) { given(t).When(decided(deposited{Cents: 1})).Then() }, []string{`+ deposited {"Cents":1}`}},
		"refused":   {func(t aggregatetest.TB) { given(t).When(withdraw(900)).Then(withdrawn{Cents: 900}) }, []string{"refused", "overdrawn", `withdrawn v2 {"Cents":900}`}},
		"accepted":  {func(t aggregatetest.TB) { given(t).When(withdraw(1)).ThenRejected(errOverdrawn) }, []string{"not rejected with overdrawn", `withdrawn v2 {"Cents":1}`}},
		"no events": {func(t aggregatetest.TB) { given(t).When(decided()).ThenRejected(errOverdrawn) }, []string{"no events"}},
		"other code": {func(t aggregatetest.TB) { given(t).When(withdraw(900)).ThenRejected(errOther) }, []string{
			"got overdrawn", "want other"}},
		"no rejection":  {func(t aggregatetest.TB) { given(t).When(decided(errBroken)).ThenRejected(errOther) }, []string{"no rejection: broken"}},
		"other error":   {func(t aggregatetest.TB) { given(t).When(decided(errBroken)).ThenError(errOther) }, []string{"got broken"}},
		"no error":      {func(t aggregatetest.TB) { given(t).When(decided()).ThenError(errBroken) }, []string{"no events", "want error broken"}},
		"unbound given": {func(t aggregatetest.TB) { aggregatetest.Given(t, accounts, closed{}) }, []string{"given: event 1", `"closed"`}},
		"unbound decided": {func(t aggregatetest.TB) { given(t).When(decided(closed{})).Then(closed{}) }, []string{
			"cannot be stored", `"closed"`}},
		"bad upcast": {func(t aggregatetest.TB) { given(t).GivenStored("withdrawn", 1, `{}`) }, []string{"no Euros"}},
		"changed state": {
			func(t aggregatetest.TB) {
				given(t).When(func(a *account) (aggregate.Events, error) { a.Balance = 7; return nil, nil }).Then()
			},
			[]string{"changed the state", "Balance:7", "Balance:500"},
		},
		"changed slice": {
			func(t aggregatetest.TB) {
				given(t).When(func(a *account) (aggregate.Events, error) { a.Notes[0] = "x"; return nil, nil }).Then()
			},
			[]string{"changed the state"},
		},
		"lost field": {
			func(t aggregatetest.TB) { aggregatetest.Given(t, accounts, noted{Text: "x", hidden: 2}) },
			[]string{"given: event 1", "hidden"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := failure(c.scenario)
			require.NotEmpty(t, got)
			for _, s := range c.says {
				require.Contains(t, got, s)
			}
		})
	}
}

// A fold may rely on what the events before have made.
func TestEventsAreFoldedAfterThoseBefore(t *testing.T) {
	type shelf struct{ Items map[int64]bool }
	shelves := aggregate.Define("shelf",
		aggregate.On(func(s *shelf, _ closed) { s.Items = map[int64]bool{} }),
		aggregate.On(func(s *shelf, e deposited) { s.Items[e.Cents] = true }))
	aggregatetest.Given(t, shelves, closed{}, deposited{1}).
		When(func(*shelf) (aggregate.Events, error) { return aggregate.Events{deposited{2}}, nil }).
		Then(deposited{2}).
		State(func(s *shelf) { require.Len(t, s.Items, 2) })
}
