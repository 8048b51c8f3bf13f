// Package ride is one rider's ride, from the request to the last cent.
//
//	requested ⇄ offered → accepted → arrived → driving → ended → fared ─┬▶ settled → refunded
//	    ▲                     │         │                               └▶ outstanding
//	    └── unassigned ───────┴─────────┘
//
// Until the trip starts a ride can be cancelled, and until it is accepted it
// can end unfulfilled. A rider who does not come cancels it too.
//
// What the aggregate holds to:
//
//   - There is one open offer at most. Only the driver it was made to can
//     accept it, once, and before it expired.
//   - Only the assigned driver arrives and starts; a trip ends once.
//   - A ride has one fare, and its split among driver, platform, authorities and
//     toll roads always adds up to the bill.
//   - A finished ride stays finished: settled, outstanding, cancelled,
//     unfulfilled and refunded admit nothing but the refund of a settled ride,
//     and the debt for the fee of a cancelled one.
//   - A command that comes too late is refused, never reinterpreted.
//
// That the driver is reserved and released together with the ride is the
// business of the functions, which write both streams in one batch. How a
// ride is driven and paid is not known here: see the packages process and
// agents.
//
// Money is int64 cents.
package ride
