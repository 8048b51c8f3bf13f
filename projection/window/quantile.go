package window

import (
	"math"
	"math/bits"
	"strings"
	"time"
)

// A histogram has a bucket for each magnitude below 2*subBuckets, and for larger
// ones subBuckets to each power of two. Negative values have negative buckets.
const (
	subBits    = 7
	subBuckets = 1 << subBits
)

// bucket returns the number of the bucket that holds v. It grows with v.
func bucket(v int64) int64 {
	if v < 0 {
		return -magnitude(-uint64(v))
	}
	return magnitude(uint64(v))
}

func magnitude(u uint64) int64 {
	if u < 2*subBuckets {
		return int64(u)
	}
	shift := bits.Len64(u) - subBits - 1
	return int64(2*subBuckets+(shift-1)*subBuckets) + int64(u>>shift) - subBuckets
}

// middle returns the value that stands for a bucket: its middle.
func middle(bucket int64) int64 {
	if bucket < 0 {
		return -middleOf(-bucket)
	}
	return middleOf(bucket)
}

func middleOf(b int64) int64 {
	if b < 2*subBuckets {
		return b
	}
	b -= 2 * subBuckets
	shift := b/subBuckets + 1
	low := uint64(subBuckets+b%subBuckets) << shift
	return int64(min(low+(1<<shift-1)/2, math.MaxInt64))
}

const bucketSchema = `
-- How many items of a window fell in each bucket of a histogram.
CREATE TABLE {w}_{c} (
  key    TEXT    NOT NULL,
  starts INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (key, starts, bucket)
) STRICT, WITHOUT ROWID;
`

func (c *column[T]) bucketSchema() string { return strings.ReplaceAll(bucketSchema, "{c}", c.name) }

func (c *column[T]) buildBuckets(window string) {
	fill := strings.NewReplacer("{w}", window, "{c}", c.name).Replace
	const conflict = `
ON CONFLICT (key, starts, bucket) DO UPDATE SET n = n + excluded.n`
	c.addRun = runOfStarts + fill(`
INSERT INTO {w}_{c} (key, starts, bucket, n)
SELECT ?, s, ?, 1 FROM run WHERE true`) + conflict
	c.moveBuckets = fill(`
INSERT INTO {w}_{c} (key, starts, bucket, n)
SELECT key, ?, bucket, n FROM {w}_{c} WHERE key = ? AND starts = ?`) + conflict
	c.deleteBuckets = fill(`DELETE FROM {w}_{c} WHERE key = ? AND starts = ?`)
	c.selectBuckets = fill(`
		SELECT bucket, n
		FROM {w}_{c}
		WHERE key = ? AND starts = ?
		ORDER BY bucket`)
}

// Quantile returns the q-quantile, 0 < q <= 1, of the column of Quantiles in the
// window of the key that starts at start, provisional or final: the value that
// ceil(q·n) of the n items do not exceed (0.5: the median, 1: the greatest), with
// the error that Quantiles states. It returns false where there is no such
// window.
func (w *Window[T]) Quantile(q Querier, column, key string, start time.Time, quantile float64) (int64, bool, error) {
	return w.quantile(q, column, key, start.UnixNano(), quantile)
}

func (w *Window[T]) quantile(q Querier, name, key string, start int64, quantile float64) (int64, bool, error) {
	if !(quantile > 0 && quantile <= 1) {
		return 0, false, invalid("window %s: the quantile %v is not above 0 and at most 1", w.name, quantile)
	}
	for _, c := range w.buckets {
		if c.name == name {
			return c.quantile(q, key, start, quantile)
		}
	}
	return 0, false, invalid("window %s has no Quantiles %q", w.name, name)
}

// rankOf returns ceil(q·n), at least 1. A product that is a whole number but for
// the rounding of q and of the product is that number: 0.07 of 100 is 7.
func rankOf(q float64, n int64) int64 {
	const rounding = 1.0 / (1 << 51)
	x := q * float64(n)
	if whole := math.Round(x); math.Abs(x-whole) <= x*rounding {
		return max(1, int64(whole))
	}
	return max(1, int64(math.Ceil(x)))
}

func (c *column[T]) quantile(q Querier, key string, start int64, quantile float64) (value int64, ok bool, err error) {
	type entry struct{ bucket, n int64 }
	var all []entry
	var total int64
	err = each(q, func(scan func(...any) error) error {
		var e entry
		err := scan(&e.bucket, &e.n)
		all = append(all, e)
		total += e.n
		return err
	}, c.selectBuckets, key, start)
	if err != nil {
		return 0, false, err
	}
	rank := rankOf(quantile, total)
	for _, e := range all {
		if rank -= e.n; rank <= 0 {
			return middle(e.bucket), true, nil
		}
	}
	return 0, false, nil
}
