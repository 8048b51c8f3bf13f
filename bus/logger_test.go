package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

func TestLoggerMapsLevelsAndAsksFirst(t *testing.T) {
	var out syncBuffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	l := bus.NewLogger(slog.New(h)).With(watermill.LogFields{"topic": "t"})
	l.Error("e", errors.New("boom"), watermill.LogFields{"b": 2, "a": 1})
	l.Info("i", nil)
	l.Debug("d", nil)
	l.Trace("t", nil)
	require.Equal(t, "level=ERROR msg=e topic=t a=1 b=2 err=boom\nlevel=DEBUG msg=i topic=t\nlevel=DEBUG msg=d topic=t\nlevel=DEBUG-4 msg=t topic=t\n", out.String())

	silent := bus.NewLogger(slog.New(silentHandler{t}))
	fields := watermill.LogFields{"a": 1}
	require.Zero(t, testing.AllocsPerRun(100, func() { silent.Trace("t", fields) }))
}

// silentHandler is enabled for nothing, and must be asked.
type silentHandler struct{ t *testing.T }

func (silentHandler) Enabled(context.Context, slog.Level) bool { return false }
func (h silentHandler) Handle(context.Context, slog.Record) error {
	h.t.Error("the logger did not ask")
	return nil
}
func (h silentHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h silentHandler) WithGroup(string) slog.Handler      { return h }
