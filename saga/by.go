package saga

import "github.com/leat-go/leat/eventstore"

// By says who acts on an instance, and why. Both stand in its journal.
type By struct {
	// Who is a name by which somebody can be asked later: of a person, of a
	// program. It must be one that eventstore.CheckName takes.
	Who string
	// Why is the reason, for people. It must not be empty; MaxWhy bytes of it
	// are kept.
	Why string
}

// MaxWhy is how much is kept of a reason, in bytes.
const MaxWhy = maxReason

// check returns ErrInvalid where nobody acts, or for no reason.
func (b By) check() error {
	if err := eventstore.CheckName("who acts on a saga", b.Who); err != nil {
		return err
	}
	if b.Why == "" {
		return &eventstore.InvalidError{Field: "why somebody acts on a saga", Reason: "is empty: the journal keeps it"}
	}
	return nil
}
