package bank

import (
	"github.com/leat-go/leat/aggregate"
)

// Noted is an event of the appenders.
type Noted struct {
	Label string
	N     int
}

// Deposited is money from outside.
type Deposited struct {
	Label, Account string
	Cents          int64
}

// Requested begins a transfer.
type Requested struct {
	ID, From, To string
	Cents        int64
}

// Move is money that a transfer moves to an account or from it.
type Move struct {
	Transfer, Account string
	Cents             int64
}

// What becomes of a transfer. Each takes effect once, if at all.
type (
	// Debited: the money has left its account.
	Debited struct{ Move }
	// Refunded: it has come back.
	Refunded struct{ Move }
	// Credited: it has arrived.
	Credited struct{ Move }
	// Uncredited: it was taken away again.
	Uncredited struct{ Move }
)

// The durable names of the events.
const (
	notedType      = "noted"
	depositedType  = "deposited"
	requestedType  = "requested"
	debitedType    = "debited"
	refundedType   = "refunded"
	creditedType   = "credited"
	uncreditedType = "uncredited"
)

// EventType implements eventstore.Event, as do the others.
func (Noted) EventType() string      { return notedType }
func (Deposited) EventType() string  { return depositedType }
func (Requested) EventType() string  { return requestedType }
func (Debited) EventType() string    { return debitedType }
func (Refunded) EventType() string   { return refundedType }
func (Credited) EventType() string   { return creditedType }
func (Uncredited) EventType() string { return uncreditedType }

// The commands of the saga.
type (
	// Debit is refused where the account holds less.
	Debit struct{ Move }
	// Refund takes a Debit back.
	Refund struct{ Move }
	// Credit is refused where the account would hold more than Full.
	Credit struct{ Move }
	// Uncredit takes a Credit back.
	Uncredit struct{ Move }
	// Touch decides nothing: only its id is recorded.
	Touch struct{ Move }
)

// CommandType implements saga.Command, as do the others.
func (Debit) CommandType() string    { return "debit" }
func (Refund) CommandType() string   { return "refund" }
func (Credit) CommandType() string   { return "credit" }
func (Uncredit) CommandType() string { return "uncredit" }
func (Touch) CommandType() string    { return "touch" }

// MakeDeposit and Request are the commands from outside; what they cause
// follows from the label.
type (
	MakeDeposit struct{ Label string }
	Request     struct{ Label string }
)

// Account is the state of an account.
type Account struct{ Cents int64 }

// Accounts and Transfers are the aggregates.
var (
	Accounts = aggregate.Define("account",
		aggregate.On(func(a *Account, e Deposited) { a.Cents += e.Cents }),
		aggregate.On(func(a *Account, e Debited) { a.Cents -= e.Cents }),
		aggregate.On(func(a *Account, e Refunded) { a.Cents += e.Cents }),
		aggregate.On(func(a *Account, e Credited) { a.Cents += e.Cents }),
		aggregate.On(func(a *Account, e Uncredited) { a.Cents -= e.Cents }))
	Transfers = aggregate.Define("transfer", aggregate.On(func(*struct{}, Requested) {}))
)

var (
	errOverdrawn = aggregate.Reject("overdrawn", "the account holds less than that")
	errFull      = aggregate.Reject("full", "the account would hold more than it may")
)
