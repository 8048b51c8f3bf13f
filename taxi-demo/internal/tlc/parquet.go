package tlc

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetReader reads the columns of a Parquet file side by side, row group by
// row group, some values of each at a time.
//
// The library panics on some damaged files; [parquetReader.trip] and
// [newParquet] turn that into an error, so that a bad file is never more than
// one clear line.
type parquetReader struct {
	src    *source
	file   *parquet.File
	layout layout
	kinds  [numColumns]valueKind
	group  int   // index of the row group that is read next
	left   int64 // rows left of the present one
	cols   [numColumns]*columnReader
}

// newParquet reads the footer and the schema. Every error names the file.
func newParquet(src *source) (r *parquetReader, err error) {
	defer src.recovered(&err, 0)
	var tail [4]byte
	if src.size < 12 {
		return nil, src.fail(ErrTruncated, 0, "the Parquet file ends too early", adviceDownload, nil)
	}
	if _, err := src.file.ReadAt(tail[:], src.size-4); err != nil {
		return nil, err
	}
	if string(tail[:]) != "PAR1" && string(tail[:]) != "PARE" {
		return nil, src.fail(ErrTruncated, 0, "the Parquet file ends too early, its footer is missing", adviceDownload, nil)
	}
	if string(tail[:]) == "PARE" {
		return nil, src.fail(ErrNotTripRecords, 0, "the Parquet file is encrypted", adviceSource, nil)
	}
	if err := checkFooter(src.file, src.size); err != nil {
		return nil, src.fail(ErrDamaged, 0, "the Parquet file cannot be opened", adviceDownload, err)
	}
	f, err := parquet.OpenFile(src.file, src.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, src.fail(ErrDamaged, 0, "the Parquet file cannot be opened", adviceDownload, err)
	}
	r = &parquetReader{src: src, file: f}

	leaves := f.Root().Columns()
	header := make([]string, len(leaves))
	for i, leaf := range leaves {
		header[i] = leaf.Name()
	}
	l, problem := newLayout(header)
	if problem != nil {
		problem.Path = src.path
		return nil, problem
	}
	for c := range numColumns {
		at := l.at[c]
		if at < 0 {
			continue
		}
		leaf := leaves[at]
		if !leaf.Leaf() || leaf.MaxRepetitionLevel() > 0 {
			return nil, src.fail(ErrLayout, 0, "column "+leaf.Name()+" is not a plain column", adviceSource, nil)
		}
		l.at[c] = leaf.Index()
		r.kinds[c] = kindOf(leaf.Type())
	}
	r.layout = l
	if f.NumRows() == 0 {
		return nil, src.fail(ErrEmpty, 0, "the Parquet file has no rows", adviceDownload, nil)
	}
	return r, nil
}

// recovered turns a panic of the library into an error.
func (s *source) recovered(err *error, row int64) {
	if p := recover(); p != nil {
		*err = s.fail(ErrDamaged, row, "the Parquet file is damaged", adviceDownload, fmt.Errorf("%v", p))
	}
}

// trip reads the next row. The error is io.EOF at the end.
func (r *parquetReader) trip(t *Trip) (err error) {
	defer r.src.recovered(&err, t.Row+1)
	for r.left == 0 {
		if err := r.nextGroup(); err != nil {
			return err
		}
	}
	r.left--
	*t = Trip{Row: t.Row + 1, Color: r.layout.color}
	for c := range numColumns {
		if r.cols[c] == nil {
			continue
		}
		v, err := r.cols[c].next()
		if err != nil {
			kind := ErrDamaged
			if errors.Is(err, io.ErrUnexpectedEOF) {
				kind = ErrTruncated
			}
			return r.src.fail(kind, t.Row, "column "+columns[c].name+" cannot be read", adviceDownload, err)
		}
		t.setValue(c, r.kinds[c], v)
	}
	t.flag()
	return nil
}

func (r *parquetReader) nextGroup() error {
	r.close()
	groups := r.file.RowGroups()
	if r.group == len(groups) {
		return io.EOF
	}
	g := groups[r.group]
	r.group++
	r.left = g.NumRows()
	chunks := g.ColumnChunks()
	for c := range numColumns {
		if at := r.layout.at[c]; at >= 0 {
			r.cols[c] = &columnReader{pages: chunks[at].Pages()}
		}
	}
	return nil
}

func (r *parquetReader) close() {
	for c, col := range r.cols {
		if col != nil {
			col.close()
			r.cols[c] = nil
		}
	}
}

// columnReader hands out the values of one column of one row group.
type columnReader struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer [256]parquet.Value
	have   []parquet.Value
}

