package bank

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/leat-go/leat/saga"
)

// How long the timers of a transfer are, in wall time: short, so that many
// fire between two kills.
const (
	shortestHold   = 10 * time.Millisecond
	longestHold    = 100 * time.Millisecond
	shortestExpiry = 50 * time.Millisecond
	longestExpiry  = 400 * time.Millisecond
	// keepFor is how long a finished transfer keeps its state and journal.
	keepFor = 200 * time.Millisecond
)

// failing is how often a handler or a function fails for no reason, one time
// in so many.
const failing = 40

var errBadLuck = errors.New("bad luck")

func unlucky(oneIn int) bool { return rand.IntN(oneIn) == 0 }

// transfer is the state of the saga.
type transfer struct {
	Move
	To string
}

func (t *transfer) requested(c *saga.Context, e Requested) error {
	if unlucky(failing) {
		return errBadLuck
	}
	t.Move, t.To = Move{Transfer: e.ID, Account: e.From, Cents: e.Cents}, e.To
	r := chance("timers of " + e.ID)
	c.After("expire", shortestExpiry+time.Duration(r.Int64N(int64(longestExpiry-shortestExpiry))))
	c.Send(Touch{t.Move}) // before the undo, which it has no part in
	c.Undo("debit", Refund{t.Move})
	c.Send(Debit{t.Move})
	return nil
}

func (t *transfer) debited(c *saga.Context, _ Debited) error {
	if unlucky(failing) {
		return errBadLuck
	}
	r := chance("hold of " + t.Transfer)
	if r.IntN(3) == 0 {
		return t.credit(c)
	}
	c.After("hold", shortestHold+time.Duration(r.Int64N(int64(longestHold-shortestHold))))
	return nil
}

// credit is what follows a debit, at once or after a while.
func (t *transfer) credit(c *saga.Context) error {
	move := Move{Transfer: t.Transfer, Account: t.To, Cents: t.Cents}
	c.Undo("credit", Uncredit{move})
	c.Send(Credit{move})
	return nil
}

func (t *transfer) credited(c *saga.Context, _ Credited) error {
	c.Cancel("expire")
	c.Complete()
	return nil
}

// Process is the saga of a transfer: debit, wait a while, credit. It expires,
// and then everything is taken back.
var Process = saga.Define("transfer", 1,
	saga.Starts(func(e Requested) string { return e.ID }, (*transfer).requested),
	saga.On(func(e Debited) string { return e.Transfer }, (*transfer).debited),
	saga.On(func(e Credited) string { return e.Transfer }, (*transfer).credited),
	saga.Timer("hold", (*transfer).credit),
	saga.Timer("expire", func(_ *transfer, c *saga.Context) error { c.Compensate("expired"); return nil }),
	saga.Rejected(func(_ *transfer, c *saga.Context, r saga.Rejection[Debit]) error { c.Fail(r.Code); return nil }),
	saga.Rejected(func(_ *transfer, c *saga.Context, r saga.Rejection[Credit]) error { c.Compensate(r.Code); return nil }),
	saga.Retention(keepFor))
