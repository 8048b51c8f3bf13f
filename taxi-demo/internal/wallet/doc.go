// Package wallet is a rider's money: a balance paid in beforehand, parts of it
// held for rides to come, and a card for what the balance does not cover.
//
//	hold ─┬▶ release
//	      └▶ capture ─▶ charge the rest to the card ─▶ refund
//
// The balance less what is held is never negative, and each step is taken once
// for a ride: the wallet remembers what it has done for each, and a repeated
// hold, release, capture or refund does nothing. A ride is captured whether it
// was held for or not, as far as the free balance goes. A refund is paid into
// the wallet, also what the card was charged.
//
// Whether a card is declined is known outside: the function asks and tells.
// Money is int64 cents.
package wallet
