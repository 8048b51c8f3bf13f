package views

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// Money adds up both sides of every ride from events that do not know of each
// other: what riders were charged (wallets) and still owe (rides), against
// what drivers got (earnings) and the platform keeps or passes on (rides). Once
// nothing is under way the two sides are equal to the cent, or something was
// lost or done twice.
var Money = projection.Define("money", 1, `
	CREATE TABLE account (
		name  TEXT PRIMARY KEY,
		cents INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Captured]) error {
		return post(tx, "charged", e.Payload.Amount)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Charged]) error {
		return post(tx, "charged", e.Payload.Amount)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Refunded]) error {
		return post(tx, "charged", -e.Payload.Amount)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.Accrued]) error {
		return postEarnings(tx, 1, e.Payload.Net, e.Payload.Tip, e.Payload.Tolls)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.ClawedBack]) error {
		return postEarnings(tx, -1, e.Payload.Net, e.Payload.Tip, e.Payload.Tolls)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Settled]) error {
		return postPlatform(tx, 1, e.Payload.Split)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Outstanding]) error {
		if err := post(tx, "receivable", e.Payload.Receivable); err != nil {
			return err
		}
		return postPlatform(tx, 1, e.Payload.Split)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Cancelled]) error {
		return postPlatform(tx, 1, e.Payload.Split)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.NoShow]) error {
		return postPlatform(tx, 1, e.Payload.Split)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Refunded]) error {
		return postPlatform(tx, -1, e.Payload.Split)
	}),
)

func post(tx *projection.Tx, account string, cents int64) error {
	if cents == 0 {
		return nil
	}
	return exec(tx, `
		INSERT INTO account (name, cents)
		VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET cents = cents + excluded.cents`,
		account, cents)
}

func postEarnings(tx *projection.Tx, sign, net, tip, tolls int64) error {
	if err := post(tx, "driver_net", sign*net); err != nil {
		return err
	}
	if err := post(tx, "tips", sign*tip); err != nil {
		return err
	}
	return post(tx, "tolls", sign*tolls)
}

func postPlatform(tx *projection.Tx, sign int64, s ride.Split) error {
	if err := post(tx, "platform_fee", sign*s.PlatformFee); err != nil {
		return err
	}
	return post(tx, "taxes", sign*s.Taxes)
}
