package views

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

const counterSchema = `
	CREATE TABLE counter (
		name TEXT PRIMARY KEY,
		n    INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`

func add(tx *projection.Tx, name string, n int64) error {
	return exec(tx, `
		INSERT INTO counter (name, n)
		VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET n = n + excluded.n`,
		name, n)
}

// counts binds an event type to the counters that it adds one to.
func counts[E eventstore.Event](name func(E) string) projection.Option {
	return projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[E]) error {
		if n := name(e.Payload); n != "" {
			return add(tx, n, 1)
		}
		return nil
	})
}

func always[E eventstore.Event](name string) func(E) string { return func(E) string { return name } }

func when[E eventstore.Event](name string, holds func(E) bool) func(E) string {
	return func(e E) string {
		if holds(e) {
			return name
		}
		return ""
	}
}

// Funnel counts how far rides come.
var Funnel = projection.Define("funnel", 1, counterSchema,
	counts(always[ride.Requested]("requested")),
	counts(always[ride.Offered]("offered")),
	counts(always[ride.Accepted]("accepted")),
	counts(always[ride.Arrived]("arrived")),
	counts(always[ride.Started]("started")),
	counts(always[ride.Ended]("ended")),
	counts(always[ride.FareCalculated]("fared")),
	counts(always[ride.Settled]("settled")),
)

// Branches counts how often each way that a ride can go wrong was taken.
var Branches = projection.Define("branches", 1, counterSchema,
	counts(always[ride.OfferDeclined]("offer_declined")),
	counts(always[ride.OfferExpired]("offer_expired")),
	counts(func(e ride.Unfulfilled) string { return e.Reason }),
	counts(func(e ride.Cancelled) string { return e.By + "_cancelled_" + string(e.Stage) }),
	counts(always[ride.NoShow]("no_show")),
	counts(func(e ride.Unassigned) string {
		if e.Reason == ride.Late {
			return "driver_late"
		}
		return "driver_gave_back"
	}),
	counts(always[ride.SignalLost]("signal_lost")),
	counts(when("trip_flagged", func(e ride.Ended) bool { return e.Flagged })),
	counts(always[ride.FareAdjusted]("fare_adjusted")),
	counts(func(e ride.Outstanding) string {
		if e.Split.Total() == 0 {
			return "fee_outstanding"
		}
		return "card_declined_for_good"
	}),
	counts(always[ride.Refunded]("refunded")),
	counts(when("card_declined_then_fine", func(e wallet.Charged) bool { return e.Attempt > 1 })),
	counts(func(e telemetry.Recorded) string {
		switch {
		case e.Reordered:
			return "telemetry_reordered"
		case e.Duplicates > 0:
			return "telemetry_duplicated"
		}
		return ""
	}),
	counts(always[telemetry.Repeated]("telemetry_duplicated")),
	counts(always[telemetry.Late]("telemetry_late")),
	counts(always[earnings.PayoutFailed]("payout_failed")),
	counts(always[earnings.PayoutFlagged]("payout_for_a_person")),
	counts(func(e trip.Disturbed) string { return e.Kind }),
)

// KPIs adds up what a manager asks for.
var KPIs = projection.Define("kpis", 1, counterSchema,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareClosed]) error {
		if err := add(tx, "fares", 1); err != nil {
			return err
		}
		return add(tx, "fare_cents", e.Payload.Split.Total())
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[telemetry.Closed]) error {
		return add(tx, "telemetry_points", int64(e.Payload.Points))
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.PaidOut]) error {
		return add(tx, "paid_out_cents", e.Payload.Amount)
	}),
)
