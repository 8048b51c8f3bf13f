package functions

import (
	"context"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// ledger keeps the laws by reading the log alone, apart from what the
// aggregates think of it.
type ledger struct {
	position int64
	rides    map[string]*rideBook
	balance  map[string]int64 // rider → cents
	held     map[string]int64 // rider → cents
	holds    map[string]int64 // ride → cents
	due      map[string]int64 // driver → accrued and not paid
	has      map[string]string
}

// rideBook is what one ride's money came to. The law: credits equal debits.
type rideBook struct {
	credits  int64 // charged and receivable
	debits   int64 // driver, platform, authorities
	fares    int
	captured bool
	finished string
	accepted string
}

func newLedger() ledger {
	l := ledger{
		rides: map[string]*rideBook{}, balance: map[string]int64{}, held: map[string]int64{},
		holds: map[string]int64{}, due: map[string]int64{}, has: map[string]string{},
	}
	for _, id := range someRides {
		l.rides[id] = &rideBook{}
	}
	return l
}

func (l *ledger) read(rt *rapid.T, store eventstore.LogReader) {
	page, err := store.ReadLog(context.Background(), l.position, eventstore.MaxPage, eventstore.Filter{})
	require.NoError(rt, err)
	l.position = page.Through.Position
	for _, e := range page.Events {
		l.post(rt, e)
	}
	for rider, balance := range l.balance {
		require.GreaterOrEqual(rt, balance, l.held[rider], "the wallet of %s", rider)
		require.GreaterOrEqual(rt, l.held[rider], int64(0), "the holds of %s", rider)
	}
}

func decoded[E eventstore.Event](rt *rapid.T, r eventstore.Recorded) E {
	e, err := eventstore.Decode[E](r)
	require.NoError(rt, err)
	return e
}

func (l *ledger) post(rt *rapid.T, r eventstore.Recorded) {
	l.postRide(rt, r)
	switch r.Type {
	case "wallet_topped_up":
		e := decoded[wallet.ToppedUp](rt, r)
		l.balance[e.RiderID] += e.Amount
	case "funds_held":
		e := decoded[wallet.Held](rt, r)
		l.held[e.RiderID] += e.Amount
		l.holds[e.RiderID+e.RideID] = e.Amount
	case "hold_released":
		e := decoded[wallet.HoldReleased](rt, r)
		l.dropHold(e.RiderID, e.RideID)
	case "funds_captured":
		e := decoded[wallet.Captured](rt, r)
		require.False(rt, l.rides[e.RideID].captured, "ride %s is captured twice", e.RideID)
		l.rides[e.RideID].captured = true
		l.dropHold(e.RiderID, e.RideID)
		l.balance[e.RiderID] -= e.Amount
		l.rides[e.RideID].credits += e.Amount
	case "card_charged":
		e := decoded[wallet.Charged](rt, r)
		l.rides[e.RideID].credits += e.Amount
	case "wallet_refunded":
		e := decoded[wallet.Refunded](rt, r)
		l.balance[e.RiderID] += e.Amount
		l.rides[e.RideID].credits -= e.Amount
	case "earnings_accrued":
		e := decoded[earnings.Accrued](rt, r)
		l.rides[e.RideID].debits += e.Net + e.Tip + e.Tolls
		l.due[e.DriverID] += e.Net + e.Tip + e.Tolls
	case "earnings_clawed_back":
		e := decoded[earnings.ClawedBack](rt, r)
		l.rides[e.RideID].debits -= e.Net + e.Tip + e.Tolls
		l.due[e.DriverID] -= e.Net + e.Tip + e.Tolls
	case "payout_made":
		e := decoded[earnings.PaidOut](rt, r)
		l.due[e.DriverID] -= e.Amount
		if e.Amount > 0 {
			require.GreaterOrEqual(rt, l.due[e.DriverID], int64(0), "driver %s is paid more than accrued", e.DriverID)
		}
	case "driver_reserved":
		e := decoded[driver.Reserved](rt, r)
		require.Empty(rt, l.has[e.DriverID], "driver %s is reserved twice", e.DriverID)
		l.has[e.DriverID] = e.RideID
	case "driver_released", "driver_finished":
		delete(l.has, decoded[driver.Released](rt, r).DriverID)
	}
}

func (l *ledger) dropHold(riderID, rideID string) {
	l.held[riderID] -= l.holds[riderID+rideID]
	delete(l.holds, riderID+rideID)
}

func (l *ledger) postRide(rt *rapid.T, r eventstore.Recorded) {
	platform := func(b *rideBook, sign int64, s ride.Split) { b.debits += sign * (s.PlatformFee + s.Taxes) }
	switch r.Type {
	case "ride_accepted":
		e := decoded[ride.Accepted](rt, r)
		require.Empty(rt, l.rides[e.RideID].accepted, "ride %s is accepted twice", e.RideID)
		l.rides[e.RideID].accepted = e.DriverID
	case "ride_unassigned":
		l.rides[decoded[ride.Unassigned](rt, r).RideID].accepted = ""
	case "fare_calculated":
		e := decoded[ride.FareCalculated](rt, r)
		l.rides[e.RideID].fares++
		require.Equal(rt, 1, l.rides[e.RideID].fares, "ride %s has two fares", e.RideID)
		require.Equal(rt, e.Bill.Total(), e.Split.Total())
		require.GreaterOrEqual(rt, min(e.Split.DriverNet, e.Split.PlatformFee, e.Split.Taxes, e.Split.Tip, e.Split.Tolls), int64(0))
	case "fare_adjusted":
		e := decoded[ride.FareAdjusted](rt, r)
		require.Equal(rt, e.Bill.Total(), e.Split.Total())
	case "ride_settled":
		e := decoded[ride.Settled](rt, r)
		l.finish(rt, e.RideID, "settled")
		platform(l.rides[e.RideID], 1, e.Split)
	case "ride_outstanding":
		e := decoded[ride.Outstanding](rt, r)
		l.finish(rt, e.RideID, "outstanding")
		l.rides[e.RideID].credits += e.Receivable
		platform(l.rides[e.RideID], 1, e.Split)
	case "ride_cancelled":
		e := decoded[ride.Cancelled](rt, r)
		l.finish(rt, e.RideID, "cancelled")
		platform(l.rides[e.RideID], 1, e.Split)
	case "rider_no_show":
		e := decoded[ride.NoShow](rt, r)
		l.finish(rt, e.RideID, "cancelled")
		platform(l.rides[e.RideID], 1, e.Split)
	case "ride_unfulfilled":
		l.finish(rt, decoded[ride.Unfulfilled](rt, r).RideID, "unfulfilled")
	case "ride_refunded":
		e := decoded[ride.Refunded](rt, r)
		l.finish(rt, e.RideID, "refunded")
		platform(l.rides[e.RideID], -1, e.Split)
	}
}

// finish notes that a ride is over: once, but for the refund of a settled one
// and the debt of a cancelled one.
func (l *ledger) finish(rt *rapid.T, rideID, how string) {
	b := l.rides[rideID]
	switch b.finished + " " + how {
	case "settled refunded", "cancelled outstanding":
	default:
		require.Empty(rt, b.finished, "ride %s is %s", rideID, how)
	}
	b.finished = how
}
