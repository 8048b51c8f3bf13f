package meter

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPointsAreTriplesInJSON(t *testing.T) {
	for _, points := range []Points{nil, {}, {{Seq: 1, MS: 5000, Dist: 12345}}, {{Seq: math.MaxInt, MS: math.MinInt32, Dist: math.MinInt64}, {}}} {
		data, err := json.Marshal(points)
		require.NoError(t, err)
		var back Points
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, points, back, "%s", data)
	}
	var spaced Points
	require.NoError(t, json.Unmarshal([]byte(" [ [1, 2 ,3] ,\n[4,5,6] ] "), &spaced))
	require.Equal(t, Points{{1, 2, 3}, {4, 5, 6}}, spaced)
}

func TestWhatIsNoPointsIsRefused(t *testing.T) {
	for _, data := range []string{`{}`, `[1]`, `[[1,2]]`, `[[1,2,3,4]]`, `[[1,2,"3"]]`, `[[1,2,3.5]]`, `[[1,2,3][4,5,6]]`, `[[1,9999999999,3]]`, `[[1,2,99999999999999999999]]`, `"x"`, `[[--1,2,3]]`} {
		points := Points{{Seq: 7}}
		require.Error(t, json.Unmarshal([]byte(data), &points), data)
		require.Equal(t, Points{{Seq: 7}}, points, "untouched: %s", data)
	}
}

// FuzzPoints: nothing panics, and what is read is written and read the same.
func FuzzPoints(f *testing.F) {
	f.Add([]byte(`[[1,5000,123],[2,5000,0]]`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var points Points
		if points.UnmarshalJSON(data) != nil {
			return
		}
		written, err := points.MarshalJSON()
		require.NoError(t, err)
		var back Points
		require.NoError(t, back.UnmarshalJSON(written))
		require.Equal(t, points, back)
	})
}
