// Package earnings is what a driver has earned and been paid.
//
// A ride is accrued once and taken back once at most. Payouts are numbered
// batches, one open at a time: it is closed by a payout or by handing it to a
// person, and what was not paid is due with the next. No more is ever paid
// than was accrued; a ride taken back after its payout is made up for by the
// rides to come.
//
// Whether the bank refuses is known outside: the function asks and tells.
// Money is int64 cents.
package earnings
