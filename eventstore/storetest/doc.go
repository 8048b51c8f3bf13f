// Package storetest holds every engine to the contract of the log: one clause
// for each promise of package eventstore, each a subtest whose name is the
// sentence it checks.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, storetest.Engine{
//			Open:   openInNewDirectory,
//			Reopen: openSameDirectory, // nil: nothing outlives Close
//			Check:  verifyWholeFile,   // nil: there is nothing to verify
//		})
//	}
//
// RunRandom performs random operations on an engine and on a model, usually
// package memory, and compares every answer. Its seeds are in the names of its
// subtests, so that -run repeats one that failed.
//
// What it cannot see from outside stays with the engine's own tests: what
// survives a kill or the loss of power, what a full queue does, how damage is
// found.
package storetest
