package functions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tariff"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

var (
	someRides   = []string{"r0", "r1", "r2"}
	someRiders  = []string{"p0", "p1"}
	someDrivers = fleet{"d0", "d1", "d2"}
)

// moody is a card and a bank that say what the test drew last.
type moody struct{ no bool }

func (m *moody) Declines(string, int) bool { return m.no }
func (m *moody) Refuses(string, int) bool  { return m.no }

// world is a town to which anything may happen in any order.
type world struct {
	f        *Functions
	store    *memory.Store
	mood     *moody
	commands int
	ledger   ledger
}

// Whatever is asked, in whatever order and however often: refused or done, but
// never in part.
func TestNoOrderOfCommandsBreaksALaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		defer func() { require.NoError(rt, w.store.Close()) }()
		actions := w.actions()
		names := slices.Sorted(maps.Keys(actions))
		for range rapid.IntRange(40, 120).Draw(rt, "commands") {
			if rapid.SampledFrom([]bool{true, true, true, false}).Draw(rt, "as it should be") {
				w.liveOn(rt, drawRide(rt))
			} else {
				actions[rapid.SampledFrom(names).Draw(rt, "action")](rt)
			}
			w.check(rt)
		}

		w.mood.no = false
		for range 10 {
			for _, id := range someRides {
				w.settleOneStep(rt, id)
			}
		}
		w.check(rt)
		for id, b := range w.ledger.rides {
			require.Equal(rt, b.credits, b.debits, "the money of ride %s", id)
		}
	})
}

func newWorld(rt *rapid.T) *world {
	w := &world{store: memory.New(nil), mood: &moody{}, ledger: newLedger()}
	w.f = New(w.store, Deps{Nearest: someDrivers.nearest, Card: w.mood, Bank: w.mood})
	for _, tr := range meter.Tariffs() {
		w.do(rt, func(ctx context.Context) error {
			_, err := w.f.PublishTariff(ctx, tariff.Publish{Tariff: tr})
			return err
		})
	}
	return w
}

// do carries a command out, now and then twice. It may be refused.
func (w *world) do(rt *rapid.T, fn func(context.Context) error) {
	w.commands++
	id := fmt.Sprintf("c%d", w.commands)
	first := fn(command(context.Background(), id))
	requireRefusal(rt, first)
	if !rapid.SampledFrom([]bool{true, false, false, false}).Draw(rt, "repeat") {
		return
	}
	head, err := w.store.Head(context.Background())
	require.NoError(rt, err)
	again := fn(command(context.Background(), id))
	require.Equal(rt, first == nil, again == nil, "%v, then %v", first, again)
	after, err := w.store.Head(context.Background())
	require.NoError(rt, err)
	require.Equal(rt, head, after, "a repeated command stores nothing")
}

func requireRefusal(rt *rapid.T, err error) {
	var refusal *aggregate.Rejection
	if err != nil && !errors.As(err, &refusal) {
		require.NoError(rt, err)
	}
}

// act returns an action that carries out a command of a drawn payload.
func act[C any](w *world, draw func(*rapid.T) C, fn func(context.Context, C) (eventstore.Commit, error)) func(*rapid.T) {
	return func(rt *rapid.T) {
		c := draw(rt)
		w.do(rt, func(ctx context.Context) error {
			_, err := fn(ctx, c)
			return err
		})
	}
}

func drawRide(rt *rapid.T) string   { return rapid.SampledFrom(someRides).Draw(rt, "ride") }
func drawRider(rt *rapid.T) string  { return rapid.SampledFrom(someRiders).Draw(rt, "rider") }
func drawDriver(rt *rapid.T) string { return rapid.SampledFrom(someDrivers).Draw(rt, "driver") }
func drawOffer(rt *rapid.T) int     { return rapid.SampledFrom([]int{1, 2, 3}).Draw(rt, "offer") }

func drawTip(rt *rapid.T) int64 { return rapid.Int64Range(-1, 500).Draw(rt, "tip") }

func drawUnits(rt *rapid.T) meter.Units {
	return meter.Units(rapid.Int64Range(0, 60*int64(meter.Unit)).Draw(rt, "units"))
}

// theDriver draws the ride's driver mostly, another one now and then.
func (w *world) theDriver(rt *rapid.T, rideID string) string {
	r, _, err := w.f.rides.Load(context.Background(), rideID)
	require.NoError(rt, err)
	if r.DriverID != "" && rapid.SampledFrom([]bool{true, true, true, false}).Draw(rt, "right") {
		return r.DriverID
	}
	return drawDriver(rt)
}

