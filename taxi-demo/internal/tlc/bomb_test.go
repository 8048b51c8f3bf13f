package tlc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

func TestAPipeAndADeviceAreNoFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "trips.csv")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, os.DevNull, "/dev/zero"} {
		_, err := Check(path)
		require.ErrorIs(t, err, ErrNotTripRecords, path)
		require.ErrorContains(t, err, "pipe or a device")
	}
}

func TestWhatIsUnzippedIsBounded(t *testing.T) {
	b := &bounded{from: strings.NewReader("12345"), left: 3}
	data := make([]byte, 10)
	n, err := b.Read(data)
	require.NoError(t, err)
	require.Equal(t, "123", string(data[:n]))
	_, err = b.Read(data)
	require.ErrorIs(t, err, errUnzipped)

	s := &source{path: "trips.csv.gz"}
	require.ErrorIs(t, s.broken(7, errUnzipped), ErrNotTripRecords)

	_, err = Check(write(t, "twice.csv.gz", zipped(t, string(zipped(t, header2017+"\n"+row2017+"\n")))))
	require.ErrorContains(t, err, "gzip twice over")
}

// footed returns a Parquet file with this footer.
func footed(footer []byte) []byte {
	b := append([]byte("PAR1"), footer...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	return append(b, "PAR1"...)
}

func TestAFooterThatPromisesMoreThanItHoldsCostsNoMemory(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<31-1)
	list := func(field, kind byte) []byte { return append([]byte{field<<4&0xf0 | kindList, 0xf0 | kind}, huge...) }
	deep := bytes.Repeat([]byte{0x10 | kindStruct}, 100_000)
	wide := append([]byte{0x20 | kindList, 0xf0 | kindStruct}, binary.AppendUvarint(nil, maxSchema+1)...)
	for name, data := range map[string][]byte{
		"columns":      footed(list(2, kindStruct)),
		"row groups":   footed(list(4, kindStruct)),
		"numbers":      footed(list(5, kindI64)),
		"a text":       footed(append([]byte{0x60 | kindBinary}, huge...)),
		"a map":        footed([]byte{0x10 | 11, 0xff}),
		"depth":        footed(deep),
		"many columns": footed(append(wide, make([]byte, maxSchema+2)...)),
		"its length":   append(append([]byte("PAR1xxxxxxxxxxxx"), 0xff, 0xff, 0xff, 0x7f), "PAR1"...),
		"nothing":      footed(nil),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "trips.parquet", data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Check(path)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, ErrDamaged)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
		})
	}
	_, err := Check(write(t, "trips.parquet", append(footed([]byte{0})[:5], "xxxxxxxxPARE"...)))
	require.ErrorIs(t, err, ErrNotTripRecords, "encrypted")
}

func FuzzParquet(f *testing.F) {
	f.Add(table(f, []published{publishedRow(), publishedRow()}, parquet.Compression(&parquet.Snappy)))
	f.Add(table(f, []published{publishedRow()}))
	f.Add(footed([]byte{0}))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "trips.parquet")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		rows := 0
		for _, err := range Trips(path) {
			if rows++; rows > 10_000 {
				break
			}
			if err != nil && !errors.Is(err, io.EOF) {
				_, ok := errors.AsType[*FileError](err)
				require.True(t, ok, "%v", err)
			}
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte(header2017 + "\n" + row2017 + "\n"))
	f.Add([]byte("\xef\xbb\xbf" + header2017 + "\r\n\"" + strings.ReplaceAll(row2017, ",", "\",\"") + "\"\r\n"))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "trips.csv")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		for _, err := range Pair(Trips(path), Window) {
			if err != nil {
				_, ok := errors.AsType[*FileError](err)
				require.True(t, ok, "%v", err)
				require.NotContains(t, err.Error(), "\n")
			}
		}
	})
}
