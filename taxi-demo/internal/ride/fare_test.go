package ride

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// of2019 is the tariff of March 2019.
func of2019(t *testing.T) meter.Tariff {
	t.Helper()
	tariff, ok := meter.InForce(meter.Tariffs(), started.At)
	require.True(t, ok)
	return tariff
}

func calculate(tariff meter.Tariff, u meter.Units) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.CalculateFare(CalculateFare{RideID: "r", Units: u}, tariff)
	}
}

func adjust(tariff meter.Tariff, u meter.Units) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.AdjustFare(AdjustFare{RideID: "r", Units: u}, tariff)
	}
}

func closeFare(r *Ride) (aggregate.Events, error) { return r.CloseFare(CloseFare{RideID: "r"}) }

func settle(r *Ride) (aggregate.Events, error) { return r.Settle(Settle{RideID: "r"}) }

func outstanding(cents int64) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.MarkOutstanding(MarkOutstanding{RideID: "r", Receivable: cents})
	}
}

func refund(r *Ride) (aggregate.Events, error) { return r.Refund(Refund{RideID: "r"}) }

// fare returns what a ride of these terms costs.
func fare(t *testing.T, e Requested, at time.Time, u meter.Units) FareCalculated {
	t.Helper()
	start := started
	start.At = at
	var got FareCalculated
	aggregatetest.Given(t, Rides, e, offered, accepted, arrived, start, ended).
		State(func(r *Ride) {
			events, err := r.CalculateFare(CalculateFare{RideID: "r", Units: u}, of2019(t))
			require.NoError(t, err)
			require.Len(t, events, 1)
			got = events[0].(FareCalculated)
		})
	require.Equal(t, got.Bill.Total(), got.Split.Total())
	return got
}

func TestAMeteredRideCostsItsUnitsTaxesTollsAndTip(t *testing.T) {
	e := requested
	e.Terms.CongestionZone = true
	evening := time.Date(2019, time.March, 4, 17, 0, 0, 0, time.UTC) // rush hour
	e.Terms.PickedUp = started.At                                    // the request does not decide
	got := fare(t, e, evening, 12*meter.Unit+meter.Unit/2)
	require.Equal(t, FareCalculated{
		RideID: "r", RiderID: "p", DriverID: "d", Units: 12*meter.Unit + meter.Unit/2,
		Bill: meter.Breakdown{Fare: 850, Extra: 100, MTATax: 50, Improvement: 30, Congestion: 250, Tolls: 576, Tip: 200},
		// 20 % of 9.50 is 1.90.
		Split: Split{DriverNet: 760, PlatformFee: 190, Taxes: 330, Tolls: 576, Tip: 200},
	}, got)
}

func TestThePlatformsPartIsRoundedDownToTheCent(t *testing.T) {
	e := requested
	e.Agreed = 1234
	got := fare(t, e, started.At, 0)
	require.Equal(t, int64(246), got.Split.PlatformFee)
	require.Equal(t, int64(988), got.Split.DriverNet)
}

func TestTheRateCodeAndTheAgreementDecideTheFare(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   meter.RateCode
		agreed int64
		want   int64
	}{
		{"the meter", meter.Standard, 0, 850},
		{"the meter, but agreed", meter.Standard, 999, 999},
		{"Kennedy, flat", meter.JFK, 0, 5200},
		{"Newark, metered", meter.Newark, 0, 850 + 1750},
		{"Newark, agreed", meter.Newark, 7000, 7000},
		{"Nassau, agreed", meter.NassauWestchester, 6000, 6000},
		{"negotiated", meter.Negotiated, 4500, 4500},
		{"negotiated for nothing", meter.Negotiated, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := requested
			e.Terms.Code, e.Agreed = c.code, c.agreed
			require.Equal(t, c.want, fare(t, e, started.At, 12*meter.Unit).Bill.Fare)
		})
	}
}

func TestARideHasOneFare(t *testing.T) {
	tariff := of2019(t)
	given(t, isDriving).When(calculate(tariff, meter.Unit)).ThenRejected(ErrNotEnded)
	given(t, isFared).When(calculate(tariff, meter.Unit)).ThenRejected(ErrNotEnded)
}

func TestAFareIsAdjustedOnlyUntilSettlement(t *testing.T) {
	tariff := of2019(t)
	bill := meter.Breakdown{Fare: 900, MTATax: 50, Improvement: 30, Tolls: 576, Tip: 200}
	given(t, isEnded).When(adjust(tariff, 13*meter.Unit)).ThenRejected(ErrNotFared)
	given(t, isFared).
		When(adjust(tariff, 12*meter.Unit)).Then(). // the same units: nothing to do
		When(adjust(tariff, 13*meter.Unit)).
		Then(FareAdjusted{RideID: "r", Units: 13 * meter.Unit, Bill: bill, Split: SplitOf(bill)}).
		When(closeFare).Then(FareClosed{RideID: "r", RiderID: "p", DriverID: "d", Split: SplitOf(bill)}).
		When(adjust(tariff, 14*meter.Unit)).ThenRejected(ErrNotFared). // it is being charged
		When(closeFare).ThenRejected(ErrNotFared).
		When(settle).Then(Settled{RideID: "r", RiderID: "p", Split: SplitOf(bill)})
	given(t, isSettled).When(adjust(tariff, 13*meter.Unit)).ThenRejected(ErrNotFared)
}

