package tlc

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
	"time"
)

// rowReader is what both formats come down to.
type rowReader interface {
	// trip overwrites t with the row after t.Row; io.EOF at the end.
	trip(t *Trip) error
	close()
}

func (s *source) rows() (rowReader, error) {
	if s.format == FormatParquet {
		r, err := newParquet(s)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	r, err := newCSV(s)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Trips yields the rows of a file in their order, or one error and then nothing
// more: a [FileError], or what the operating system says. The layout is checked
// before the first trip. The file is opened when the range begins and closed
// when it ends; every range reads it from the start, and ranges may run
// concurrently.
//
// Run [Check] first where nothing may be changed by a file that is broken
// further down.
func Trips(path string) iter.Seq2[Trip, error] {
	return func(yield func(Trip, error) bool) {
		src, err := openSource(path, nil)
		if err != nil {
			yield(Trip{}, err)
			return
		}
		defer src.close()
		rows, err := src.rows()
		if err != nil {
			yield(Trip{}, err)
			return
		}
		defer rows.close()
		var t Trip
		for {
			err := rows.trip(&t)
			if errors.Is(err, io.EOF) {
				if t.Row == 0 {
					yield(Trip{}, src.noRows())
				}
				return
			}
			if err != nil {
				yield(Trip{}, err)
				return
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}

func (s *source) noRows() error {
	return s.fail(ErrEmpty, 0, "there is a header, but no row", adviceDownload, nil)
}

// Info is what [Check] found out about a file.
type Info struct {
	Path   string `json:"path"`
	Format Format `json:"format"`
	Color  Color  `json:"color"` // by the column names; the rows of a mixed file say their own
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the file as it is, in hexadecimal: the identity of its contents
}

// trialRows is how many rows Check reads as trips.
const trialRows = 1000

// Check reads a whole file without delivering anything: its layout, that its
// first rows can be understood, and its structure to the end. A gzip file is
// decompressed to its checksum and every CSV row has its cells counted; of a
// Parquet file the footer, the schema and the first rows are read. A file that
// passes can be imported from end to end, unless it changes or a Parquet page
// in the middle is damaged.
//
// It takes about as long as the disk and one core allow: some 200 MB/s of text.
func Check(path string) (Info, error) {
	if err := trial(path); err != nil {
		return Info{}, err
	}
	sum := sha256.New()
	src, err := openSource(path, sum)
	if err != nil {
		return Info{}, err
	}
	defer src.close()
	info := Info{Path: path, Format: src.format, Bytes: src.size}
	if src.format == FormatParquet {
		r, err := newParquet(src)
		if err != nil {
			return Info{}, err
		}
		info.Rows, info.Color = r.file.NumRows(), r.layout.color
		sum.Reset()
		if _, err := io.Copy(sum, io.NewSectionReader(src.file, 0, src.size)); err != nil {
			return Info{}, err
		}
		return info.signed(sum), nil
	}
	r, err := newCSV(src)
	if err != nil {
		return Info{}, err
	}
	info.Color = r.layout.color
	for {
		if _, err := r.row(); errors.Is(err, io.EOF) {
			return info.signed(sum), nil
		} else if err != nil {
			return Info{}, err
		}
		info.Rows++
	}
}

func (i Info) signed(sum hash.Hash) Info {
	i.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return i
}

// trial reads the first rows. It fails when the file does, or when no row has a
// time or none has a fare: the columns are there, but hold something else.
func trial(path string) error {
	var times, fares int
	var seen int64
	for t, err := range Trips(path) {
		if err != nil {
			return err
		}
		if t.Flags&FlagNoTime == 0 {
			times++
		}
		if t.Flags&FlagNoFare == 0 {
			fares++
		}
		if seen = t.Row; seen == trialRows {
			break
		}
	}
	if times > 0 && fares > 0 {
		return nil
	}
	what := "times of pick-up and drop-off, as in " + time.DateTime + " or 01/02/2006 03:04:05 PM"
	if times > 0 {
		what = "fares, as in 12.50"
	}
	return &FileError{Path: path, Line: 2, kind: ErrLayout, Problem: "unknown layout, none of the first rows has readable " + what, Advice: adviceSource}
}
