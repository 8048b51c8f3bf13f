package driver

import "github.com/leat-go/leat/aggregate"

// Why a driver refuses a command.
var (
	ErrNotFree     = aggregate.Reject("driver_not_free", "the driver is offline or has a ride")
	ErrNotReserved = aggregate.Reject("driver_not_reserved", "the driver is not reserved for this ride")
	ErrNotDriving  = aggregate.Reject("driver_not_driving", "the driver does not drive this ride")
)

// Driver is what the decisions about a driver need to know of him.
type Driver struct {
	Online bool `json:"online,omitempty"`
	Zone   int  `json:"zone,omitempty"` // where he is, or was when his ride began
	// RideID is the one ride that he is reserved for or drives.
	RideID  string `json:"ride_id,omitempty"`
	Driving bool   `json:"driving,omitempty"`
}

// Drivers is the definition of the aggregate; its streams are driver-<driver>.
var Drivers = aggregate.Define("driver",
	aggregate.On((*Driver).online),
	aggregate.On((*Driver).offline),
	aggregate.On((*Driver).reserved),
	aggregate.On((*Driver).released),
	aggregate.On((*Driver).started),
	aggregate.On((*Driver).finished),
)

func (d *Driver) online(e Online)     { d.Online, d.Zone = true, e.Zone }
func (d *Driver) offline(Offline)     { d.Online = false }
func (d *Driver) reserved(e Reserved) { d.RideID = e.RideID }
func (d *Driver) released(Released)   { d.RideID = "" }
func (d *Driver) started(Started)     { d.Driving = true }

func (d *Driver) finished(e Finished) { d.RideID, d.Driving, d.Zone = "", false, e.Zone }

// GoOnline begins the shift, or moves a free driver to another zone.
func (d *Driver) GoOnline(c GoOnline) (aggregate.Events, error) {
	switch {
	case d.RideID != "":
		return nil, ErrNotFree
	case d.Online && d.Zone == c.Zone:
		return nil, nil
	}
	return aggregate.Events{Online(c)}, nil
}

// GoOffline ends the shift of a driver who has no ride.
func (d *Driver) GoOffline(c GoOffline) (aggregate.Events, error) {
	switch {
	case d.RideID != "":
		return nil, ErrNotFree
	case !d.Online:
		return nil, nil
	}
	return aggregate.Events{Offline(c)}, nil
}

// Reserve keeps a free driver for a ride.
func (d *Driver) Reserve(driverID, rideID string) (aggregate.Events, error) {
	if !d.Online || d.RideID != "" {
		return nil, ErrNotFree
	}
	return aggregate.Events{Reserved{DriverID: driverID, RideID: rideID}}, nil
}

// Release frees a driver who has not begun to drive the ride.
func (d *Driver) Release(driverID, rideID string) (aggregate.Events, error) {
	if d.RideID != rideID || d.Driving {
		return nil, ErrNotReserved
	}
	return aggregate.Events{Released{DriverID: driverID, RideID: rideID}}, nil
}

// Start puts the driver who is reserved for the ride on the road with it.
func (d *Driver) Start(driverID, rideID string) (aggregate.Events, error) {
	if d.RideID != rideID || d.Driving {
		return nil, ErrNotReserved
	}
	return aggregate.Events{Started{DriverID: driverID, RideID: rideID}}, nil
}

// Finish frees the driver of the ride in the zone where it ended.
func (d *Driver) Finish(driverID, rideID string, zone int) (aggregate.Events, error) {
	if d.RideID != rideID || !d.Driving {
		return nil, ErrNotDriving
	}
	return aggregate.Events{Finished{DriverID: driverID, RideID: rideID, Zone: zone}}, nil
}
