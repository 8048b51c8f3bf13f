package tlc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// csvReader splits the text of a source into rows. The cells belong to the
// reader and are valid until the next row: nothing is allocated per row.
//
// It is not encoding/csv because month files have millions of rows and never a
// line break inside quotes; quoted cells and doubled quotes are understood.
type csvReader struct {
	src    *source
	layout layout
	line   int64 // of the row returned last, counted from 1
	ended  bool  // the last line had no line break
	cells  [][]byte
}

// newCSV reads the header. Every error names the file.
func newCSV(src *source) (*csvReader, error) {
	r := &csvReader{src: src}
	cells, err := r.next()
	if errors.Is(err, io.EOF) {
		return nil, src.fail(ErrEmpty, 0, "there are only empty lines", adviceDownload, nil)
	}
	if err != nil {
		return nil, err
	}
	header := make([]string, len(cells))
	for i, c := range cells {
		header[i] = string(c)
	}
	l, problem := newLayout(header)
	if problem != nil {
		problem.Path, problem.Line = src.path, r.line
		return nil, problem
	}
	r.layout = l
	return r, nil
}

// row returns the cells of the next row, at least as many as the header has.
// The error is io.EOF at the end, otherwise it names the file and the line.
func (r *csvReader) row() ([][]byte, error) {
	cells, err := r.next()
	if err != nil {
		return nil, err
	}
	want := r.layout.width
	if len(cells) < want {
		problem := fmt.Sprintf("the row has %d cells, the header %d", len(cells), want)
		if r.ended {
			return nil, r.src.fail(ErrTruncated, r.line, problem+", and the file ends there", adviceDownload, nil)
		}
		return nil, r.src.fail(ErrDamaged, r.line, problem, adviceDownload+" or repair the line", nil)
	}
	for _, extra := range cells[want:] { // some months end their rows in empty cells
		if len(trim(extra)) > 0 {
			problem := fmt.Sprintf("the row has %d cells, the header %d", len(cells), want)
			return nil, r.src.fail(ErrDamaged, r.line, problem, adviceDownload+" or repair the line", nil)
		}
	}
	return cells, nil
}

// next returns the cells of the next line that is not blank.
func (r *csvReader) next() ([][]byte, error) {
	for {
		b, err := r.src.text.ReadSlice('\n')
		switch {
		case err == nil:
			b = b[:len(b)-1]
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, r.src.fail(ErrNotTripRecords, r.line+1, fmt.Sprintf("the line is longer than %d bytes", bufferSize), adviceSource, nil)
		case !errors.Is(err, io.EOF):
			return nil, r.src.broken(r.line+1, err)
		case len(b) == 0:
			return nil, io.EOF
		default:
			r.ended = true
		}
		r.line++
		if n := len(b); n > 0 && b[n-1] == '\r' {
			b = b[:n-1]
		}
		if len(trim(b)) == 0 {
			continue
		}
		var ok bool
		if r.cells, ok = splitRow(r.cells[:0], b); !ok {
			return nil, r.src.fail(ErrDamaged, r.line, "a quote is not closed", adviceDownload+" or repair the line", nil)
		}
		return r.cells, nil
	}
}

// splitRow appends the cells of a line. It may write to the line, to undouble
// quotes. It yields false when a quote is not closed.
func splitRow(cells [][]byte, b []byte) ([][]byte, bool) {
	if bytes.IndexByte(b, '"') < 0 {
		for {
			i := bytes.IndexByte(b, ',')
			if i < 0 {
				return append(cells, b), true
			}
			cells = append(cells, b[:i])
			b = b[i+1:]
		}
	}
	for {
		cell, rest, more, ok := splitCell(b)
		if !ok {
			return cells, false
		}
		cells = append(cells, cell)
		if !more {
			return cells, true
		}
		b = rest
	}
}

// splitCell takes one cell off a line that has quotes in it.
func splitCell(b []byte) (cell, rest []byte, more, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		i := bytes.IndexByte(b, ',')
		if i < 0 {
			return b, nil, false, true
		}
		return b[:i], b[i+1:], true, true
	}
	n := 0 // the cell is written over b[:n], behind the place that is read
	for i := 1; i < len(b); i++ {
		if b[i] != '"' {
			b[n] = b[i]
			n++
			continue
		}
		if i+1 < len(b) && b[i+1] == '"' {
			b[n] = '"'
			n++
			i++
			continue
		}
		// After the closing quote, whatever stands before the comma is dropped.
		after := b[i+1:]
		if j := bytes.IndexByte(after, ','); j >= 0 {
			return b[:n], after[j+1:], true, true
		}
		return b[:n], nil, false, true
	}
	return nil, nil, false, false
}

// trip reads the next row. The error is io.EOF at the end.
func (r *csvReader) trip(t *Trip) error {
	cells, err := r.row()
	if err != nil {
		return err
	}
	*t = Trip{Row: t.Row + 1, Color: r.layout.color}
	for c := range numColumns {
		if at := r.layout.at[c]; at >= 0 {
			t.setText(c, cells[at])
		}
	}
	t.flag()
	return nil
}

func (r *csvReader) close() {}
