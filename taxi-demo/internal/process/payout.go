package process

import (
	"fmt"
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
)

const (
	payoutEvery    = time.Hour        // a driver's earnings are paid together
	payoutPause    = 10 * time.Minute // before the bank is asked again
	payoutAttempts = 3                // then a person looks
)

// Payout pays a driver's earnings in batches; an instance is one batch.
var Payout = saga.Define("payout", 1,
	saga.Starts(func(e earnings.Accrued) string { return batch(e.DriverID, e.Batch) }, (*payingOut).accrued),
	saga.On(func(e earnings.PaidOut) string { return batch(e.DriverID, e.Batch) }, (*payingOut).paidOut),
	saga.On(func(e earnings.PayoutFailed) string { return batch(e.DriverID, e.Batch) }, (*payingOut).failed),
	saga.On(func(e earnings.PayoutFlagged) string { return batch(e.DriverID, e.Batch) }, (*payingOut).flagged),
	saga.Timer("pay", (*payingOut).pay),
)

type payingOut struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
	Attempt  int    `json:"attempt,omitempty"`
}

func batch(driverID string, number int) string { return fmt.Sprintf("%s/%d", driverID, number) }

func (p *payingOut) accrued(c *saga.Context, e earnings.Accrued) error {
	if p.Batch == 0 {
		p.DriverID, p.Batch = e.DriverID, e.Batch
		c.After("pay", payoutEvery)
	}
	return nil
}

func (p *payingOut) pay(c *saga.Context) error {
	p.Attempt++
	c.Send(earnings.PayOut{DriverID: p.DriverID, Batch: p.Batch, Attempt: p.Attempt})
	return nil
}

func (p *payingOut) failed(c *saga.Context, e earnings.PayoutFailed) error {
	if e.Attempt < payoutAttempts {
		c.After("pay", payoutPause)
		return nil
	}
	c.Send(earnings.FlagPayout{DriverID: p.DriverID, Batch: p.Batch})
	return nil
}

func (p *payingOut) paidOut(c *saga.Context, _ earnings.PaidOut) error       { return done(c) }
func (p *payingOut) flagged(c *saga.Context, _ earnings.PayoutFlagged) error { return done(c) }
