package window

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestABucketIsAsNarrowAsItSays(t *testing.T) {
	edges := []int64{0, 1, 127, 128, 255, 256, 257, 511, 512, 1 << 20, math.MaxInt64 - 1, math.MaxInt64}
	check := func(t require.TestingT, v int64) {
		for _, v := range []int64{v, -v} {
			got := middle(bucket(v))
			require.Equal(t, bucket(v), bucket(got), "%d: the middle lies in the bucket", v)
			if -256 < v && v < 256 {
				require.Equal(t, v, got)
			}
			require.LessOrEqual(t, math.Abs(float64(got)-float64(v)), math.Abs(float64(v))/256, "%d", v)
			if v < math.MaxInt64 {
				require.LessOrEqual(t, bucket(v), bucket(v+1))
				require.LessOrEqual(t, bucket(v+1)-bucket(v), int64(1), "%d: no bucket is left out", v)
			}
		}
	}
	for _, v := range edges {
		check(t, v)
	}
	require.Equal(t, bucket(math.MinInt64), bucket(math.MinInt64+1)-1)
	require.Equal(t, int64(7296), bucket(math.MaxInt64)+1, "as many as Quantiles says")
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Int64Min(0).Draw(t, "value")) })
}

// TestARankIsNotLostToRounding for percents, and for fractions of every n.
func TestARankIsNotLostToRounding(t *testing.T) {
	for n := int64(1); n <= 1000; n++ {
		for i := int64(1); i <= n; i++ {
			require.Equal(t, i, rankOf(float64(i)/float64(n), n), "%d of %d", i, n)
		}
		for percent := int64(1); percent <= 100; percent++ {
			require.Equal(t, (percent*n+99)/100, rankOf(float64(percent)/100, n), "p%d of %d", percent, n)
		}
	}
	require.Equal(t, int64(1), rankOf(math.SmallestNonzeroFloat64, 1000))
	require.Equal(t, int64(501), rankOf(0.5001, 1000))
	require.Equal(t, int64(1<<40), rankOf(1, 1<<40))
}

func TestFloor(t *testing.T) {
	for _, c := range [][3]int64{{7, 5, 5}, {5, 5, 5}, {0, 5, 0}, {-1, 5, -5}, {-5, 5, -5}, {-6, 5, -10}} {
		require.Equal(t, c[2], floor(c[0], c[1]))
	}
}
