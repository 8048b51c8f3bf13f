package eventstore

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels classify, structs explain. Every error of an append other than
// ErrOutcomeUnknown means: not stored, ever.
var (
	// ErrConflict: an expectation or guard does not hold. See ConflictError.
	ErrConflict = errors.New("eventstore: conflict")
	// ErrIDReused: the batch ID was stored with other content, or an event id
	// is already in the log. See IDReusedError.
	ErrIDReused = errors.New("eventstore: id reused")
	// ErrInvalid: a name, size or shape is refused before anything is stored.
	// See InvalidError.
	ErrInvalid = errors.New("eventstore: invalid")
	// ErrBusy: the queue of appends is full, or something else keeps the store
	// from taking more, as the error says; nothing was stored. Try later.
	ErrBusy = errors.New("eventstore: busy")
	// ErrOutcomeUnknown: the append may or may not be stored. Repeating it
	// with the same batch ID is safe. See OutcomeUnknownError.
	ErrOutcomeUnknown = errors.New("eventstore: outcome unknown")
	// ErrInUse: another process owns the store.
	ErrInUse = errors.New("eventstore: in use")
	// ErrCorrupt: the store, or a part of it, is damaged. See CorruptError.
	ErrCorrupt = errors.New("eventstore: corrupt")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("eventstore: closed")
	// ErrRewound: a checkpoint does not lie on this log: the log was restored,
	// rewound or replaced. See RewoundError.
	ErrRewound = errors.New("eventstore: log rewound")
	// ErrDecode: a recorded payload cannot be read. See DecodeError.
	ErrDecode = errors.New("eventstore: undecodable event")
	// ErrCommandSpent: a second append under one command id. See Command.
	ErrCommandSpent = errors.New("eventstore: command already spent by an append")
)

// ConflictError lists every expectation and guard of a batch that failed.
type ConflictError struct {
	Conflicts []Conflict
}

// Conflict is one failed expectation or guard.
type Conflict struct {
	Stream string
	// Expected is what the batch demanded.
	Expected Expectation
	// Actual is the stream's version that was found, 0 for no stream.
	Actual int64
	// Guard says that the batch did not write the stream.
	Guard bool
}

func (e *ConflictError) Error() string {
	parts := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		what := "stream"
		if c.Guard {
			what = "guarded stream"
		}
		parts[i] = fmt.Sprintf("%s %q: expected %s, is at version %d", what, c.Stream, c.Expected, c.Actual)
	}
	return ErrConflict.Error() + ": " + strings.Join(parts, "; ")
}

func (e *ConflictError) Unwrap() error { return ErrConflict }

// IDReusedError says which id was used before.
type IDReusedError struct {
	// Kind is "batch" or "event".
	Kind string
	ID   string
	// Position is that of the first use: of the event, or of the last event
	// of the batch.
	Position int64
}

func (e *IDReusedError) Error() string {
	if e.Kind == "batch" {
		return fmt.Sprintf("%v: batch %q was stored at position %d with other content", ErrIDReused, e.ID, e.Position)
	}
	return fmt.Sprintf("%v: %s %q is already stored at position %d", ErrIDReused, e.Kind, e.ID, e.Position)
}

func (e *IDReusedError) Unwrap() error { return ErrIDReused }

// InvalidError says what is refused and why.
type InvalidError struct {
	// Field is what is wrong: "stream name", "event data", …
	Field string
	// Value is what was given, shortened; empty where it would not help.
	Value string
	// Reason says which rule it breaks.
	Reason string
}

func (e *InvalidError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%v: %s %s", ErrInvalid, e.Field, e.Reason)
	}
	return fmt.Sprintf("%v: %s %q: %s", ErrInvalid, e.Field, e.Value, e.Reason)
}

func (e *InvalidError) Unwrap() error { return ErrInvalid }

// OutcomeUnknownError says why an append's outcome is unknown.
type OutcomeUnknownError struct {
	// BatchID is the ID to repeat; empty where the batch had none, and then
	// only reading the streams tells.
	BatchID string
	Err     error
}

func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("%v (batch %q): %v", ErrOutcomeUnknown, e.BatchID, e.Err)
}

func (e *OutcomeUnknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.Err} }

// CorruptError says what is damaged, where, and what to do.
type CorruptError struct {
	// Where names the file or the position.
	Where string
	// Reason says what was found.
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.Where, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// RewoundError says which checkpoint does not lie on the log, and where the log
// left it.
type RewoundError struct {
	// Consumer names whose checkpoint it is; empty where that is not known.
	Consumer string
	// Checkpoint is what was compared.
	Checkpoint Anchor
	// Head is the log's last position.
	Head int64
	// Restored is the first restore that the checkpoint has not seen, where the
	// log tells (see Epochs): the checkpoint is of a history that ends there.
	// Its Name is empty where there is none: then it is another log, or one
	// that was put back without Restore.
	Restored Epoch
	// Remedy says what to do. Empty: what helps any consumer.
	Remedy string
}

func (e *RewoundError) Error() string {
	who, remedy := "the checkpoint", e.Remedy
	if e.Consumer != "" {
		who = fmt.Sprintf("the checkpoint of %q", e.Consumer)
	}
	if remedy == "" {
		remedy = "take the consumer's file from the same backup as the log, or build the consumer anew"
	}
	at := fmt.Sprintf("%v: %s is at position %d (epoch %s)", ErrRewound, who, e.Checkpoint.Position, e.Checkpoint.Epoch)
	switch {
	case e.Restored.Name != "":
		return fmt.Sprintf("%s, but the log was restored after position %d (epoch %s began there) and ends at %d: nothing is applied; %s",
			at, e.Restored.After, e.Restored.Name, e.Head, remedy)
	case e.Checkpoint.Position > e.Head:
		return fmt.Sprintf("%s, but the log ends at position %d: nothing is applied; %s", at, e.Head, remedy)
	}
	return fmt.Sprintf("%s, but the log has another event there: it is another log, or another history of it; nothing is applied; %s", at, remedy)
}

func (e *RewoundError) Unwrap() error { return ErrRewound }

// DecodeError says which recorded event cannot be read.
type DecodeError struct {
	Position int64
	Stream   string
	Version  int64
	Type     string
	Err      error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("%v: %s at position %d (stream %q version %d): %v", ErrDecode, e.Type, e.Position, e.Stream, e.Version, e.Err)
}

func (e *DecodeError) Unwrap() []error { return []error{ErrDecode, e.Err} }