func (w *world) actions() map[string]func(*rapid.T) {
	f := w.f
	return map[string]func(*rapid.T){
		"online": act(w, func(rt *rapid.T) driver.GoOnline {
			return driver.GoOnline{DriverID: drawDriver(rt), Zone: rapid.IntRange(0, 2).Draw(rt, "zone")}
		}, f.GoOnline),
		"offline": act(w, func(rt *rapid.T) driver.GoOffline { return driver.GoOffline{DriverID: drawDriver(rt)} }, f.GoOffline),
		"request": act(w, func(rt *rapid.T) RequestTrip {
			c := rideOf(drawRide(rt), drawRider(rt))
			c.TopUp = rapid.Int64Range(0, 3000).Draw(rt, "top up")
			c.DriverID = drawDriver(rt)
			c.Requested.Terms.Code = rapid.SampledFrom([]meter.RateCode{meter.Standard, meter.JFK, meter.Newark, meter.Negotiated}).Draw(rt, "code")
			c.Requested.Agreed = rapid.SampledFrom([]int64{0, 0, 4321}).Draw(rt, "agreed")
			return c
		}, f.RequestTrip),
		"offer": act(w, func(rt *rapid.T) ride.Offer { return ride.Offer{RideID: drawRide(rt), Zone: drawOffer(rt)} }, f.OfferRide),
		"decline": act(w, func(rt *rapid.T) ride.Decline {
			id := drawRide(rt)
			return ride.Decline{RideID: id, Offer: drawOffer(rt), DriverID: w.theDriver(rt, id)}
		}, f.DeclineOffer),
		"expire": act(w, func(rt *rapid.T) ride.Expire { return ride.Expire{RideID: drawRide(rt), Offer: drawOffer(rt)} }, f.ExpireOffer),
		"accept": act(w, func(rt *rapid.T) ride.Accept {
			id := drawRide(rt)
			return ride.Accept{RideID: id, Offer: drawOffer(rt), DriverID: w.theDriver(rt, id)}
		}, f.AcceptRide),
		"unassign": act(w, func(rt *rapid.T) ride.Unassign {
			id := drawRide(rt)
			return ride.Unassign{RideID: id, DriverID: w.theDriver(rt, id), Reason: rapid.SampledFrom([]string{ride.Late, ride.ByDriver}).Draw(rt, "reason")}
		}, f.UnassignRide),
		"arrive": act(w, func(rt *rapid.T) ride.Arrive {
			id := drawRide(rt)
			return ride.Arrive{RideID: id, DriverID: w.theDriver(rt, id)}
		}, f.Arrive),
		"start": act(w, func(rt *rapid.T) ride.Start {
			id := drawRide(rt)
			return ride.Start{RideID: id, DriverID: w.theDriver(rt, id), At: start}
		}, f.StartTrip),
		"end":    act(w, func(rt *rapid.T) ride.End { return ride.End{RideID: drawRide(rt), Tip: drawTip(rt)} }, f.EndTrip),
		"adjust": w.adjust,
		"fare": act(w, func(rt *rapid.T) ride.CalculateFare {
			return ride.CalculateFare{RideID: drawRide(rt), Units: drawUnits(rt)}
		}, f.CalculateFare),
		"cancel": act(w, func(rt *rapid.T) ride.Cancel {
			return ride.Cancel{RideID: drawRide(rt), By: rapid.SampledFrom([]string{ride.ByRider, ride.ByDriver}).Draw(rt, "by")}
		}, f.CancelRide),
		"no show": act(w, func(rt *rapid.T) ride.MarkNoShow { return ride.MarkNoShow{RideID: drawRide(rt)} }, f.MarkNoShow),
		"unfulfilled": act(w, func(rt *rapid.T) ride.MarkUnfulfilled {
			return ride.MarkUnfulfilled{RideID: drawRide(rt), Reason: ride.NoDriver}
		}, f.MarkUnfulfilled),
		"hold": act(w, func(rt *rapid.T) wallet.Hold {
			return wallet.Hold{RiderID: drawRider(rt), RideID: drawRide(rt), Amount: rapid.Int64Range(-1, 2000).Draw(rt, "amount")}
		}, f.HoldFunds),
		"release": act(w, func(rt *rapid.T) wallet.ReleaseHold {
			return wallet.ReleaseHold{RiderID: drawRider(rt), RideID: drawRide(rt)}
		}, f.ReleaseHold),
		"settle": func(rt *rapid.T) {
			w.mood.no = rapid.Bool().Draw(rt, "no")
			w.settleOneStep(rt, drawRide(rt))
		},
		"refund": act(w, func(rt *rapid.T) ride.Refund { return ride.Refund{RideID: drawRide(rt)} }, f.RefundRide),
		"pay out": func(rt *rapid.T) {
			w.mood.no = rapid.Bool().Draw(rt, "no")
			c := earnings.PayOut{DriverID: drawDriver(rt), Batch: drawOffer(rt), Attempt: drawOffer(rt)}
			w.do(rt, func(ctx context.Context) error { _, err := f.PayOut(ctx, c); return err })
		},
		"flag": act(w, func(rt *rapid.T) earnings.FlagPayout {
			return earnings.FlagPayout{DriverID: drawDriver(rt), Batch: drawOffer(rt)}
		}, f.FlagPayout),
	}
}

