package check

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// fine is a report and a host of which nothing is wrong.
func fine() (Report, Host) {
	return Report{
		Trips: 5, Rides: Rides{Settled: 2, Refunded: 1, NotDriven: 1}, refundRows: 1,
		FareCheck: FareCheck{Meter: Checked{Trips: 3, Exact: 3}},
	}, Host{DeadLetter: 2, Injected: 2}
}

func TestOneThingThatIsWrongIsOneProblem(t *testing.T) {
	r, h := fine()
	r.judge(h)
	require.True(t, r.OK, r.Problems)
	for want, spoil := range map[string]func(*Report, *Host){
		"1 fares differ":           func(r *Report, _ *Host) { r.FareCheck.Meter.Mismatch = 1 },
		"2 fares differ":           func(r *Report, _ *Host) { r.FareCheck.JFKFlat.Mismatch = 2 },
		"have no fare":             func(r *Report, _ *Host) { r.unfared = 1 },
		"did not end as they did":  func(r *Report, _ *Host) { r.lost = 1 },
		"5 rows, but 2 rides":      func(r *Report, _ *Host) { r.Rides.Settled = 1 },
		"6 rows, but 3 rides":      func(r *Report, _ *Host) { r.Trips = 6 },
		"money is off by -3 cents": func(r *Report, _ *Host) { r.Money.Sum = -3 },
		"1 rides are open":         func(r *Report, _ *Host) { r.Rides.Settled, r.Rides.Open = 1, 1 },
		"4 sagas are open":         func(_ *Report, h *Host) { h.OpenSagas = 4 },
		"1 sagas are parked":       func(_ *Report, h *Host) { h.Parked = 1 },
		"blocked: money at 7":      func(_ *Report, h *Host) { h.Blocked = []string{"money at 7"} },
		"3 dead letters, 2 were":   func(_ *Report, h *Host) { h.DeadLetter = 3 },
	} {
		r, h := fine()
		spoil(&r, &h)
		r.judge(h)
		require.False(t, r.OK, want)
		require.Len(t, r.Problems, 1, want)
		require.Contains(t, r.Problems[0], want)
	}
}
