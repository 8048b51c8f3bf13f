package ride

// Status is how far a ride has come. The names are stored in events.
type Status string

// The statuses of a ride; the zero value is that of a ride nobody requested.
const (
	StatusRequested   Status = "requested" // open: waits for an offer to be made
	StatusOffered     Status = "offered"
	StatusAccepted    Status = "accepted"
	StatusArrived     Status = "arrived"
	StatusDriving     Status = "driving"
	StatusEnded       Status = "ended"
	StatusFared       Status = "fared"
	StatusDue         Status = "due" // the fare is final and being charged
	StatusSettled     Status = "settled"
	StatusCancelled   Status = "cancelled" // by either side, or by a no-show
	StatusUnfulfilled Status = "unfulfilled"
	StatusOutstanding Status = "outstanding"
	StatusRefunded    Status = "refunded"
)

// Finished tells whether a ride of this status is over.
func (s Status) Finished() bool {
	switch s {
	case StatusSettled, StatusCancelled, StatusUnfulfilled, StatusOutstanding, StatusRefunded:
		return true
	}
	return false
}

// Who cancels a ride.
const (
	ByRider  = "rider"
	ByDriver = "driver"
)

// Why a ride is taken from its driver: he is late, or gives it back (ByDriver).
const Late = "late"

// Why a ride cannot be.
const (
	NoDriver    = "no_driver"
	WalletShort = "wallet_short"
)
