package serverless_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// A savings plan deposits by the clock, and withdraws too much at its end.

type PlanStarted struct {
	Plan   string
	Rounds int
	Every  time.Duration
}

func (PlanStarted) EventType() string { return "plan_started" }

type StartPlan struct {
	Plan   string
	Rounds int
	Every  time.Duration
}

func (StartPlan) CommandType() string { return "start_plan" }

type Plan struct{ Started bool }

var Plans = aggregate.Define("plan", aggregate.On(func(p *Plan, _ PlanStarted) { p.Started = true }))

type Saving struct {
	Left     int
	Every    time.Duration
	Deposits int
	Refused  string
}

func defineSaving() *saga.Definition { return savingAs("saving") }

func savingAs(name string, more ...saga.Option[Saving]) *saga.Definition {
	return saga.Define(name, 1, append(more,
		saga.Starts(func(e PlanStarted) string { return e.Plan }, func(s *Saving, c *saga.Context, e PlanStarted) error {
			s.Left, s.Every = e.Rounds, e.Every
			c.After("due", s.Every)
			return nil
		}),
		saga.Timer("due", func(s *Saving, c *saga.Context) error {
			s.Left--
			c.Send(Deposit{Account: c.Key(), Cents: 10})
			if s.Left > 0 {
				c.After("due", s.Every)
			} else {
				c.Send(Withdraw{Account: c.Key(), Cents: 1 << 40})
			}
			return nil
		}),
		saga.On(func(e Deposited) string { return e.Account }, func(s *Saving, c *saga.Context, e Deposited) error {
			s.Deposits++
			return nil
		}),
		saga.Rejected(func(s *Saving, c *saga.Context, r saga.Rejection[Withdraw]) error {
			s.Refused = r.Code
			c.Complete()
			return nil
		}))...)
}

func withSaving(b *bank) { withSavingAs(b, defineSaving()) }

func withSavingAs(b *bank, d *saga.Definition) {
	plans := aggregate.NewRepository(b.store, Plans, nil)
	serverless.Command(b.Host, "start_plan", func(ctx context.Context, c StartPlan) (eventstore.Commit, error) {
		return plans.Update(ctx, c.Plan, func(*Plan) (aggregate.Events, error) {
			return aggregate.Events{PlanStarted{Plan: c.Plan, Rounds: c.Rounds, Every: c.Every}}, nil
		})
	})
	b.Saga(d)
}

// planner is a Source that starts plans, and starts over in each process: what
// it started before is a duplicate.
type planner struct {
	b     *bank
	plans int // left to start
	next  int
	gap   time.Duration
	// refuse is asked before each; nil for never.
	refuse func(i int) error
}

const plan = 5 // rounds of a plan

func (p *planner) at(i int) time.Time { return epoch.Add(time.Duration(i/3) * p.gap) }

func (p *planner) Next(context.Context) (time.Time, bool, error) {
	return p.at(p.next), p.next < p.plans, nil
}

func (p *planner) Release(ctx context.Context, until time.Time) error {
	for p.next < p.plans && !p.at(p.next).After(until) {
		id := fmt.Sprintf("p%d", p.next)
		if p.refuse != nil {
			if err := p.refuse(p.next); err != nil {
				return err
			}
		}
		_, err := p.b.Do(ctx, serverless.Request{Function: "start_plan", ID: "start-" + id, Payload: StartPlan{
			Plan: id, Rounds: plan, Every: time.Duration(1+p.next%7) * time.Minute,
		}})
		if err != nil {
			return err
		}
		p.next++
	}
	return nil
}

func withPlanner(plans int) func(*bank) {
	return func(b *bank) { b.Source(&planner{b: b, plans: plans, gap: 90 * time.Second}) }
}

// rows are the read model's.
func rows(t testing.TB, b *bank, columns string) (all []string) {
	t.Helper()
	require.NoError(t, b.balances.Read(context.Background(), 0, func(r *projection.Reader) error {
		rows, err := r.Query(`SELECT ` + columns + ` FROM balance ORDER BY account`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				return err
			}
			all = append(all, row)
		}
		return rows.Err()
	}))
	return all
}

const (
	amounts   = `account || ':' || cents`
	positions = `account || ':' || cents || '@' || position`
)