// liveOn takes the next step of a ride that nothing happens to.
func (w *world) liveOn(rt *rapid.T, id string) {
	r, _, err := w.f.rides.Load(context.Background(), id)
	require.NoError(rt, err)
	w.do(rt, func(ctx context.Context) error {
		var err error
		switch r.Status {
		case "":
			c := rideOf(id, someRiders[0])
			c.TopUp, c.DriverID = rapid.SampledFrom([]int64{0, 500, 1500}).Draw(rt, "top up"), someDrivers[0]
			_, err = w.f.RequestTrip(ctx, c)
		case ride.StatusRequested:
			_, err = w.f.OfferRide(ctx, ride.Offer{RideID: id, Zone: 1})
		case ride.StatusOffered:
			_, err = w.f.AcceptRide(ctx, ride.Accept{RideID: id, Offer: r.Offers, DriverID: r.DriverID})
		case ride.StatusAccepted:
			_, err = w.f.Arrive(ctx, ride.Arrive{RideID: id, DriverID: r.DriverID})
		case ride.StatusArrived:
			_, err = w.f.StartTrip(ctx, ride.Start{RideID: id, DriverID: r.DriverID, At: start})
		case ride.StatusDriving:
			_, err = w.f.EndTrip(ctx, ride.End{RideID: id, Tolls: 576, Tip: 123})
		case ride.StatusEnded:
			_, err = w.f.CalculateFare(ctx, ride.CalculateFare{RideID: id, Units: 12 * meter.Unit})
		}
		return err
	})
	w.mood.no = rapid.Bool().Draw(rt, "no")
	w.settleOneStep(rt, id)
}

// adjust corrects a fare, whatever has become of it meanwhile.
func (w *world) adjust(rt *rapid.T) {
	c := ride.AdjustFare{RideID: drawRide(rt), Units: drawUnits(rt)}
	w.do(rt, func(ctx context.Context) error { _, err := w.f.AdjustFare(ctx, c); return err })
}

// settleOneStep does what the settlement and refund sagas would do next.
func (w *world) settleOneStep(rt *rapid.T, id string) {
	ctx := context.Background()
	r, _, err := w.f.rides.Load(ctx, id)
	require.NoError(rt, err)
	purse, _, err := w.f.wallets.Load(ctx, r.RiderID)
	require.NoError(rt, err)
	account, _, err := w.f.accounts.Load(ctx, r.DriverID)
	require.NoError(rt, err)
	p, earned := purse.Rides[id], account.Rides[id]
	_, accrued := account.Rides[id]
	due := r.Status == ride.StatusDue || r.Status == ride.StatusCancelled && r.Split.Total() > 0
	w.do(rt, func(ctx context.Context) error {
		var err error
		switch {
		case r.Status == ride.StatusRefunded && p.Stage != wallet.PaidBack:
			_, err = w.f.RefundWallet(ctx, wallet.Refund{RiderID: r.RiderID, RideID: id})
		case r.Status == ride.StatusRefunded && !earned.ClawedBack:
			_, err = w.f.ClawBackEarnings(ctx, earnings.ClawBack{DriverID: r.DriverID, RideID: id})
		case r.Status == ride.StatusFared:
			_, err = w.f.CloseFare(ctx, ride.CloseFare{RideID: id})
		case !due:
		case p.Stage != wallet.Paid:
			_, err = w.f.CaptureFunds(ctx, wallet.Capture{RiderID: r.RiderID, RideID: id, Amount: r.Split.Total()})
		case p.Rest > 0 && p.Attempt < 4:
			_, err = w.f.ChargeCard(ctx, wallet.Charge{RiderID: r.RiderID, RideID: id, Amount: p.Rest, Attempt: p.Attempt + 1})
		case !accrued:
			_, err = w.f.AccrueEarnings(ctx, earnings.Accrue{
				DriverID: r.DriverID, RideID: id, Net: r.Split.DriverNet, Tip: r.Split.Tip, Tolls: r.Split.Tolls,
			})
		case p.Rest > 0:
			_, err = w.f.MarkOutstanding(ctx, ride.MarkOutstanding{RideID: id, Receivable: p.Rest})
		case r.Status == ride.StatusDue:
			_, err = w.f.SettleRide(ctx, ride.Settle{RideID: id})
		}
		return err
	})
}

func (w *world) check(rt *rapid.T) {
	w.ledger.read(rt, w.store)
	requireConsistent(rt, w.f, someRides, someDrivers)
}
