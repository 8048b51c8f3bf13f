// Package chaos decides what goes wrong: for each ride a few kinds of
// disturbance, drawn from (seed, ride, purpose), so that equal seeds disturb
// equally, whatever the order of things and however often the host restarts.
package chaos

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Kinds of disturbance. Those of the first group end or change a ride and hit
// only generated ones; the others must not change a cent.
const (
	NobodyTakesIt     = "nobody_takes_it"     // every driver declines: no driver
	RiderCancelsFirst = "rider_cancels_first" // at once
	RiderCancelsEarly = "rider_cancels_early" // while the ride is offered
	RiderCancelsLate  = "rider_cancels_late"  // while the driver is on the way
	RiderCancelsAtCar = "rider_cancels_at_car"
	DriverCancels     = "driver_cancels" // on the way, for good
	DriverCancelsThen = "driver_cancels_at_pickup"
	NoShow            = "no_show"
	WalletShort       = "wallet_short"
	CardDeclined      = "card_declined" // for good: outstanding
	CarVanishes       = "car_vanishes"  // no telemetry any more: flagged
	RefundAsked       = "refund_asked"

	Declines        = "offer_declined"
	Ignores         = "offer_ignored" // the offer expires
	AnswersLate     = "answers_late"  // accepts when another driver is asked: a race
	DriverLate      = "driver_late"   // loses the ride to another
	DriverGivesBack = "driver_gives_back"
	CardStumbles    = "card_stumbles" // declined once, then fine
	Duplicates      = "telemetry_duplicated"
	Reorders        = "telemetry_reordered"
	ComesLate       = "telemetry_late"
	Loses           = "telemetry_lost" // in transit, resent before the trip closes
	SaysTwice       = "command_duplicated"
	Poison          = "poison_receipt"
)

// ending and recoverable list the kinds with their weight in per mille of the
// rides at level 100.
var (
	ending = []draw{
		{NobodyTakesIt, 40}, {RiderCancelsFirst, 40}, {RiderCancelsEarly, 40}, {RiderCancelsLate, 40}, {RiderCancelsAtCar, 40},
		{DriverCancels, 40}, {DriverCancelsThen, 40}, {NoShow, 40}, {WalletShort, 40},
		{CardDeclined, 40}, {CarVanishes, 40}, {RefundAsked, 40},
	}
	recoverable = []draw{
		{Declines, 150}, {Ignores, 100}, {AnswersLate, 60}, {DriverLate, 40}, {DriverGivesBack, 40},
		{CardStumbles, 80}, {Duplicates, 150}, {Reorders, 150}, {ComesLate, 100}, {Loses, 150},
		{SaysTwice, 100}, {Poison, 20},
	}
)

type draw struct {
	kind     string
	perMille uint64
}

// MaxLevel is the level at which every kind has its full share of the rides.
const MaxLevel = 100

// Config is a seeded level of chaos. The zero value disturbs nothing.
type Config struct {
	Seed  uint64 `json:"seed"`
	Level int    `json:"level"` // 0 to MaxLevel
}

// Plan returns what will go wrong with a ride: at most one kind that ends it,
// and none of those where the trip is real.
func (c Config) Plan(rideID string, realTrip bool) []string {
	var kinds []string
	if !realTrip {
		// One draw for all of them, so that they exclude each other.
		at := c.Roll(rideID, "ending") % 1000
		for _, d := range ending {
			share := d.perMille * uint64(c.Level) / MaxLevel
			if at < share {
				kinds = append(kinds, d.kind)
				break
			}
			at -= share
		}
	}
	for _, d := range recoverable {
		if c.Roll(rideID, d.kind)%1000 < d.perMille*uint64(c.Level)/MaxLevel {
			kinds = append(kinds, d.kind)
		}
	}
	return kinds
}

// Ends tells whether a kind ends a ride or changes what it costs.
func Ends(kind string) bool {
	return slices.ContainsFunc(ending, func(d draw) bool { return d.kind == kind })
}

// Roll returns a number drawn from (seed, entity, purpose).
func (c Config) Roll(entity, purpose string) uint64 { return Roll(c.Seed, entity, purpose) }

// Roll returns a number drawn from (seed, entity, purpose).
func Roll(seed uint64, entity, purpose string) uint64 {
	h := sha256.New()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seed)
	h.Write(b[:])
	h.Write([]byte(entity))
	h.Write([]byte{0})
	h.Write([]byte(purpose))
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// Bank refuses payouts: about 1 attempt in 10 at full level, so that a few
// drivers' payouts are refused until a person has to look.
type Bank struct{ Config }

// Refuses tells whether the bank refuses an attempt to pay a driver.
func (b Bank) Refuses(driverID string, attempt int) bool {
	stubborn := b.Roll(driverID, "bank")%1000 < 30*uint64(b.Level)/MaxLevel
	once := b.Roll(driverID, "bank once")%1000 < 80*uint64(b.Level)/MaxLevel
	return stubborn || once && attempt == 1
}

// Card declines charges as planned for the ride.
type Card struct{ Config }

// Declines tells whether the card is declined at an attempt, from 1.
func (c Card) Declines(rideID string, attempt int) bool {
	plan := c.Plan(rideID, false)
	return slices.Contains(plan, CardDeclined) || attempt == 1 && slices.Contains(plan, CardStumbles)
}
