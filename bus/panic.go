package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// PanicError is a panic of a handler, turned into an error. Its text is one line
// where its value's is: see LogPanic for the stack.
type PanicError struct {
	Value any
	// At is the function, file and line that panicked, the first where a deferred
	// function did once more.
	At string
	// Stack is the goroutine's stack where it panicked.
	Stack []byte
}

// Recovered returns the error of what recover has returned, which is called in
// the same deferred function.
func Recovered(value any) *PanicError {
	var callers [panicDepth]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	at, panicked := "", false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked, at = true, "" // the last of them: a deferred function may panic anew
		case panicked && at == "" && !strings.HasPrefix(f.Function, "runtime."):
			at = fmt.Sprintf("%s, %s:%d", f.Function, filepath.Base(f.File), f.Line)
		}
		if !more {
			break
		}
	}
	return &PanicError{Value: value, At: at, Stack: debug.Stack()}
}

// panicDepth is how many callers are looked through for who panicked.
const panicDepth = 64

// LogPanic returns the logger, with the stack where err is of a panic.
func LogPanic(l *slog.Logger, err error) *slog.Logger {
	if p, ok := errors.AsType[*PanicError](err); ok {
		return l.With("stack", string(p.Stack))
	}
	return l
}

func (e *PanicError) Error() string {
	if e.At == "" {
		return fmt.Sprintf("panic: %v", e.Value)
	}
	return fmt.Sprintf("panic: %v (%s)", e.Value, e.At)
}

// Unwrap returns the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
