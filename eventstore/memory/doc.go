// Package memory is the reference model of the log: it keeps everything in
// slices and maps under one mutex, and defines what the clauses of the
// eventstore contract mean. Every other engine must answer as it does; the
// package storetest holds both to that.
//
//	store := memory.New(nil)
//	defer store.Close()
//
// It serves tests, examples and scratch work. It is complete in its semantics
// but for one thing: nothing outlives Close, and every store is a log of its
// own, with an epoch of its own.
package memory
