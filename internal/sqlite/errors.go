package sqlite

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

func code(err error) (sqlite3.ErrNo, sqlite3.ErrNoExtended) {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code, e.ExtendedCode
	}
	return 0, 0
}

// IsBusy tells whether another connection or process held a lock too long.
func IsBusy(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrBusy || c == sqlite3.ErrLocked
}

// IsFull tells whether the disk is full. What was being written is undone.
func IsFull(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrFull
}

// IsNotDatabase tells whether the file is no SQLite database.
func IsNotDatabase(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrNotADB
}

// IsCorrupt tells whether the file is damaged.
func IsCorrupt(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrCorrupt || c == sqlite3.ErrNotADB
}

// IsUnreadable tells whether SQLite can make nothing of the file, which may end
// within a page, or of what it is told to do with it: of a statement that fits
// the schema, that is the file as well.
func IsUnreadable(err error) bool {
	c, extended := code(err)
	return IsCorrupt(err) || c == sqlite3.ErrError || c == sqlite3.ErrFormat || extended == sqlite3.ErrIoErrShortRead
}

// IsIO tells whether the operating system refused a read, write or sync.
func IsIO(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrIoErr || c == sqlite3.ErrCantOpen
}

// IsConstraint tells whether a UNIQUE, CHECK or other constraint refused a row.
func IsConstraint(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrConstraint
}

// IsMemory tells whether memory ran out, or a row was too big for SQLite.
func IsMemory(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrNomem || c == sqlite3.ErrTooBig
}

// IsTooBig tells whether a row, value or statement is over a limit.
func IsTooBig(err error) bool {
	c, _ := code(err)
	return c == sqlite3.ErrTooBig
}