func TestARideIsSettledOnce(t *testing.T) {
	given(t, isEnded).When(settle).ThenRejected(ErrNotFared)
	given(t, isFared).When(settle).ThenRejected(ErrNotFared)
	given(t, isDue).When(settle).Then(settled).
		When(settle).ThenRejected(ErrNotFared).
		When(outstanding(1)).ThenRejected(ErrNotFared)
}

func TestARideWhoseRiderOwesIsClosedWithItsDebt(t *testing.T) {
	given(t, isDue).
		When(outstanding(0)).ThenRejected(ErrInvalid).
		When(outstanding(split.Total() + 1)).ThenRejected(ErrInvalid).
		When(outstanding(706)).Then(Outstanding{RideID: "r", RiderID: "p", Split: split, Receivable: 706}).
		When(outstanding(706)).ThenRejected(ErrNotFared).
		When(settle).ThenRejected(ErrNotFared).
		When(refund).ThenRejected(ErrNotSettled)
}

func TestAnUnpaidFeeIsOwedWithoutBeingSplitTwice(t *testing.T) {
	fee := Cancelled{RideID: "r", RiderID: "p", DriverID: "d", By: ByRider, Stage: StatusAccepted, Split: Split{DriverNet: 240, PlatformFee: 60}}
	given(t, isAccepted, fee).
		When(settle).ThenRejected(ErrNotFared). // a cancelled ride stays one
		When(outstanding(301)).ThenRejected(ErrInvalid).
		When(outstanding(300)).Then(Outstanding{RideID: "r", RiderID: "p", Receivable: 300}).
		When(outstanding(300)).ThenRejected(ErrNotFared)
	free := Cancelled{RideID: "r", RiderID: "p", By: ByRider, Stage: StatusRequested}
	given(t, isRequested, free).When(outstanding(1)).ThenRejected(ErrInvalid)
}

func TestOnlyASettledRideIsRefundedAndOnce(t *testing.T) {
	for n := isNew; n < isSettled; n++ {
		given(t, n).When(refund).ThenRejected(ErrNotSettled)
	}
	given(t, isSettled).
		When(refund).Then(Refunded{RideID: "r", RiderID: "p", DriverID: "d", Split: split}).
		When(refund).ThenRejected(ErrNotSettled)
}

func TestAFinishedRideStaysFinished(t *testing.T) {
	tariff := of2019(t)
	for name, past := range map[string][]eventstore.Event{
		"settled":     stage(isSettled),
		"cancelled":   {requested, Cancelled{RideID: "r", RiderID: "p", By: ByRider, Stage: StatusRequested}},
		"no show":     {requested, offered, accepted, arrived, NoShow{RideID: "r", RiderID: "p", DriverID: "d"}},
		"unfulfilled": {requested, Unfulfilled{RideID: "r", Reason: NoDriver}},
		"outstanding": {requested, offered, accepted, arrived, started, ended, fared, Outstanding{RideID: "r", Split: split, Receivable: 1}},
		"refunded":    append(append([]eventstore.Event{}, stage(isSettled)...), Refunded{RideID: "r"}),
	} {
		t.Run(name, func(t *testing.T) {
			var state Ride
			aggregatetest.Given(t, Rides, past...).State(func(r *Ride) { state = *r })
			require.True(t, state.Status.Finished())
			for i, d := range []decision{
				request(requested), offer(Offer{RideID: "r"}, "d"), decline(1, "d"), expire(1), accept(1, "d"),
				unassign("d", ByDriver), arrive("d"), begin("d", started.At), signalLost, end(0, 0),
				calculate(tariff, 0), adjust(tariff, 0), cancel(ByRider), cancel(ByDriver), noShow, unfulfilled,
			} {
				events, err := d(&state)
				require.Empty(t, events, "decision %d", i)
				require.Error(t, err, "decision %d", i)
			}
		})
	}
}

func TestASplitAlwaysAddsUpToItsBillAndHasNoNegativePart(t *testing.T) {
	cents := rapid.Int64Range(0, 1_000_000)
	rapid.Check(t, func(rt *rapid.T) {
		b := meter.Breakdown{
			Fare: cents.Draw(rt, "fare"), Extra: cents.Draw(rt, "extra"), MTATax: cents.Draw(rt, "tax"),
			Congestion: cents.Draw(rt, "congestion"), Tolls: cents.Draw(rt, "tolls"), Tip: cents.Draw(rt, "tip"),
		}
		s := SplitOf(b)
		require.Equal(rt, b.Total(), s.Total())
		require.GreaterOrEqual(rt, min(s.DriverNet, s.PlatformFee, s.Taxes, s.Tolls, s.Tip), int64(0))
		require.LessOrEqual(rt, 5*s.PlatformFee, b.Fare+b.Extra)
		require.Greater(rt, 5*(s.PlatformFee+1), b.Fare+b.Extra)
	})
}
