package serverless

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels classify, structs explain.
var (
	// ErrRegistration: what was registered is wrong. Nothing was opened. See
	// RegistrationError.
	ErrRegistration = errors.New("serverless: registration")
	// ErrUnknownFunction: no function has the name.
	ErrUnknownFunction = errors.New("serverless: unknown function")
	// ErrPayload: a payload cannot be read as what its function takes.
	ErrPayload = errors.New("serverless: invalid payload")
	// ErrIDRequired: the function is called with an id only (see RequireID).
	ErrIDRequired = errors.New("serverless: command id required")
	// ErrMoreWork: a Drain ended before everything was done, and can be
	// repeated. See MoreWorkError.
	ErrMoreWork = errors.New("serverless: more work")
	// ErrBlocked: a Drain ended because a consumer is blocked, and its
	// function or projection must be mended first. See BlockedError.
	ErrBlocked = errors.New("serverless: blocked")
	// ErrStopped: the store has stopped and could not be opened again. See
	// StoppedError.
	ErrStopped = errors.New("serverless: the store has stopped")
	// ErrRunning: the host runs or drains already.
	ErrRunning = errors.New("serverless: host is running already")
	// ErrNotRunning: the host neither runs nor drains.
	ErrNotRunning = errors.New("serverless: host does not run")
	// ErrNotOpen: the host was not opened yet.
	ErrNotOpen = errors.New("serverless: host is not open")
	// ErrClosed: the host was closed.
	ErrClosed = errors.New("serverless: host is closed")
	// ErrNoSagas: no saga is registered.
	ErrNoSagas = errors.New("serverless: no sagas")
	// ErrNoDeadLetter: there is no such dead letter.
	ErrNoDeadLetter = errors.New("serverless: no such dead letter")
)

// RegistrationError lists everything that is wrong with what was registered.
type RegistrationError struct {
	// Problems are errors, each a sentence, in the order of registration.
	Problems []error
}

func (e *RegistrationError) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("%v: %d to mend, nothing was opened:", ErrRegistration, len(e.Problems)))
	for _, p := range e.Problems {
		lines = append(lines, "  - "+strings.ReplaceAll(p.Error(), "\n", "\n    "))
	}
	return strings.Join(lines, "\n")
}

func (e *RegistrationError) Unwrap() []error { return append([]error{ErrRegistration}, e.Problems...) }

// MoreWorkError says why a Drain ended early.
type MoreWorkError struct {
	// Reason is a sentence.
	Reason string
	// Err is the cause: the failure of a consumer that is backing off, or the
	// caller's context; nil where the budget was spent.
	Err error
}

func (e *MoreWorkError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: %s", ErrMoreWork, e.Reason)
	}
	return fmt.Sprintf("%v: %s: %v", ErrMoreWork, e.Reason, e.Err)
}

func (e *MoreWorkError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrMoreWork}
	}
	return []error{ErrMoreWork, e.Err}
}

// BlockedError names the consumers that are blocked.
type BlockedError struct {
	Consumers []Consumer
}

func (e *BlockedError) Error() string {
	parts := make([]string, len(e.Consumers))
	for i, c := range e.Consumers {
		parts[i] = fmt.Sprintf("%s at position %d: %s", c.Name, c.FailedAt, c.Error)
	}
	return fmt.Sprintf("%v: %s: mend it and start again", ErrBlocked, strings.Join(parts, "; "))
}

func (e *BlockedError) Unwrap() error { return ErrBlocked }

// Exit codes of a program that drains.
const (
	ExitDone     = 0
	ExitFailed   = 1
	ExitMoreWork = 75
)

// ExitCode returns the exit code for the error of a Drain: ExitDone for nil,
// ExitMoreWork where it can simply be repeated, else ExitFailed.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, ErrMoreWork):
		return ExitMoreWork
	default:
		return ExitFailed
	}
}
