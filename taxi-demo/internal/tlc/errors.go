package tlc

import (
	"errors"
	"strconv"
	"strings"
)

// Sentinels that classify a [FileError].
var (
	// ErrNotTripRecords: the file is not CSV or Parquet, or none of its columns
	// is a trip record's.
	ErrNotTripRecords = errors.New("tlc: not a trip record file")
	// ErrLayout: the file is a table, but columns are missing.
	ErrLayout = errors.New("tlc: unknown layout")
	// ErrTruncated: the file ends too early, as a broken download does.
	ErrTruncated = errors.New("tlc: truncated file")
	// ErrEmpty: the file has no bytes, or no rows.
	ErrEmpty = errors.New("tlc: empty file")
	// ErrDamaged: the structure of the file is broken at some place: a row of
	// too few or too many cells, a bad checksum, an undecodable page.
	ErrDamaged = errors.New("tlc: damaged file")
)

// FileError says in one line which file cannot be read, where, why, and what to
// do. Errors of the operating system (a missing file) are not FileErrors.
type FileError struct {
	Path    string
	Line    int64 // line of the text, or row of the Parquet file; 0 when it is the whole file
	Problem string
	Advice  string
	kind    error
	cause   error
}

// Error implements error.
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString("tlc: ")
	b.WriteString(e.Path)
	if e.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.FormatInt(e.Line, 10))
	}
	b.WriteString(": ")
	b.WriteString(e.Problem)
	if e.cause != nil {
		b.WriteString(" (")
		b.WriteString(strings.ReplaceAll(e.cause.Error(), "\n", " "))
		b.WriteByte(')')
	}
	if e.Advice != "" {
		b.WriteString("; ")
		b.WriteString(e.Advice)
	}
	return b.String()
}

// Unwrap returns the sentinel that classifies the error, and its cause if any.
func (e *FileError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

const (
	adviceSource   = "expected a yellow or green trip record file of the NYC TLC, as CSV, gzipped CSV or Parquet"
	adviceDownload = "download the file again"
)