func TestTimersFireInVirtualTimeAtTheirInstants(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			clk := clock.NewVirtual(epoch)
			b := newBank(t, t.TempDir(), serverless.Options{Clock: clk, Ordered: ordered}, withSaving)
			_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 3, Every: 10 * time.Minute})
			require.NoError(t, err)
			report, err := b.Drain(t.Context(), serverless.Budget{Until: epoch.Add(25 * time.Minute)})
			require.NoError(t, err)
			require.Equal(t, minutes(0, 10, 20), recorded(t, b))
			require.Equal(t, epoch.Add(30*time.Minute), report.Next)
			report = b.drain(t)
			require.Equal(t, minutes(0, 10, 20, 30), recorded(t, b))
			require.EqualValues(t, 1, report.Timers)
			require.EqualValues(t, 2, report.Commands)
			require.EqualValues(t, 1, report.Rejected)
			require.Equal(t, epoch.Add(30*time.Minute), report.Now)
			require.Zero(t, report.Next)
			require.Equal(t, []string{"p:30"}, rows(t, b, amounts))
			st, err := b.Status(t.Context())
			require.NoError(t, err)
			require.Zero(t, st.NextTimer)
			require.Zero(t, st.DeadLetters)
		})
	}
}

// content is the log without what is drawn at random.
func content(t testing.TB, b *bank) (log []eventstore.Recorded) {
	t.Helper()
	for e, err := range eventstore.Log(t.Context(), b.store, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		e.Meta, e.ID = nil, [16]byte{}
		log = append(log, e)
	}
	return log
}

func TestEqualInputsGiveEqualLogsInOrderedMode(t *testing.T) {
	run := func() ([]eventstore.Recorded, []string) {
		clk := clock.NewVirtual(epoch)
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clk, Ordered: true}, withSaving, withPlanner(30),
			func(b *bank) {
				serverless.OnEvent(b.Host, "bonus", func(ctx context.Context, e eventstore.Of[Deposited]) error {
					if e.Payload.Cents != 10 {
						return nil
					}
					_, err := b.Do(ctx, serverless.Request{Function: "deposit", ID: "bonus-" + e.ID.String(), Payload: Deposit{Account: e.Payload.Account, Cents: 1}})
					return err
				})
			})
		b.drain(t)
		return content(t, b), rows(t, b, positions)
	}
	log, model := run()
	require.Len(t, log, 30+2*30*plan)
	for range 2 {
		again, modelAgain := run()
		require.Equal(t, log, again)
		require.Equal(t, model, modelAgain)
	}
}

func TestADrainInRealTimeFiresWhatIsDueAndSaysWhatComesNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{}, withSaving)
		_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 2, Every: time.Hour})
		require.NoError(t, err)
		began := time.Now()
		report := b.drain(t)
		require.Equal(t, began.Add(time.Hour).UTC(), report.Next.UTC())
		require.Zero(t, report.Timers)
		time.Sleep(time.Hour)
		report = b.drain(t)
		require.EqualValues(t, 1, report.Timers)
		require.EqualValues(t, 1, report.Commands)
		require.Equal(t, began.Add(2*time.Hour).UTC(), report.Next.UTC())
		require.Equal(t, []string{"p:10"}, rows(t, b, amounts))
	})
}

func TestARunFiresTimersByAScaledClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		clk := clock.NewScaled(epoch, 60)
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, withSaving)
		_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 3, Every: time.Hour})
		require.NoError(t, err)
		stop := b.running(t)
		_, err = b.store.Wait(t.Context(), 3)
		require.NoError(t, err)
		require.InDelta(t, 3*60, time.Since(began).Seconds(), 1)
		require.NoError(t, b.balances.WaitFor(t.Context(), 4))
		stop()
		for i, at := range recorded(t, b) {
			require.False(t, at.Before(epoch.Add(time.Duration(i)*time.Hour)), "never early")
		}
	})
}

func TestWhatSagasLeftUndoneNeedsItsFunction(t *testing.T) {
	dir := t.TempDir()
	clk := clock.NewVirtual(epoch)
	opts := serverless.Options{Clock: clk}
	b := newBank(t, dir, opts, withSaving)
	_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 3, Every: time.Hour})
	require.NoError(t, err)
	_, err = b.Drain(t.Context(), serverless.Budget{Until: epoch})
	require.NoError(t, err)
	b = reopen(t, b, dir, opts)
	err = b.Open(t.Context())
	require.ErrorContains(t, err, "saving", "the saga with a pending timer is not registered any more")
	b = reopen(t, b, dir, opts, withSaving)
	b.drain(t)
	require.Equal(t, []string{"p:30"}, rows(t, b, amounts))
}

