package driver

// Online: the driver waits for rides in a zone.
type Online struct {
	DriverID string `json:"driver_id"`
	Zone     int    `json:"zone"`
}

// Offline: the driver takes no more rides.
type Offline struct {
	DriverID string `json:"driver_id"`
}

// Reserved: the driver is asked for a ride and cannot be asked for another.
type Reserved struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
}

// Released: the driver is free again without having driven.
type Released struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
}

// Started: the driver has the rider on board.
type Started struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
}

// Finished: the driver is free again, where the ride ended.
type Finished struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
	Zone     int    `json:"zone"`
}

// GoOnline brings the driver online in a zone.
type GoOnline struct {
	DriverID string `json:"driver_id"`
	Zone     int    `json:"zone"`
}

// GoOffline takes a free driver offline.
type GoOffline struct {
	DriverID string `json:"driver_id"`
}

func (Online) EventType() string   { return "driver_online" }
func (Offline) EventType() string  { return "driver_offline" }
func (Reserved) EventType() string { return "driver_reserved" }
func (Released) EventType() string { return "driver_released" }
func (Started) EventType() string  { return "driver_started" }
func (Finished) EventType() string { return "driver_finished" }

func (GoOnline) CommandType() string  { return "driver_go_online" }
func (GoOffline) CommandType() string { return "driver_go_offline" }
