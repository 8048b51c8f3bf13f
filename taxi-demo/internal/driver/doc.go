// Package driver is a driver on shift: offline, free, reserved for a ride, or
// driving it.
//
// A driver has one ride at most. He is reserved when a ride is offered to him
// and stays so until he is released or has driven it, always in the same batch
// as the event on the ride's stream that is the reason for it.
package driver
