package saga

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels classify, structs explain.
var (
	// ErrDefinition: a saga's definition is wrong. See Definition.Err.
	ErrDefinition = errors.New("saga: invalid definition")
	// ErrStart: something that is pending has no handler. See StartError.
	ErrStart = errors.New("saga: cannot start")
	// ErrNotFound: there is no such instance.
	ErrNotFound = errors.New("saga: no such instance")
	// ErrState: the instance is not in a state for this action.
	ErrState = errors.New("saga: not possible in this state")
	// ErrSubscribed: the outbox has a subscriber already.
	ErrSubscribed = errors.New("saga: the outbox has a subscriber")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("saga: closed")
	// ErrMoved: another process has written to sagas.db.
	ErrMoved = errors.New("saga: sagas.db was changed by another process")
)

// StartError lists everything pending in sagas.db that the program cannot
// handle.
type StartError struct {
	Problems []string
}

func (e *StartError) Error() string {
	return fmt.Sprintf("%v: what is pending has no handler; register it, migrate it, or start the program that left it:\n\t%s",
		ErrStart, strings.Join(e.Problems, "\n\t"))
}

func (e *StartError) Unwrap() error { return ErrStart }

// permanentError is an error of a step that repeating does not mend: the
// instance is parked at once.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

func permanent(format string, args ...any) error {
	return &permanentError{fmt.Errorf(format, args...)}
}

// maxReason bounds the text of a reason that is kept, in bytes.
const maxReason = 4096

// brief returns what is kept of the text of an error, which may quote a payload.
func brief(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