// next returns the next value. It belongs to the reader until the next call.
func (c *columnReader) next() (*parquet.Value, error) {
	for len(c.have) == 0 {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return nil, io.ErrUnexpectedEOF // fewer values than rows
			}
			if err != nil {
				return nil, err
			}
			c.page, c.values = page, page.Values()
		}
		n, err := c.values.ReadValues(c.buffer[:])
		c.have = c.buffer[:n]
		switch {
		case n > 0:
			// The end, if it is one, is reported again by the next call.
		case err == nil, errors.Is(err, io.EOF):
			parquet.Release(c.page)
			c.page, c.values = nil, nil
		default:
			return nil, err
		}
	}
	v := &c.have[0]
	c.have = c.have[1:]
	return v, nil
}

func (c *columnReader) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	_ = c.pages.Close()
}

// valueKind is how the values of a column are to be understood beyond their
// physical type.
type valueKind struct {
	nanos    int64 // of one step of a timestamp; 0 when the unit is not said
	decimals int   // of an integer that is a decimal
	decimal  bool
	day      bool
}

func kindOf(t parquet.Type) (k valueKind) {
	logical := t.LogicalType()
	if logical == nil {
		return k
	}
	switch l := logical.Value.(type) {
	case *format.DecimalType:
		k.decimal, k.decimals = true, int(l.Scale)
	case *format.DateType:
		k.day = true
	case *format.TimestampType:
		switch l.Unit.Value.(type) {
		case *format.MilliSeconds:
			k.nanos = int64(time.Millisecond)
		case *format.MicroSeconds:
			k.nanos = int64(time.Microsecond)
		case *format.NanoSeconds:
			k.nanos = 1
		}
	}
	return k
}

// setValue puts a value into its field, and flags it if it holds none.
func (t *Trip) setValue(c column, k valueKind, v *parquet.Value) {
	switch {
	case v.IsNull():
		if c != colColor {
			t.note(c, cellEmpty)
		}
	case !k.decimal && (v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray):
		t.setText(c, v.ByteArray())
	case c == colColor:
	case c == colPickup || c == colDropoff:
		at, got := timeValue(k, v)
		t.setTime(c, at)
		t.note(c, got)
	default:
		n, got := numberValue(k, v, columns[c].scale)
		t.setNumber(c, n)
		t.note(c, got)
	}
}

func numberValue(k valueKind, v *parquet.Value, scale int) (int64, cell) {
	switch v.Kind() {
	case parquet.Boolean:
		if v.Boolean() {
			return fromInteger(1, 0, scale)
		}
		return 0, cellValue
	case parquet.Int32:
		return fromInteger(int64(v.Int32()), k.decimals, scale)
	case parquet.Int64:
		return fromInteger(v.Int64(), k.decimals, scale)
	case parquet.Double:
		return fromFloat(v.Double(), scale)
	case parquet.Float:
		return fromFloat(float64(v.Float()), scale)
	case parquet.ByteArray, parquet.FixedLenByteArray: // a decimal, big-endian
		b := v.ByteArray()
		n := new(big.Int).SetBytes(b)
		if len(b) > 0 && b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		if !n.IsInt64() {
			return 0, cellUnreadable
		}
		return fromInteger(n.Int64(), k.decimals, scale)
	}
	return 0, cellUnreadable
}

// Bounds of a timestamp that is a date of the years 1 to 9999, in seconds.
const (
	minUnix = -62135596800
	maxUnix = 253402300799
)

// timeValue reads a timestamp as the wall clock that it shows, also when it is
// marked as UTC: the records are local time throughout. Where no unit is said
// it is told by the size of the number.
func timeValue(k valueKind, v *parquet.Value) (time.Time, cell) {
	var seconds, nanos int64
	switch v.Kind() {
	case parquet.Int32:
		seconds = int64(v.Int32())
		if k.day {
			seconds *= 24 * 60 * 60
		}
	case parquet.Int64:
		n, step := v.Int64(), k.nanos
		if step == 0 {
			step = guessStep(n)
		}
		per := int64(time.Second) / step
		seconds, nanos = n/per, n%per*step
	case parquet.Int96: // nanoseconds of the day and a Julian day number
		i := v.Int96()
		seconds = (int64(i[2]) - 2440588) * 24 * 60 * 60
		nanos = int64(uint64(i[1])<<32 | uint64(i[0]))
		if nanos < 0 || nanos >= int64(24*time.Hour) {
			return time.Time{}, cellUnreadable
		}
	case parquet.Double:
		f := math.Round(v.Double())
		if math.IsNaN(f) {
			return time.Time{}, cellEmpty
		}
		if math.Abs(f) > maxUnix {
			return time.Time{}, cellUnreadable
		}
		seconds = int64(f)
	default:
		return time.Time{}, cellUnreadable
	}
	if seconds <= minUnix || seconds > maxUnix {
		return time.Time{}, cellUnreadable
	}
	return time.Unix(seconds, nanos).UTC(), cellValue
}

func guessStep(n int64) int64 {
	switch n = max(n, -n); {
	case n < 1e11:
		return int64(time.Second)
	case n < 1e14:
		return int64(time.Millisecond)
	case n < 1e17:
		return int64(time.Microsecond)
	}
	return 1
}
