package process

import (
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// Refund gives the rider everything back and takes it from the driver.
var Refund = saga.Define("refund", 1,
	saga.Starts(func(e ride.Refunded) string { return e.RideID }, (*refunding).refunded),
	saga.On(func(e wallet.Refunded) string { return e.RideID }, (*refunding).paidBack),
	saga.On(func(e earnings.ClawedBack) string { return e.RideID }, (*refunding).clawedBack),
)

type refunding struct {
	PaidBack   bool `json:"paid_back,omitempty"`
	ClawedBack bool `json:"clawed_back,omitempty"`
}

func (r *refunding) refunded(c *saga.Context, e ride.Refunded) error {
	c.Send(wallet.Refund{RiderID: e.RiderID, RideID: e.RideID})
	c.Send(earnings.ClawBack{DriverID: e.DriverID, RideID: e.RideID})
	return nil
}

func (r *refunding) paidBack(c *saga.Context, _ wallet.Refunded) error {
	r.PaidBack = true
	return r.finish(c)
}

func (r *refunding) clawedBack(c *saga.Context, _ earnings.ClawedBack) error {
	r.ClawedBack = true
	return r.finish(c)
}

func (r *refunding) finish(c *saga.Context) error {
	if r.PaidBack && r.ClawedBack {
		c.Complete()
	}
	return nil
}
