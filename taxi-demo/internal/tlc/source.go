package tlc

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"syscall"
)

// Format is the container of a trip record file.
type Format string

// The formats that are read; they are told by the first bytes, never by name.
const (
	FormatCSV     Format = "csv"
	FormatGzip    Format = "csv.gz"
	FormatParquet Format = "parquet"
)

// bufferSize bounds a line of text as well as what is read at once.
const bufferSize = 256 << 10

// maxUnzipped bounds the text of a gzip file, in bytes: a month has 3 GB at most.
const maxUnzipped = 16 << 30

// errUnzipped: there is more than maxUnzipped.
var errUnzipped = errors.New("the gzip file holds more than 16 GiB")

// bounded reads so many bytes and no more.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errUnzipped
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// source is an open file whose format is known.
type source struct {
	path   string
	file   *os.File
	size   int64
	format Format
	text   *bufio.Reader // of the uncompressed text, nil for Parquet
}

// openSource opens a file and tells its format. With tee, every byte that is
// read of a CSV file is written to it as well, before decompression.
func openSource(path string, tee io.Writer) (_ *source, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, err
	}
	s := &source{path: path, file: f}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if stat.IsDir() {
		return nil, s.fail(ErrNotTripRecords, 0, "it is a directory", "name the files in it", nil)
	}
	if !stat.Mode().IsRegular() {
		return nil, s.fail(ErrNotTripRecords, 0, "it is a pipe or a device", "save it to a file, which is read more than once", nil)
	}
	s.size = stat.Size()

	raw := bufio.NewReaderSize(f, bufferSize)
	if tee != nil {
		raw = bufio.NewReaderSize(io.TeeReader(f, tee), bufferSize)
	}
	head, err := peek(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case len(head) == 0:
		return nil, s.fail(ErrEmpty, 0, "the file is empty", adviceDownload, nil)
	case bytes.HasPrefix(head, []byte("PAR1")), bytes.HasPrefix(head, []byte("PARE")):
		s.format = FormatParquet
		return s, nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		s.format = FormatGzip
		unzipped, err := gzip.NewReader(raw)
		if err != nil {
			return nil, s.broken(0, err)
		}
		s.text = bufio.NewReaderSize(&bounded{from: unzipped, left: maxUnzipped}, bufferSize)
		if head, err = peek(s.text); err != nil {
			return nil, s.broken(0, err)
		}
		if len(head) == 0 {
			return nil, s.fail(ErrEmpty, 0, "there is nothing in the gzip file", adviceDownload, nil)
		}
	default:
		s.format = FormatCSV
		s.text = raw
	}
	if what := foreign(head); what != "" {
		return nil, s.fail(ErrNotTripRecords, 0, "it is "+what+", neither CSV nor Parquet", "unpack or convert it first; "+adviceSource, nil)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, err = s.text.Discard(3) // byte order mark
	}
	return s, err
}

// peek returns the first bytes, fewer at the end of the file.
func peek(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(512)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return head, err
}

// foreign names what is certainly not text, "" for text.
func foreign(head []byte) string {
	for _, kind := range []struct{ magic, name string }{
		{"PK\x03\x04", "a zip archive"},
		{"PAR1", "a Parquet file inside gzip"},
		{"\x1f\x8b", "gzip twice over"},
		{"\x28\xb5\x2f\xfd", "a zstd file"},
		{"BZh", "a bzip2 file"},
		{"\xfd7zXZ", "an xz file"},
	} {
		if bytes.HasPrefix(head, []byte(kind.magic)) {
			return kind.name
		}
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return "a binary file"
	}
	return ""
}

func (s *source) close() { _ = s.file.Close() }

func (s *source) fail(kind error, line int64, problem, advice string, cause error) *FileError {
	return &FileError{Path: s.path, Line: line, Problem: problem, Advice: advice, kind: kind, cause: cause}
}

// broken translates what the decompressor or the file says while reading.
func (s *source) broken(line int64, err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, errUnzipped):
		return s.fail(ErrNotTripRecords, line, err.Error(), adviceSource, nil)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return s.fail(ErrTruncated, line, "the gzip file ends too early", adviceDownload, nil)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return s.fail(ErrDamaged, line, "the gzip file is damaged", adviceDownload, err)
	}
	return err
}
