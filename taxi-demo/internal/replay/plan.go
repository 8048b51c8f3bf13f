package replay

import (
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// Pricing says where the fare of a ride comes from.
type Pricing string

// The ways to price a ride.
const (
	Metered Pricing = "metered" // from telemetry, by the meter
	Flat    Pricing = "flat"    // the tariff's flat fare
	Agreed  Pricing = "agreed"  // agreed before the ride: the recorded fare
)

// A Plan is all that has to be known to drive a recorded trip again. It is
// fixed before the ride starts.
//
// A plan does not hold the recorded fare of a metered or flat ride: whoever
// drives and charges the ride must not be able to see it.
type Plan struct {
	tlc.Verdict
	Pricing Pricing `json:"pricing,omitempty"` // empty when not driven
	Agreed  int64   `json:"agreed,omitempty"`  // cents, with Agreed only
	Profile Profile `json:"profile,omitzero"`  // empty when not driven
}

// NewPlan classifies a trip and solves its profile, by the tariff that was in
// force when it started. A trip of class meter whose fare no meter reaches
// becomes meter_unreachable and rides with the recorded fare as agreed fare,
// like all others that are neither metered nor flat.
func NewPlan(t tlc.Trip, tariffs []meter.Tariff) Plan {
	plan := Plan{Verdict: tlc.Classify(t, tariffs)}
	if !plan.Driven {
		return plan
	}
	if plan.Class == tlc.ClassMeter {
		tariff, _ := meter.InForce(tariffs, t.Pickup)
		profile, err := Solve(tariff, t)
		if err == nil {
			plan.Pricing, plan.Profile = Metered, profile
			return plan
		}
		plan.Class, plan.Reason = tlc.ClassMeterUnreachable, tlc.ReasonUnreachable
	}
	plan.Profile = Constant(t.Distance, t.Duration())
	if plan.Class == tlc.ClassJFKFlat {
		plan.Pricing = Flat
		return plan
	}
	plan.Pricing, plan.Agreed = Agreed, t.Fare
	return plan
}
