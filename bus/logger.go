package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/ThreeDotsLabs/watermill"
)

// levelTrace is below slog.LevelDebug, as far as Debug is below Info.
const levelTrace = slog.LevelDebug - 4

// NewLogger returns a Watermill logger that writes to l. What Watermill calls
// Info is about its own machinery and becomes Debug; Trace goes four levels
// below Debug. It asks the handler whether a level is enabled before it builds
// anything. Nil stands for slog.Default().
func NewLogger(l *slog.Logger) watermill.LoggerAdapter {
	if l == nil {
		l = slog.Default()
	}
	return &logger{l: l}
}

type logger struct{ l *slog.Logger }

func (a *logger) log(level slog.Level, msg string, err error, fields watermill.LogFields) {
	ctx := context.Background()
	if !a.l.Enabled(ctx, level) {
		return
	}
	attrs := attrsOf(fields)
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	a.l.LogAttrs(ctx, level, msg, attrs...)
}

// Error implements watermill.LoggerAdapter. An error that a router reported
// itself is not said twice.
func (a *logger) Error(msg string, err error, fields watermill.LogFields) {
	level := slog.LevelError
	if _, ok := errors.AsType[*reportedError](err); ok {
		level = levelTrace
	}
	a.log(level, msg, err, fields)
}

func (a *logger) Info(msg string, fields watermill.LogFields) {
	a.log(slog.LevelDebug, msg, nil, fields)
}

func (a *logger) Debug(msg string, fields watermill.LogFields) {
	a.log(slog.LevelDebug, msg, nil, fields)
}

func (a *logger) Trace(msg string, fields watermill.LogFields) {
	a.log(levelTrace, msg, nil, fields)
}

func (a *logger) With(fields watermill.LogFields) watermill.LoggerAdapter {
	attrs := attrsOf(fields)
	args := make([]any, len(attrs))
	for i, at := range attrs {
		args[i] = at
	}
	return &logger{l: a.l.With(args...)}
}

// attrsOf returns the fields in the order of their names.
func attrsOf(fields watermill.LogFields) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(fields)+1)
	for k, v := range fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return attrs
}

// reportedError is the failure of a consumer on its way through Watermill,
// which would log it as well.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }
