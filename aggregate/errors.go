package aggregate

import (
	"errors"
	"fmt"
)

// ErrUnknownType: a stream holds an event type that its aggregate neither folds
// nor ignores by name. See UnknownTypeError.
var ErrUnknownType = errors.New("aggregate: unknown event type")

// UnknownTypeError says which event an aggregate does not know.
type UnknownTypeError struct {
	Aggregate string
	Stream    string
	Version   int64
	Type      string
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("%v: %q at version %d of stream %q: bind it in the definition of %q, or ignore it by name",
		ErrUnknownType, e.Type, e.Version, e.Stream, e.Aggregate)
}

func (e *UnknownTypeError) Unwrap() error { return ErrUnknownType }

// Rejection is a domain's no: the command was understood and is refused.
// Nothing was stored. Any other error of a decision is a bug or infrastructure,
// and whoever sent the command tries again.
type Rejection struct {
	// Code is a durable name for programs, for example "no_open_offer".
	Code string
	// Reason is a sentence for people.
	Reason string
}

// Reject returns a rejection, usually kept in a variable:
//
//	var ErrNoOpenOffer = aggregate.Reject("no_open_offer", "the ride has no open offer")
func Reject(code, reason string) *Rejection { return &Rejection{Code: code, Reason: reason} }

func (r *Rejection) Error() string { return r.Reason + " (" + r.Code + ")" }

// RejectionCode returns Code. It is how other packages know a rejection.
func (r *Rejection) RejectionCode() string { return r.Code }
