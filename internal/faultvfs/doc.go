// Package faultvfs stands between SQLite and the operating system: it records
// what is done to files, and makes it fail. It is for tests alone.
//
// It is a VFS in C, beside the SQLite that mattn/go-sqlite3 links, which wraps
// that SQLite's own and passes everything on: reads and writes, locks, shared
// memory. Register makes it the default, so that files are opened through it
// by programs that know nothing of it; files that are open already stay where
// they are. The default is the whole process's: tests that register it do not
// run beside others.
//
// Record notes every write, truncate, sync, open, close and delete below a
// directory in one sequence, with what internal/disk does to the files beside
// SQLite, and with the marks that a test makes. internal/crashstates builds
// from that what a power cut leaves.
//
// Inject has operations fail: the n-th of a kind on a file, once, a few times
// or for ever, with an error of SQLite's or after half of a write.
//
// It exists on Linux with cgo only.
package faultvfs
