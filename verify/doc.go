// Package verify tells whether a store is as it was written, for any store
// directory and without the program that made it.
//
//	report, err := verify.Dir(ctx, "taxi-data")
//	if err != nil {
//		return err // it could not look
//	}
//	for _, f := range report.Findings {
//		fmt.Println(f) // file, place, what is wrong, what to do
//	}
//
// It checks the log (hash chains of events and batch IDs, dense versions and
// positions, epochs, the witness, snapshots), every database of the directory
// (SQLite's own check, its format and schema, and what its rows say of one
// another), and the checkpoint of every consumer against the log.
//
// # It never changes what it looks at
//
// Where somebody owns the store it reads beside the owner, read-only, through
// SQLite, and holds up nobody; of the files only the -shm of a write-ahead log
// changes, in which every reader leaves its mark. The check of a large file is
// one long read, and keeps that file's write-ahead log from being reset for as
// long.
//
// Where nobody owns it, it works on a private copy of the whole directory,
// write-ahead logs included, since opening the original would move them. The
// copy takes as much room as the store, in the directory for temporary files
// (TMPDIR), and is removed again. While it is made owners are refused with
// eventstore.ErrInUse. Neither a byte nor a time nor an entry of the original
// changes; it may be on a read-only file system.
//
// # What it does not find
//
// Somebody who recomputes the whole chain and the witness. A directory that
// was put back as a whole to what it was before. What was appended after the
// last witness, at most a second before a power cut, and then lost. Rows of
// read models that are wrong but well-formed: rebuild them. Read models that
// no pointer names. The files of a host whose Options.Dir is another directory.
package verify