// PayInterest is a command of a saga whose function reads the balance.
type PayInterest struct {
	Account string
	Cause   int64
}

func (PayInterest) CommandType() string { return "pay_interest" }

func TestACommandThatReadsAModelFindsItsCauseInIt(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			var seen, stale atomic.Int64
			entered := make(chan struct{})
			if ordered { // where commands leave only once everything is applied
				close(entered)
			}
			b := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch), Ordered: ordered}, func(b *bank) {
				late := b.Project(projection.Define("late", 1, `CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT`,
					projection.On(func(context.Context, *projection.Tx, eventstore.Of[Deposited]) error {
						<-entered
						return nil
					})))
				serverless.Command(b.Host, "pay_interest", func(ctx context.Context, c PayInterest) (eventstore.Commit, error) {
					if seen.Add(1) == 1 && !ordered {
						close(entered)
					}
					return eventstore.Commit{}, late.Read(ctx, 0, func(r *projection.Reader) error {
						at, err := r.Position()
						if at < c.Cause {
							stale.Add(1)
						}
						return err
					})
				})
				b.Saga(saga.Define("interest", 1,
					saga.Starts(func(e Deposited) string { return e.Account }, func(_ *struct{}, c *saga.Context, e Deposited) error {
						c.Send(PayInterest{Account: e.Account, Cause: c.Position()})
						return nil
					}),
					saga.IgnoreRejected[struct{}, PayInterest]()))
			})
			for i := range 50 {
				b.deposit(t, fmt.Sprint(i%5), 1)
			}
			b.drain(t)
			require.EqualValues(t, 50, seen.Load())
			require.Zero(t, stale.Load())
		})
	}
}

// A read model that is behind does not hold the clock, but the end of the Drain.
func TestReadModelsFollowVirtualTimeAndAreThereAtItsEnd(t *testing.T) {
	over := make(chan struct{})
	var deposits, shown, pages atomic.Int64
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch), Middleware: []message.HandlerMiddleware{
		func(h message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				if strings.HasPrefix(msg.UUID, "slow@") {
					pages.Add(1)
				}
				return h(msg)
			}
		},
	}}, withSaving, func(b *bank) {
		serverless.OnEvent(b.Host, "count", func(context.Context, eventstore.Of[Deposited]) error {
			if deposits.Add(1) == plan {
				close(over)
			}
			return nil
		})
		b.Project(projection.Define("slow", 1, `CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT`,
			projection.On(func(context.Context, *projection.Tx, eventstore.Of[Deposited]) error {
				<-over
				shown.Add(1)
				return nil
			})))
	})
	_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: plan, Every: 10 * time.Minute})
	require.NoError(t, err)
	b.drain(t)
	require.EqualValues(t, plan, shown.Load())
	require.LessOrEqual(t, pages.Load(), int64(2), "a page fills while nobody asks for it")
}

func TestATimerFiresBeforeAnInputOfTheSameInstant(t *testing.T) {
	clk := clock.NewVirtual(epoch)
	src := &till{clock: clk, at: minutes(5, 10, 15)}
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clk, Ordered: true}, withSaving, func(b *bank) {
		src.b = b
		b.Source(groupedTill{src})
	})
	_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 2, Every: 10 * time.Minute})
	require.NoError(t, err)
	b.drain(t)
	var order []string
	for _, e := range content(t, b) {
		order = append(order, fmt.Sprintf("%s %s", e.Stream, e.RecordedAt().Sub(epoch)))
	}
	require.Equal(t, []string{"plan-p 0s", "account-till 5m0s", "account-p 10m0s", "account-till 15m0s", "account-till 15m0s", "account-p 20m0s"}, order,
		"what precedes the next timer goes together, what does not comes after it")
}

func TestAnOrderedHostDoesNotRun(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch), Ordered: true})
	require.ErrorContains(t, b.Run(t.Context()), "Options.Ordered")
}

func TestAResumedScaledClockShowsNoEarlierTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := reopen(t, nil, dir, serverless.Options{Clock: clock.NewScaled(epoch, 60)}, withSaving)
		_, err := b.Invoke(t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 1, Every: time.Hour})
		require.NoError(t, err)
		stop := b.running(t)
		time.Sleep(time.Minute + time.Second)
		stop()
		clk := clock.NewScaled(epoch, 60)
		b = reopen(t, b, dir, serverless.Options{Clock: clk}, withSaving)
		require.NoError(t, b.Open(t.Context()))
		require.False(t, clk.Now().Before(epoch.Add(time.Hour)))
	})
}
