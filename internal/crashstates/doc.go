// Package crashstates builds what a disk may hold after the power went out,
// from a recording of what was done to the files (internal/faultvfs).
//
// The disk that it assumes is an honest and unkind one.
//
// Honest: a sync that succeeded made durable what was written to that file
// before it began. Nothing else does: no time, no later write, not the sync
// of another file.
//
// Unkind: of everything that was not synced any subset is there. Each write
// may be there, or not, or torn: cut off at any byte, or some of its sectors
// of 512 bytes or blocks of 4 KiB kept and others not. A file that was to grow
// may have grown without its data, which is then zeros. A truncate may be
// there or not. That a file was created, deleted or renamed may be there or
// not, each by itself, until its directory is synced; the sync of a file does
// not make its name durable. A rename is whole: a name never disappears
// because of one. Writes that a sync was to make durable which then failed are
// as unkind as Linux is: a later sync that succeeds says nothing about them.
// What overwrites them is another write.
//
// Not assumed: that a sector is written whole, that writes reach the disk in
// their order, that the size of a file and its data agree.
//
// Assumed, as SQLite does on every system of today ("powersafe overwrite"):
// that a write does not damage bytes beside those it writes. Bytes that are
// wrong without having been written are damage, not a power cut; package
// verify has experiments of its own for those.
//
// The shared-memory file beside a database in WAL mode is not durable: states
// have none, or one full of noise.
//
// Files that nobody tells of (a lock file, one that was removed by other means
// than SQLite) are not modelled: the first is missing, the second still there.
package crashstates
