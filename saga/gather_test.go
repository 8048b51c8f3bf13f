package saga

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// stored is the value as the next step finds it.
func stored(t *testing.T, g Gather) Gather {
	t.Helper()
	raw, err := json.Marshal(g)
	require.NoError(t, err)
	var again Gather
	require.NoError(t, json.Unmarshal(raw, &again))
	return again
}

func TestGatherOfAllSaysOnceThatAllHaveCome(t *testing.T) {
	var g Gather
	require.True(t, g.Decided(), "nothing is expected")
	g.Expect("a", "b", "c", "b")
	require.Equal(t, []string{"a", "b", "c"}, g.Missing())
	require.False(t, g.Decided())
	require.False(t, g.Got("b"))
	require.False(t, g.Got("b"), "twice")
	require.False(t, g.Got("x"), "nobody expected it")
	g.Expect("b")
	require.False(t, g.Got("c"))
	require.Equal(t, []string{"a"}, g.Missing())
	require.True(t, g.Has("b"))
	require.True(t, g.Got("a"))
	require.False(t, g.Got("a"))
	require.True(t, g.Decided())
	g.Expect("late")
	require.False(t, g.Decided(), "it waits again")
	require.True(t, g.Got("late"))
}

func TestGatherOfTheFirst(t *testing.T) {
	var g Gather
	g.Enough(1)
	g.Expect("d1", "d2", "d3")
	require.False(t, g.Lost("d1"))
	require.True(t, g.Got("d2"))
	require.False(t, g.Got("d3"), "too late")
	require.False(t, g.Lost("d3"))
	require.True(t, g.Decided())

	var none Gather
	none.Enough(0) // is 1
	none.Expect("d1", "d2")
	require.False(t, none.Lost("d1"))
	require.True(t, none.Lost("d2"))
	require.False(t, none.Lost("d2"))
	require.True(t, none.Decided())
	none.Expect("d3")
	require.False(t, none.Decided(), "another is asked")
	require.True(t, none.Got("d3"))
}

func TestALossIsHopelessWhereAllAreNeeded(t *testing.T) {
	var g Gather
	g.Expect("a", "b")
	require.True(t, g.Lost("a"))
	require.False(t, g.Lost("b"))
	require.True(t, g.Decided())
}

func TestAReplacementOfALostOne(t *testing.T) {
	var all Gather
	all.Expect("a", "b")
	require.True(t, all.Lost("a"))
	all.Expect("c")
	require.True(t, all.Decided(), "a itself must come")
	require.False(t, all.Got("b"))
	require.False(t, all.Got("c"))
	require.True(t, all.Decided())
	all = stored(t, all)
	require.True(t, all.Got("a"), "and has, after all")

	var three Gather
	three.Enough(3)
	three.Expect("a", "b", "c")
	require.True(t, three.Lost("a"))
	require.False(t, three.Lost("b"))
	three.Expect("d")
	require.True(t, three.Decided(), "c and d are two")
	require.False(t, three.Lost("d"))
	three.Expect("e", "f")
	require.False(t, three.Decided(), "c, e and f may come")
	require.True(t, three.Lost("e"), "hopeless once more")
	require.False(t, three.Got("c"))
	require.False(t, three.Got("b"), "after all")
	require.False(t, three.Decided(), "f may come")
	require.True(t, three.Got("f"))
}

// TestAGatherOfBeforeIsDecided: its state was stored by a program that forgot a
// loss when something further was expected.
func TestAGatherOfBeforeIsDecided(t *testing.T) {
	g := Gather{Came: []string{"b", "c"}, Gone: []string{"a"}}
	require.True(t, g.Decided())
}

// TestGatherAgreesWithCounting compares it with sets, over steps in any order,
// with duplicates, the value stored between any two of them.
func TestGatherAgreesWithCounting(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rnd.IntN(6)
		k := 1 + rnd.IntN(n)
		var g Gather
		if k < n {
			g.Enough(k)
		}
		for i := range n {
			g.Expect(fmt.Sprint(i))
		}
		came, gone, enough, hopeless := map[string]bool{}, map[string]bool{}, 0, 0
		for range 40 {
			g = stored(t, g)
			key := fmt.Sprint(rnd.IntN(n + 1)) // one of them is not expected
			known := key != fmt.Sprint(n)
			if rnd.IntN(3) > 0 {
				if g.Got(key) {
					enough++
				}
				if known {
					came[key] = true
					delete(gone, key)
				}
			} else {
				if g.Lost(key) {
					hopeless++
				}
				if known && !came[key] {
					gone[key] = true
				}
			}
			require.Len(t, g.Missing(), n-len(came)-len(gone))
			require.Equal(t, len(came) >= k, enough == 1, "seed %d", seed)
			require.LessOrEqual(t, enough, 1)
			require.LessOrEqual(t, hopeless, 1)
			if n-len(gone) < k && enough == 0 {
				require.Equal(t, 1, hopeless)
			}
		}
	}
}
