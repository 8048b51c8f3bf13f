// Package process holds the sagas of a ride: what must happen because
// something happened, over aggregates that know nothing of each other.
//
//	ride_requested ▶ dispatch ▶ hold, offers, expiry
//	ride_accepted  ▶ pickup   ▶ late drivers, riders who do not come
//	trip_start     ▶ watchdog ▶ silent cars
//	trip_end       ▶ settlement ▶ fare, capture, card, earnings
//	ride_refunded  ▶ refund   ▶ wallet and claw-back
//	earnings_accrued ▶ payout ▶ the bank
//
// Each is a plain struct with a method per event, timer and rejection. A
// command that the aggregate finds stale is refused there; the sagas ignore
// such refusals, since the event that made it stale reaches them anyway.
package process
