package chaos_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/chaos"
)

// kinds counts what is planned for so many rides.
func kinds(c chaos.Config, rides int, realTrips bool) map[string]int {
	n := map[string]int{}
	for i := range rides {
		for _, kind := range c.Plan(fmt.Sprintf("r%d", i), realTrips) {
			n[kind]++
		}
	}
	return n
}

func TestEveryKindComesAboutAndEqualSeedsAreEqual(t *testing.T) {
	const rides = 2000
	c := chaos.Config{Seed: 4, Level: 50}
	planned := kinds(c, rides, false)
	require.Equal(t, planned, kinds(c, rides, false))
	require.NotEqual(t, planned, kinds(chaos.Config{Seed: 5, Level: 50}, rides, false))
	require.Len(t, planned, 24, "%v", planned)
	for kind, n := range planned {
		require.Greater(t, n, 5, kind)
	}
}

func TestRealTripsAreNeverEnded(t *testing.T) {
	for kind := range kinds(chaos.Config{Seed: 1, Level: chaos.MaxLevel}, 2000, true) {
		require.False(t, chaos.Ends(kind), kind)
	}
}

func TestNoLevelNoChaos(t *testing.T) {
	require.Empty(t, kinds(chaos.Config{Seed: 1}, 2000, false))
}

func TestNoRideIsEndedTwice(t *testing.T) {
	c := chaos.Config{Seed: 1, Level: chaos.MaxLevel}
	for i := range 2000 {
		ends := slices.DeleteFunc(c.Plan(fmt.Sprint(i), false), func(kind string) bool { return !chaos.Ends(kind) })
		require.LessOrEqual(t, len(ends), 1)
	}
}

func TestCardsAndBanksAnswerTheSameEveryTime(t *testing.T) {
	c := chaos.Config{Seed: 9, Level: chaos.MaxLevel}
	declined, refused := 0, 0
	for i := range 500 {
		id := fmt.Sprint(i)
		first := chaos.Card{Config: c}.Declines(id, 1)
		require.Equal(t, first, chaos.Card{Config: c}.Declines(id, 1))
		require.Equal(t, slices.Contains(c.Plan(id, false), chaos.CardDeclined), chaos.Card{Config: c}.Declines(id, 2), "the second try is declined only where all are")
		if first {
			declined++
		}
		if (chaos.Bank{Config: c}).Refuses(id, 3) {
			require.True(t, chaos.Bank{Config: c}.Refuses(id, 1))
			refused++
		}
	}
	require.NotZero(t, declined)
	require.NotZero(t, refused)
}
