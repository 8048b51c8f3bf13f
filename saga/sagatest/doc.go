// Package sagatest tests saga definitions: events and time in, commands and
// timers out.
//
//	sagatest.New(t, Dispatch).
//		When(RideRequested{RideID: "1", Quote: 1000}).
//		Sent(PlaceHold{RideID: "1", Amount: 1200}).
//		TimerSet("offer", 15*time.Second).
//		Advance(16*time.Second).
//		Sent(ExpireOffer{RideID: "1"}).
//		Reject(PlaceHold{RideID: "1", Amount: 1200}, "wallet_short").
//		Compensated()
//
// A script runs on the real engine, over a log in memory and a clock that
// stands still but for Advance. Nothing carries commands out: each stays in
// flight until Done or Reject. A handler that fails parks its instance at
// once, and unless Parked asks for that, it fails the test.
//
// Crash repeats a script with the engine killed at every boundary of its steps.
// ReplayJournal runs changed definitions on what a store has recorded.
// docs/sagas.md has all of it with its code.
package sagatest
